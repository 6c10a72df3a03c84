//! FunctionRpc, with a scripted worker that shares no code with the host (`tests/workers/scripted`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use functions::worker::{InvokeError, InvokeOptions, PoolOptions, WorkerSpec};
use worker_protocol::{ReadStoredBytes, RpcHttp, Status, StoredBytes, TypedData};

use super::worker::{Running, request, start_spec};

async fn start() -> Running {
    start_with("RawHttpBodyBytes TypedDataCollection").await
}

/// A worker that reports these capabilities, separated by spaces.
async fn start_with(capabilities: &str) -> Running {
    let running = start_scripted(&[("SCRIPTED_CAPABILITIES", capabilities)], |_| {});
    running.load().await;
    running
}

/// A worker with these variables and this change of what it is.
pub(crate) fn start_scripted(more: &[(&str, &str)], change: impl FnOnce(&mut WorkerSpec)) -> Running {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers/scripted");
    let folder = folder.to_str().expect("a plain path").to_owned();
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), std::env::var("PATH").expect("a PATH")),
        ("languageWorkers__scripted__workerDirectory".to_owned(), folder),
    ]);
    env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let cache = tempfile::tempdir().expect("a temporary folder");
    let mut spec =
        WorkerSpec::resolve("scripted", cache.path(), env, cache.path(), "4.1").expect("configured");
    change(&mut spec);
    start_spec(spec, PoolOptions::default(), cache)
}

#[tokio::test]
async fn values_of_any_size_are_returned_and_log_records_come_before_the_response() {
    let running = start().await;
    for value in [
        TypedData::String("text".into()),
        TypedData::Bytes(Bytes::from(vec![3; 3 << 20])),
        TypedData::Bytes(Bytes::new()),
    ] {
        let answer = running
            .pool
            .invoke(request("echo", value.clone()), InvokeOptions::default())
            .await
            .expect("answered");
        let own = format!("log {} ", answer.invocation_id);
        let lines = running.seen.lines();
        let records: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&own)).collect();
        assert_eq!(records, ["Information one", "Information two"]);
        assert_eq!(answer.return_value, Some(value));
    }
    running.pool.drain(std::time::Duration::from_secs(2)).await;
    let lines = running.seen.lines();
    // The worker exits with 5 if it gets a message without its capability.
    assert!(lines.iter().any(|line| line == "exited, signal: 15 (SIGTERM), asked: true"), "{lines:#?}");
}

#[tokio::test]
async fn stored_bytes_are_read_in_parts() {
    let running = start().await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    let answer =
        running.pool.invoke(request("echo", elsewhere(content.clone())), InvokeOptions::default()).await;
    assert_eq!(answer.expect("answered").return_value, Some(TypedData::Bytes(content.into())));
    running.pool.drain(std::time::Duration::from_secs(2)).await;
}

