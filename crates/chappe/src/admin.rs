//! The process about itself: health, readiness, metrics, and what the page of the demo shows.
//!
//! `/healthz` and `/readyz` answer anybody. Everything else answers only this machine (it tells what runs here, and can end
//! a worker), or whoever reaches the admin port, where one was opened.

mod dead_letters;
mod guard;
mod tail;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Method, Request, Response, StatusCode, header};
use http_messages::Body;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use supervision::{NotReady, Supervisor};
use trace::{TraceId, Tracer};

pub(crate) use guard::OwnPort;
use guard::Refusal;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The admin API as a service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    state: Arc<State>,
}

struct State {
    facts: Facts,
    metrics: Registry,
}

/// The place of the API in the gateway's table before the API itself can be made. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<OnceLock<Service>>);

impl Slot {
    /// Fills the place; only the first filling counts.
    pub(crate) fn fill(&self, service: Service) {
        // There is one assembly, and it fills once.
        let _ = self.0.set(service);
    }
}

impl tower::Service<Request<Body>> for Slot {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let mut service = self.0.get().expect("the slot is filled before a listener serves").clone();
        service.call(request)
    }
}

/// What the API tells about, beside the metrics.
pub(crate) struct Facts {
    pub(crate) ready_line: Value,
    pub(crate) supervisor: Supervisor,
    pub(crate) tracer: Tracer,
    pub(crate) realtime: realtime::Handle,
    pub(crate) functions: Option<functions::Handle>,
}

impl Service {
    pub(crate) fn new(facts: Facts, metrics: Registry) -> Self {
        Self { state: Arc::new(State { facts, metrics }) }
    }
}

impl State {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (request, body) = request.into_parts();
        let path = request.uri.path();
        match path {
            "/healthz" => return text(StatusCode::OK, "ok\n"),
            "/readyz" => return self.readiness(guard::admit(&request).is_ok()),
            _ => {}
        }
        if let Err(refusal) = guard::admit(&request) {
            return refusal.respond();
        }
        match (&request.method, path) {
            (&Method::GET, "/metrics") => self.metrics(),
            (&Method::GET, "/chappe/api/info") => json_answer(&self.info().await),
            (&Method::GET, "/chappe/api/logs") => json_answer(&self.logs(request.uri.query())),
            (&Method::GET, "/chappe/api/realtime/dead-letters") => {
                dead_letters::answer(&self.facts.realtime, request.uri.query()).await
            }
            (&Method::GET, "/chappe/api/realtime/tail") => {
                tail::answer(&self.facts.realtime, request.uri.query()).await
            }
            (&Method::POST, "/chappe/api/workers/kill") => json_answer(&self.kill_workers()),
            (&Method::POST, "/chappe/api/realtime/keys") => {
                self.facts.realtime.answer_key_rotation(Request::from_parts(request, body)).await
            }
            (&Method::GET, _) if path.starts_with("/chappe/api/traces/") => self.trace(path),
            _ => Refusal::NoSuchPath.respond(),
        }
    }

    /// Whether every part of the process is ready, and which are not. The reasons name files and settings, so that only those who
    /// may ask for the rest of the API read them.
    fn readiness(&self, with_reasons: bool) -> Response<Body> {
        let not_ready = self.facts.supervisor.not_ready();
        if not_ready.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        let mut page = "not ready\n".to_owned();
        for NotReady { component, reason } in not_ready {
            page += &if with_reasons { format!("{component}: {reason}\n") } else { format!("{component}\n") };
        }
        text(StatusCode::SERVICE_UNAVAILABLE, page)
    }

    fn metrics(&self) -> Response<Body> {
        let mut page = String::new();
        match prometheus_client::encoding::text::encode(&mut page, &self.metrics) {
            Ok(()) => {
                let mut response = text(StatusCode::OK, page);
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
                response
            }
            Err(cause) => {
                tracing::error!(%cause, "the metrics could not be written");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the metrics could not be written; the log says why\n",
                )
            }
        }
    }

    async fn info(&self) -> Value {
        let mut info = self.facts.ready_line.clone();
        info["connections"] = json!(self.facts.realtime.engine().connection_count(None).await.unwrap_or(0));
        if let Some(functions) = &self.facts.functions {
            info["workers"] = json!(functions.worker_pids());
        }
        info
    }

    fn trace(&self, path: &str) -> Response<Body> {
        let id = path.rsplit('/').next().unwrap_or_default();
        match TraceId::parse(id) {
            Some(id) => json_answer(&json!({ "spans": self.facts.tracer.trace(id) })),
            None => Refusal::NoTraceId.respond(),
        }
    }

    fn logs(&self, query: Option<&str>) -> Value {
        let after = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("after=")));
        let after = after.and_then(|number| number.parse().ok()).unwrap_or(0);
        let lines =
            self.facts.functions.as_ref().map(|functions| functions.logs().tail(after)).unwrap_or_default();
        let lines: Vec<Value> = lines
            .iter()
            .map(|line| json!({ "n": line.number, "level": line.level, "function": line.function, "text": line.text }))
            .collect();
        json!({ "lines": lines })
    }

    fn kill_workers(&self) -> Value {
        let killed = self.facts.functions.as_ref().map(functions::Handle::kill_workers).unwrap_or_default();
        json!({ "killed": killed })
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let state = Arc::clone(&self.state);
        Box::pin(async move { Ok(state.answer(request).await) })
    }
}

fn text(status: StatusCode, content: impl Into<String>) -> Response<Body> {
    let mut response = http_messages::text(status, content.into());
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn json_answer(content: &Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, content.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
