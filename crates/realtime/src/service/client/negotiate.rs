//! `POST /client/negotiate`: a connection id, a connection token and the transports for one client.

use std::sync::PoisonError;
use std::time::Instant;

use http::{Method, Request, Response};
use signalr_protocol::{NegotiateResponse, TransportType, negotiate_version};

use super::caller::{Caller, caller};
use super::rejections::{reject_beyond_limits, reject_while_stopping};
use super::transports::is_allowed;
use crate::authentication;
use crate::error_table;
use crate::from_protocol::Query;
use crate::rejection::Rejection;
use crate::servers::StickyServer;
use crate::service::{Shared, server};
use crate::store::{Negotiated, StoreFull};
use crate::to_protocol;
use crate::unix_time::unix_now;
use http_messages::Body;
use realtime_engine::Hub;

/// The transports, in the order in which clients try them.
const TRANSPORTS: [TransportType; 3] =
    [TransportType::WebSockets, TransportType::ServerSentEvents, TransportType::LongPolling];

/// The hub of a client that negotiates, and the app server that its token names, if the client may have to wait for an app
/// server.
pub(super) fn to_await(shared: &Shared, request: &Request<Body>) -> Option<(Hub, Option<StickyServer>)> {
    let query = Query::parse(request.uri().query());
    if !shared.servers.may_gain_server() || !server::is_of_app_server(&query) {
        return None;
    }
    // `negotiate` rejects a client that is not allowed.
    let Caller { hub, claims, .. } = caller(shared, request, &query).ok()?;
    Some((hub, server::sticky(&claims)))
}

/// Responds to a negotiate request.
pub(super) fn negotiate(shared: &Shared, request: &Request<Body>) -> Result<Response<Body>, Rejection> {
    if *request.method() != Method::POST {
        return Err(Rejection::method("POST, OPTIONS"));
    }
    reject_while_stopping(shared)?;
    let query = Query::parse(request.uri().query());
    let Caller { hub, claims, address, .. } = caller(shared, request, &query)?;
    reject_beyond_limits(shared, &hub)?;
    let is_served = server::is_served(shared, &hub, &claims, &query)?;
    if is_served {
        // Browsers show the reason of a rejection here, but not that of a WebSocket request.
        server::forwarded_headers(shared, request.headers(), address)?;
    }
    let version = match negotiate_version(query.get("negotiateVersion"), 0) {
        Ok(version) => version,
        // The protocol requires the error in a response with status 200; the client shows it and stops.
        Err(error) => return Ok(to_protocol::json(NegotiateResponse::Error(error.to_string()).to_json())),
    };
    let asks_for_state =
        query.get("useStatefulReconnect").is_some_and(|asked| asked.eq_ignore_ascii_case("true"));
    let may_keep_state = !is_served || shared.servers.all_stateful(&hub);
    let stateful =
        version > 0 && asks_for_state && may_keep_state && shared.options().engine.stateful_reconnect;
    let issued = shared.engine.issue();
    let (id, token) = (issued.connection.to_string(), issued.token.to_string());
    let user_id = claims.user_id().map(Into::into);
    let negotiated = Negotiated { connection: issued.connection, hub, user_id, stateful, early: Vec::new() };
    // In version 0 the connection id is also the connection token.
    let secret = if version == 0 { &id } else { &token };
    let mut negotiations = shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner);
    negotiations.insert(secret, negotiated, Instant::now()).map_err(|StoreFull| {
        let message = "too many clients have negotiated and not connected; try again in a moment";
        Rejection::new(&error_table::TOO_MANY_NEGOTIATIONS, message)
    })?;
    drop(negotiations);
    let transports = TRANSPORTS.into_iter().filter(|transport| is_allowed(&claims, *transport)).collect();
    let answer = match version {
        0 => NegotiateResponse::V0 { connection_id: id, transports },
        _ => NegotiateResponse::V1 {
            connection_id: id,
            connection_token: token,
            transports,
            stateful,
            token_lifetime_s: authentication::lifetime_s(&claims, unix_now()),
        },
    };
    Ok(to_protocol::json(answer.to_json()))
}
