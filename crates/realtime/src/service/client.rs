//! The way of a client: negotiate, connect, and over to the engine. `connect.rs` has WebSockets, `requests.rs` the transports
//! that are made of requests.

mod connect;
mod refresh;
mod requests;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HOST, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_messages::Body;
use identity::Claims;
use signalr_protocol::{NegotiateAnswer, Transport, negotiate_version};

use super::{Shared, access, server, unix_now};
use crate::authentication;
use crate::engine::{Admission, Arrival, ConnectionId, ConnectionToken, Facts, Guard, Hub, UserId};
use crate::error::Refusal;
use crate::from_protocol::{Query, hub_of_client, refuse_compressed};
use crate::servers::Sticky;
use crate::store::sessions::Session;
use crate::store::{Full, Negotiated, Taken};
use crate::to_protocol;

/// In the order in which clients are to try them.
const TRANSPORTS: [Transport; 3] =
    [Transport::WebSockets, Transport::ServerSentEvents, Transport::LongPolling];

/// Parts of a client's query that are for us and for nobody else.
const OWN_QUERY: [&str; 3] = ["access_token", "id", "_"];

/// Answers any request below `/client`, with the label for metrics.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    mut request: Request<Body>,
) -> (&'static str, Response<Body>) {
    let path = request.uri().path().trim_end_matches('/').to_ascii_lowercase();
    let is_get = *request.method() == Method::GET;
    let (operation, answered) = if path == "/client/negotiate" {
        if let Some((hub, sticky)) = to_await(shared, &request) {
            shared.servers.await_server(&hub, sticky.as_ref()).await;
        }
        ("negotiate", negotiate(shared, &request))
    } else if path == "/client/refresh" {
        // Read apart: the request's body is for one thread, and must not be held while a shard is asked.
        let refreshed = match refresh::read(shared, &request) {
            Ok(Ok(asked)) => refresh::carry_out(shared, asked).await,
            Ok(Err(answer)) => Ok(answer),
            Err(refusal) => Err(refusal),
        };
        ("refresh", refreshed)
    } else if path == "/client" {
        route(shared, &mut request).await
    } else {
        let message = "clients negotiate at /client/negotiate and connect at /client/";
        ("unknown", Err(Refusal::not_found(message)))
    };
    let is_refused = answered.is_err();
    let mut response = answered.unwrap_or_else(to_protocol::error_text);
    if is_get && is_refused {
        // A poll comes again to the same address.
        requests::never_cached(&mut response);
    }
    (operation, response)
}

/// A client whose token was checked.
struct Caller<'a> {
    query: &'a Query<'a>,
    hub: Hub,
    claims: Claims,
    /// The address of the other end of its connection.
    address: Option<IpAddr>,
}

/// Which transport a request to the endpoint itself belongs to.
async fn route(
    shared: &Arc<Shared>,
    request: &mut Request<Body>,
) -> (&'static str, Result<Response<Body>, Refusal>) {
    let uri = request.uri().clone();
    let query = Query::parse(uri.query());
    let caller = match caller(shared, request, &query) {
        Ok(caller) => caller,
        Err(refusal) => return ("connect", Err(refusal)),
    };
    name_host(request.headers_mut(), &uri);
    if *request.method() == Method::GET && server::is_of_app_server(&query) && begins(shared, &caller) {
        shared.servers.await_server(&caller.hub, server::sticky(&caller.claims).as_ref()).await;
    }
    let accepts_events = |request: &Request<Body>| {
        let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/event-stream"))
    };
    match *request.method() {
        Method::GET if asks_for_websocket(request) => {
            ("connect", connect::websocket(shared, request, caller))
        }
        Method::GET if accepts_events(request) => {
            ("events", requests::events(shared, caller, request.headers()).await)
        }
        Method::GET => ("poll", requests::poll(shared, caller, request.headers()).await),
        Method::POST => {
            if let Err(refusal) = refuse_compressed(request.headers()) {
                return ("send", Err(refusal));
            }
            let body = std::mem::take(request.body_mut());
            ("send", requests::send(shared, &caller, body).await)
        }
        Method::DELETE => ("delete", requests::delete(shared, &caller).await),
        _ => ("unknown", Err(Refusal::method("GET, POST, DELETE, OPTIONS"))),
    }
}

/// HTTP/2 has no `Host`, which hubs read all the same (`HttpContext.Request.Host`).
fn name_host(headers: &mut HeaderMap, uri: &Uri) {
    if let Some(authority) = uri.authority().filter(|_| !headers.contains_key(HOST))
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(HOST, host);
    }
}

