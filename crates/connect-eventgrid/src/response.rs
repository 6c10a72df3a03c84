//! Responses of the webhook.

use bytes::Bytes;
use functions_contract::PushResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

pub(crate) fn status(status: StatusCode) -> PushResponse {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> PushResponse {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A response with a text for people.
pub(crate) fn plain(status: StatusCode, text: &str) -> PushResponse {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}
