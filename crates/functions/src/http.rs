//! HTTP requests: which function they reach, whether they may, and how requests and responses look to the worker.

mod access;
mod admin;
mod body;
mod cors;
mod home;
mod names;
mod path;
mod proxy;
mod request;
mod response;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_messages::{Body, Budget, empty};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trace::TraceContext;

pub(crate) use body::PERMIT_BYTES;
use body::Received;
pub(crate) use cors::CorsPolicy;
pub(crate) use proxy::client as proxy_client;

use crate::app::App;
use crate::function::Trigger;
use crate::invoke::{Function, InvocationError, TriggerData};
use crate::keys::{Keys, KnownKey};
use crate::log::{Level, Logs};
use crate::metrics::{Metrics, Rejected, RejectedLabel, StatusLabel};
use crate::running_app::{Phase, RunningApp};
use crate::stop::Stop;
use crate::worker::{Cancellation, InvokeError};

/// Overrides the origin by which a client is taken to have reached us; put into a request's extensions by a gateway
/// with a public address.
#[derive(Clone, Debug)]
pub struct PublicOrigin(pub Uri);

/// The address of the client, or of the last hop before us; put into a request's extensions by the program around. Workers that take
/// HTTP requests themselves learn it by `X-Forwarded-For`.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub std::net::IpAddr);

/// Dispatches requests. Shared by all clones of the service.
pub(crate) struct Dispatch {
    pub(crate) app: App,
    pub(crate) phase: tokio::sync::watch::Receiver<Phase>,
    pub(crate) keys: Keys,
    pub(crate) is_auth_enforced: bool,
    pub(crate) cors: CorsPolicy,
    pub(crate) body_bytes_max: usize,
    pub(crate) start_wait: Duration,
    /// Requests under way or waiting.
    pub(crate) outstanding: Arc<Semaphore>,
    /// Requests whose function runs; `None` = no limit.
    pub(crate) concurrent: Option<Arc<Semaphore>>,
    pub(crate) custom_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
    pub(crate) started: std::time::Instant,
    /// The room for bodies of requests.
    pub(crate) bodies: Budget,
    /// Bodies from files that workers may have at a time, [`PERMIT_BYTES`] a permit.
    pub(crate) worker_bodies: Arc<Semaphore>,
    pub(crate) worker_bodies_permits: usize,
    /// Ends the pauses between retries.
    pub(crate) stop: Stop,
    /// Hands requests to workers that take them themselves.
    pub(crate) proxy: egress::Client,
}

impl Dispatch {
    /// Answers one request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let origin = request.headers().get(http::header::ORIGIN).cloned();
        let mut response = match self.cors.preflight(request.method(), request.headers()) {
            Some(headers) => {
                let mut response = empty(StatusCode::NO_CONTENT);
                *response.headers_mut() = headers;
                response
            }
            None => Arc::clone(&self).route(request).await,
        };
        if let Some(origin) = &origin {
            self.cors.allow(origin, response.headers_mut());
        }
        // What refuses for want of room says only that.
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            for (name, value) in &self.custom_headers {
                response.headers_mut().entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        let status = StatusLabel { status: response.status().as_u16() };
        self.metrics.http_responses.get_or_create(&status).inc();
        response
    }

