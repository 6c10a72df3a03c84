//! What a refused caller reads. Each code has a page under `docs/errors/`.

use gateway::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::json;

/// The process was called by a name that is none of its own.
pub(super) fn host(name: &str) -> Response<Body> {
    let name: String = name.chars().take(253).collect();
    respond(
        "guard-host-not-allowed",
        &format!(
            "This process may not be called by the name {name}. Use localhost, or add the name to guard.hosts in chappe.toml."
        ),
    )
}

/// A page asked that is not served from here.
pub(super) fn foreign_page(headers: &HeaderMap) -> Response<Body> {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let origin: String = origin.unwrap_or("another site").chars().take(253).collect();
    respond(
        "guard-foreign-page",
        &format!(
            "A page of {origin} may not ask for this. Use a program, or a page that this process serves; docs/guard.md says which pages may ask for what."
        ),
    )
}

fn respond(code: &'static str, message: &str) -> Response<Body> {
    let body = json!({ "error": { "code": code, "message": message } }).to_string();
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
