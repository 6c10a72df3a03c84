//! From our words to answers in the service's dialect. Every refusal is rendered here, once for REST and once for clients.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use crate::Body;
use crate::error::Refusal;

/// Where the SDKs read why a thing is absent.
const MS_ERROR_CODE: &str = "x-ms-error-code";

/// What a browser may send along to negotiate and connect.
const CORS_HEADERS: HeaderValue =
    HeaderValue::from_static("X-Requested-With, X-SignalR-User-Agent, authorization, content-type");

const CORS_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");

/// A success without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    respond(status, None, Bytes::new())
}

/// A success with a JSON body.
pub(crate) fn json(body: String) -> Response<Body> {
    let mut response = respond(StatusCode::OK, Some("application/json"), body.into());
    // A negotiate answer holds a secret and is good once.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal for an app: `ErrorDetail`.
pub(crate) fn error_detail(refusal: Refusal) -> Response<Body> {
    let body = serde_json::json!({ "code": refusal.code, "message": refusal.message }).to_string();
    with_headers(respond(refusal.status, Some("application/json"), body.into()), refusal)
}

/// A refusal for a client: text that its SDK shows in the exception.
pub(crate) fn error_text(refusal: Refusal) -> Response<Body> {
    let body = refusal.message.clone();
    with_headers(respond(refusal.status, Some("text/plain; charset=utf-8"), body.into()), refusal)
}

/// The answer to a preflight request.
pub(crate) fn preflight() -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// Lets a page of any origin read the answer. Credentials are named because the browser clients ask for them; what opens a hub is
/// the token, which no browser sends by itself, so that any origin is as harmless as none (reference, 1.3).
pub(crate) fn allow_origin(request: &HeaderMap, response: &mut Response<Body>) {
    let Some(origin) = request.get(ORIGIN) else { return };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

fn respond(status: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

fn with_headers(mut response: Response<Body>, refusal: Refusal) -> Response<Body> {
    let headers = response.headers_mut();
    if let Some(code) = refusal.ms_code {
        headers.insert(MS_ERROR_CODE, HeaderValue::from_static(code));
    }
    if let Some(header) = refusal.header {
        let (name, value) = *header;
        headers.insert(name, value);
    }
    response
}
