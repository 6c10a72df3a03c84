//! The responses that the host makes itself: the only place that renders errors of the host for HTTP.

use http::{HeaderValue, Response, StatusCode};
use http_messages::{Body, ErrorDescription, empty};

use crate::error_table::{invocation, response};
use crate::invoke::InvocationError;
use crate::worker::InvokeError;

/// The error of a response, as an extension of it. [`super::Dispatch::handle`] counts the response by the code.
#[derive(Clone, Copy)]
pub(super) struct HostError(pub(super) &'static ErrorDescription);

/// The response with this error: its status without a body, as the Azure Functions host sends it. The log has the details.
pub(super) fn error(description: &'static ErrorDescription) -> Response<Body> {
    with_error(description, empty(description.status()))
}

/// The response with this error and a text for the client.
pub(super) fn error_text(description: &'static ErrorDescription, text: &str) -> Response<Body> {
    with_error(description, http_messages::text(description.status(), text.to_owned()))
}

/// Marks a response as one with this error.
pub(super) fn with_error(
    description: &'static ErrorDescription,
    mut response: Response<Body>,
) -> Response<Body> {
    response.extensions_mut().insert(HostError(description));
    response
}

/// The response to a request whose invocation failed; `None` if its task panicked.
pub(super) fn failed(cause: Option<&InvocationError>) -> Response<Body> {
    let Some(cause) = cause else { return error(&invocation::PANICKED) };
    match cause {
        InvocationError::Worker { cause: InvokeError::NoWorker { .. } | InvokeError::Draining } => {
            error_text(cause.description(), &cause.with_causes())
        }
        // Callers have to know that the function may have had an effect.
        InvocationError::Worker { cause: InvokeError::WorkerGone { .. } } => error_text(
            cause.description(),
            "The worker process ended while the function ran. Whether the function had an effect is unknown.\n",
        ),
        InvocationError::Worker { cause: reason } => error(reason.description()),
        // Details are in the log only: the Azure Functions host responds to an unhandled exception with an empty body.
        _ => with_error(cause.description(), empty(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// The response to a request that violates HTTP in a way that hyper accepts. The connection is closed, as by the Azure Functions
/// host.
pub(super) fn malformed() -> Response<Body> {
    let mut response = error(&response::MALFORMED_REQUEST);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response to a request above the limit: when to come again, in seconds, and for a scaling platform that more instances would help.
pub(super) fn too_many() -> Response<Body> {
    let mut response = error(&response::TOO_MANY_REQUESTS);
    response.headers_mut().insert("x-function-scaleout", HeaderValue::from_static("1"));
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

pub(super) fn text(status: StatusCode, text: &str) -> Response<Body> {
    http_messages::text(status, text.to_owned())
}

pub(super) fn json_response(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    http_messages::response(status, Some("application/json; charset=utf-8"), value.to_string())
}
