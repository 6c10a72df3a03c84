//! The host with the real pool and our own Node.js worker, on an app that needs no packages.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use functions::worker::PoolOptions;
use functions::{Dependencies, Error, Handle, Options, Service};
use prometheus_client::registry::Registry;
use serde_json::json;
use state_embedded::Store;
use supervision::Supervisor;
use trace::Tracer;

use crate::fake::PATIENCE;

/// A copy of the app in a folder of its own, with the settings of this machine that a process needs.
fn start(app: &Path, store: &Store, environment: BTreeMap<String, String>) -> Result<Handle, Error> {
    let workers = PoolOptions { spare: Some(false), ..PoolOptions::default() };
    let cache_dir = Some(app.join("cache"));
    let options = Options { app_dir: app.to_owned(), cache_dir, workers, ..Options::default() };
    let dependencies = Dependencies {
        environment,
        registry: store.registry(),
        lease: store.lease(),
        owner: "host-1".to_owned(),
        connectors: Vec::new(),
        bodies: http_messages::Budget::default(),
        tracer: Tracer::new(64),
        supervisor: Supervisor::default(),
        workers: None,
    };
    Service::start(options, dependencies, &mut Registry::default()).map(|(_, handle)| handle)
}

fn environment() -> BTreeMap<String, String> {
    let path = std::env::var("PATH").expect("a PATH");
    BTreeMap::from([("PATH".to_owned(), path)])
}

fn app() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/stand-in");
    for name in ["app.js", "package.json"] {
        std::fs::copy(stand_in.join(name), dir.path().join(name)).expect("the app is copied");
    }
    std::fs::write(dir.path().join("host.json"), r#"{"version":"2.0"}"#).expect("host.json is written");
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_app_starts_runs_fails_and_survives_the_death_of_its_worker() {
    let store = Arc::new(Store::ephemeral(&state_embedded::Options::default()).expect("a store"));
    let app = app();
    let handle = start(app.path(), &store, environment()).expect("the host starts");
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("in time").expect("the app starts");
    handle.invoke("echo", &json!("hello")).await.expect("it runs");
    let failed = handle.invoke("fails", &json!("x")).await.expect_err("it throws");
    assert!(failed.to_string().contains("as asked") && failed.to_string().contains("app.js:"), "{failed}");
    let before = handle.worker_pids();
    assert_eq!(handle.kill_workers(), before);
    // The killed worker gets no further invocations: the next one waits for its replacement.
    handle.invoke("echo", &json!("again")).await.expect("it runs again");
    assert_ne!(handle.worker_pids(), before);
    let texts: Vec<String> = handle.logs().tail(0).into_iter().map(|line| line.text).collect();
    let of_user =
        handle.logs().tail(0).into_iter().find(|line| line.text == "first").expect("the user's line");
    assert_eq!((of_user.function.as_deref(), of_user.from_user), (Some("echo"), true));
    assert_eq!(texts.iter().filter(|text| *text == "Worker process started and initialized.").count(), 2);
    handle.drain(Duration::from_secs(10)).await;
    assert!(handle.worker_pids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_worker_processes_is_that_of_the_setting() {
    let store = Store::ephemeral(&state_embedded::Options::default()).expect("a store");
    let app = app();
    let with_count = |count: &str| {
        let mut environment = environment();
        environment.insert("FUNCTIONS_WORKER_PROCESS_COUNT".to_owned(), count.to_owned());
        start(app.path(), &store, environment)
    };
    for wrong in ["0", "11", "many"] {
        let error = with_count(wrong).err().expect("no such number of processes").to_string();
        let expected = format!(
            "FUNCTIONS_WORKER_PROCESS_COUNT is \"{wrong}\", but must be a number of processes from 1 to 10"
        );
        assert_eq!(error, expected);
    }
    let handle = with_count("3").expect("the host starts");
    tokio::time::timeout(PATIENCE, handle.ready()).await.expect("in time").expect("the app starts");
    let all = async {
        while handle.worker_pids().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("three processes start");
    let pids: std::collections::BTreeSet<_> = handle.worker_pids().into_iter().collect();
    assert_eq!(pids.len(), 3);
    // Invocations go to each worker in turn.
    for _ in 0..6 {
        handle.invoke("echo", &json!("x")).await.expect("it runs");
    }
    handle.drain(Duration::from_secs(10)).await;
    assert!(handle.worker_pids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_node_the_error_says_what_to_do() {
    let store = Store::ephemeral(&state_embedded::Options::default()).expect("a store");
    let app = app();
    let nowhere = BTreeMap::from([("PATH".to_owned(), app.path().display().to_string())]);
    let error = match start(app.path(), &store, nowhere) {
        Err(error) => error,
        Ok(handle) => {
            tokio::time::timeout(PATIENCE, handle.ready()).await.expect("in time").expect_err("no node")
        }
    };
    let text = error.to_string();
    assert!(text.contains("cannot start 'node'") && text.contains("install Node.js"), "{text}");
}
