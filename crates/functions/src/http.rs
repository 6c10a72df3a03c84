//! HTTP requests: routing to functions, access by keys, and the conversion of requests and responses for the worker.

mod access;
mod admin;
mod body;
mod body_properties;
mod cors;
mod dispatch;
mod extensions;
mod home;
mod matched;
mod names;
mod path;
mod proxy;
mod request;
mod respond;
mod response;
mod settings;
mod webhook;

use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_messages::{Body, empty};
use tokio::sync::OwnedSemaphorePermit;

pub(crate) use body::PERMIT_BYTES;
pub(crate) use cors::CorsPolicy;
pub(crate) use dispatch::Dispatch;
pub use extensions::{ClientAddress, PublicOrigin};
pub(crate) use proxy::client as proxy_client;
pub(crate) use settings::HttpSettings;

use crate::error_table::{invocation, response as response_errors};
use crate::function::Trigger;
use crate::generation::Generation;
use crate::invoke::{Function, TriggerData};
use crate::metrics::{RejectedLabel, StatusLabel};
use crate::worker::CancellationToken;
use matched::{MatchedRequest, trigger_data};
use respond::{HostError, error, error_text, failed, malformed, too_many, with_error};

impl Dispatch {
    /// Handles one request.
    pub(crate) async fn handle(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let origin = request.headers().get(http::header::ORIGIN).cloned();
        let cors = self.cors.get();
        let mut response = match cors.preflight(request.method(), request.headers()) {
            Some(headers) => {
                let mut response = empty(StatusCode::NO_CONTENT);
                *response.headers_mut() = headers;
                response
            }
            None => Arc::clone(&self).route(request).await,
        };
        if let Some(origin) = &origin {
            cors.allow(origin, response.headers_mut());
        }
        // Custom headers are not added to 429.
        if response.status() != StatusCode::TOO_MANY_REQUESTS {
            for (name, value) in &self.settings.get().custom_headers {
                response.headers_mut().entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        if let Some(HostError(error)) = response.extensions_mut().remove() {
            self.metrics.http_rejected.get_or_create(&RejectedLabel { code: error.code }).inc();
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
        if let Some(target) = admin::AdminTarget::parse(&path) {
            return self.admin(target, &parts, &path, body).await;
        }
        if let Some(extension) = webhook::extension_of(&path) {
            return self.webhook(&extension, parts, body).await;
        }
        let is_root = path == "/";
        if !is_root && !self.settings.get().may_have_route(&path) {
            return error(&response_errors::NOT_FOUND);
        }
        let running = match self.running().await {
            Ok(running) => running,
            Err(why) => {
                return if is_root {
                    with_error(&response_errors::NOT_RUNNING, home::not_running(&why))
                } else {
                    error_text(&response_errors::NOT_RUNNING, &why)
                };
            }
        };
        let Some(routed) = running.routes.find(&parts.method, &path) else {
            return if is_root { self.home() } else { error(&response_errors::NOT_FOUND) };
        };
        // A function that serves `/` is there only while it is enabled.
        if is_root && routed.target.declaration.is_disabled {
            return self.home();
        }
        let function = Arc::clone(routed.target);
        let Trigger::Http(trigger) = &function.declaration.trigger else {
            return error(&response_errors::NOT_FOUND);
        };
        let key = match self.admit(&parts, &function, trigger).await {
            Ok(key) => key,
            Err(rejection) => return rejection,
        };
        let Ok(outstanding) = Arc::clone(&running.http.outstanding).try_acquire_owned() else {
            return too_many();
        };
        if let Some(proxying) = running.proxying {
            let permits = (outstanding, running.http.concurrent().await);
            let typed = routed.template.typed(&routed.values);
            let matched =
                MatchedRequest { parts: &parts, path: &path, route_values: &routed.values.texts, typed, key };
            return self.proxy(running.clone(), proxying, function, matched, body, permits).await;
        }
        let received = match self.receive(body, function.needs_binding_data).await {
            Ok(received) => received,
            Err(rejection) => return rejection,
        };
        let _concurrent = running.http.concurrent().await;
        let typed = routed.template.typed(&routed.values);
        let reserved = self.reserve_worker_bytes(&received.data).await;
        let matched =
            MatchedRequest { parts: &parts, path: &path, route_values: &routed.values.texts, typed, key };
        let trigger_data = trigger_data(matched, received, &function);
        self.call(&running, function, trigger_data, reserved, &parts).await
    }

    /// The page at `/`, which tools poll until the app runs.
    fn home(&self) -> Response<Body> {
        home::page(self.settings.get().is_home_disabled)
    }

    /// Invokes the function in a separate task: a client that disconnects cancels it, but its end is still awaited and recorded.
    async fn call(
        &self,
        running: &Generation,
        function: Arc<Function>,
        mut trigger_data: TriggerData,
        reserved: Option<OwnedSemaphorePermit>,
        parts: &Parts,
    ) -> Response<Body> {
        let invoker = running.invoker.clone();
        let name = function.name().to_owned();
        let drain_guard = invoker.active.delay_drain();
        let mut shutdown = running.retry_stop();
        let (_canceller, cancellation) = CancellationToken::channel();
        trigger_data.options.cancellation = cancellation;
        let call = tokio::spawn(async move {
            let result = invoker.invoke_with_retry(&function, trigger_data, &mut shutdown).await;
            drop((drain_guard, reserved));
            result
        });
        match call.await {
            Ok(Ok(returned)) => match response::from_worker(returned.http, &parts.headers) {
                Ok(response) => response,
                Err(problem) => {
                    let text = format!("The response of Functions.{name} cannot be sent: {problem}");
                    self.logs.function_error(&invocation::INVALID_RESPONSE, &name, None, text);
                    error(&invocation::INVALID_RESPONSE)
                }
            },
            Ok(Err(cause)) => failed(Some(&cause)),
            Err(_) => failed(None),
        }
    }
}
