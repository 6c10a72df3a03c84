//! [`start`]: the admin API as a service.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use gateway::UpstreamService;
use http::{Method, Request, Response, StatusCode, header};
use http_messages::Body;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use supervision::{NotReady, Supervisor};
use tower::ServiceExt;
use trace::{TraceId, Tracer};

use super::access::{AdminError, admit};

type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The admin API as a service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Service {
    state: Arc<OnceLock<Arc<State>>>,
}

/// Sets the services that the API reports on, after all of them have started. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    state: Arc<OnceLock<Arc<State>>>,
}

/// Ends the API, which has no tasks of its own.
pub(crate) struct Join(());

struct State {
    reload: OnceLock<Reload>,
    report: AdminState,
    metrics: Registry,
}

/// What the API reports on, besides the metrics.
pub(crate) struct AdminState {
    pub(crate) ready_line: Value,
    pub(crate) supervisor: Supervisor,
    pub(crate) tracer: Tracer,
    pub(crate) services: Vec<Mounted>,
    /// Path prefixes of the operations of services that do not run, each with the reason.
    pub(crate) off: Vec<(Vec<String>, &'static str)>,
}

/// A service's part of the API.
pub(crate) struct Mounted {
    /// `None` for a default service, whose fields are at the top level of `/chappe/api/info`.
    pub(crate) name: Option<String>,
    /// Path prefixes of its operations.
    pub(crate) operations: Vec<(String, UpstreamService)>,
    /// What it reports in `/chappe/api/info`.
    pub(crate) info: Info,
}

/// Reloads the configuration: returns the result as JSON, or the error.
pub(crate) type Reload =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Value, String>> + Send>> + Send + Sync>;

/// Asks a service for its report.
pub(crate) type Info =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Map<String, Value>> + Send>> + Send + Sync>;

/// Creates the API. It serves requests after [`Handle::open`] was called; routes may lead to it earlier.
pub(crate) fn start() -> (Service, Handle, Join) {
    let state = Arc::<OnceLock<Arc<State>>>::default();
    (Service { state: Arc::clone(&state) }, Handle { state }, Join(()))
}

impl Handle {
    /// Sets the services that the API reports on. Only the first call has an effect.
    pub(crate) fn open(&self, report: AdminState, metrics: Registry) {
        // There is one assembly, and it calls this once.
        let _ = self.state.set(Arc::new(State { reload: OnceLock::new(), report, metrics }));
    }
}

impl Handle {
    /// Lets the API reload the configuration. Only the first call after [`Handle::open`] has an effect.
    pub(crate) fn set_reload(&self, reload: Reload) {
        if let Some(state) = self.state.get() {
            let _ = state.reload.set(reload);
        }
    }
}

impl Join {
    /// Returns immediately: requests belong to the listeners.
    #[expect(clippy::unused_async, reason = "every service ends by the same call")]
    pub(crate) async fn drain(self) {}
}

impl State {
    /// Starts the response; the returned future finishes it.
    ///
    /// Not an `async fn`: a service's future that is made inside an `async` block loses its `'static` body type, and with it `Send`
    /// (rust-lang/rust#110338).
    fn respond(self: &Arc<Self>, request: Request<Body>) -> ResponseFuture {
        let path = request.uri().path();
        let is_admitted = admit(request.uri(), request.extensions());
        let own = match (request.method(), path, is_admitted) {
            (_, "/healthz", _) => text(StatusCode::OK, "ok\n"),
            (_, "/readyz", _) => self.readiness(is_admitted.is_ok()),
            (_, _, Err(error)) => error.respond(),
            (&Method::GET, "/metrics", _) => self.metrics(),
            (&Method::GET, "/chappe/api/info", _) => {
                let state = Arc::clone(self);
                return Box::pin(async move { Ok(json_response(&state.info().await)) });
            }
            (&Method::POST, "/chappe/api/reload", _) => {
                let state = Arc::clone(self);
                return Box::pin(async move { Ok(state.reload().await) });
            }
            (&Method::GET, _, _) if path.starts_with("/chappe/api/traces/") => self.trace(path),
            _ => match self.operation(path) {
                Some(operation) => return Box::pin(operation.oneshot(request)),
                None => match self.switched_off(path) {
                    Some(why) => AdminError::ServiceOff.respond_with(why),
                    None => AdminError::NoSuchPath.respond(),
                },
            },
        };
        Box::pin(std::future::ready(Ok(own)))
    }

