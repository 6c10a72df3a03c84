//! What changes when other machines can connect, and which requests are then refused.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use testkit::{ChildProcess, Http};

use crate::account::Account;
use crate::realtime::token;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

/// An address of this machine that is not loopback, if it has one. No packet is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// The statuses for requests signed with the emulators' public keys: of the document service and of the realtime service.
async fn public_keys(process: &ChildProcess) -> (u16, u16) {
    let documents = Account::of(process).send("GET", "/dbs", None, "").await.expect("it answers");
    let authorization = format!("Bearer {}", token("http://localhost/api/v1/hubs/chat", None));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let message = r#"{"target":"x","arguments":[]}"#;
    let realtime = process.http("realtime").send("POST", "/api/v1/hubs/chat", &headers, message).await;
    (documents.status.as_u16(), realtime.expect("it answers").status.as_u16())
}

#[tokio::test]
async fn a_proxy_for_other_machines_ends_development_mode() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let start = async |setting: &str| {
        let arguments = ["start", "--no-functions", "--data-dir", "data", "--set", setting];
        ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts")
    };
    let local = start("public_url=http://localhost:3000").await;
    assert_eq!(public_keys(&local).await, (200, 202));
    local.kill().await.expect("it can be killed");

    let proxied = start("public_url=https://live.example.org").await;
    assert_eq!(public_keys(&proxied).await, (401, 401));
    let keys = std::fs::read(folder.path().join("data/keys.json")).expect("keys were made");
    let keys: serde_json::Value = serde_json::from_slice(&keys).expect("keys are JSON");
    let own = Account::with_key(&proxied, keys["documents"].as_str().expect("a key"));
    let answer = own.send("GET", "/dbs", None, "").await.expect("it answers");
    assert_eq!(answer.status, 403, "signatures have an age now: {}", answer.text());
    let log = proxied.kill().await.expect("it can be killed");
    assert!(log.contains("no development mode, because public_url is https://live.example.org"), "{log}");
}

#[tokio::test]
async fn beyond_loopback_emulator_keys_are_rejected_and_keys_are_generated() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let elsewhere = ["functions", "realtime", "documents"].map(|name| format!("listen.{name}=localhost:0"));
    let mut arguments =
        vec!["start", "--no-functions", "--data-dir", "data", "--set", "listen.gateway=0.0.0.0:0"];
    arguments.extend(elsewhere.iter().flat_map(|setting| ["--set", setting.as_str()]));
    let process =
        ChildProcess::start_as_configured(BINARY, folder.path(), &arguments).await.expect("it starts");

    assert_eq!(public_keys(&process).await, (401, 401));

    let file = folder.path().join("data/keys.json");
    let keys: serde_json::Value = std::fs::read(&file)
        .map(|bytes| serde_json::from_slice(&bytes).expect("keys are JSON"))
        .expect("keys were made");
    let made = || Account::with_key(&process, keys["documents"].as_str().expect("a key"));
    // A signature with an old date is no longer accepted.
    let old = made().send("GET", "/dbs", None, "").await.expect("it answers");
    assert_eq!(old.status, 403, "{}", old.text());
    let text = old.text();
    assert!(text.contains("token start time: Sun, 01 Nov 2026 08:00:00 GMT"), "{text}");
    let now = old.headers["date"].to_str().expect("a date");
    assert_eq!(made().at(now).send("GET", "/dbs", None, "").await.expect("it answers").status, 200);
    let malformed = made().at("yesterday").send("GET", "/dbs", None, "").await.expect("it answers");
    assert_eq!(malformed.status, 401, "{}", malformed.text());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| {
            let metadata = std::fs::metadata(folder.path().join(path)).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(mode("data/keys.json"), 0o600);
        assert_eq!(mode("data"), 0o700, "documents are kept there");
    }

    let gateway = process.http("gateway");
    let named = gateway.send("GET", "/chappe/api/info", &[("host", "chappe.example")], "").await;
    assert_eq!(named.expect("it answers").status, 403);
    let ready = gateway.send("GET", "/readyz", &[("host", "chappe.example")], "").await;
    assert_eq!(ready.expect("it answers").status, 200, "probes come by any name");
    let Some(outer) = outer_address() else { return };
    let port = gateway.authority().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let from_outside = Http::new(&format!("http://{}", SocketAddr::new(outer, port)));
    for (path, status) in [("/healthz", 200), ("/metrics", 403), ("/chappe/api/info", 403)] {
        assert_eq!(from_outside.get(path).await.expect("it answers").status, status, "{path}");
    }
    let claimed = from_outside.send("GET", "/metrics", &[("host", "localhost")], "").await;
    assert_eq!(claimed.expect("it answers").status, 403, "a name alone is no proof of this machine");
}