    async fn route(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Some(path) = path::read(parts.uri.path()).map(std::borrow::Cow::into_owned) else {
            return malformed();
        };
        if parts.headers.values().any(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            return malformed();
        }
        if let Some(target) = admin::Target::parse(&path) {
            return self.admin(target, &parts, &path, body).await;
        }
        if is_webhook(&path) {
            return self.webhook(&parts).await;
        }
        if path == "/" && !self.has_root_route(&parts.method) {
            return self.home().await;
        }
        if !self.may_have_route(&path) {
            return empty(StatusCode::NOT_FOUND);
        }
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => {
                self.rejected(Rejected::NotReady);
                return text(StatusCode::SERVICE_UNAVAILABLE, &why);
            }
        };
        let Some(routed) = running.routes.find(&parts.method, &path) else {
            return empty(StatusCode::NOT_FOUND);
        };
        let function = Arc::clone(routed.target);
        let Trigger::Http(trigger) = &function.declaration.trigger else {
            return empty(StatusCode::NOT_FOUND);
        };
        let key = match self.admit(&parts, &function, trigger).await {
            Ok(key) => key,
            Err(refusal) => return refusal,
        };
        let Ok(outstanding) = Arc::clone(&self.outstanding).try_acquire_owned() else {
            self.rejected(Rejected::Outstanding);
            return too_many();
        };
        if let Some(proxying) = running.proxying {
            let permits = (outstanding, self.concurrent().await);
            let typed = routed.template.typed(&routed.values);
            let called =
                Called { parts: &parts, path: &path, route_values: &routed.values.texts, typed, key };
            return self.proxy(&running, proxying, function, called, body, permits).await;
        }
        let needs_properties = needs_body_data(&function);
        let received = match self.receive(body, needs_properties).await {
            Ok(received) => received,
            Err(refusal) => return refusal,
        };
        let _concurrent = self.concurrent().await;
        let typed = routed.template.typed(&routed.values);
        let turn = self.turn(&received.data).await;
        let called = Called { parts: &parts, path: &path, route_values: &routed.values.texts, typed, key };
        let trigger_data = trigger_data(called, received, needs_properties);
        self.call(&running, function, trigger_data, turn, &parts).await
    }

    /// Waits until the function of one more request may run.
    async fn concurrent(&self) -> Option<OwnedSemaphorePermit> {
        let limit = self.concurrent.as_ref()?;
        Arc::clone(limit).acquire_owned().await.ok()
    }

    /// Webhooks of extensions ask for their key; no extension has one yet.
    async fn webhook(&self, parts: &Parts) -> Response<Body> {
        self.refuse_unless_admin(parts).await.unwrap_or_else(|| empty(StatusCode::NOT_FOUND))
    }

    /// The page at `/`, which tools poll until it is there.
    async fn home(&self) -> Response<Body> {
        match self.running().await {
            Ok(_) => home::page(self.app.settings.is_on("AzureWebJobsDisableHomepage")),
            Err(why) => {
                self.rejected(Rejected::NotReady);
                home::not_running(&why)
            }
        }
    }

    /// Calls the function in a task of its own: a client that goes away cancels it, but its end is awaited and recorded all the same.
    async fn call(
        &self,
        running: &RunningApp,
        function: Arc<Function>,
        mut trigger_data: TriggerData,
        turn: Option<OwnedSemaphorePermit>,
        parts: &Parts,
    ) -> Response<Body> {
        let invoker = running.invoker.clone();
        let name = function.name().to_owned();
        let held = invoker.running.hold();
        let mut stop = self.stop.clone();
        let (_canceller, cancellation) = Cancellation::channel();
        trigger_data.terms.cancellation = cancellation;
        let call = tokio::spawn(async move {
            let result = invoker.invoke_with_retry(&function, trigger_data, &mut stop).await;
            drop((held, turn));
            result
        });
        match call.await {
            Ok(Ok(returned)) => match response::from_worker(returned.http, &parts.headers) {
                Ok(response) => response,
                Err(problem) => {
                    let text = format!("The response of Functions.{name} cannot be sent: {problem}");
                    self.logs.function(Level::Error, &name, None, text);
                    empty(StatusCode::INTERNAL_SERVER_ERROR)
                }
            },
            Ok(Err(error)) => failed(Some(&error)),
            Err(_) => failed(None),
        }
    }

    /// Waits for the app to start; the error is for the client.
    async fn running(&self) -> Result<Arc<RunningApp>, String> {
        let mut phase = self.phase.clone();
        let decided = phase.wait_for(|phase| !matches!(phase, Phase::Starting));
        match tokio::time::timeout(self.start_wait, decided).await {
            Ok(Ok(phase)) => match &*phase {
                Phase::Running(running) => Ok(Arc::clone(running)),
                // Paths and stacks are for those who develop the app, not for whoever reaches an exposed port.
                Phase::Failed(_) if self.is_auth_enforced => {
                    Err("The function app did not start; the log of the host says why.\n".to_owned())
                }
                Phase::Failed(why) => Err(format!(
                    "The function app did not start: {why}\nIt is started again when a file of the app changes.\n"
                )),
                Phase::Starting => Err("The function app is starting.\n".to_owned()),
            },
            Ok(Err(_)) => Err("The function app has been stopped.\n".to_owned()),
            Err(_) => Err(format!("The function app did not start within {:?}.\n", self.start_wait)),
        }
    }

    /// An app whose route prefix is empty may serve `/` itself.
    fn has_root_route(&self, method: &Method) -> bool {
        let Phase::Running(running) = &*self.phase.borrow() else { return false };
        running.routes.find(method, "/").is_some_and(|routed| !routed.target.declaration.is_disabled)
    }

    /// Whether a path may be that of a function: below the app's prefix, where it has one. Nothing else waits for the app, nor is told
    /// that it did not start.
    fn may_have_route(&self, path: &str) -> bool {
        let prefix = &self.app.host.http.route_prefix;
        let head = path.strip_prefix('/').and_then(|path| path.get(..prefix.len()));
        let is_below = head.is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        // A prefix with parameters is for the routes to judge.
        prefix.is_empty()
            || prefix.contains('{')
            || (is_below && matches!(path.as_bytes().get(prefix.len() + 1), None | Some(b'/')))
    }

    fn rejected(&self, reason: Rejected) {
        self.metrics.http_rejected.get_or_create(&RejectedLabel { reason }).inc();
    }
}

