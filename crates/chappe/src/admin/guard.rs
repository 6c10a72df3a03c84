//! Who may ask the process about itself: this machine, by a name of this machine. Which pages may, the guard before it says.

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::json;

/// Why a request was not answered. Each has a page under `docs/errors/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotThisMachine,
    NoSuchPath,
    NoTraceId,
    NoSuchPlace,
    UnreadableLetters,
    NoSuchFilter,
    TooManyWatch,
    Draining,
}

/// In the extensions of a request that came in on the admin port: whoever opened that port decided who reaches it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnPort;

/// Admits a request, or says why not.
pub(super) fn admit(request: &Parts) -> Result<(), Refusal> {
    if request.extensions.get::<OwnPort>().is_some() {
        return Ok(());
    }
    let peer = request.extensions.get::<edge::Peer>();
    let here = peer.is_some_and(|peer| peer.remote.ip().to_canonical().is_loopback());
    // A page of somewhere else can make a browser on this machine connect here, under a name of its own (DNS rebinding): the
    // name that the browser asked for gives it away.
    if !here || !request.uri.host().is_some_and(is_loopback_name) {
        return Err(Refusal::NotThisMachine);
    }
    Ok(())
}

fn is_loopback_name(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Refusal {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotThisMachine => (
                StatusCode::FORBIDDEN,
                "admin-not-this-machine",
                "Only this machine may ask, by the name localhost or a loopback address.",
            ),
            Self::NoSuchPath => {
                (StatusCode::NOT_FOUND, "admin-no-such-path", "The admin API has no such operation.")
            }
            Self::NoTraceId => (
                StatusCode::BAD_REQUEST,
                "admin-no-trace-id",
                "A trace id is 32 lower-case hexadecimal digits.",
            ),
            Self::NoSuchPlace => (
                StatusCode::BAD_REQUEST,
                "admin-no-such-place",
                "`after` is the `next` of the page before; leave it out to begin with the oldest.",
            ),
            Self::UnreadableLetters => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "admin-unreadable-letters",
                "The dead letters cannot be read; the log says why.",
            ),
            Self::NoSuchFilter => (
                StatusCode::BAD_REQUEST,
                "admin-no-such-filter",
                "`hub` is no hub name, or `connection` is no connection id.",
            ),
            Self::TooManyWatch => (
                StatusCode::TOO_MANY_REQUESTS,
                "admin-too-many-watch",
                "As many watch as may; end one of them, or raise realtime.watchers_max.",
            ),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                "admin-draining",
                "The process is ending; ask the one that comes after it.",
            ),
        }
    }

    pub(super) fn respond(self) -> Response<http_messages::Body> {
        let (status, code, message) = self.parts();
        let body = json!({ "error": { "code": code, "message": message } }).to_string();
        let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn ask(uri: &str, remote: &str) -> Result<(), Refusal> {
        let (mut parts, ()) = Request::get(uri).body(()).expect("a request").into_parts();
        let remote = remote.parse().expect("an address");
        parts.extensions.insert(edge::Peer { remote, local: remote, tls: false });
        admit(&parts)
    }

    #[test]
    fn only_this_machine_by_its_own_name_may_ask() {
        assert_eq!(ask("http://localhost:8080/metrics", "127.0.0.1:9"), Ok(()));
        assert_eq!(ask("http://[::1]:8080/metrics", "[::1]:9"), Ok(()));
        let elsewhere = Err(Refusal::NotThisMachine);
        assert_eq!(ask("http://localhost:8080/metrics", "192.168.1.9:9"), elsewhere);
        assert_eq!(ask("http://evil.example:8080/metrics", "127.0.0.1:9"), elsewhere);
    }
}
