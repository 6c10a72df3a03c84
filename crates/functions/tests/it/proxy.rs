//! HTTP proxying (`HttpUri`), with a scripted worker that behaves like the .NET worker (`tests/workers/proxied`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use functions::{ClientAddress, Dependencies, Handle, Options, Service};
use functions_contract::Value;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use http_messages::Body;
use hyper::body::Frame;
use prometheus_client::registry::Registry;
use serde_json::Value as Json;
use state_embedded::Store;
use supervision::Supervisor;
use tokio::sync::mpsc;
use tower::ServiceExt;
use trace::Tracer;

use crate::fake::{PATIENCE, Seen, body_of};
use crate::feed::Feed;

/// The longest duration of a response to a request that never completes. The real wait is far shorter, but machines can be slow.
const SOON: Duration = Duration::from_secs(4);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A running host with a worker that receives HTTP requests itself.
pub(crate) struct Host {
    service: Service,
    pub(crate) handle: Handle,
    feed: Feed,
    metrics: Registry,
    _store: Store,
    _dir: tempfile::TempDir,
}

impl Host {
    async fn start(settings: &[(&str, &str)]) -> Self {
        Self::with_worker("proxied", settings).await
    }

    /// A host with one of the workers in `tests/workers`.
    pub(crate) async fn with_worker(name: &str, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("host.json"), r#"{"version":"2.0"}"#).expect("host.json is written");
        let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workers").join(name);
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), std::env::var("PATH").expect("a PATH")),
            ("FUNCTIONS_WORKER_RUNTIME".to_owned(), name.to_owned()),
            (
                format!("languageWorkers__{name}__workerDirectory"),
                worker.to_str().expect("a plain path").to_owned(),
            ),
        ]);
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let store = Store::ephemeral(&state_embedded::Options::default()).expect("an ephemeral store");
        let feed = Feed::default();
        let dependencies = Dependencies {
            environment,
            registry: store.registry(),
            lease: store.lease(),
            owner: "host-1".to_owned(),
            connectors: vec![Arc::new(feed.clone())],
            bodies: http_messages::Budget::default(),
            tracer: Tracer::new(64),
            supervisor: Supervisor::default(),
            workers: None,
        };
        let options = Options {
            app_dir: dir.path().to_owned(),
            cache_dir: Some(dir.path().join("cache")),
            ..Options::default()
        };
        let mut metrics = Registry::default();
        let (service, handle) = Service::start(options, dependencies, &mut metrics).expect("the host starts");
        handle.ready().await.expect("the app starts");
        Self { service, handle, feed, metrics, _store: store, _dir: dir }
    }

    /// Sends a request and returns the head of its response.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("http://app.test:7071/api/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).expect("a request");
        request.extensions_mut().insert(ClientAddress("192.0.2.7".parse().expect("an address")));
        let response = self.service.clone().oneshot(request);
        tokio::time::timeout(PATIENCE, response).await.expect("in time").expect("infallible")
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Seen {
        let response = self.begin(method, path, headers, body_of(body)).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Seen {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    async fn get(&self, path: &str) -> Seen {
        self.send("GET", path, &[], b"").await
    }

    /// The part of a response body before it was aborted.
    async fn broken(&self, path: &str) -> (u16, String) {
        let response = self.begin("GET", path, &[], body_of(b"")).await;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut seen = String::new();
        loop {
            match body.frame().await {
                Some(Ok(frame)) => seen.push_str(&String::from_utf8_lossy(&frame.into_data().expect("data"))),
                Some(Err(_)) => return (status, seen),
                None => panic!("the response ended well, with {seen:?}"),
            }
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.handle.logs().tail(0).into_iter().map(|line| line.text).collect()
    }

    /// Waits for a log line with this start, and returns the rest of it.
    pub(crate) async fn logged(&self, beginning: &str) -> String {
        let mut live = self.handle.logs().subscribe();
        let wait = async {
            loop {
                let found =
                    self.lines().into_iter().find_map(|line| line.strip_prefix(beginning).map(str::to_owned));
                if let Some(rest) = found {
                    return rest;
                }
                live.recv().await.expect("the log goes on");
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("no line begins with {beginning:?}: {:#?}", self.lines()))
    }

    /// The number of proxied requests with this outcome.
    fn ended(&self, how: &str) -> u32 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).expect("metrics are text");
        let series = format!("functions_http_proxied_total{{ended=\"{how}\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&series))
            .map_or(0, |count| count.parse().expect("a number"))
    }

    pub(crate) async fn end(self) {
        self.handle.drain(Duration::from_secs(5)).await;
    }
}

/// A body that is sent piece by piece.
fn piecemeal() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((Ok(Frame::data(piece)), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

fn text(json: &Json, path: &str) -> String {
    json.pointer(path).unwrap_or_else(|| panic!("{path} in {json:#}")).as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_request_reaches_the_worker_with_forwarded_headers() {
    let host = Host::start(&[]).await;
    let headers = [
        ("x-ms-invocation-id", "a caller's"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-own", "kept"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ];
    let seen = host.send("PUT", "echo/cats/7?a=1&a=2", &headers, b"the body").await;
    assert_eq!(seen.status, 201);
    let cookies: Vec<_> = seen.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; path=/x", "b=2"]);
    assert!(!seen.headers.contains_key("connection") && !seen.headers.contains_key("keep-alive"));
    let json: Json = serde_json::from_str(&seen.body).expect("JSON");
    let got = [
        "/method",
        "/url",
        "/body",
        "/headers/host",
        "/headers/x-forwarded-host",
        "/headers/x-forwarded-proto",
    ];
    let got = got.map(|path| text(&json, path));
    assert_eq!(
        got,
        ["PUT", "/api/echo/cats/7?a=1&a=2", "the body", "app.test:7071", "app.test:7071", "http"]
    );
    assert_eq!(text(&json, "/headers/x-forwarded-for"), "192.0.2.7");
    assert_eq!(text(&json, "/headers/x-own"), "kept");
    assert!(json.pointer("/headers/x-hop").is_none());
    assert_ne!(text(&json, "/headers/x-ms-invocation-id"), "a caller's");
    // Values of the route are text in the trigger metadata, and the invocation has nothing else of the request.
    assert_eq!([text(&json, "/metadata/category"), text(&json, "/metadata/id")], ["cats", "7"]);
    assert_eq!(text(&json, "/input"), "");
    // Outputs are written, although the serialized response among them is ignored.
    let written: Vec<Value> = host.feed.written().into_iter().map(|(_, value)| value).collect();
    assert_eq!(written, [Value::Text("stored".into())]);
    assert_eq!(host.get("nowhere").await.status, 404);
    assert_eq!(host.ended("Answered"), 1);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn route_values_are_in_the_invocation_if_the_worker_requires_them() {
    let host = Host::start(&[("PROXIED_ROUTE_PARAMETERS", "1")]).await;
    let json: Json = serde_json::from_str(&host.get("echo/cats").await.body).expect("JSON");
    assert_eq!(text(&json, "/input"), "10", "only the parameters");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_first_byte_is_a_500_and_a_later_one_breaks_the_connection_off() {
    let host = Host::start(&[]).await;
    for path in ["throws", "throwsfirst"] {
        assert_eq!(host.get(path).await.text(), "500", "{path}");
    }
    assert!(
        host.logged("Exception while executing function: Functions.throws. ")
            .await
            .contains("thrown on purpose")
    );
    for path in ["throwslate", "throwsbehind", "breaks"] {
        assert_eq!(host.broken(path).await, (200, "some bytes".to_owned()), "{path}");
    }
    assert_eq!((host.ended("Failed"), host.ended("BrokenOff")), (2, 3));
    // A worker that dies sends no response; the next request gets one from its replacement.
    let lost = host.get("dies").await;
    assert_eq!(lost.status, 500);
    assert!(lost.body.starts_with("The worker process ended while the function ran."), "{}", lost.body);
    assert_eq!(host.get("missing").await.body, "no such card");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_404_of_the_worker_frees_its_invocation_and_one_of_the_function_stays() {
    let host = Host::start(&[]).await;
    assert_eq!(host.get("missing").await.body, "no such card");
    assert!(!host.lines().iter().any(|line| line.starts_with("cancelled ")));
    let began = Instant::now();
    assert_eq!(host.get("unrouted").await.status, 404);
    assert!(began.elapsed() < SOON);
    host.logged("cancelled ").await;
    host.logged("Executed 'Functions.unrouted' (Failed").await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_returns_nothing_gets_204() {
    let host = Host::start(&[]).await;
    let began = Instant::now();
    assert_eq!(host.get("nothing").await.text(), "204");
    assert!(began.elapsed() < SOON);
    assert_eq!(host.get("nocontent").await.status, 204);
    // A function that returned a value gets more time for its response.
    assert_eq!(host.get("returnsfirst").await.body, "at last");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_request_and_response_are_streamed() {
    let host = Host::start(&[]).await;
    let (upload, body) = piecemeal();
    upload.send(Bytes::from_static(b"first")).await.expect("wanted");
    let response = host.begin("POST", "duplex", &[], body).await;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut next =
        async || body.frame().await.map(|frame| frame.expect("unbroken").into_data().expect("data"));
    // The first piece arrives before the second one is sent.
    assert_eq!(next().await.expect("a piece"), "first");
    upload.send(Bytes::from_static(b"second")).await.expect("wanted");
    assert_eq!(next().await.expect("a piece"), "second");
    drop(upload);
    assert!(next().await.is_none());
    let (upload, body) = piecemeal();
    let sends = tokio::spawn(async move {
        for at in 0..512_u32 {
            upload.send(Bytes::from(vec![(at % 251) as u8; 64 * 1024])).await.expect("wanted");
        }
    });
    let up = host.begin("POST", "up", &[], body).await.into_body().collect().await.expect("whole").to_bytes();
    sends.await.expect("sent");
    assert!(String::from_utf8_lossy(&up).starts_with("33554432 "), "{up:?}");
    let mut down = host.begin("GET", "down/33554433", &[], body_of(b"")).await.into_body();
    let mut bytes = 0;
    while let Some(frame) = down.frame().await {
        bytes += frame.expect("unbroken").into_data().expect("data").len();
    }
    assert_eq!(bytes, 33_554_433);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_cancels_its_invocation_and_closes_the_connection_to_the_worker() {
    let host = Host::start(&[]).await;
    let id = tokio::select! {
        seen = host.get("hangs") => panic!("it answered {}", seen.status),
        id = host.logged("hangs ") => id,
    };
    host.logged(&format!("cancelled {id}")).await;
    host.logged(&format!("closed {id}")).await;
    // Its end is recorded, although no client waits for it.
    host.logged("Executed 'Functions.hangs' (Failed").await;
    assert_eq!(host.ended("Abandoned"), 1);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_response_to_an_unfinished_upload_is_sent_at_once() {
    let host = Host::start(&[]).await;
    let (upload, body) = piecemeal();
    upload.send(Bytes::from_static(b"first")).await.expect("wanted");
    let response = host.begin("POST", "refuses", &[], body).await;
    assert_eq!(response.status(), 413);
    let text = response.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!(text, "too much");
    // The rest of the upload is not needed.
    upload.closed().await;
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_client_aborts_is_aborted_for_the_function_too() {
    let host = Host::start(&[]).await;
    let (frames, receiver) = mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
    let body = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let body = StreamBody::new(body).boxed_unsync();
    frames.send(Ok(Frame::data(Bytes::from_static(b"first")))).await.expect("wanted");
    let breaks = async {
        host.logged("receives ").await;
        frames.send(Err("the client went away".into())).await.expect("wanted");
    };
    let (response, ()) = tokio::join!(host.begin("POST", "up", &[], body), breaks);
    assert_eq!(response.status(), 400);
    assert!(host.logged("aborted ").await.ends_with(" after 5"));
    host.logged("Executed 'Functions.up' (Failed").await;
    assert_eq!(host.ended("Failed"), 1);
    // Other requests are not affected.
    assert_eq!(host.get("missing").await.body, "no such card");
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_get_the_body_of_a_proxied_request() {
    let host = Host::start(&[("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "1000")]).await;
    let body = br#"{"card": {"owner": "Ann"}}"#;
    let seen = host.send("POST", "bound", &[], body).await;
    assert_eq!((seen.status, seen.body.as_bytes()), (200, body.as_slice()));
    let [(properties, value)] = &host.feed.written()[..] else { panic!("one item") };
    assert_eq!((properties["into"].as_str(), value), (Some("Ann"), &Value::Text("stored".into())));
    assert_eq!(host.send("POST", "bound", &[], &[b' '; 1001]).await.status, 413);
    // An expression without a value fails the invocation; the response of the worker is ignored.
    assert_eq!(host.send("POST", "bound", &[], b"{}").await.status, 500);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_proxied_request_goes_to_the_worker_of_its_invocation() {
    let host = Host::start(&[("FUNCTIONS_WORKER_PROCESS_COUNT", "3")]).await;
    let all = async {
        while host.handle.worker_pids().len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("three workers start");
    let calls = (0..60).map(|at| {
        let path = format!("echo/cats/{at}");
        let host = &host;
        async move { (host.get(&path).await, at) }
    });
    for (seen, at) in futures_util::future::join_all(calls).await {
        let json: Json = serde_json::from_str(&seen.body).expect("JSON");
        assert_eq!((seen.status, text(&json, "/metadata/id")), (201, at.to_string()));
        assert_eq!(text(&json, "/url"), format!("/api/echo/cats/{at}"));
    }
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxied_function_cannot_be_started_by_name() {
    let host = Host::start(&[]).await;
    let error = host.handle.invoke("missing", &Json::Null).await.expect_err("it would wait for ever");
    assert!(error.to_string().contains("can only be called by HTTP"), "{error}");
    let request = Request::post("http://app.test:7071/admin/functions/missing")
        .header("content-type", "application/json");
    let request = request.body(body_of(b"{\"input\": \"x\"}")).expect("a request");
    let response = host.service.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 400);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_address_without_a_listener_fails_each_request_soon() {
    let host = Host::start(&[("PROXIED_LISTEN", "never")]).await;
    let began = Instant::now();
    assert_eq!(host.get("missing").await.text(), "500");
    assert!(began.elapsed() < SOON);
    let why = host.logged("Functions.missing got no response from its worker: ").await;
    assert!(
        why.contains("receives HTTP requests at http://localhost:") && why.contains("accepts no connection"),
        "{why}"
    );
    host.logged("cancelled ").await;
    host.end().await;
    let late = Host::start(&[("PROXIED_LISTEN", "late")]).await;
    assert_eq!(late.get("missing").await.body, "no such card");
    late.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotent_request_whose_connection_closes_without_a_response_is_sent_again_once() {
    let host = Host::start(&[]).await;
    assert_eq!(host.get("closes").await.body, "at the second request");
    // The worker may have executed the others.
    assert_eq!(host.send("POST", "closes", &[], b"").await.status, 500);
    assert_eq!(host.send("PUT", "closes", &[], b"a body that was sent").await.status, 500);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capability_that_the_host_does_not_know_is_reported_once_with_what_to_do() {
    let host = Host::start(&[("PROXIED_CAPABILITY", "Teleport")]).await;
    let beginning = "The worker announces capabilities that this host does not know: ";
    let rest = host.logged(beginning).await;
    assert!(rest.starts_with("Teleport. ") && rest.contains("update Chappe"), "{rest}");
    assert_eq!(host.lines().iter().filter(|line| line.starts_with(beginning)).count(), 1);
    host.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_413_whether_or_not_its_length_is_declared() {
    let host = Host::start(&[("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "100000")]).await;
    assert_eq!(host.send("POST", "up", &[], &[1; 100_001]).await.text(), "413");
    let (upload, body) = piecemeal();
    let sends = tokio::spawn(async move { while upload.send(Bytes::from(vec![1; 30_000])).await.is_ok() {} });
    let response = host.begin("POST", "up", &[], body).await;
    assert_eq!(response.status(), 413);
    sends.await.expect("nobody wants more");
    assert!(host.send("POST", "up", &[], &[1; 100_000]).await.body.starts_with("100000 "));
    host.end().await;
}