/// Whether a request wants a WebSocket. One that offers another protocol, as clients of HTTP/2 do, is like any other.
fn asks_for_websocket(request: &Request<Body>) -> bool {
    let mut upgrades = request.headers().get_all(UPGRADE).into_iter().filter_map(|value| value.to_str().ok());
    let is_websocket = |protocol: &str| {
        protocol.trim().split('/').next().is_some_and(|name| name.eq_ignore_ascii_case("websocket"))
    };
    upgrades.any(|value| value.split(',').any(is_websocket))
}

fn caller<'a>(shared: &Shared, request: &Request<Body>, query: &'a Query<'a>) -> Result<Caller<'a>, Refusal> {
    let hub = hub_of_client(query, &shared.instance)?;
    let claims = access::client(shared, request, query, &hub)?;
    let peer = request.extensions().get::<edge::Peer>();
    Ok(Caller { query, hub, claims, address: peer.map(|peer| peer.remote.ip().to_canonical()) })
}

/// The hub of a client that negotiates, and the server that its token asks for, where it may have to wait for a server.
fn to_await(shared: &Shared, request: &Request<Body>) -> Option<(Hub, Option<Sticky>)> {
    let query = Query::parse(request.uri().query());
    if !shared.servers.may_come() || !server::is_of_app_server(&query) {
        return None;
    }
    // One that is refused is told so when it negotiates.
    let Caller { hub, claims, .. } = caller(shared, request, &query).ok()?;
    Some((hub, server::sticky(&claims)))
}

/// Whether a request begins a connection, and is not one more of a connection that is there.
fn begins(shared: &Shared, caller: &Caller<'_>) -> bool {
    let Caller { query, hub, claims, .. } = caller;
    query.id().is_none_or(|secret| shared.sessions.get(secret, hub, claims.user_id()).is_none())
}

fn negotiate(shared: &Shared, request: &Request<Body>) -> Result<Response<Body>, Refusal> {
    if *request.method() != Method::POST {
        return Err(Refusal::method("POST, OPTIONS"));
    }
    refuse_while_stopping(shared)?;
    let query = Query::parse(request.uri().query());
    let Caller { hub, claims, address, .. } = caller(shared, request, &query)?;
    refuse_newcomers(shared, &hub)?;
    let is_served = server::is_served(shared, &hub, &claims, &query)?;
    if is_served {
        // A client that would be refused for its headers learns it here, where browsers show the reason.
        server::passed_on(shared, request.headers(), address)?;
    }
    let version = match negotiate_version(query.get("negotiateVersion"), 0) {
        Ok(version) => version,
        // By the protocol this is an answer with status 200, so that the client shows the text and stops.
        Err(error) => return Ok(to_protocol::json(NegotiateAnswer::Error(error.to_string()).to_json())),
    };
    let asks_for_state =
        query.get("useStatefulReconnect").is_some_and(|asked| asked.eq_ignore_ascii_case("true"));
    let may_keep_state = !is_served || shared.servers.all_stateful(&hub);
    let stateful =
        version > 0 && asks_for_state && may_keep_state && shared.options.engine.stateful_reconnect;
    let issued = shared.engine.issue();
    let (id, token) = (issued.connection.to_string(), issued.token.to_string());
    let user_id = claims.user_id().map(Into::into);
    let negotiated = Negotiated { connection: issued.connection, hub, user_id, stateful, early: Vec::new() };
    // Version 0 knows one id, which is secret and public at once.
    let secret = if version == 0 { &id } else { &token };
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    negotiations.insert(secret, negotiated, Instant::now()).map_err(|Full| {
        let message = "too many clients have negotiated and not connected; try again in a moment";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyNegotiations", message)
    })?;
    drop(negotiations);
    let transports = TRANSPORTS.into_iter().filter(|transport| is_allowed(&claims, *transport)).collect();
    let answer = match version {
        0 => NegotiateAnswer::V0 { connection_id: id, transports },
        _ => NegotiateAnswer::V1 {
            connection_id: id,
            connection_token: token,
            transports,
            stateful,
            token_lifetime_s: authentication::lifetime_s(&claims, unix_now()),
        },
    };
    Ok(to_protocol::json(answer.to_json()))
}

/// Whether the app allows a transport: `asrs.s.htt` has a bit for each (reference, 1.9; the flags are those of
/// `HttpTransportType`).
fn is_allowed(claims: &Claims, transport: Transport) -> bool {
    let Some(allowed) = claims.get("asrs.s.htt").and_then(|flags| flags.parse::<u32>().ok()) else {
        return true;
    };
    let bit = match transport {
        Transport::WebSockets => 1,
        Transport::ServerSentEvents => 2,
        Transport::LongPolling => 4,
    };
    allowed & bit != 0
}

