//! HTTP triggers from request to response.

use std::sync::Arc;

use bytes::Bytes;
use expect_test::{Expect, expect};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use http_messages::{Budget, BufferedBody};
use serde_json::json;
use tokio::sync::Notify;
use worker_protocol::{InvocationRequest, RpcHttp, RpcHttpCookie, SameSite, TypedData};

use crate::fake::{Answer, Host, Setup, outputs, returned, threw};

fn trigger(methods: &[&str], route: &str) -> serde_json::Value {
    json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "function", "methods": methods, "route": route})
}

fn result() -> serde_json::Value {
    json!({"type": "http", "name": "$return", "direction": "out"})
}

/// Responds with the request of the worker, as text.
async fn echo(request: InvocationRequest) -> Answer {
    let TypedData::Http(http) = &request.input_data[0].data else { return threw("no request") };
    let mut text = format!("{} {}\n", http.method, http.url);
    for (name, value) in &http.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    text.push_str(&format!("params {:?}\nquery {:?}\nbody {:?}\n", http.params, http.query, http.body));
    let metadata: Vec<_> =
        request.trigger_metadata.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
    text.push_str(&metadata.join("\n"));
    returned(TypedData::String(text.into()))
}

/// The response of a function that returns this value.
async fn check(value: TypedData, request: &str, expected: Expect) {
    let host = Setup::default()
        .function("f", &[trigger(&[], "f"), result()], move |_| {
            let value = value.clone();
            async move { returned(value) }
        })
        .start()
        .await;
    expected.assert_eq(&host.send(request).await.text());
}

