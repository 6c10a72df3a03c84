//! The responses of the guard to requests that it rejects.

use http::{HeaderMap, HeaderValue, Response, header};
use http_messages::{Body, ErrorDescription};

use super::error_table;

/// The host name of the request is not a name of this process.
pub(super) fn host(name: &str) -> Response<Body> {
    let name: String = name.chars().take(253).collect();
    respond(
        &error_table::HOST_NOT_ALLOWED,
        &format!(
            "This process may not be called by the name {name}. Use localhost, or add the name to guard.hosts in chappe.toml."
        ),
    )
}

/// A page of another site sent the request.
pub(super) fn foreign_page(headers: &HeaderMap) -> Response<Body> {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let origin: String = origin.unwrap_or("another site").chars().take(253).collect();
    respond(
        &error_table::FOREIGN_PAGE,
        &format!(
            "A page of {origin} may not ask for this. Use a program, or a page that this process serves; docs/guard.md says which pages may ask for what."
        ),
    )
}

fn respond(error: &'static ErrorDescription, message: &str) -> Response<Body> {
    let mut response = error.json_response(message);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
