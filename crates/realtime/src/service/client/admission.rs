//! Creates the engine's [`ClientAdmission`] from a verified request.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use identity::Claims;
use signalr_protocol::TransportType;

use super::caller::Caller;
use super::rejections::{id_in_use, reject_beyond_limits, unknown_id};
use super::transports::is_allowed;
use crate::authentication;
use crate::error_table;
use crate::from_protocol::Query;
use crate::rejection::Rejection;
use crate::service::{Shared, server};
use crate::store::sessions::Session;
use crate::store::{ClaimedNegotiation, Negotiated};
use realtime_engine::{
    ClientAdmission, ClientContext, ConnectionGuard, ConnectionId, ConnectionToken, Hub, RemoteEndpoint,
    UserId,
};

/// Query parameters of the client that are not passed on to app servers and upstreams.
const OWN_QUERY: [&str; 3] = ["access_token", "id", "_"];

/// A connection that is about to open.
pub(super) struct NewConnection {
    /// The connection token of the client's further requests, if it negotiated.
    pub(super) secret: Option<String>,
    pub(super) admission: ClientAdmission,
    /// Bytes that the client has sent by POST already.
    pub(super) early: Vec<u8>,
}

/// Admits a client with the connection token that it negotiated, or with a new id if it skipped negotiation.
pub(super) fn new_connection(
    shared: &Shared,
    caller: Caller<'_>,
    headers: &HeaderMap,
    transport: TransportType,
) -> Result<NewConnection, Rejection> {
    let Caller { query, hub, claims, address } = caller;
    if !is_allowed(&claims, transport) {
        let message = format!("the transport {} is not allowed by this client's token", transport.name());
        return Err(Rejection::new(&error_table::TRANSPORT_DISABLED, message));
    }
    reject_beyond_limits(shared, &hub)?;
    let is_served = server::is_served(shared, &hub, &claims, query)?;
    let forwarded_headers =
        if is_served { Some(server::forwarded_headers(shared, headers, address)?) } else { None };
    let (connection, secret, stateful, early) = match query.id() {
        None => (shared.engine.issue().connection, None, false, Vec::new()),
        Some(secret) => {
            let Negotiated { connection, stateful, early, .. } =
                claim_negotiated(shared, secret, &hub, claims.user_id())?;
            (connection, Some(secret.to_owned()), stateful, early)
        }
    };
    let remote = Some(RemoteEndpoint { transport, address });
    let mut admission = admission(hub, connection, &claims);
    // App servers and upstreams read these claims, and so does a refresh of the authentication, which needs the connection token.
    let has_token = secret.as_deref().is_some_and(|secret| {
        ConnectionToken::parse(secret).is_ok_and(|token| token.connection() == connection)
    });
    if forwarded_headers.is_some() || has_token || shared.upstream.keeps_client_context(&admission.hub) {
        admission.client_context = Some(Arc::new(client_context(&claims, query, remote)));
    }
    if let Some(forwarded_headers) = forwarded_headers {
        let hub = admission.hub.clone();
        admission.server = Some(server::for_client(shared, hub, &claims, forwarded_headers));
    }
    admission.stateful = stateful && transport == TransportType::WebSockets;
    Ok(NewConnection { secret, admission, early })
}

/// Claims the connection token that a client negotiated; it opens one connection.
fn claim_negotiated(
    shared: &Shared,
    secret: &str,
    hub: &Hub,
    user_id: Option<&str>,
) -> Result<Negotiated, Rejection> {
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    match negotiations.claim(secret, hub, user_id, Instant::now()) {
        ClaimedNegotiation::Fresh(negotiated) => Ok(negotiated),
        ClaimedNegotiation::Used => Err(id_in_use()),
        ClaimedNegotiation::Unknown => Err(unknown_id()),
    }
}

/// Accepts further requests of the client with its connection token while the guard exists.
pub(super) fn open_session(shared: &Shared, secret: &str, session: Session) -> ConnectionGuard {
    let guard = shared.sessions.insert(secret, session);
    // Otherwise requests after the end of the session would find a used token instead of an unknown one.
    shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner).forget(secret);
    guard
}

fn admission(hub: Hub, connection: ConnectionId, claims: &Claims) -> ClientAdmission {
    let mut admission = ClientAdmission::new(hub, connection, claims.user_id().map(UserId::new));
    admission.handshake_timeout = claims.system().handshake_timeout_s.map(Duration::from_secs);
    admission.expires_at = authentication::ends_at(claims);
    admission.roles = authentication::roles(claims);
    admission
}

fn client_context(claims: &Claims, query: &Query<'_>, remote: Option<RemoteEndpoint>) -> ClientContext {
    let claims = authentication::payload(claims);
    ClientContext { claims: claims.into(), query: query.without(&OWN_QUERY).into(), remote }
}
