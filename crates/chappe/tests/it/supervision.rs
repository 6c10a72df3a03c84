//! What the process does when one of its threads or tasks panics. The variable that triggers a panic exists in test builds only.

use std::time::Duration;

use testkit::{ChildProcess, PATIENCE, RawSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::account::{Account, ITEMS};
use crate::guard::app;
use crate::realtime::token;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const HUB: &str = "/api/v1/hubs/chat";
const PORTS: [&str; 4] = ["gateway", "functions", "realtime", "documents"];

/// The handshake of a JSON client, as a WebSocket message.
const HANDSHAKE: &[u8] = b"\x81\xa0\0\0\0\0{\"protocol\":\"json\",\"version\":1}\x1e";

fn panics(unit: &str) -> String {
    format!("SUPERVISION_TESTING_PANIC={unit}")
}

async fn start(folder: &std::path::Path, unit: &str, more: &[&str]) -> ChildProcess {
    let variable = panics(unit);
    let mut arguments = vec![variable.as_str(), BINARY, "start", "--no-functions", "--data-dir", "data"];
    arguments.extend(more);
    ChildProcess::start("/usr/bin/env", folder, &arguments).await.expect("it starts")
}

async fn send(process: &ChildProcess) -> anyhow::Result<testkit::HttpResponse> {
    let bearer = format!("Bearer {}", token(&format!("http://localhost{HUB}"), None));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    process.http("realtime").send("POST", HUB, &headers, r#"{"target":"x","arguments":[]}"#).await
}

async fn ends_with_70(process: ChildProcess, unit: &str) {
    let (code, log) = process.wait().await.expect("it ends by itself");
    assert_eq!(code, Some(70), "{unit}: {log}");
    let words = format!("the part '{unit}' has ended: it panicked: a fault that a test ordered");
    assert!(log.contains(&words), "{unit}: {log}");
}

#[tokio::test]
async fn a_shard_that_panics_ends_the_process_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), "shard 0", &["--set", "realtime.engine.shards=1"]).await;
    // Whether this request is answered depends on whether the process ends first.
    let _ = send(&process).await;
    ends_with_70(process, "shard 0").await;
    let again = start(folder.path(), "nothing", &[]).await;
    assert_eq!(send(&again).await.expect("it answers").status, 202, "the next process serves");
}

#[tokio::test]
async fn a_document_writer_that_panics_ends_the_process_and_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), "nothing", &[]).await;
    let account = Account::of(&process);
    account.container().await;
    assert_eq!(account.put("1", 10).await.expect("it answers").status, 201);
    process.terminate().await.expect("it can be asked to end");
    process.wait().await.expect("it ends");
    let process = start(folder.path(), "documents writer", &[]).await;
    let put = Account::of(&process).put("2", 10).await;
    assert!(put.is_err() || put.is_ok_and(|answer| answer.status.is_server_error()));
    ends_with_70(process, "documents writer").await;
    let process = start(folder.path(), "nothing", &[]).await;
    let account = Account::of(&process);
    assert!(account.has("1").await && !account.has("2").await, "{ITEMS}");
}

#[tokio::test]
async fn a_panic_of_the_history_task_ends_the_process() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let rule = ["--set", r#"realtime.history=[{hub="chat",messages=10}]"#];
    let process = start(folder.path(), "nothing", &rule).await;
    assert_eq!(send(&process).await.expect("it answers").status, 202);
    process.terminate().await.expect("it can be asked to end");
    process.wait().await.expect("it ends");
    let variable = panics("history");
    let mut arguments = vec![variable.as_str(), BINARY, "start", "--no-functions", "--data-dir", "data"];
    let ports = PORTS.map(|name| format!("listen.{name}=localhost:0"));
    arguments.extend(rule);
    arguments.extend(ports.iter().flat_map(|port| ["--set", port.as_str()]));
    let (code, log) = ChildProcess::fail("/usr/bin/env", folder.path(), &arguments).await.expect("it runs");
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("the part 'history' has ended: it panicked"), "{log}");
    let again = start(folder.path(), "nothing", &rule).await;
    assert_eq!(send(&again).await.expect("it answers").status, 202, "the next process serves");
}

#[tokio::test]
async fn a_panic_of_the_functions_host_ends_the_process() {
    let app = app();
    let variable = panics("functions host");
    let ports = PORTS.map(|name| format!("listen.{name}=localhost:0"));
    let mut arguments = vec![variable.as_str(), BINARY, "start", "--ephemeral"];
    arguments.extend(ports.iter().flat_map(|port| ["--set", port.as_str()]));
    let (code, log) = ChildProcess::fail("/usr/bin/env", app.path(), &arguments).await.expect("it runs");
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("the part 'functions host' has ended: it panicked"), "{log}");
}

