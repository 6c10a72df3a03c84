//! Builds responses in the format of Azure SignalR Service. Every rejection is rendered here, in one format for REST and one for
//! clients.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_TYPE, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_messages::Body;
use serde_json::{Value, json};

use crate::rejection::Rejection;

/// Header in which the SDKs read why an object does not exist.
const MS_ERROR_CODE: &str = "x-ms-error-code";

/// Header in which the management SDK reads the protocol of a client's result.
const CLIENT_PROTOCOL: &str = "x-protocol";

/// A success with a JSON body.
pub(crate) fn json(body: String) -> Response<Body> {
    let mut response = http_messages::json(StatusCode::OK, body);
    // A negotiate response contains a secret that is valid once.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A response whose body is sent as it is produced.
pub(crate) fn stream(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx buffers a response unless this header disables it.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A client's completion as it was sent, framed in the client's protocol, which a header names.
pub(crate) fn framed_result(protocol: &'static str, framed: Bytes) -> Response<Body> {
    let mut response = http_messages::response(StatusCode::OK, Some("application/octet-stream"), framed);
    response.headers_mut().insert(CLIENT_PROTOCOL, HeaderValue::from_static(protocol));
    response
}

/// A rejection for an app: `ErrorDetail`, with its code also in `x-ms-error-code`, where the SDKs read it.
pub(crate) fn error_detail(rejection: Rejection) -> Response<Body> {
    let body = detail(&rejection).to_string();
    let code = HeaderValue::from_static(rejection.error.code);
    let mut response = with_headers(http_messages::json(rejection.status, body), rejection);
    response.headers_mut().insert(MS_ERROR_CODE, code);
    response
}

/// The body `{code, message, target?, details?, inner?}`; `inner` has the code of the first cause.
fn detail(rejection: &Rejection) -> Value {
    let mut body = json!({ "code": rejection.error.code, "message": rejection.message });
    if let Some(target) = &rejection.target {
        body["target"] = target.as_ref().into();
    }
    if let Some(first) = rejection.details.first() {
        body["details"] = rejection.details.iter().map(detail).collect();
        body["inner"] = json!({ "code": first.error.code });
    }
    body
}

/// A rejection for a client: a text that its SDK shows in the exception.
pub(crate) fn error_text(rejection: Rejection) -> Response<Body> {
    let body = rejection.message.clone();
    with_headers(http_messages::text(rejection.status, body), rejection)
}

/// The response to a preflight request. As in the emulator, every requested header and method is allowed: apps add their own
/// headers to their clients' requests, and tracers add some.
pub(crate) fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut response = http_messages::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    for (asked, answered) in [
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
    ] {
        for value in request.get_all(&asked) {
            headers.append(answered.clone(), value.clone());
        }
        headers.append(VARY, asked.into());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Allows a page of any origin to read the response. Credentials are allowed because browser clients require it; access depends
/// on the token, which no browser sends by itself, so that any origin is safe (reference, 1.3).
pub(crate) fn allow_origin(origin: Option<HeaderValue>, response: &mut Response<Body>) {
    let Some(origin) = origin else { return };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

fn with_headers(mut response: Response<Body>, rejection: Rejection) -> Response<Body> {
    let headers = response.headers_mut();
    if let Some(header) = rejection.header {
        let (name, value) = *header;
        headers.insert(name, value);
    }
    response
}
