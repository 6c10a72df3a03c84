//! WebSockets: the first one of a connection, and the one that takes the place of a lost one.

use std::sync::{Arc, PoisonError};

use http::{HeaderMap, Request, Response};
use http_messages::Body;
use signalr_protocol::Transport;

use super::{Caller, Newcomer, newcomer, remember};
use crate::engine::{Admission, ConnectionId, Link, Reattached};
use crate::error::Refusal;
use crate::service::Shared;
use crate::service::upgrade::Switch;
use crate::store::sessions::{Kind, Session};

/// What a socket is for.
enum Purpose {
    Begin(Box<Admission>),
    GoOn(ConnectionId),
}

pub(super) fn websocket(
    shared: &Arc<Shared>,
    request: &mut Request<Body>,
    caller: Caller<'_>,
) -> Result<Response<Body>, Refusal> {
    let switch = Switch::of(request)?;
    let purpose = purpose(shared, caller, request.headers())?;
    let (upgrade, response) = switch.into_parts();
    hand_over(shared, upgrade, purpose)?;
    Ok(response)
}

fn purpose(shared: &Shared, caller: Caller<'_>, headers: &HeaderMap) -> Result<Purpose, Refusal> {
    let session = caller
        .query
        .id()
        .and_then(|secret| shared.sessions.get(secret, &caller.hub, caller.claims.user_id()));
    match session.map(|session| (session.connection, session.kind)) {
        Some((connection, Kind::Stateful)) => Ok(Purpose::GoOn(connection)),
        Some((_, Kind::Http(_))) => Err(super::requests::other_transport()),
        None => {
            let hub = caller.hub.clone();
            let user_id = caller.claims.user_id().map(Into::into);
            let newcomer = newcomer(shared, caller, headers, Transport::WebSockets)?;
            let Newcomer { secret, mut admission, early } = newcomer;
            if !early.is_empty() {
                return Err(super::requests::other_transport());
            }
            // Any other WebSocket never comes again, and its secret need not be remembered.
            if let (Some(secret), true) = (secret, admission.stateful) {
                let connection = admission.connection;
                let session = Session { connection, hub, user_id, kind: Kind::Stateful };
                admission.guard = Some(remember(shared, &secret, session));
            }
            Ok(Purpose::Begin(Box::new(admission)))
        }
    }
}

/// Takes the socket over once the answer is sent, in a task that [`crate::service::Join`] awaits.
fn hand_over(shared: &Arc<Shared>, upgrade: edge::Upgrade, purpose: Purpose) -> Result<(), Refusal> {
    let engine = shared.engine.clone();
    let under_way = shared.upgrades_under_way.clone();
    let mut upgrades = shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner);
    let upgrades = upgrades.as_mut().ok_or_else(Refusal::stopping)?;
    // Those that have ended give their memory back here; nobody else waits for them before the drain.
    while upgrades.try_join_next().is_some() {}
    under_way.inc();
    upgrades.spawn(async move {
        match (upgrade.into_socket().await, purpose) {
            (Ok(socket), Purpose::Begin(admission)) => {
                let connection = admission.connection;
                if let Err(error) = engine.attach(Link::Socket(socket), *admission).await {
                    tracing::warn!(%connection, %error, "a client was turned away after its WebSocket opened");
                }
            }
            (Ok(socket), Purpose::GoOn(connection)) => {
                // Dropping the socket tells the client that it has to begin anew.
                if let Ok(Reattached::Gone) | Err(_) = engine.reattach(connection, socket).await {
                    tracing::debug!(%connection, "a client came back too late to go on");
                }
            }
            (Err(error), _) => tracing::debug!(%error, "a client left before its WebSocket opened"),
        }
        under_way.dec();
    });
    Ok(())
}
