//! The page at `/`, which tools poll to see whether the app runs.

use http::{Response, StatusCode};
use http_messages::{Body, empty, response};

const PAGE: &str = "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Chappe</title></head>\n<body>\n\
    <h1>Your function app is up and running</h1>\n<p>Its functions answer under their own addresses.</p>\n</body>\n</html>\n";

/// 200 with a page, or 204 if the settings of the app disable the page.
pub(super) fn page(is_disabled: bool) -> Response<Body> {
    if is_disabled {
        return empty(StatusCode::NO_CONTENT);
    }
    response(StatusCode::OK, Some("text/html"), bytes::Bytes::from_static(PAGE.as_bytes()))
}

/// 503 with a page that contains the reason why the app does not run.
pub(super) fn not_running(why: &str) -> Response<Body> {
    let why = why.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Chappe</title></head>\n<body>\n\
         <h1>Your function app is not running</h1>\n<pre>{why}</pre>\n</body>\n</html>\n"
    );
    response(StatusCode::SERVICE_UNAVAILABLE, Some("text/html; charset=utf-8"), page)
}
