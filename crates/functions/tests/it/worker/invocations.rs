//! Invocations: values, failures, the environment of a worker, and their distribution.

use super::*;

#[tokio::test]
async fn values_are_returned_unchanged_and_log_records_come_before_the_response() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let values = [
        TypedData::Bytes(Bytes::from(vec![7; 300_000])),
        TypedData::Json(format!("[{:?}]", "ü".repeat(1000)).into()),
        TypedData::Int(i64::MAX),
        TypedData::Double(f64::INFINITY),
        TypedData::CollectionBytes(vec![Bytes::from_static(b"a"), Bytes::new()]),
        TypedData::CollectionSint64(vec![1, i64::MIN]),
    ];
    for value in values {
        let answer = running
            .pool
            .invoke(request("echo", value.clone()), InvokeOptions::default())
            .await
            .expect("answered");
        let id = answer.invocation_id.clone();
        let own = format!("log {id} ");
        let records: Vec<_> = running
            .seen
            .lines()
            .iter()
            .filter_map(|line| line.strip_prefix(&own).map(str::to_owned))
            .collect();
        assert_eq!(records, ["Information first", "Warning second", "Debug third"]);
        assert_eq!(returned(answer), value);
    }
    let lines = running.drain().await;
    assert_eq!(lines.last().map(String::as_str), Some("exited, exit status: 0, asked: true"));
}

#[tokio::test]
async fn stored_bytes_are_read_in_parts_between_other_messages() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let content: Bytes = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let calls = [
        (elsewhere(content.clone()), TypedData::Bytes(content.clone())),
        (TypedData::String("small".into()), TypedData::String("small".into())),
        (elsewhere(content.slice(..10)), TypedData::Bytes(content.slice(..10))),
        (elsewhere(content.clone()), TypedData::Bytes(content)),
    ];
    let calls = calls.into_iter().map(|(sent, expected)| {
        let pool = running.pool.clone();
        tokio::spawn(async move {
            let answer =
                pool.invoke(request("echo", sent), InvokeOptions::default()).await.expect("answered");
            assert!(answer.return_value == Some(expected));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("it came whole");
    }
    running.drain().await;
}

#[tokio::test]
async fn the_environment_is_passed_on_without_variables_that_mislead_workers() {
    let given = [("MINE", "yes"), ("CONTAINER_NAME", "c"), ("WEBSITE_INSTANCE_ID", "i")];
    let running = start_loaded(&given, PoolOptions::default()).await;
    let TypedData::Json(json) = returned(running.call("environment").await.expect("answered")) else {
        panic!("JSON");
    };
    let found: BTreeMap<String, String> = serde_json::from_str(&json).expect("a map");
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let expected = [
        "AzureWebJobsScriptRoot",
        "FUNCTIONS_APPLICATION_DIRECTORY",
        "FUNCTIONS_WORKER_DIRECTORY",
        "FUNCTIONS_WORKER_RUNTIME",
        "MINE",
        "PATH",
    ];
    assert_eq!(names, expected, "the token is not handed on, nor anything of ours");
    let printed = running.call("prints").await.expect("answered");
    assert_eq!(printed.result.status, Status::Success);
    running.seen.wait_for("line plain line").await;
    running.drain().await;
}

#[tokio::test]
async fn other_functions_run_after_a_function_failed() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let failed = running.call("fails").await.expect("answered");
    let exception = failed.result.exception.expect("with its error");
    assert_eq!(exception.message, "as asked");
    assert!(exception.stack_trace.contains("stand-in/app.js:"), "{}", exception.stack_trace);
    assert_eq!(whole(running.call("pid").await.expect("answered")), i64::from(running.pool.workers()[0].pid));
    running.drain().await;
}

#[tokio::test]
async fn invocations_are_distributed_over_all_workers() {
    let options = PoolOptions { processes: 3, ..PoolOptions::default() };
    let running = start_loaded(&[], options).await;
    running.seen.wait_for("started").await;
    let mut workers = std::collections::BTreeSet::new();
    while workers.len() < 3 {
        workers.insert(whole(running.call("pid").await.expect("answered")));
    }
    running.pool.drain(Duration::from_secs(5)).await;
    let ended = running.seen.lines().iter().filter(|line| line.starts_with("exited")).count();
    assert_eq!(ended, 3);
    assert!(running.pool.workers().is_empty());
    assert!(matches!(running.call("pid").await, Err(InvokeError::Draining)));
}
