//! The way of a client: negotiate, connect, and over to the engine.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use identity::Claims;
use signalr_protocol::{NegotiateAnswer, Transport, negotiate_version};
use websocket::accept_upgrade;

use super::{Shared, access};
use crate::engine::{Admission, ConnectionId, Hub, UserId};
use crate::error::Refusal;
use crate::from_protocol::{Query, hub_of_client};
use crate::store::{Full, Negotiated, Taken};
use crate::{Body, to_protocol};

/// The transports that are offered. Server-Sent Events and long polling will follow; until then negotiate does not name them, and
/// a client that asks for one anyway is told.
const TRANSPORTS: [Transport; 1] = [Transport::WebSockets];

/// Answers any request below `/client`, with the label for metrics.
pub(super) fn answer(shared: &Arc<Shared>, mut request: Request<Body>) -> (&'static str, Response<Body>) {
    let headers = request.headers().clone();
    let path = request.uri().path().trim_end_matches('/');
    let (operation, answered) = if *request.method() == Method::OPTIONS {
        ("preflight", Ok(to_protocol::preflight()))
    } else if path == "/client/negotiate" {
        ("negotiate", negotiate(shared, &request))
    } else if path == "/client" {
        ("connect", connect(shared, &mut request))
    } else {
        let message = "clients negotiate at /client/negotiate and connect at /client/";
        ("unknown", Err(Refusal::not_found(message)))
    };
    let mut response = answered.unwrap_or_else(to_protocol::error_text);
    to_protocol::allow_origin(&headers, &mut response);
    (operation, response)
}

fn negotiate(shared: &Shared, request: &Request<Body>) -> Result<Response<Body>, Refusal> {
    if *request.method() != Method::POST {
        return Err(Refusal::method("POST, OPTIONS"));
    }
    refuse_newcomers(shared)?;
    let query = Query::parse(request.uri().query());
    let hub = hub_of_client(&query, &shared.instance)?;
    let claims = access::client(shared, request, &query, &hub)?;
    let version = match negotiate_version(query.get("negotiateVersion"), 0) {
        Ok(version) => version,
        // By the protocol this is an answer with status 200, so that the client shows the text and stops.
        Err(error) => return Ok(to_protocol::json(NegotiateAnswer::Error(error.to_string()).to_json())),
    };
    let issued = shared.engine.issue();
    let (id, token) = (issued.connection.to_string(), issued.token.to_string());
    let negotiated =
        Negotiated { connection: issued.connection, hub, user_id: claims.user_id().map(Into::into) };
    // Version 0 knows one id, which is secret and public at once.
    let secret = if version == 0 { &id } else { &token };
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    negotiations.insert(secret, negotiated, Instant::now()).map_err(|Full| {
        let message = "too many clients have negotiated and not connected; try again in a moment";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyNegotiations", message)
    })?;
    drop(negotiations);
    let transports = TRANSPORTS.to_vec();
    let answer = match version {
        0 => NegotiateAnswer::V0 { connection_id: id, transports },
        _ => NegotiateAnswer::V1 { connection_id: id, connection_token: token, transports },
    };
    Ok(to_protocol::json(answer.to_json()))
}

