//! Start, health, drain, crash, restart.

use signalr_protocol::HubProtocol;
use testkit::{ChildProcess, HubClient};

use crate::realtime::{CLIENT_PATH, connect};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

async fn start(folder: &std::path::Path) -> ChildProcess {
    let arguments = ["start", "--no-functions", "--data-dir", "data"];
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts")
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
    assert!(elsewhere.text().contains("guard-host-not-allowed"));
}

#[tokio::test]
async fn a_first_sigterm_drains_and_asks_clients_to_reconnect() {
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

/// If a configured port is in use, the start fails: clients would talk to the program that has it.
#[tokio::test]
async fn a_configured_port_in_use_fails_the_start() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    let taken = other.local_addr().expect("a bound listener has an address").port();
    for service in ["gateway", "realtime", "documents", "admin"] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = ["gateway", "realtime", "documents", "admin"].iter().fold(
            "[listen]\n".to_owned(),
            |file, name| {
                let port = if *name == service { taken } else { 0 };
                file + &format!("{name} = \"localhost:{port}\"\n")
            },
        );
        std::fs::write(folder.path().join("chappe.toml"), file).expect("a file can be written");
        let arguments = ["start", "--no-functions", "--ephemeral"];
        let (code, text) =
            ChildProcess::fail(BINARY, folder.path(), &arguments).await.expect("it can be run");
        assert_eq!(code, Some(1), "{text}");
        let words = [
            format!("{service} cannot have the address that is configured for it, localhost:{taken}"),
            format!("set listen.{service} to another address"),
            "already listens there".to_owned(),
            "code: port-configured".to_owned(),
        ];
        for words in &words {
            assert!(text.contains(words), "should say {words:?}: {text}");
        }
        if cfg!(target_os = "linux") {
            assert!(text.contains(&format!("process {} (", std::process::id())), "{text}");
        }
    }
    // The variable and the flag are configuration as well.
    let setting = format!("listen.gateway=localhost:{taken}");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments = ["start", "--no-functions", "--ephemeral", "--set", &setting];
    let (code, text) = ChildProcess::fail(BINARY, folder.path(), &arguments).await.expect("it can be run");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("gateway cannot have the address"), "{text}");
    let variable = format!("CHAPPE_LISTEN__GATEWAY=localhost:{taken}");
    let arguments = [variable.as_str(), BINARY, "start", "--no-functions", "--ephemeral"];
    let (code, text) = ChildProcess::fail("env", folder.path(), &arguments).await.expect("it can be run");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("gateway cannot have the address"), "{text}");
}

#[tokio::test]
async fn an_upgrade_without_a_token_is_rejected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let http = process.http("realtime");
    let refused =
        HubClient::upgrade(http.authority(), &format!("{CLIENT_PATH}?hub=chat"), HubProtocol::Json).await;
    let error = refused.err().expect("no token, no socket").to_string();
    assert!(error.contains("401"), "{error}");
}