/// A connection that is about to begin.
struct Newcomer {
    /// What the client will come with again, where it negotiated.
    secret: Option<String>,
    admission: Admission,
    /// What it has sent already, by requests.
    early: Vec<u8>,
}

/// Lets a client in on the id that it negotiated, or on a new one where it skipped negotiation.
fn newcomer(
    shared: &Shared,
    caller: Caller<'_>,
    headers: &HeaderMap,
    transport: Transport,
) -> Result<Newcomer, Refusal> {
    let Caller { query, hub, claims, address } = caller;
    if !is_allowed(&claims, transport) {
        let message = format!("the transport {} is not allowed by this client's token", transport.name());
        return Err(Refusal::new(StatusCode::NOT_FOUND, "TransportDisabled", message));
    }
    refuse_newcomers(shared, &hub)?;
    let is_served = server::is_served(shared, &hub, &claims, query)?;
    let passed_on = if is_served { Some(server::passed_on(shared, headers, address)?) } else { None };
    let (connection, secret, stateful, early) = match query.id() {
        None => (shared.engine.issue().connection, None, false, Vec::new()),
        Some(secret) => {
            let Negotiated { connection, stateful, early, .. } =
                take(shared, secret, &hub, claims.user_id())?;
            (connection, Some(secret.to_owned()), stateful, early)
        }
    };
    let arrival = Some(Arrival { transport, address });
    let mut admission = admission(hub, connection, &claims);
    // A server or an upstream wants to know who its clients are, and whoever knows a connection's token may refresh its authentication.
    let has_token = secret.as_deref().is_some_and(|secret| {
        ConnectionToken::parse(secret).is_ok_and(|token| token.connection() == connection)
    });
    if passed_on.is_some() || has_token || shared.upstream.keeps_facts(&admission.hub) {
        admission.facts = Some(Arc::new(facts(&claims, query, arrival)));
    }
    if let Some(passed_on) = passed_on {
        let hub = admission.hub.clone();
        admission.server = Some(server::for_client(shared, hub, &claims, passed_on));
    }
    admission.stateful = stateful && transport == Transport::WebSockets;
    Ok(Newcomer { secret, admission, early })
}

fn take(shared: &Shared, secret: &str, hub: &Hub, user_id: Option<&str>) -> Result<Negotiated, Refusal> {
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    match negotiations.take(secret, hub, user_id, Instant::now()) {
        Taken::Fresh(negotiated) => Ok(negotiated),
        Taken::Used => Err(in_use()),
        Taken::Unknown => Err(unknown_id()),
    }
}

/// Remembers that the client may come again with its secret, for as long as the guard lives.
fn remember(shared: &Shared, secret: &str, session: Session) -> Guard {
    let guard = shared.sessions.insert(secret, session);
    // Otherwise it would be known as used when the session has ended, and not as ended.
    shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner).forget(secret);
    guard
}

fn admission(hub: Hub, connection: ConnectionId, claims: &Claims) -> Admission {
    let mut admission = Admission::new(hub, connection, claims.user_id().map(UserId::new));
    admission.handshake_timeout = claims.system().handshake_timeout_s.map(Duration::from_secs);
    admission.expires_at = authentication::ends_at(claims);
    admission.roles = authentication::roles(claims);
    admission
}

fn facts(claims: &Claims, query: &Query<'_>, arrival: Option<Arrival>) -> Facts {
    let claims = authentication::payload(claims);
    Facts { claims: claims.into(), query: query.without(&OWN_QUERY).into(), arrival }
}

fn in_use() -> Refusal {
    let message = "a client has connected with this id already";
    Refusal::new(StatusCode::CONFLICT, "ConnectionInUse", message)
}

/// In the words of ASP.NET Core, which clients compare. docs/errors says more.
fn unknown_id() -> Refusal {
    Refusal::not_found("No Connection with that ID")
}

fn refuse_while_stopping(shared: &Shared) -> Result<(), Refusal> {
    let is_stopping = shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner).is_none();
    if is_stopping { Err(Refusal::stopping()) } else { Ok(()) }
}

fn refuse_newcomers(shared: &Shared, hub: &Hub) -> Result<(), Refusal> {
    refuse_while_stopping(shared)?;
    let full = |message: String| Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyConnections", message);
    if shared.engine.is_full() {
        return Err(full("the service holds as many connections as it may; try again later".to_owned()));
    }
    if let Some(most) = shared.engine.hub_is_full(hub) {
        return Err(full(format!("hub {hub} holds as many connections as it may: {most}; try again later")));
    }
    Ok(())
}
