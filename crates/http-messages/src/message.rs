//! [`Body`]: the one body type of requests and responses in the workspace, and responses whose body is complete.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};

/// Any error of a body, or of a service that is called through an interface.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every request and response that passes between the services, the gateway and the listeners.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// `text/plain` in UTF-8.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// `application/json`, whose encoding is UTF-8 always (RFC 8259 section 8.1).
pub const JSON: &str = "application/json";

/// A body that is in memory.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A response with a body of the given content type; `None` leaves `content-type` out.
pub fn response(
    status: StatusCode,
    content_type: Option<&'static str>,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    response(status, None, Bytes::new())
}

/// A response in plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    response(status, Some(TEXT), text)
}

/// A response in JSON.
pub fn json(status: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    response(status, Some(JSON), json)
}
