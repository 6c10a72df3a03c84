//! What the process does when one of its threads or tasks panics. The variable that orders a panic exists in builds for tests only.

use testkit::Process;

use crate::account::{Account, ITEMS};
use crate::realtime::token;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const HUB: &str = "/api/v1/hubs/chat";

fn panics(unit: &str) -> String {
    format!("SUPERVISION_TESTING_PANIC={unit}")
}

async fn start(folder: &std::path::Path, unit: &str, more: &[&str]) -> Process {
    let variable = panics(unit);
    let mut arguments = vec![variable.as_str(), BINARY, "start", "--no-functions", "--data-dir", "data"];
    arguments.extend(more);
    Process::start("/usr/bin/env", folder, &arguments).await.expect("it starts")
}

async fn send(process: &Process) -> anyhow::Result<testkit::Answer> {
    let bearer = format!("Bearer {}", token(&format!("http://localhost{HUB}"), None));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    process.http("realtime").send("POST", HUB, &headers, r#"{"target":"x","arguments":[]}"#).await
}

async fn ends_with_70(process: Process, unit: &str) {
    let (code, log) = process.wait().await.expect("it ends by itself");
    assert_eq!(code, Some(70), "{unit}: {log}");
    let words = format!("the part '{unit}' has ended: it panicked: a fault that a test ordered");
    assert!(log.contains(&words), "{unit}: {log}");
}

#[tokio::test]
async fn a_shard_that_panics_ends_the_process_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), "shard 0", &["--set", "realtime.engine.shards=1"]).await;
    // Whether this one is answered is a race with the end.
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
async fn tasks_without_which_nothing_goes_on_end_the_process() {
    for unit in ["upstreams", "listener of gateway", "listener of documents", "journal segments"] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let variable = panics(unit);
        let ports = ["gateway", "functions", "realtime", "documents"]
            .map(|name| format!("listen.{name}=localhost:0"));
        let mut arguments = vec![variable.as_str(), BINARY, "start", "--no-functions", "--ephemeral"];
        arguments.extend(ports.iter().flat_map(|port| ["--set", port.as_str()]));
        let (code, log) = Process::fail("/usr/bin/env", folder.path(), &arguments).await.expect("it runs");
        assert_eq!(code, Some(70), "{unit}: {log}");
        assert!(log.contains(&format!("the part '{unit}' has ended")), "{unit}: {log}");
    }
}

#[tokio::test]
async fn what_loses_nothing_is_started_again_and_counted() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), "negotiations,documents point reader 0", &[]).await;
    let account = Account::of(&process);
    account.container().await;
    assert_eq!(account.put("1", 10).await.expect("it answers").status, 201);
    // Readers share one queue, so the one that panics is met sooner or later.
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
