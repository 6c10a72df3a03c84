//! [`Service`]: the HTTP interface of the realtime service.

mod access;
mod body;
mod client;
mod rest;
mod server;
mod shared;
mod trace;
mod upgrade;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::ORIGIN;
use http::{Method, Request, Response};

use crate::rejection::Rejection;
use crate::to_protocol;
pub(crate) use access::rules;
use http_messages::Body;
pub(crate) use rest::answer_key_rotation;
pub(crate) use shared::Shared;
pub use trace::TraceError;
pub(crate) use trace::trace;

/// Handles requests of clients (`/client/`), app servers (`/server/`) and apps (`/api/`). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

impl Service {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { Ok(respond(&shared, request).await) })
    }
}

async fn respond(shared: &Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let origin = request.headers().get(ORIGIN).cloned();
    let path = request.uri().path();
    if origin.is_some() && *request.method() == Method::OPTIONS {
        let mut response = to_protocol::preflight(request.headers());
        to_protocol::allow_origin(origin, &mut response);
        shared.requests.record("preflight", response.status());
        return response;
    }
    // Most requests are sends. The other futures are boxed, so that the future of a send stays small.
    let (operation, mut response) = if is_below(path, "/client") {
        Box::pin(client::answer(shared, request)).await
    } else if is_below(path, "/server") {
        Box::pin(server::answer(shared, request)).await
    } else if is_below(path, "/api") {
        rest::answer(shared, request).await
    } else {
        ("unknown", to_protocol::error_detail(unknown_path(path)))
    };
    to_protocol::allow_origin(origin, &mut response);
    shared.requests.record(operation, response.status());
    response
}

/// Whether a path is `prefix` or below it. Case is ignored, as in ASP.NET Core.
fn is_below(path: &str, prefix: &str) -> bool {
    path.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        && matches!(path.as_bytes().get(prefix.len()), None | Some(b'/'))
}

/// The response for a path outside of the interfaces.
fn unknown_path(path: &str) -> Rejection {
    let path: String = path.chars().take(256).collect();
    Rejection::not_found(format!(
        "there is nothing at '{path}'; clients connect at /client/?hub=<hub>, app servers at /server/?hub=<hub>, apps send at /api/v1/hubs/<hub>"
    ))
}
