//! The way of an app server: `GET /server/?hub=…&cid=…`, a WebSocket with a token for this hub, and over to [`crate::servers`]. And
//! which clients go to app servers.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_messages::Body;
use identity::Claims;

use super::access;
use super::shared::Shared;
use super::upgrade::Switch;
use crate::engine::Hub;
use crate::from_protocol::{Query, hub_of_client};
use crate::rejection::Rejection;
use crate::servers::{Answerer, NotTaken, PassedOn, Sticky, Visitor};
use crate::to_protocol;

/// Longest name of a server or of its connection, in characters.
const NAME_CHARS_MAX: usize = 256;

const SERVER_ID: HeaderName = HeaderName::from_static("x-asrs-server-id");

/// Answers any request below `/server`, with the label for metrics.
pub(super) async fn answer(shared: &Shared, request: Request<Body>) -> (&'static str, Response<Body>) {
    let path = request.uri().path().trim_end_matches('/');
    let answered = if path == "/server" {
        connect(shared, request).await
    } else {
        Err(Rejection::not_found("app servers connect at /server/?hub=<hub>"))
    };
    ("server", answered.unwrap_or_else(to_protocol::error_text))
}

async fn connect(shared: &Shared, request: Request<Body>) -> Result<Response<Body>, Rejection> {
    if *request.method() != Method::GET {
        return Err(Rejection::method("GET"));
    }
    let (head, body) = request.into_parts();
    let uri = head.uri.clone();
    let query = Query::parse(uri.query());
    let hub = hub_of_client(&query, &shared.instance)?;
    let claims = access::server(shared, &head, &hub).await?;
    let mut request = Request::from_parts(head, body);
    let switch = Switch::of(&mut request)?;
    let connection = name(query.get("cid")).unwrap_or_else(|| shared.engine.issue().token.to_string());
    let header = request.headers().get(SERVER_ID).and_then(|value| value.to_str().ok());
    // The SDK sends its name in the header, and older ones in the token.
    let server = name(header).or_else(|| name(claims.get("nameid")));
    let visitor = Visitor {
        hub,
        server: server.unwrap_or_else(|| connection.clone()).into(),
        connection: connection.into(),
    };
    let (upgrade, response) = switch.into_parts();
    shared.servers.welcome(upgrade, visitor).map_err(|error| match error {
        NotTaken::Stopping => Rejection::stopping(),
        NotTaken::Full(_) => {
            Rejection::new(StatusCode::TOO_MANY_REQUESTS, "TooManyServerConnections", error.to_string())
        }
    })?;
    Ok(response)
}

/// A name that is one. A list of servers has semicolons between them.
fn name(text: Option<&str>) -> Option<String> {
    let name: String = text?.chars().filter(|one| *one != ';').take(NAME_CHARS_MAX).collect();
    (!name.trim().is_empty()).then_some(name)
}

/// The server that a client's token asks for.
pub(super) fn sticky(claims: &Claims) -> Option<Sticky> {
    let required = match claims.get("asrs.s.ssticky")? {
        mode if mode.eq_ignore_ascii_case("preferred") || mode == "1" => false,
        mode if mode.eq_ignore_ascii_case("required") || mode == "2" => true,
        _ => return None,
    };
    Some(Sticky { server: claims.get("asrs.s.sn")?.into(), required })
}

/// Whether a client negotiated with an app server: its SDK puts the path of its hub into the client's query. Management SDKs, whose clients
/// have no app server, put none there.
pub(super) fn is_of_app_server(query: &Query<'_>) -> bool {
    query.get("asrs.op").is_some_and(|path| !path.is_empty())
}

/// Whether an app server will answer a client that comes now.
///
/// # Errors
///
/// If one should and none is there; the status is that of the service (reference, 4.6).
pub(super) fn is_served(
    shared: &Shared,
    hub: &Hub,
    claims: &Claims,
    query: &Query<'_>,
) -> Result<bool, Rejection> {
    let rejection = |message| Rejection::new(StatusCode::INTERNAL_SERVER_ERROR, "NoAppServer", message);
    match shared.servers.answerer(hub, sticky(claims).as_ref()) {
        Answerer::Servers => Ok(true),
        Answerer::Upstream if is_of_app_server(query) && shared.servers.may_come() => {
            Err(rejection(format!(
                "this client negotiated with an app server (asrs.op), and none is connected for hub {hub}; try again when it is"
            )))
        }
        Answerer::Upstream => Ok(false),
        Answerer::Nobody => {
            let message = format!(
                "no app server that may answer this client is connected for hub {hub}; start one, or set the service's mode to 'serverless'"
            );
            Err(rejection(message))
        }
    }
}

/// What of a client's connect request its app server is told.
///
/// # Errors
///
/// If that is more than the options allow.
pub(super) fn passed_on(
    shared: &Shared,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<PassedOn, Rejection> {
    shared.servers.passed_on(headers, peer).map_err(|error| {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Rejection::new(status, "TooManyHeaders", error.to_string())
    })
}

/// Makes the one who answers for a client that is about to connect.
pub(super) fn for_client(
    shared: &Shared,
    hub: Hub,
    claims: &Claims,
    passed_on: PassedOn,
) -> Arc<dyn crate::engine::AppServer> {
    shared.servers.for_client(hub, sticky(claims), passed_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_ask_for_a_server() {
        let check = |claims: &[(&str, &str)], expected: Option<(&str, bool)>| {
            let expected = expected.map(|(server, required)| Sticky { server: server.into(), required });
            assert_eq!(sticky(&claims.iter().copied().collect()), expected, "{claims:?}");
        };
        check(&[], None);
        check(&[("asrs.s.sn", "a")], None);
        check(&[("asrs.s.ssticky", "Required")], None);
        check(&[("asrs.s.sn", "a"), ("asrs.s.ssticky", "Disabled")], None);
        check(&[("asrs.s.sn", "a"), ("asrs.s.ssticky", "Preferred")], Some(("a", false)));
        check(&[("asrs.s.sn", "a"), ("asrs.s.ssticky", "required")], Some(("a", true)));
    }

    #[test]
    fn names_are_bounded_and_can_be_listed() {
        assert_eq!(name(Some("a;b")).as_deref(), Some("ab"));
        assert_eq!(name(Some("x".repeat(1000).as_str())).unwrap().len(), NAME_CHARS_MAX);
        assert_eq!(name(Some(" ; ")), None);
        assert_eq!(name(None), None);
    }
}