fn connect(shared: &Arc<Shared>, request: &mut Request<Body>) -> Result<Response<Body>, Refusal> {
    refuse_newcomers(shared)?;
    let uri = request.uri().clone();
    let query = Query::parse(uri.query());
    let hub = hub_of_client(&query, &shared.instance)?;
    let claims = access::client(shared, request, &query, &hub)?;
    if !request.headers().contains_key(UPGRADE) {
        return Err(other_transport(shared, request.method(), &query, &hub));
    }
    let accept = accept_upgrade(request).map_err(|refused| {
        let refusal = Refusal::new(refused.status(), "WebSocketHandshake", refused.to_string());
        match refused.header() {
            Some((name, value)) => refusal.with(name, HeaderValue::from_static(value)),
            None => refusal,
        }
    })?;
    let upgrade = request.extensions_mut().remove::<edge::Upgrade>().ok_or_else(|| {
        let message = "this listener cannot hand WebSockets over";
        Refusal::new(StatusCode::NOT_IMPLEMENTED, "UpgradeUnavailable", message)
    })?;
    let connection = connection_of(shared, &query, &hub, claims.user_id())?;
    hand_over(shared, upgrade, admission(hub, connection, &claims))?;
    let mut response = to_protocol::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&accept).expect("base64 is a header value");
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// The id that was negotiated, or a new one where the client skipped negotiation.
fn connection_of(
    shared: &Shared,
    query: &Query<'_>,
    hub: &Hub,
    user_id: Option<&str>,
) -> Result<ConnectionId, Refusal> {
    let Some(secret) = query.get("id") else { return Ok(shared.engine.issue().connection) };
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    match negotiations.take(secret, hub, user_id, Instant::now()) {
        Taken::Fresh(negotiated) => Ok(negotiated.connection),
        Taken::Used => {
            let message = "a client has connected with this id already";
            Err(Refusal::new(StatusCode::CONFLICT, "ConnectionInUse", message))
        }
        Taken::Unknown => Err(unknown_id(shared)),
    }
}

fn admission(hub: Hub, connection: ConnectionId, claims: &Claims) -> Admission {
    let system = claims.system();
    let expires_at = system.auth_expires_on_unix_s.filter(|_| system.close_on_auth_expiration);
    Admission {
        hub,
        connection,
        user: claims.user_id().map(UserId::new),
        handshake_timeout: system.handshake_timeout_s.map(Duration::from_secs),
        expires_at: expires_at.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
    }
}

/// Takes the socket over once the answer is sent, in a task that [`super::Join`] awaits.
fn hand_over(shared: &Arc<Shared>, upgrade: edge::Upgrade, admission: Admission) -> Result<(), Refusal> {
    let engine = shared.engine.clone();
    let under_way = shared.upgrades_under_way.clone();
    let mut upgrades = shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner);
    let upgrades = upgrades.as_mut().ok_or_else(Refusal::stopping)?;
    // Those that have ended give their memory back here; nobody else waits for them before the drain.
    while upgrades.try_join_next().is_some() {}
    under_way.inc();
    upgrades.spawn(async move {
        let connection = admission.connection;
        match upgrade.into_socket().await {
            Ok(socket) => {
                if let Err(error) = engine.attach(socket, admission).await {
                    tracing::warn!(%connection, %error, "a client was turned away after its WebSocket opened");
                }
            }
            Err(error) => tracing::debug!(%connection, %error, "a client left before its WebSocket opened"),
        }
        under_way.dec();
    });
    Ok(())
}

/// Says no to Server-Sent Events and long polling, in the way of the reference, 1.3.
fn other_transport(shared: &Shared, method: &Method, query: &Query<'_>, hub: &Hub) -> Refusal {
    if ![Method::GET, Method::POST, Method::DELETE].contains(method) {
        return Refusal::method("GET, OPTIONS");
    }
    let Some(secret) = query.get("id") else {
        return Refusal::bad_request(
            "MissingConnectionId",
            "Connection ID required; negotiate at /client/negotiate, or connect over WebSockets",
        );
    };
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    if !negotiations.contains(secret, hub, Instant::now()) {
        return unknown_id(shared);
    }
    match *method {
        Method::GET => Refusal::not_found(
            "only the WebSockets transport is offered; Server-Sent Events and long polling are not",
        ),
        Method::POST => Refusal::method("GET"),
        _ => Refusal::bad_request("WrongTransport", "a WebSocket is closed by its own close, not by DELETE"),
    }
}

fn unknown_id(shared: &Shared) -> Refusal {
    let seconds = shared.options.negotiation_lifetime_ms.div_ceil(1_000);
    Refusal::not_found(format!(
        "no negotiation has this id; a client connects within {seconds} seconds of negotiating, with the same user and hub"
    ))
}

fn refuse_newcomers(shared: &Shared) -> Result<(), Refusal> {
    if shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        return Err(Refusal::stopping());
    }
    if shared.engine.is_full() {
        let message = "the service holds as many connections as it may; try again later";
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyConnections", message));
    }
    Ok(())
}