#[tokio::test]
async fn a_failed_process_is_not_ready_while_it_drains() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let more = ["--set", "realtime.engine.close_timeout_ms=30000"];
    let process = start(folder.path(), "documents writer", &more).await;
    // A client that never answers a close frame delays the drain, up to the limit for a failed process.
    let (realtime, gateway) = (process.http("realtime"), process.http("gateway"));
    let path = format!("/client/?hub=chat&access_token={}", token("http://localhost/client/?hub=chat", None));
    let (mut client, head) = RawSocket::upgrade(realtime.authority(), &path, "").await.expect("it answers");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    client.send(HANDSHAKE).await.expect("it is taken");
    assert_eq!(gateway.get("/readyz").await.expect("it answers").status, 200);
    let began = Instant::now();
    // The write that triggers the panic.
    let _ = Account::of(&process).send("POST", "/dbs", None, r#"{"id":"d"}"#).await;
    let mut answer = gateway.get("/readyz").await.expect("the gateway still listens");
    while answer.status == 200 {
        assert!(began.elapsed() < Duration::from_secs(3), "it calls itself ready: {}", answer.text());
        answer = gateway.get("/readyz").await.expect("the gateway still listens");
    }
    assert_eq!(answer.status, 503);
    let text = answer.text();
    assert!(text.contains("documents writer") && text.contains("it panicked"), "{text}");
    let alive = gateway.get("/healthz").await.expect("the gateway still listens");
    assert_eq!(alive.status, 200);
    ends_with_70(process, "documents writer").await;
    let lasted = began.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(20)).contains(&lasted), "it drained for {lasted:?}");
}

#[tokio::test]
async fn a_panic_of_an_essential_task_ends_the_process() {
    for unit in ["upstreams", "listener of gateway", "listener of documents", "journal segments"] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let variable = panics(unit);
        let ports = PORTS.map(|name| format!("listen.{name}=localhost:0"));
        let mut arguments = vec![variable.as_str(), BINARY, "start", "--no-functions", "--ephemeral"];
        arguments.extend(ports.iter().flat_map(|port| ["--set", port.as_str()]));
        let (code, log) =
            ChildProcess::fail("/usr/bin/env", folder.path(), &arguments).await.expect("it runs");
        assert_eq!(code, Some(70), "{unit}: {log}");
        assert!(log.contains(&format!("the part '{unit}' has ended")), "{unit}: {log}");
    }
}

/// Waits until the process reports once that a part was restarted.
async fn is_restarted(process: &ChildProcess, unit: &str) {
    let line = format!("chappe_supervision_restarted_total{{component=\"{unit}\"}} 1");
    let began = Instant::now();
    loop {
        let page = process.http("gateway").get("/metrics").await.expect("it answers").text();
        if page.lines().any(|found| found == line) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{line} is not in {page}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_watch_of_function_keys_restarts_after_a_panic() {
    let app = app();
    let variable = panics("functions keys");
    let auth = ["--data-dir", "data", "--set", "functions.enable_auth=true"];
    let arguments = [&[variable.as_str(), BINARY, "start"][..], &auth].concat();
    let process = ChildProcess::start("/usr/bin/env", app.path(), &arguments).await.expect("it starts");
    is_restarted(&process, "functions keys").await;
    let (functions, gateway) = (process.http("functions"), process.http("gateway"));
    let began = Instant::now();
    while gateway.get("/readyz").await.expect("it answers").status != 200 {
        assert!(began.elapsed() < PATIENCE, "it does not become ready");
        sleep(Duration::from_millis(20)).await;
    }
    // Keys are required as before, and generated keys are accepted.
    let keys = "/admin/host/keys";
    assert_eq!(functions.get(keys).await.expect("it answers").status, 401);
    let file = std::fs::read(app.path().join("data/function-keys.json")).expect("the master key is told");
    let file: serde_json::Value = serde_json::from_slice(&file).expect("it is JSON");
    let master = [("x-functions-key", file["masterKey"].as_str().expect("a key"))];
    let made = functions.send("POST", "/admin/host/keys/mine", &master, "").await.expect("it answers");
    assert!(made.status.is_success(), "{}", made.text());
    let listed = functions.send("GET", keys, &master, "").await.expect("it answers");
    assert!(listed.status == 200 && listed.text().contains("\"mine\""), "{}", listed.text());
}

#[tokio::test]
async fn the_export_of_spans_restarts_after_a_panic() {
    // A collector that accepts everything.
    let collector = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}", collector.local_addr().expect("it is bound"));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let setting = format!("telemetry.otlp_endpoint={endpoint}");
    let process = start(folder.path(), "export of spans", &["--set", &setting]).await;
    is_restarted(&process, "export of spans").await;
    let account = Account::of(&process);
    account.container().await;
    assert_eq!(account.put("1", 10).await.expect("it answers").status, 201, "a write has a span");
    let exported = async {
        let (mut stream, _) = collector.accept().await.expect("it connects");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a byte"));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it is taken");
        String::from_utf8_lossy(&head).into_owned()
    };
    let head = timeout(PATIENCE, exported).await.expect("spans come");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn restartable_tasks_restart_after_a_panic_and_are_counted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), "negotiations,documents point reader 0", &[]).await;
    let account = Account::of(&process);
    account.container().await;
    assert_eq!(account.put("1", 10).await.expect("it answers").status, 201);
    // Readers share one queue, so the request reaches the one that panics sooner or later.
    let gateway = process.http("gateway");
    let restarted = |unit: &str| format!("chappe_supervision_restarted_total{{component=\"{unit}\"}} 1");
    let mut page = String::new();
    for _ in 0..200 {
        account.has("1").await;
        page = gateway.get("/metrics").await.expect("it answers").text();
        if page.contains(&restarted("documents point reader 0")) {
            break;
        }
    }
    assert!(page.contains(&restarted("documents point reader 0")), "{page}");
    assert!(page.contains(&restarted("negotiations")), "{page}");
    assert!(account.has("1").await);
}
