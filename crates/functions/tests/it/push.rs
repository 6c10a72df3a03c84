//! Functions whose events are pushed: webhooks of extensions, warm-up, and the same without a socket.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use functions::FunctionState;
use functions::worker::InvokeError;
use functions_contract::PushRequest;
use http::Request;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use worker_protocol::{InvocationRequest, RetryOptions, RetryStrategy, TypedData};

use crate::fake::{Host, Setup, body_of, returned, threw};

fn webhook() -> Vec<Json> {
    vec![json!({"type": "webhookTrigger", "name": "event", "direction": "in"})]
}

/// A host with the webhook `f`, which returns what it gets.
async fn echo(setup: Setup) -> Host {
    setup
        .function("f", &webhook(), |request: InvocationRequest| async move {
            returned(request.input_data[0].data.clone())
        })
        .start()
        .await
}

fn request(body: &str) -> PushRequest {
    Request::builder()
        .method("POST")
        .uri("/runtime/webhooks/webhook?functionName=F")
        .header("content-type", "application/json")
        .body(Bytes::copy_from_slice(body.as_bytes()))
        .expect("a request")
}

const POST: &str = "POST /runtime/webhooks/webhook?functionName=F\ncontent-type: application/json\n\n";

#[tokio::test]
async fn a_webhook_answers_with_what_the_function_returns() {
    let seen = Arc::new(Mutex::new(None));
    let last = Arc::clone(&seen);
    let host = Setup::default()
        .function("f", &webhook(), move |request| {
            let data = request.input_data[0].data.clone();
            *last.lock().expect("no panic") = Some(request);
            async move { returned(data) }
        })
        .start()
        .await;
    let answer = host.send(&format!("{POST}{{\"a\": 1.50}}")).await;
    assert_eq!(answer.text(), "200\ncontent-type: application/json; charset=utf-8\n\n{\"a\": 1.50}");
    let text = host
        .send("PUT /Runtime/Webhooks/WEBHOOK/x?code=k&functionname=f&q=1\ncontent-type: text/plain\n\nhi")
        .await;
    assert_eq!(text.text(), "200\ncontent-type: text/plain; charset=utf-8\n\nhi");
    let seen = seen.lock().expect("no panic").take().expect("the function was invoked");
    let metadata = seen.trigger_metadata;
    assert_eq!(metadata["Method"], TypedData::String("PUT".into()));
    assert_eq!(metadata["Query"], TypedData::Json(r#"{"functionname":"f","q":"1"}"#.into()));
    assert_eq!(host.send("GET /runtime/webhooks/webhook?functionName=f").await.status, 204);
    assert_eq!(host.send(&format!("{POST}{{")).await.status, 400);
    assert_eq!(host.send("POST /runtime/webhooks/webhook?functionName=g").await.status, 404);
    assert_eq!(host.send("POST /runtime/webhooks/webhook").await.status, 400);
    let patch = host.send("PATCH /runtime/webhooks/webhook?functionName=f").await;
    assert_eq!(patch.text(), "405\nallow: DELETE, GET, OPTIONS, POST, PUT");
    let log = host.log();
    assert!(log.contains("Executing 'Functions.f' (Reason='A request to its webhook.', Id=ID)"), "{log}");
    let metrics = host.metrics();
    assert!(
        metrics.contains("functions_push_events_total{function=\"f\",ended=\"Succeeded\"} 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_webhook_needs_the_system_key_of_its_extension_which_exists_from_the_start() {
    let host = echo(Setup::default().options(|options| options.enable_auth = true)).await;
    let master = host.handle.master_key().await.expect("keys");
    let listed = host.send(&format!("GET /admin/host/systemkeys\nx-functions-key: {master}")).await;
    let keys: Json = serde_json::from_str(&listed.body).expect("JSON");
    assert_eq!(keys["keys"][0]["name"], "webhook_extension", "{keys}");
    assert_eq!(keys["keys"].as_array().map(Vec::len), Some(1), "{keys}");
    let key = keys["keys"][0]["value"].as_str().expect("a key");
    let call = |code: &str| {
        let request = format!(
            "POST /runtime/webhooks/webhook?functionName=f&code={code}\ncontent-type: text/plain\n\nx"
        );
        let host = &host;
        async move { host.send(&request).await }
    };
    assert_eq!(call(key).await.status, 200);
    assert_eq!(call(&master).await.status, 200);
    let by_header = host
        .send(&format!("POST /runtime/webhooks/webhook?functionName=f\nx-functions-key: {key}\n\nx"))
        .await;
    assert_eq!(by_header.status, 200);
    let none = host.send("POST /runtime/webhooks/webhook?functionName=f").await;
    assert_eq!(none.text(), "401\nwww-authenticate: Bearer");
    assert_eq!(call("wrong").await.status, 401);
    // A system key of another extension.
    let other =
        host.send(&format!("POST /admin/host/systemkeys/other_extension\nx-functions-key: {master}")).await;
    let other: Json = serde_json::from_str(&other.body).expect("JSON");
    assert_eq!(call(other["value"].as_str().expect("a key")).await.status, 403);
    // The key stays across starts, and requests of this process need none.
    assert_eq!(host.handle.push("webhook", request("1")).await.expect("it runs").body(), "1");
}

#[tokio::test]
async fn a_service_of_this_process_pushes_without_a_socket() {
    let host = echo(Setup::default()).await;
    assert_eq!(host.handle.awaits_push("webhook", None), Some(true));
    assert_eq!(host.handle.awaits_push("webhook", Some("f")), Some(true));
    assert_eq!(host.handle.awaits_push("webhook", Some("g")), Some(false));
    assert_eq!(host.handle.awaits_push("warmup", None), Some(false));
    assert_eq!(host.handle.awaits_push("none", None), Some(false));
    let response = host.handle.push("webhook", request("{\"n\":1}")).await.expect("it runs");
    assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"{\"n\":1}"[..]));
    host.handle.push("none", request("1")).await.expect_err("no such extension");
    host.handle.drain(Duration::from_secs(10)).await;
    let drained = host.handle.push("webhook", request("1")).await.expect("it has run");
    assert_eq!(drained.status().as_u16(), 503);
}

#[tokio::test]
async fn each_kind_of_failure_has_its_own_status() {
    let host = Setup::default()
        .function("f", &webhook(), |request: InvocationRequest| async move {
            match &request.input_data[0].data {
                TypedData::Json(text) if text.contains("die") => Err(InvokeError::WorkerGone { pid: 1 }),
                TypedData::Json(text) if text.contains("late") => {
                    Err(InvokeError::TimedOut { limit: Duration::from_secs(1) })
                }
                _ => threw("bad"),
            }
        })
        .start()
        .await;
    for (body, status) in [("\"x\"", 500), ("\"late\"", 500), ("\"die\"", 503)] {
        let answer = host.send(&format!("{POST}{body}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{body}");
    }
    let log = host.log();
    assert!(log.contains("Exception while executing function: Functions.f. "), "{log}");
}

#[tokio::test]
async fn pushed_events_above_the_limit_are_429() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, go) = (Arc::clone(&entered), Arc::clone(&release));
    let host = Setup::default()
        .options(|options| options.requests_max = 1)
        .function("f", &webhook(), move |_| {
            let (enter, go) = (Arc::clone(&enter), Arc::clone(&go));
            async move {
                enter.notify_one();
                go.notified().await;
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    let first = host.send(POST);
    let second = async {
        entered.notified().await;
        let status = host.send(POST).await.status;
        release.notify_one();
        status
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second), (204, 429));
}

#[tokio::test]
async fn a_sender_that_leaves_cancels_the_invocation_whose_end_is_still_recorded() {
    let entered = Arc::new(Notify::new());
    let enter = Arc::clone(&entered);
    let host = Setup::default()
        .function("f", &webhook(), move |_| {
            enter.notify_one();
            std::future::pending()
        })
        .start()
        .await;
    tokio::select! {
        _ = host.handle.push("webhook", request("1")) => panic!("the function has not ended"),
        () = entered.notified() => {}
    }
    let mut token = host.cancellations.lock().expect("no panic").pop().expect("an invocation");
    tokio::time::timeout(crate::fake::PATIENCE, token.cancelled()).await.expect("it is cancelled");
    host.handle.drain(Duration::from_millis(10)).await;
    let log = host.log();
    assert!(log.contains("Invocations did not end in time and are aborted."), "drain waits for it: {log}");
}

#[tokio::test]
async fn a_sender_that_leaves_ends_the_pause_before_a_retry() {
    let entered = Arc::new(Notify::new());
    let enter = Arc::clone(&entered);
    let host = Setup::default()
        .options(|options| options.requests_max = 1)
        .function("f", &webhook(), move |_| {
            enter.notify_one();
            async { threw("down") }
        })
        .metadata(|metadata| {
            metadata.retry_options = Some(RetryOptions {
                max_retry_count: 1,
                retry_strategy: RetryStrategy::FixedDelay,
                delay_interval: Some(Duration::from_secs(3600)),
                ..RetryOptions::default()
            });
        })
        .start()
        .await;
    tokio::select! {
        _ = host.handle.push("webhook", request("1")) => panic!("the retry comes in an hour"),
        () = entered.notified() => {}
    }
    // While the first event waits for its retry, it uses the only permit: a further one is 429.
    let next = async {
        loop {
            tokio::select! {
                response = host.handle.push("webhook", request("2")) => {
                    assert_eq!(response.expect("the app runs").status().as_u16(), 429);
                    tokio::task::yield_now().await;
                }
                () = entered.notified() => return,
            }
        }
    };
    tokio::time::timeout(crate::fake::PATIENCE, next).await.expect("the first event frees its permit");
}

#[tokio::test]
async fn the_warm_up_runs_once_before_the_app_gets_requests_and_on_demand() {
    let runs = Arc::new(AtomicUsize::new(0));
    let (warm, seen) = (Arc::clone(&runs), Arc::clone(&runs));
    let http = json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "anonymous"});
    let host = Setup::default()
        .function(
            "warmup",
            &[json!({"type": "warmupTrigger", "name": "context", "direction": "in"})],
            move |request: InvocationRequest| {
                assert_eq!(request.input_data[0].data, TypedData::Json("{}".into()));
                let run = warm.fetch_add(1, Ordering::SeqCst);
                async move { if run == 2 { threw("cold") } else { returned(TypedData::Null) } }
            },
        )
        .function("f", &[http, json!({"type": "http", "name": "$return", "direction": "out"})], move |_| {
            let runs = seen.load(Ordering::SeqCst);
            async move { returned(TypedData::String(runs.to_string().into())) }
        })
        .start()
        .await;
    assert_eq!(host.send("GET /api/f").await.body, "1");
    assert_eq!(host.send("GET /admin/warmup").await.status, 200);
    assert_eq!(host.send("GET /admin/warmup").await.status, 500);
    assert_eq!(host.send("GET /runtime/webhooks/warmup").await.status, 404, "it has no webhook");
    assert_eq!(host.send("GET /api/f").await.body, "3");
}

#[tokio::test]
async fn of_two_functions_with_the_same_events_the_second_by_name_is_in_error() {
    let warm_up = || vec![json!({"type": "warmupTrigger", "name": "context", "direction": "in"})];
    let host = Setup::default()
        .function("b", &warm_up(), |_| async { threw("never invoked") })
        .function("a", &warm_up(), |_| async { returned(TypedData::Null) })
        .start()
        .await;
    let functions = host.handle.functions();
    let FunctionState::InError { reason: why, code: "functions-events-conflict" } = &functions[1].state
    else {
        panic!("{functions:?}")
    };
    assert!(why.starts_with("it waits for the same events as the function 'a'"), "{why}");
    assert_eq!(functions[0].state, FunctionState::Ready);
}

#[tokio::test]
async fn a_disabled_function_receives_no_events() {
    let host = echo(Setup::default().setting("AzureWebJobs.f.Disabled", "1")).await;
    assert_eq!(host.send(POST).await.status, 404);
    let with_body = Request::post("/runtime/webhooks/webhook?functionName=f").body(body_of(b"1"));
    assert_eq!(host.request(with_body.expect("a request")).await.status, 404);
}
