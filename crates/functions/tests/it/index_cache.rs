//! The index of an app is stored by its content: an app that has not changed starts without a worker.

use serde_json::json;

use crate::hot_reload::{fast, version};
use crate::startup::{Host, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_has_not_changed_starts_without_a_process_until_its_first_call() {
    let settings = ("local.settings.json", r#"{"Values": {"ANY": "1"}}"#);
    let host = Host::start(&[settings, ("app.js", &version(1))], |options| {
        fast(options);
        options.workers.idle_timeout_ms = 3_600_000;
        options.workers.spare = Some(false);
    });
    host.starts().await;
    assert_eq!(host.handle.worker_pids().len(), 1, "it has to be indexed");
    host.handle.reload().await.expect("it starts again");
    until(|| host.handle.worker_pids().is_empty()).await;
    let names: Vec<String> = host.handle.functions().into_iter().map(|function| function.name).collect();
    assert_eq!(names, ["check"]);
    host.handle.invoke("check", &json!(null)).await.expect("the call starts a process");
    assert_eq!(host.handle.worker_pids().len(), 1);
    // Another content has to be indexed.
    host.write("app.js", &version(2));
    host.serves(2).await;
    host.handle.drain(crate::fake::PATIENCE).await;
}
