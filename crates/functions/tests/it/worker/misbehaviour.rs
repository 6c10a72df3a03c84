//! Workers that violate the protocol, over both transports: our Node.js worker with changed writes, and the scripted FunctionRpc worker.

use super::*;
use crate::function_rpc::start_scripted;

/// A pool for each transport, whose worker misbehaves.
fn start_both(misbehaviour: &str, change: impl Fn(&mut WorkerSpec)) -> [Running; 2] {
    let preload = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers/misbehaving.js");
    let preload = format!("--require {}", preload.display());
    let env = environment(&[("MISBEHAVIOUR", misbehaviour), ("NODE_OPTIONS", &preload)]);
    let cache = tempfile::tempdir().expect("a temporary folder");
    let mut spec =
        WorkerSpec::resolve("node", &stand_in(), env, cache.path(), "4.1").expect("our own worker");
    change(&mut spec);
    let ours = start_spec(spec, PoolOptions::default(), cache);
    [ours, start_scripted(&[("MISBEHAVIOUR", misbehaviour)], change)]
}

/// Each of several invocations at a time gets its own value, and the worker stays.
async fn values_come_back(misbehaviour: &str) {
    for running in start_both(misbehaviour, |_| {}) {
        running.load().await;
        let values: Vec<TypedData> =
            (0..20).map(|number| TypedData::String(format!("value {number}").into())).collect();
        for _ in 0..3 {
            let calls = values
                .iter()
                .map(|value| running.pool.invoke(request("echo", value.clone()), InvokeOptions::default()));
            let responses = futures_util::future::join_all(calls).await;
            let seen: Vec<TypedData> =
                responses.into_iter().map(|response| returned(response.expect("answered"))).collect();
            assert_eq!(seen, values, "{misbehaviour}");
        }
        let lines = running.drain().await;
        let starts = lines.iter().filter(|line| line.as_str() == "started").count();
        assert_eq!(starts, 1, "{misbehaviour}: the worker was not replaced: {lines:#?}");
    }
}

#[tokio::test]
async fn a_second_answer_to_the_same_request_is_ignored() {
    values_come_back("double-answers").await;
}

#[tokio::test]
async fn an_answer_for_an_unknown_invocation_is_ignored() {
    values_come_back("unknown-ids").await;
}

#[tokio::test]
async fn a_second_stream_with_the_id_of_a_worker_is_closed_and_the_first_stays() {
    values_come_back("second-stream").await;
}

#[tokio::test]
async fn a_worker_that_connects_and_stays_silent_fails_to_start_with_the_step() {
    let limit = |spec: &mut WorkerSpec| spec.timeouts.initialization = Duration::from_millis(500);
    for running in start_both("silent", limit) {
        let error = running.pool.index().await.expect_err("it never answers");
        assert!(matches!(error.as_ref(), StartError::TimedOut { step: "initialize", .. }), "{error}");
        running.drain().await;
    }
}
