//! [`ClientAdmission`]: the properties of a client that connects.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{AppServer, ClientContext, ConnectionId, Hub, Roles, UserId};

/// The properties of a client that connects, most of them from the client's token.
#[derive(Clone, Debug)]
pub struct ClientAdmission {
    /// The hub.
    pub hub: Hub,
    /// Its connection id, from [`EngineHandle::issue`](crate::EngineHandle::issue).
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<UserId>,
    /// The time limit for the client's handshake; `None` for the engine's own setting.
    pub handshake_timeout: Option<Duration>,
    /// When the connection is closed because its token expires; `None` for never.
    pub expires_at: Option<SystemTime>,
    /// The claims and request data of the client for its upstream or app server, and for a refresh of its authentication; `None`
    /// if none of them needs it.
    pub client_context: Option<Arc<ClientContext>>,
    /// The client's permissions on groups.
    pub roles: Option<Roles>,
    /// Whether negotiate offered stateful reconnect.
    pub stateful: bool,
    /// The app server that the client is routed to, in Default mode.
    pub server: Option<Arc<dyn AppServer>>,
    /// Dropped when the connection has ended.
    pub guard: Option<ConnectionGuard>,
}

/// A value that is dropped when a connection ends.
#[derive(Clone)]
pub struct ConnectionGuard(#[allow(dead_code, reason = "held for its drop")] Arc<dyn Send + Sync>);

impl ConnectionGuard {
    /// Keeps `what` until the connection has ended.
    pub fn new(what: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(what))
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard(..)")
    }
}

impl ClientAdmission {
    /// A client of a hub, with the default for everything else.
    pub fn new(hub: Hub, connection: ConnectionId, user: Option<UserId>) -> Self {
        Self {
            hub,
            connection,
            user,
            handshake_timeout: None,
            expires_at: None,
            client_context: None,
            roles: None,
            stateful: false,
            server: None,
            guard: None,
        }
    }
}
