//! What a refused caller reads. Each code has a page under `docs/errors/`.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_messages::Body;
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
    let mut response = http_messages::json(StatusCode::FORBIDDEN, body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
