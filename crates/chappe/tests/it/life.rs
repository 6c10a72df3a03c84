//! Start, health, drain, crash, restart.

use signalr_protocol::HubProtocol;
use testkit::{HubClient, Process};

use crate::realtime::{CLIENT_PATH, connect};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

async fn start(folder: &std::path::Path) -> Process {
    let arguments = ["start", "--no-functions", "--data-dir", "data"];
    Process::start(BINARY, folder, &arguments).await.expect("it starts")
}

#[tokio::test]
async fn health_readiness_and_metrics_answer_on_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let gateway = process.http("gateway");
    for (path, words) in [("/healthz", "ok"), ("/readyz", "ready"), ("/metrics", "# EOF")] {
        let answer = gateway.get(path).await.expect("it answers");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains(words), "{path}: {}", answer.text());
    }
    let info = gateway.get("/chappe/api/info").await.and_then(|answer| answer.json()).expect("it answers");
    assert_eq!(info["pid"].as_u64(), process.id().map(u64::from));
    let elsewhere =
        gateway.send("GET", "/metrics", &[("host", "evil.example")], "").await.expect("it answers");
    assert_eq!(elsewhere.status, 403);
    assert!(elsewhere.text().contains("admin-not-this-machine"));
}

#[tokio::test]
async fn a_first_sigterm_drains_and_tells_clients_to_come_back() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    process.terminate().await.expect("it can be asked to end");
    let close = client.next_json().await.expect("a last message");
    assert_eq!(close["type"], 7);
    assert_eq!(close["allowReconnect"], true);
    assert!(client.next().await.expect("the end").is_none());
    drop(client);
    let (code, log) = process.wait().await.expect("it ends");
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("drained"), "{log}");
}

#[tokio::test]
async fn taken_ports_are_said_and_others_are_used() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let others = ["gateway", "realtime", "documents"]
        .map(|name| (name, std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound")));
    let file = others.iter().fold("[listen]\n".to_owned(), |file, (name, other)| {
        let taken = other.local_addr().expect("a bound listener has an address").port();
        file + &format!("{name} = \"localhost:{taken}\"\n")
    });
    std::fs::write(folder.path().join("chappe.toml"), file).expect("a file can be written");
    let arguments = ["start", "--no-functions", "--ephemeral"];
    let process = Process::start_as_configured(BINARY, folder.path(), &arguments)
        .await
        .expect("it starts all the same");
    assert_eq!(process.http("gateway").get("/healthz").await.expect("it answers").status, 200);
    for (name, _) in &others {
        assert!(process.http(name).get("/").await.is_ok(), "{name} answers, whatever it says");
    }
    let log = process.kill().await.expect("it can be killed");
    assert_eq!(log.matches("already listens there").count(), others.len(), "{log}");
    for (name, _) in &others {
        assert!(log.contains(&format!("to choose, set listen.{name}")), "{log}");
    }
}

#[tokio::test]
async fn an_upgrade_without_a_token_is_refused() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let http = process.http("realtime");
    let refused =
        HubClient::upgrade(http.authority(), &format!("{CLIENT_PATH}?hub=chat"), HubProtocol::Json).await;
    let error = refused.err().expect("no token, no socket").to_string();
    assert!(error.contains("401"), "{error}");
}