#[tokio::test]
async fn concurrent_invocations_get_their_own_responses() {
    let running = start().await;
    let calls = (0..500).map(|number: i32| {
        let pool = running.pool.clone();
        tokio::spawn(async move {
            let value = TypedData::String(number.to_string().into());
            let answer = pool
                .invoke(request("echo", value.clone()), InvokeOptions::default())
                .await
                .expect("answered");
            assert_eq!(answer.return_value, Some(value));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic");
    }
    running.pool.drain(std::time::Duration::from_secs(2)).await;
}

#[tokio::test]
async fn an_http_request_has_the_fields_that_the_worker_understands() {
    let running = start().await;
    let http = RpcHttp {
        method: "POST".into(),
        url: "http://localhost/api/http?q=1".into(),
        headers: BTreeMap::from([("h".into(), "v".into())]),
        query: BTreeMap::from([("q".into(), "1".into())]),
        body: TypedData::Bytes(Bytes::from_static(b"\xff\0")),
        ..RpcHttp::default()
    };
    let answer =
        running.pool.invoke(request("http", http.into()), InvokeOptions::default()).await.expect("answered");
    let Some(TypedData::Http(answer)) = answer.return_value else { panic!("HTTP") };
    assert_eq!(answer.status_code, "201");
    // Method, url, headers, body, query, rawBody: no nullable maps, because the worker does not report the capability.
    assert_eq!(answer.headers["x-fields"], "1,2,3,4,15,17");
    assert_eq!(answer.body, TypedData::Bytes(Bytes::from_static(b"\xff\0")));
    running.pool.drain(std::time::Duration::from_secs(2)).await;
}

/// Bytes that are read when they are sent, like those of a file.
#[derive(Debug)]
pub(crate) struct Elsewhere(pub(crate) Bytes);

impl ReadStoredBytes for Elsewhere {
    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn read_at(&self, at: usize, bytes_max: usize) -> std::io::Result<Bytes> {
        Ok(self.0.slice(at..self.0.len().min(at + bytes_max)))
    }
}

pub(crate) fn elsewhere(bytes: impl Into<Bytes>) -> TypedData {
    TypedData::Stored(StoredBytes::new(Arc::new(Elsewhere(bytes.into()))))
}

/// Sends an HTTP request to a worker with these capabilities; returns the fields that it got and the kind of the body.
async fn check_http(capabilities: &str, content_type: &str, body: &'static [u8], expected: (&str, &str)) {
    let running = start_with(capabilities).await;
    // A body from memory and one from a file are the same.
    for sent in [TypedData::Bytes(Bytes::from_static(body)), elsewhere(Bytes::from_static(body))] {
        let http = RpcHttp {
            method: "POST".into(),
            url: "http://localhost/api/http".into(),
            headers: BTreeMap::from([
                ("content-type".into(), content_type.into()),
                ("x-empty".into(), "".into()),
            ]),
            body: sent,
            ..RpcHttp::default()
        };
        let answer = running
            .pool
            .invoke(request("http", http.into()), InvokeOptions::default())
            .await
            .expect("answered");
        let Some(TypedData::Http(answer)) = answer.return_value else { panic!("HTTP") };
        let seen = (answer.headers["x-fields"].as_str(), answer.headers["x-body-kind"].as_str());
        assert_eq!(seen, expected, "{capabilities}, {content_type}");
        assert_eq!(answer.body, TypedData::Bytes(Bytes::from_static(body)));
    }
    running.pool.drain(std::time::Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_body_has_the_form_that_the_worker_announces() {
    let (text, bytes) = ("1", "3");
    check_http("RawHttpBodyBytes RpcHttpBodyOnly", "text/plain", b"hi", ("1,2,3,4", bytes)).await;
    // The form for the Java worker.
    check_http("RpcHttpBodyOnly", "application/json", b"{}", ("1,2,3,4", text)).await;
    check_http("RpcHttpBodyOnly", "application/octet-stream", b"hi", ("1,2,3,4", bytes)).await;
    check_http("RpcHttpBodyOnly", "Multipart/form-data; boundary=x", b"hi", ("1,2,3,4", bytes)).await;
    check_http("RpcHttpBodyOnly", "text/plain; charset=latin1", b"\xfc", ("1,2,3,4", bytes)).await;
    // With rawBody for workers that may read it, and headers in the nullable map.
    check_http("", "text/plain", b"hi", ("1,2,3,4,17", text)).await;
    let nullable = "UseNullableValueDictionaryForHttp RpcHttpBodyOnly RawHttpBodyBytes";
    check_http(nullable, "text/plain", b"hi", ("1,2,4,20", bytes)).await;
}

#[tokio::test]
async fn collections_are_json_for_workers_that_do_not_know_them() {
    let values = [
        (TypedData::CollectionString(vec!["a".into(), "{\"b\":1}".into()]), r#"["a","{\"b\":1}"]"#),
        (TypedData::CollectionBytes(vec![Bytes::from_static(b"\xff\0"), Bytes::new()]), r#"["/wA=",""]"#),
        (TypedData::CollectionSint64(vec![i64::MAX, -1]), "[9223372036854775807,-1]"),
        (TypedData::CollectionDouble(vec![0.5, f64::NEG_INFINITY]), r#"[0.5,"-Infinity"]"#),
    ];
    let (able, unable) = (start().await, start_with("RawHttpBodyBytes").await);
    for (value, json) in values {
        let echo = async |running: &Running| {
            let answer = running
                .pool
                .invoke(request("echo", value.clone()), InvokeOptions::default())
                .await
                .expect("answered");
            answer.return_value.expect("it returned")
        };
        assert_eq!(echo(&able).await, value);
        assert_eq!(echo(&unable).await, TypedData::Json(json.to_owned().into()));
    }
    able.pool.drain(std::time::Duration::from_secs(2)).await;
    unable.pool.drain(std::time::Duration::from_secs(2)).await;
}

#[tokio::test]
async fn an_abandoned_invocation_is_cancelled_if_the_worker_supports_it() {
    for (capabilities, is_told) in [("HandlesInvocationCancelMessage", true), ("RpcHttpBodyOnly", false)] {
        let running = start_with(capabilities).await;
        let waits = tokio::spawn({
            let pool = running.pool.clone();
            async move { pool.invoke(request("waits", TypedData::Null), InvokeOptions::default()).await }
        });
        let told = running.seen.wait_for("log waits").await;
        let id = told.split(' ').nth(1).expect("an id").to_owned();
        waits.abort();
        waits.await.expect_err("it was aborted");
        if is_told {
            running.seen.wait_for(&format!("line cancelled {id}")).await;
        }
        // A worker without the capability exits with 5 if it gets the message.
        let value = TypedData::String("next".into());
        let answer = running
            .pool
            .invoke(request("echo", value.clone()), InvokeOptions::default())
            .await
            .expect("answered");
        assert_eq!(answer.return_value, Some(value));
        running.pool.drain(std::time::Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn failures_of_functions_and_exits_of_workers_are_different_errors() {
    let running = start().await;
    let failed = running.call("fails").await.expect("answered").result;
    assert_eq!((failed.status, failed.message()), (Status::Failure, "ValueError: bad"));
    let died = running.call("dies").await.expect_err("it dies");
    assert!(matches!(died, InvokeError::WorkerGone { .. }), "{died}");
    running.seen.wait_for("exited, exit status: 9, asked: false").await;
    running.seen.wait_for("restarted").await;
    let value = TypedData::String("again".into());
    let answer = running
        .pool
        .invoke(request("echo", value.clone()), InvokeOptions::default())
        .await
        .expect("answered");
    assert_eq!(answer.return_value, Some(value));
    running.pool.drain(std::time::Duration::from_secs(2)).await;
}
