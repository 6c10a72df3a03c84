//! A scripted client: one line is one request, and its response is a few lines of text.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use documents::{Clock, Handle, Options, Service};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use trace::Tracer;

/// 2026-11-20T21:36:21Z
pub(crate) const START: u64 = 1_795_210_581;

/// A service on its own folder, with a clock that only the test advances.
pub(crate) struct Client {
    pub(crate) service: Service,
    pub(crate) handle: Handle,
    pub(crate) tracer: Tracer,
    pub(crate) registry: Registry,
    now: Arc<AtomicU64>,
    _folder: Option<TempDir>,
}

/// A response with its complete body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) response: Response<()>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().expect("our headers are text"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The rows of a list.
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.json()["Documents"].as_array().expect("a list has Documents").clone()
    }

    /// The ids of the rows, joined.
    pub(crate) fn ids(&self) -> String {
        if self.body.is_empty() {
            return String::new();
        }
        let rows = self.rows();
        let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        ids.join(" ")
    }

    /// The inner text of an error.
    pub(crate) fn error(&self) -> String {
        let message = self.json()["message"].as_str().expect("an error has a message").to_owned();
        let inner =
            message.trim_start_matches("Message: ").split("\r\n").next().unwrap_or_default().to_owned();
        let parsed: Value = serde_json::from_str(&inner).unwrap_or_default();
        parsed["Errors"][0].as_str().or(parsed["errors"][0]["message"].as_str()).unwrap_or(&inner).to_owned()
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut options =
            Options { data_dir: folder.path().to_owned(), development_key: true, ..Options::default() };
        change(&mut options);
        let now = Arc::new(AtomicU64::new(START));
        let seen = Arc::clone(&now);
        let clock =
            Clock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(seen.load(Ordering::SeqCst)));
        let (tracer, mut registry) = (Tracer::new(4096), Registry::default());
        let (service, handle) = Service::open_with_clock(options, tracer.clone(), &mut registry, clock)
            .expect("the service opens");
        Self { service, handle, tracer, registry, now, _folder: Some(folder) }
    }

    /// Shares the test's memory budget for bodies with the service.
    pub(crate) fn with_bodies(self, bodies: http_messages::Budget) -> Self {
        Self { service: self.service.clone().with_bodies(bodies), ..self }
    }

    /// A client of an existing service.
    pub(crate) fn on(opened: (Service, Handle)) -> Self {
        Self {
            service: opened.0,
            handle: opened.1,
            tracer: Tracer::new(1),
            registry: Registry::default(),
            now: Arc::default(),
            _folder: None,
        }
    }

    /// Ends the service, so that its folder is free.
    pub(crate) async fn close(self) {
        self.handle.drain().await;
    }

    /// A client with database `d` and container `c`, whose partition key is `/pk`.
    pub(crate) async fn with_container(definition: &str) -> Self {
        let client = Self::new();
        client.container(definition).await;
        client
    }

    pub(crate) async fn container(&self, definition: &str) {
        assert_eq!(self.send("POST /dbs", r#"{"id":"d"}"#).await.status, 201);
        let made = self.send("POST /dbs/d/colls", definition).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// Advances the clock.
    pub(crate) fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Sends `METHOD /path name: value, name: value` on behalf of a caller in this process.
    pub(crate) async fn send(&self, line: &str, body: &str) -> Answer {
        let mut request = request(line, body);
        request.extensions_mut().insert(identity::Principal::InProcess { name: "test" });
        self.send_request(request).await
    }

    /// The same, as a future to be spawned.
    pub(crate) fn start(&self, line: &str, body: &str) -> <Service as tower::Service<Request<Body>>>::Future {
        let mut request = request(line, body);
        request.extensions_mut().insert(identity::Principal::InProcess { name: "test" });
        tower::Service::call(&mut self.service.clone(), request)
    }

    pub(crate) async fn send_request(&self, request: Request<Body>) -> Answer {
        let response = self.service.clone().oneshot(request).await.expect("the service never fails");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("our bodies do not break off").to_bytes();
        Answer {
            status: head.status.as_u16(),
            response: Response::from_parts(head, ()),
            body: String::from_utf8(body.to_vec()).expect("our bodies are text"),
        }
    }

    /// Runs a query and returns its rows, each on a line.
    pub(crate) async fn query(&self, sql: &str) -> String {
        let body = serde_json::json!({"query": sql}).to_string();
        let answer = self.send("POST /dbs/d/colls/c/docs x-ms-documentdb-isquery: true", &body).await;
        if answer.status != 200 {
            return format!("{} {}", answer.status, answer.error());
        }
        answer.rows().iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// A request without credentials.
pub(crate) fn request(line: &str, body: &str) -> Request<Body> {
    let mut words = line.splitn(3, ' ');
    let method = words.next().expect("a line begins with a method");
    let path = words.next().expect("a line has a path");
    let mut request = Request::builder().method(method).uri(format!("http://localhost:8081{path}"));
    for header in words.next().into_iter().flat_map(|headers| headers.split("; ")) {
        let (name, value) = header.split_once(": ").expect("a header is `name: value`");
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    request.body(body).expect("the line is a good request")
}
