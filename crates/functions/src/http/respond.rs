//! The responses that the host makes itself.

use http::{HeaderValue, Response, StatusCode};
use http_messages::{Body, empty};

use crate::invoke::InvocationError;
use crate::worker::InvokeError;

/// The response to a request whose invocation failed; `None` if its task panicked.
pub(super) fn failed(error: Option<&InvocationError>) -> Response<Body> {
    match error {
        Some(InvocationError::Worker { cause: InvokeError::TooLarge { .. } }) => {
            empty(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Some(
            error @ InvocationError::Worker { cause: InvokeError::NoWorker { .. } | InvokeError::Draining },
        ) => text(StatusCode::SERVICE_UNAVAILABLE, &error.with_causes()),
        // Callers have to know that the function may have had an effect.
        Some(InvocationError::Worker { cause: InvokeError::WorkerGone { .. } }) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The worker process ended while the function ran. Whether the function had an effect is unknown.\n",
        ),
        // Details are in the log only: the Azure Functions host responds to an unhandled exception with an empty body.
        _ => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The response to a request that violates HTTP in a way that hyper accepts. The connection is closed, as by the Azure Functions
/// host.
pub(super) fn malformed() -> Response<Body> {
    let mut response = empty(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response to a request above the limit: when to come again, in seconds, and for a scaling platform that more instances would help.
pub(super) fn too_many() -> Response<Body> {
    let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
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
