//! WebSockets: the first one of a connection, and the one of a stateful reconnect.

use std::sync::{Arc, PoisonError};

use http::{HeaderMap, Request, Response};
use http_messages::Body;
use signalr_protocol::TransportType;

use super::admission::{NewConnection, new_connection, open_session};
use super::caller::Caller;
use super::rejections::other_transport;
use crate::rejection::Rejection;
use crate::service::Shared;
use crate::service::upgrade::Switch;
use crate::store::sessions::{Kind, Session};
use realtime_engine::{ClientAdmission, ConnectionId, ReattachResult, Transport};

/// What a WebSocket is for.
enum Opens {
    NewConnection(Box<ClientAdmission>),
    /// It replaces the lost WebSocket of this connection.
    Reconnect(ConnectionId),
}

pub(super) fn websocket(
    shared: &Arc<Shared>,
    request: &mut Request<Body>,
    caller: Caller<'_>,
) -> Result<Response<Body>, Rejection> {
    let switch = Switch::of(request)?;
    let opens = opens(shared, caller, request.headers())?;
    let (upgrade, response) = switch.into_parts();
    hand_over(shared, upgrade, opens)?;
    Ok(response)
}

fn opens(shared: &Shared, caller: Caller<'_>, headers: &HeaderMap) -> Result<Opens, Rejection> {
    let session = caller
        .query
        .id()
        .and_then(|secret| shared.sessions.get(secret, &caller.hub, caller.claims.user_id()));
    match session.map(|session| (session.connection, session.kind)) {
        Some((connection, Kind::Stateful)) => Ok(Opens::Reconnect(connection)),
        Some((_, Kind::Http(_))) => Err(other_transport()),
        None => {
            let hub = caller.hub.clone();
            let user_id = caller.claims.user_id().map(Into::into);
            let new = new_connection(shared, caller, headers, TransportType::WebSockets)?;
            let NewConnection { secret, mut admission, early } = new;
            if !early.is_empty() {
                return Err(other_transport());
            }
            // Only a client with stateful reconnect uses its connection token again.
            if let (Some(secret), true) = (secret, admission.stateful) {
                let connection = admission.connection;
                let session = Session { connection, hub, user_id, kind: Kind::Stateful };
                admission.guard = Some(open_session(shared, &secret, session));
            }
            Ok(Opens::NewConnection(Box::new(admission)))
        }
    }
}

/// Hands the socket to the engine once the response is sent, in a task that [`crate::Join`] awaits.
fn hand_over(shared: &Arc<Shared>, upgrade: edge::Upgrade, opens: Opens) -> Result<(), Rejection> {
    let engine = shared.engine.clone();
    let under_way = shared.pending_upgrades.clone();
    let mut upgrades = shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner);
    let upgrades = upgrades.as_mut().ok_or_else(Rejection::stopping)?;
    // Frees the memory of finished tasks; nothing else joins them before the drain.
    while upgrades.try_join_next().is_some() {}
    under_way.inc();
    upgrades.spawn(async move {
        match (upgrade.into_socket().await, opens) {
            (Ok(socket), Opens::NewConnection(admission)) => {
                let connection = admission.connection;
                if let Err(error) = engine.attach(Transport::Socket(socket), *admission).await {
                    tracing::warn!(%connection, %error, "a client was rejected after its WebSocket opened");
                }
            }
            (Ok(socket), Opens::Reconnect(connection)) => {
                // Dropping the socket makes the client start a new connection.
                if let Ok(ReattachResult::Gone) | Err(_) = engine.reattach(connection, socket).await {
                    tracing::debug!(%connection, "a client reconnected after its connection had ended");
                }
            }
            (Err(error), _) => tracing::debug!(%error, "a client disconnected before its WebSocket opened"),
        }
        under_way.dec();
    });
    Ok(())
}