#[tokio::test]
async fn the_worker_gets_the_request_as_the_client_sent_it() {
    let host = Setup::default()
        .function("f", &[trigger(&["post"], "items/{id:int}/{rest?}"), result()], echo)
        .start()
        .await;
    let seen = host
        .send("POST /api/Items/7?a=1&a=2&b=x+y%21&code=secret\nX-One: 1\nx-one: 2\ncookie: a=1\n\n{\"k\":1}")
        .await;
    expect![[r#"
        POST http://app.test:7071/api/Items/7?a=1&a=2&b=x+y%21&code=secret
        cookie: a=1
        x-one: 1,2
        params {"id": "7"}
        query {"a": "1,2", "b": "x y!", "code": "secret"}
        body Bytes(b"{\"k\":1}")
        Headers = Json("{\"Cookie\":\"a=1\",\"x-one\":\"1,2\"}")
        Query = Json("{\"a\":\"2\",\"b\":\"x y!\",\"code\":\"secret\"}")
        a = String("2")
        b = String("x y!")
        id = String("7")
        k = String("1")"#]]
    .assert_eq(&seen.body);
    assert_eq!(host.send("GET /api/items/7").await.status, 404);
    assert_eq!(host.send("POST /api/items/seven").await.status, 404);
    assert_eq!(host.send("POST /items/7").await.status, 404);
}

#[tokio::test]
async fn properties_of_a_json_body_are_trigger_metadata() {
    let host = Setup::default().function("f", &[trigger(&[], "f/{id?}"), result()], echo).start().await;
    let metadata = async |body: &str| {
        let seen = host.send(&format!("POST /api/f/7?Who=ann\n\n{body}")).await.body;
        let (_, metadata) = seen.split_once("\nHeaders = ").expect("the metadata");
        metadata.to_owned()
    };
    let body = r#" {"text": "a\u0062", "number": 1.50, "on": true, "none": null, "list": [1, {}], "nested": {"a": 1},
        "ID": "lost", "who": "lost", "query": "lost", "headers": {"x": "forged"}}"#;
    expect![[r#"
        Json("{}")
        Query = Json("{\"Who\":\"ann\"}")
        Who = String("ann")
        id = String("7")
        list = Json("[1, {}]")
        nested = Json("{\"a\": 1}")
        number = String("1.5")
        on = String("True")
        text = String("ab")"#]]
    .assert_eq(&metadata(body).await);
    let without = "Json(\"{}\")\nQuery = Json(\"{\\\"Who\\\":\\\"ann\\\"}\")\nWho = String(\"ann\")\nid = String(\"7\")";
    for body in ["{\"broken\": ", "[1]", "text", "{\"a\": 1} and more"] {
        assert_eq!(metadata(body).await, without, "{body}");
    }
}

#[tokio::test]
async fn both_forms_of_a_response_are_accepted() {
    let mut http = RpcHttp {
        status_code: "201".to_owned(),
        body: TypedData::Bytes("made".into()),
        ..RpcHttp::default()
    };
    http.headers.insert("content-type".to_owned(), "text/x-own".to_owned());
    http.headers.insert("content-length".to_owned(), "99999".to_owned());
    http.cookies.push(RpcHttpCookie {
        name: "a".to_owned(),
        value: "1 2".to_owned(),
        path: Some("/".to_owned()),
        http_only: Some(true),
        same_site: SameSite::Lax,
        max_age: Some(60.0),
        ..RpcHttpCookie::default()
    });
    check(
        http.into(),
        "GET /api/f",
        expect![[r#"
            201
            content-type: text/x-own
            set-cookie: a=1%202; max-age=60; path=/; samesite=lax; httponly

            made"#]],
    )
    .await;
}

#[tokio::test]
async fn a_returned_value_that_is_not_a_response_becomes_the_body() {
    let object = json!({"status": 418, "headers": {"x-tea": 1}, "body": {"pot": true}});
    check(
        TypedData::Json(object.to_string().into()),
        "GET /api/f",
        expect![[r#"
        418
        content-type: application/json; charset=utf-8
        x-tea: 1

        {"pot":true}"#]],
    )
    .await;
    check(
        TypedData::Json("{\"a\":1}".into()),
        "GET /api/f",
        expect![[r#"
        200
        content-type: application/json; charset=utf-8

        {"a":1}"#]],
    )
    .await;
    check(
        TypedData::String("plain".into()),
        "GET /api/f",
        expect![[r#"
        200
        content-type: text/plain; charset=utf-8

        plain"#]],
    )
    .await;
    check(
        TypedData::Bytes("b".into()),
        "GET /api/f",
        expect![[r#"
            200

            b"#]],
    )
    .await;
    check(TypedData::Null, "GET /api/f", expect!["204"]).await;
    let negotiated = RpcHttp {
        body: TypedData::String("t".into()),
        enable_content_negotiation: true,
        ..RpcHttp::default()
    };
    check(
        negotiated.into(),
        "GET /api/f\naccept: application/json",
        expect![[r#"
        200
        content-type: application/json; charset=utf-8

        "t""#]],
    )
    .await;
}

#[tokio::test]
async fn a_response_set_by_the_name_of_the_output_is_sent() {
    let named = json!({"type": "http", "name": "res", "direction": "out"});
    let host = Setup::default()
        .function("f", &[trigger(&[], "f"), named], |_| async {
            let response = RpcHttp { status_code: "202".to_owned(), ..RpcHttp::default() };
            outputs(&[("res", response.into())])
        })
        .start()
        .await;
    assert_eq!(host.send("GET /api/f").await.text(), "202");
}

#[tokio::test]
async fn a_function_that_throws_gives_an_empty_500_and_its_stack_in_the_log() {
    let host = Setup::default()
        .function("f", &[trigger(&[], "f"), result()], |_| async { threw("boom") })
        .start()
        .await;
    assert_eq!(host.send("GET /api/f").await.text(), "500");
    expect![[r#"
        Info Executing 'Functions.f' (Reason='This function was programmatically called via the host APIs.', Id=ID)
        Info the user says hello
        Error Executed 'Functions.f' (Failed, Id=ID, Duration=Nms)
        Error Exception while executing function: Functions.f. Error: boom
            at handler (src/functions/app.js:7:11)"#]]
    .assert_eq(&host.log());
    let metrics = host.metrics();
    assert!(metrics.contains("functions_invocations_total{function=\"f\",result=\"Failed\"} 1"), "{metrics}");
    assert!(metrics.contains("functions_http_responses_total{status=\"500\"} 1"), "{metrics}");
    assert!(metrics.contains("functions_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn a_request_without_a_valid_key_is_rejected_if_keys_are_enforced() {
    let anonymous =
        json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "ANONYMOUS"});
    let admin = json!({"type": "httpTrigger", "name": "req", "direction": "in", "AuthLevel": "admin"});
    let setup = Setup::default()
        .options(|options| options.enable_auth = true)
        .function("free", &[anonymous, result()], |_| async { returned(TypedData::Null) })
        .function("f", &[trigger(&[], "f"), result()], |_| async { returned(TypedData::Null) })
        .function("other", &[trigger(&[], "other"), result()], |_| async { returned(TypedData::Null) })
        .function("root", &[admin, result()], |_| async { returned(TypedData::Null) });
    let registry = setup.store.registry();
    let host = setup.start().await;
    let status = async |request: &str| host.send(request).await.status;
    assert_eq!(status("GET /api/free").await, 204);
    assert_eq!(status("GET /api/f").await, 401);
    assert_eq!(status("GET /api/f?code=wrong").await, 401);
    assert_eq!(status("GET /admin/host/status").await, 401);
    assert_eq!(status("GET /admin/host/ping").await, 200);
    // The master key is generated on first use and stored.
    let instance = state::Instance::new("functions-app").expect("a valid name");
    let key = state::Key::new("keys/exposed/host").expect("a valid key");
    let stored = registry.get(&instance, &key).await.expect("readable").expect("drawn");
    let stored: serde_json::Value = serde_json::from_slice(&stored.value).expect("JSON");
    let master = stored["masterKey"].as_str().expect("text").to_owned();
    assert_eq!(master.len(), 56, "40 bytes in base64");
    for path in ["/api/f", "/api/root", "/admin/host/status", "/admin/functions"] {
        let status = status(&format!("GET {path}\nx-functions-key: {master}")).await;
        assert!(status == 204 || status == 200, "{path}: {status}");
    }
    let keys = host.send(&format!("GET /admin/functions/f/keys?code={master}")).await.body;
    let keys: serde_json::Value = serde_json::from_str(&keys).expect("JSON");
    let own = keys["keys"][0]["value"].as_str().expect("text").to_owned();
    assert_eq!(status(&format!("GET /api/f?code={own}")).await, 204);
    assert_eq!(
        status(&format!("GET /api/other?code={own}")).await,
        401,
        "a function's key opens that function only"
    );
    assert_eq!(status(&format!("GET /api/root?code={own}")).await, 401);
    // The header takes precedence over the query.
    assert_eq!(status(&format!("GET /api/f?code={own}\nx-functions-key: wrong")).await, 401);
    let put = format!(
        "PUT /admin/host/keys/ci?code={master}\ncontent-type: application/json\n\n{{\"name\":\"ci\",\"value\":\"own-value\"}}"
    );
    assert_eq!(status(&put).await, 201);
    assert_eq!(status("GET /api/other?code=own-value").await, 204);
    assert_eq!(status(&format!("DELETE /admin/host/keys/ci?code={master}")).await, 204);
    assert_eq!(status("GET /api/other?code=own-value").await, 401);
}

#[tokio::test]
async fn cors_allows_listed_origins_only() {
    let host = Setup::default()
        .options(|options| {
            options.cors_origins = vec!["https://page.test".to_owned()];
            options.cors_credentials = Some(true);
            options.cors_exposed_headers = vec!["X-One".to_owned(), "etag".to_owned()];
        })
        .function("f", &[trigger(&["get"], "f"), result()], |_| async { returned(TypedData::Null) })
        .start()
        .await;
    let preflight = "OPTIONS /api/f\norigin: https://page.test\naccess-control-request-method: PUT\n\
                     access-control-request-headers: x-one";
    expect![[r#"
        204
        access-control-allow-methods: PUT
        access-control-allow-headers: x-one
        access-control-expose-headers: X-One,etag
        access-control-allow-origin: https://page.test
        vary: Origin
        access-control-allow-credentials: true"#]]
    .assert_eq(&host.send(preflight).await.text());
    expect![[r#"
        204
        access-control-expose-headers: X-One,etag
        access-control-allow-origin: https://page.test
        vary: Origin
        access-control-allow-credentials: true"#]]
    .assert_eq(&host.send("GET /api/f\norigin: https://page.test").await.text());
    assert_eq!(host.send("GET /api/f\norigin: https://evil.test").await.text(), "204");
    // A preflight from another origin does not reach the function either.
    assert_eq!(host.send(&preflight.replace("page", "evil")).await.text(), "204");
    assert_eq!(host.send(&preflight.replace("https://page", "https://Page")).await.text(), "204");
}

#[tokio::test]
async fn limits_answer_413_and_429() {
    let gate = Arc::new(Notify::new());
    let (entered, release) = (Arc::new(Notify::new()), Arc::clone(&gate));
    let (entered_in, release_in) = (Arc::clone(&entered), Arc::clone(&release));
    let host = Setup::default()
        .host_json(r#"{"version":"2.0","extensions":{"http":{"maxOutstandingRequests":1}}}"#)
        .setting("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "4")
        .function("f", &[trigger(&[], "f"), result()], move |_| {
            let (entered, release) = (Arc::clone(&entered_in), Arc::clone(&release_in));
            async move {
                entered.notify_one();
                release.notified().await;
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    assert_eq!(host.send("POST /api/f\n\n12345").await.text(), "413");
    let first = host.send("POST /api/f\n\n1234");
    let second = async {
        entered.notified().await;
        let refused = host.send("GET /api/f").await;
        gate.notify_one();
        refused
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second.text().as_str()), (204, "429\nx-function-scaleout: 1\nretry-after: 1"));
}

/// A budget for bodies without capacity, as long as the second value lives.
async fn without_room() -> (Budget, Vec<BufferedBody>) {
    let options = http_messages::Options {
        memory_bytes_max: 1024 * 1024,
        wait_ms: 20,
        ..http_messages::Options::default()
    };
    let bodies = Budget::new(options, &std::env::temp_dir(), http_messages::Metrics::default());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut taken = Full::new(Bytes::from(vec![0; http_messages::SMALL_BYTES]));
        held.push(bodies.read(&mut taken, http_messages::SMALL_BYTES).await.expect("there is room"));
    }
    (bodies, held)
}

/// The request of an invocation, and its body for the worker.
fn http_of(request: &InvocationRequest) -> (&RpcHttp, Bytes) {
    let TypedData::Http(http) = &request.input_data[0].data else { panic!("HTTP") };
    let body = match &http.body {
        TypedData::Bytes(bytes) => bytes.clone(),
        TypedData::Stored(stored) => stored.read_at(0, stored.bytes()).expect("it can be read"),
        other => panic!("a body of another kind: {other:?}"),
    };
    (http, body)
}

#[tokio::test]
async fn a_large_body_reaches_the_worker_from_a_file() {
    let host = Setup::default()
        .function("f", &[trigger(&["post"], "f"), result()], |request| async move {
            let (http, body) = http_of(&request);
            let is_stored = matches!(http.body, TypedData::Stored(_));
            let names: Vec<&str> = request.trigger_metadata.keys().map(String::as_str).collect();
            let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
            returned(TypedData::String(format!("{is_stored} {} {sum} {names:?}", body.len()).into()))
        })
        .start()
        .await;
    let send = async |bytes: usize, is_chunked: bool| {
        // JSON, so that it has properties.
        let mut content = br#"{"name":"x","rest":""#.to_vec();
        content.resize(bytes - 2, b'y');
        content.extend_from_slice(b"\"}");
        let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
        let body = if is_chunked {
            let frames: Vec<_> =
                content.chunks(300_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
        } else {
            Full::new(Bytes::from(content)).map_err(|never| match never {}).boxed_unsync()
        };
        let request = http::Request::post("http://app.test/api/f").body(body).expect("a request");
        (host.request(request).await.body, sum)
    };
    for is_chunked in [false, true] {
        let (seen, sum) = send(1024 * 1024, is_chunked).await;
        assert_eq!(seen, format!("false 1048576 {sum} [\"Headers\", \"Query\", \"name\", \"rest\"]"));
        let (seen, sum) = send(3 * 1024 * 1024, is_chunked).await;
        assert_eq!(seen, format!("true 3145728 {sum} [\"Headers\", \"Query\"]"));
    }
}

#[tokio::test]
async fn bytes_of_large_bodies_in_workers_are_limited() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (entered_in, release_in) = (Arc::clone(&entered), Arc::clone(&release));
    let host = Setup::default()
        .options(|options| options.worker_bodies_bytes_max = 3 * 1024 * 1024)
        .function("f", &[trigger(&["post"], "f"), result()], move |request| {
            let (entered, release) = (Arc::clone(&entered_in), Arc::clone(&release_in));
            async move {
                let (_, body) = http_of(&request);
                entered.notify_one();
                if body.len() > 10 {
                    release.notified().await;
                }
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    let send = |bytes: usize| {
        let body = Full::new(Bytes::from(vec![b'x'; bytes])).map_err(|never| match never {}).boxed_unsync();
        host.request(http::Request::post("http://app.test/api/f").body(body).expect("a request"))
    };
    let waits = |count: u32| host.metrics().contains(&format!("functions_worker_bodies_waiting {count}\n"));
    let steps = async {
        entered.notified().await;
        while !waits(1) {
            tokio::task::yield_now().await;
        }
        // Small bodies are sent in the meantime.
        assert_eq!(send(4).await.status, 204);
        entered.notified().await;
        release.notify_one();
        entered.notified().await;
        assert!(waits(0));
        release.notify_one();
    };
    let all = async { tokio::join!(send(2_000_000), send(4_000_000), steps) };
    let (first, second, ()) = tokio::time::timeout(crate::fake::PATIENCE, all).await.expect("in time");
    assert_eq!((first.status, second.status), (204, 204));
}

#[tokio::test]
async fn a_body_without_capacity_gets_503_with_retry_after() {
    let (bodies, held) = without_room().await;
    let host = Setup::default()
        .bodies(bodies)
        .function("f", &[trigger(&[], "f"), result()], |_| async { returned(TypedData::Null) })
        .start()
        .await;
    for path in ["POST /api/f\n\n1234", "POST /admin/functions/f\ncontent-type: application/json\n\n{}"] {
        let refused = host.send(path).await;
        assert_eq!(
            (refused.status, refused.headers["retry-after"].to_str().ok()),
            (503, Some("5")),
            "{path}"
        );
        assert!(refused.body.starts_with("The request was rejected: the body waited"), "{}", refused.body);
    }
    // Requests without a body need no capacity.
    assert_eq!(host.send("GET /api/f").await.status, 204);
    drop(held);
    assert_eq!(host.send("POST /api/f\n\n1234").await.status, 204);
}

/// A body in these pieces without a known length, as with `Transfer-Encoding: chunked`.
fn chunked(pieces: &[&'static [u8]]) -> http::Request<http_messages::Body> {
    let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece)))).collect();
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    http::Request::post("http://app.test/api/f").body(body).expect("a request")
}

#[tokio::test]
async fn a_body_without_a_length_reaches_the_function() {
    let host = Setup::default()
        .setting("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "12")
        .function("f", &[trigger(&[], "f"), result()], echo)
        .start()
        .await;
    let seen = host.request(chunked(&[b"{\"k\"", b"", b":\"", b"v\"}"])).await;
    assert_eq!(seen.status, 200);
    assert!(seen.body.contains(r#"body Bytes(b"{\"k\":\"v\"}")"#), "{}", seen.body);
    assert!(seen.body.contains(r#"k = String("v")"#), "{}", seen.body);
    assert!(host.request(chunked(&[])).await.body.contains("body Null"), "nothing came");
    assert_eq!(host.request(chunked(&[b"123456", b"1234567"])).await.status, 413);
}

#[tokio::test]
async fn the_host_serves_its_home_page_and_admin_paths() {
    let timer = json!({"type": "timerTrigger", "name": "t", "direction": "in", "schedule": "0 0 0 1 1 *"});
    let ran = Arc::new(Notify::new());
    let ran_in = Arc::clone(&ran);
    let host: Host = Setup::default()
        .function("tick", &[timer], move |_| {
            ran_in.notify_one();
            async { returned(TypedData::Null) }
        })
        .function("f", &[trigger(&["get", "post"], "f/{id}"), result()], |_| async {
            returned(TypedData::Null)
        })
        .start()
        .await;
    let home = host.send("GET /").await;
    assert_eq!(home.status, 200);
    assert!(home.body.contains("up and running"));
    assert_eq!(host.send("POST /admin/host/ping").await.status, 200);
    let status: serde_json::Value =
        serde_json::from_str(&host.send("GET /admin/host/status").await.body).expect("JSON");
    assert_eq!((status["state"].as_str(), status["id"].as_str()), (Some("Running"), Some("app")));
    let functions: serde_json::Value =
        serde_json::from_str(&host.send("GET /admin/functions").await.body).expect("JSON");
    assert_eq!(functions[0]["invoke_url_template"], "http://app.test:7071/api/f/{id}");
    assert_eq!(functions[1]["name"], "tick");
    assert_eq!(
        host.send("POST /admin/functions/TICK\ncontent-type: application/json\n\n{\"input\":\"\"}")
            .await
            .status,
        202
    );
    tokio::time::timeout(crate::fake::PATIENCE, ran.notified()).await.expect("the function runs");
    assert_eq!(
        host.send("POST /admin/functions/nope\ncontent-type: application/json\n\n{}").await.status,
        404
    );
    expect![[r#"

        Functions:

        	f: [GET,POST] http://localhost:7071/api/f/{id}

        	tick: timerTrigger
    "#]]
    .assert_eq(&host.handle.startup_listing("http://localhost:7071"));
    let quiet = Setup::default().setting("AzureWebJobsDisableHomepage", "true").start().await;
    assert_eq!(quiet.send("GET /").await.text(), "204");
}

#[tokio::test]
async fn the_trace_of_the_caller_continues_in_the_worker() {
    let host = Setup::default()
        .host_json(r#"{"version":"2.0","functionTimeout":"00:00:07"}"#)
        .function("f", &[trigger(&[], "f"), result()], |request: InvocationRequest| async move {
            returned(TypedData::String(request.trace_context.trace_parent.into()))
        })
        .start()
        .await;
    let seen =
        host.send("GET /api/f\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    let inner = trace::TraceContext::parse(&seen.body).expect("a traceparent");
    let spans = host.tracer.trace(inner.trace_id);
    let [span] = spans.as_slice() else { panic!("one span, not {}", spans.len()) };
    assert_eq!((span.name, span.context.span_id), ("function", inner.span_id));
    assert_eq!(span.parent, trace::SpanId::parse("b7ad6b7169203331"));
    assert_eq!(*host.limits.lock().expect("no panic"), [Some(std::time::Duration::from_secs(7))]);
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_invocation_whose_end_is_still_recorded() {
    let ends = Arc::new(Notify::new());
    let end = Arc::clone(&ends);
    let host = Setup::default()
        .function("f", &[trigger(&[], "f"), result()], move |_| {
            let end = Arc::clone(&end);
            async move {
                end.notified().await;
                returned(TypedData::Null)
            }
        })
        .start()
        .await;
    let mut log = host.handle.logs().subscribe();
    tokio::select! {
        seen = host.send("GET /api/f") => panic!("it answered {}", seen.status),
        line = log.recv() => assert!(line.expect("a line").text.starts_with("Executing 'Functions.f'")),
    }
    let given = host.cancellations.lock().expect("no panic").pop();
    given.expect("it was called").cancelled().await;
    ends.notify_one();
    let executed = async {
        while !log.recv().await.expect("a line").text.starts_with("Executed 'Functions.f' (Succeeded") {}
    };
    tokio::time::timeout(crate::fake::PATIENCE, executed).await.expect("in time");
    // A completed invocation is not cancelled before its response.
    ends.notify_one();
    assert_eq!(host.send("GET /api/f").await.status, 204);
}