    /// The service that has the operations below a path.
    fn operation(&self, path: &str) -> Option<UpstreamService> {
        let operations = self.report.services.iter().flat_map(|service| &service.operations);
        let found =
            operations.filter(|(prefix, _)| covers(prefix, path)).max_by_key(|(prefix, _)| prefix.len());
        found.map(|(_, operation)| operation.clone())
    }

    /// Why no service has the operations below a path.
    fn switched_off(&self, path: &str) -> Option<&'static str> {
        let is_below = |prefixes: &[String]| prefixes.iter().any(|prefix| covers(prefix, path));
        self.report.off.iter().find(|(prefixes, _)| is_below(prefixes)).map(|(_, why)| *why)
    }

    /// Whether every part of the process is ready, and which parts are not. The reasons name files and settings, so they are sent
    /// only to callers that may read the rest of the API.
    fn readiness(&self, with_reasons: bool) -> Response<Body> {
        let not_ready = self.report.supervisor.not_ready();
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
                let mut response = text(StatusCode::OK, in_families(&page));
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
        let mut info = self.report.ready_line.clone();
        for service in &self.report.services {
            for (key, value) in (service.info)().await {
                match &service.name {
                    None => info[key] = value,
                    Some(name) => info["services"][name][key] = value,
                }
            }
        }
        info
    }

    async fn reload(&self) -> Response<Body> {
        let Some(reload) = self.reload.get() else { return AdminError::NoSuchPath.respond() };
        match reload().await {
            Ok(report) => json_response(&report),
            Err(why) => AdminError::InvalidConfiguration.respond_with(&why),
        }
    }

    fn trace(&self, path: &str) -> Response<Body> {
        let id = path.rsplit('/').next().unwrap_or_default();
        match TraceId::parse(id) {
            Some(id) => json_response(&json!({ "spans": self.report.tracer.trace(id) })),
            None => AdminError::NoTraceId.respond(),
        }
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> ResponseFuture {
        let state = self.state.get().expect("the API is opened before a listener serves");
        state.respond(request)
    }
}

/// Whether a path equals the prefix or is below it.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Groups the samples of each metric under one description, as OpenMetrics requires: services of one kind describe the same
/// metrics, each with its own label.
fn in_families(page: &str) -> String {
    let mut families: Vec<(&str, Vec<&str>, Vec<&str>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut current = 0;
    for line in page.lines().filter(|line| *line != "# EOF") {
        let described = line.strip_prefix("# ").and_then(|rest| rest.split(' ').nth(1));
        if let Some(name) = described {
            current = *places.entry(name).or_insert_with(|| {
                families.push((name, Vec::new(), Vec::new()));
                families.len() - 1
            });
        }
        let Some((_, descriptions, samples)) = families.get_mut(current) else { continue };
        match described {
            Some(_) if descriptions.contains(&line) => {}
            Some(_) => descriptions.push(line),
            None => samples.push(line),
        }
    }
    let lines = families.iter().flat_map(|(_, descriptions, samples)| descriptions.iter().chain(samples));
    lines.map(|line| format!("{line}\n")).collect::<String>() + "# EOF\n"
}

fn text(status: StatusCode, content: impl Into<String>) -> Response<Body> {
    let mut response = http_messages::text(status, content.into());
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

fn json_response(content: &Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, content.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_two_instances_of_a_service_have_one_description() {
        let page = "# HELP a_b Counts.\n# TYPE a_b counter\na_b_total 1\n# HELP c Is.\n# TYPE c gauge\nc 2\n\
                    # HELP a_b Counts.\n# TYPE a_b counter\na_b_total{service=\"x.y\"} 3\n# EOF\n";
        let expected = "# HELP a_b Counts.\n# TYPE a_b counter\na_b_total 1\na_b_total{service=\"x.y\"} 3\n\
                        # HELP c Is.\n# TYPE c gauge\nc 2\n# EOF\n";
        assert_eq!(in_families(page), expected);
    }
}