/// The answer to a request whose invocation failed; without an error, its task did.
fn failed(error: Option<&InvocationError>) -> Response<Body> {
    match error {
        Some(InvocationError::Worker { cause: InvokeError::TooLarge { .. } }) => {
            empty(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Some(
            error @ InvocationError::Worker { cause: InvokeError::NoWorker { .. } | InvokeError::Draining },
        ) => text(StatusCode::SERVICE_UNAVAILABLE, &error.with_causes()),
        // Details are in the log only: the real host answers an unhandled exception with an empty body.
        _ => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Whether a binding has expressions, which may name properties of the body.
fn needs_body_data(function: &Function) -> bool {
    function.inputs.iter().any(|(binding, _)| binding.properties.needs_data())
        || function.outputs.iter().any(|(binding, _)| binding.properties.needs_data())
}

/// A request to a function, beside its body.
struct Called<'a> {
    parts: &'a Parts,
    /// The path as [`path::read`] gives it.
    path: &'a str,
    route_values: &'a [(String, String)],
    /// Route values in the types of their constraints, for expressions.
    typed: serde_json::Map<String, serde_json::Value>,
    /// The key that the caller showed.
    key: Option<KnownKey>,
}

fn trigger_data(called: Called<'_>, received: Received, needs_properties: bool) -> TriggerData {
    let Called { parts, path, route_values, typed, key } = called;
    let url = request::function_url(parts, path);
    let parent = request::header_text(parts, "traceparent").and_then(|text| TraceContext::parse(&text));
    // Without its parent the state says nothing (W3C Trace Context, section 3.3).
    let trace_state = parent.and_then(|_| request::header_text(parts, "tracestate")).unwrap_or_default();
    let (metadata, binding_data) =
        request::binding_data(parts, &received.shown, route_values, typed, needs_properties);
    TriggerData {
        origin: request::origin(&url),
        data: request::to_worker(parts, url, received.data, route_values, key.as_ref()).into(),
        metadata,
        binding_data,
        reason: "This function was programmatically called via the host APIs.".to_owned(),
        parent,
        trace_state,
        baggage: request::baggage(parts),
        ..TriggerData::default()
    }
}

/// Whether a path is for a webhook of an extension, which comes before every function.
fn is_webhook(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.strip_prefix("/runtime/webhooks/").is_some_and(|extension| !extension.is_empty())
}

/// The answer to a request that breaks HTTP in a way that hyper lets pass. The connection ends, as with the original.
fn malformed() -> Response<Body> {
    let mut response = empty(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to a request beyond the limits. The header tells a scaling platform that more instances would help.
fn too_many() -> Response<Body> {
    let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
    response.headers_mut().insert("x-function-scaleout", HeaderValue::from_static("1"));
    response
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    http_messages::text(status, text.to_owned())
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    http_messages::response(status, Some("application/json; charset=utf-8"), value.to_string())
}
