//! Requests of app servers: `GET /server/?hub=…&cid=…` opens a server connection, a WebSocket with a token for this hub. Also decides which
//! clients go to app servers.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_messages::Body;
use identity::Claims;

use super::access;
use super::shared::Shared;
use super::upgrade::Switch;
use crate::error_table;
use crate::from_protocol::{Query, hub_of_client};
use crate::rejection::Rejection;
use crate::servers::{AcceptError, ClientHandler, ConnectingServer, ForwardedHeaders, StickyServer};
use crate::to_protocol;
use realtime_engine::Hub;

/// Longest name of a server or of its connection, in characters.
const NAME_CHARS_MAX: usize = 256;

const SERVER_ID: HeaderName = HeaderName::from_static("x-asrs-server-id");

/// Responds to a request below `/server`. Also returns the operation, as a metrics label.
pub(super) async fn answer(shared: &Shared, request: Request<Body>) -> (&'static str, Response<Body>) {
    let path = request.uri().path().trim_end_matches('/');
    let answered = if path == "/server" {
        connect(shared, request).await
    } else {
        Err(Rejection::not_found("unknown path; app servers connect at /server/?hub=<hub>"))
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
    let connection_name = name(query.get("cid")).unwrap_or_else(|| shared.engine.issue().token.to_string());
    let header = request.headers().get(SERVER_ID).and_then(|value| value.to_str().ok());
    // SDKs send the server id in a header, older ones in the token.
    let server_id = name(header).or_else(|| name(claims.get("nameid")));
    let connecting = ConnectingServer {
        hub,
        server_id: server_id.unwrap_or_else(|| connection_name.clone()).into(),
        name: connection_name.into(),
    };
    let (upgrade, response) = switch.into_parts();
    shared.servers.accept(upgrade, connecting).map_err(|error| match error {
        AcceptError::Stopping => Rejection::stopping(),
        AcceptError::TooManyConnections(_) => {
            Rejection::new(&error_table::TOO_MANY_SERVER_CONNECTIONS, error.to_string())
        }
    })?;
    Ok(response)
}

/// A valid name: not empty and without semicolons, which separate names in a list.
fn name(text: Option<&str>) -> Option<String> {
    let name: String = text?.chars().filter(|one| *one != ';').take(NAME_CHARS_MAX).collect();
    (!name.trim().is_empty()).then_some(name)
}

/// The app server that a client's token names.
pub(super) fn sticky(claims: &Claims) -> Option<StickyServer> {
    let required = match claims.get("asrs.s.ssticky")? {
        mode if mode.eq_ignore_ascii_case("preferred") || mode == "1" => false,
        mode if mode.eq_ignore_ascii_case("required") || mode == "2" => true,
        _ => return None,
    };
    Some(StickyServer { server: claims.get("asrs.s.sn")?.into(), required })
}

/// Whether a client negotiated with an app server: the SDK of the app server adds the path of its hub to the client's query, which management
/// SDKs do not.
pub(super) fn is_of_app_server(query: &Query<'_>) -> bool {
    query.get("asrs.op").is_some_and(|path| !path.is_empty())
}

/// Whether an app server handles a client that connects now.
///
/// # Errors
///
/// If an app server should handle it, but none is connected; the status is that of Azure SignalR Service (reference, 4.6).
pub(super) fn is_served(
    shared: &Shared,
    hub: &Hub,
    claims: &Claims,
    query: &Query<'_>,
) -> Result<bool, Rejection> {
    let rejection = |message| Rejection::new(&error_table::NO_APP_SERVER, message);
    match shared.servers.client_handler(hub, sticky(claims).as_ref()) {
        ClientHandler::AppServer => Ok(true),
        ClientHandler::Upstream if is_of_app_server(query) && shared.servers.may_gain_server() => {
            Err(rejection(format!(
                "this client negotiated with an app server (asrs.op), and none is connected for hub {hub}; try again when it is"
            )))
        }
        ClientHandler::Upstream => Ok(false),
        ClientHandler::Unavailable => {
            let message = format!(
                "no app server that may serve this client is connected for hub {hub}; start one, or set the service's mode to 'serverless'"
            );
            Err(rejection(message))
        }
    }
}

/// The headers of a client's connect request for its app server.
///
/// # Errors
///
/// If they exceed the limits of the options.
pub(super) fn forwarded_headers(
    shared: &Shared,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<ForwardedHeaders, Rejection> {
    shared
        .servers
        .forwarded_headers(headers, peer)
        .map_err(|error| Rejection::new(&error_table::TOO_MANY_HEADERS, error.to_string()))
}

/// The app server for a client that is about to connect.
pub(super) fn for_client(
    shared: &Shared,
    hub: Hub,
    claims: &Claims,
    forwarded_headers: ForwardedHeaders,
) -> Arc<dyn realtime_engine::AppServer> {
    shared.servers.for_client(hub, sticky(claims), forwarded_headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_may_name_an_app_server() {
        let check = |claims: &[(&str, &str)], expected: Option<(&str, bool)>| {
            let expected =
                expected.map(|(server, required)| StickyServer { server: server.into(), required });
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
    fn server_names_are_shortened_and_lose_their_semicolons() {
        assert_eq!(name(Some("a;b")).as_deref(), Some("ab"));
        assert_eq!(name(Some("x".repeat(1000).as_str())).unwrap().len(), NAME_CHARS_MAX);
        assert_eq!(name(Some(" ; ")), None);
        assert_eq!(name(None), None);
    }
}
