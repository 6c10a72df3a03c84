//! [`ClientAdmission`]: what the engine is told about a client that connects.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{AppServer, ClientContext, ConnectionId, Hub, Roles, UserId};

/// What the engine is told about a client that connects, most of it from the client's token.
#[derive(Clone, Debug)]
pub struct ClientAdmission {
    /// The hub.
    pub hub: Hub,
    /// Its connection id, from [`EngineHandle::issue`](crate::EngineHandle::issue).
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<UserId>,
    /// How long the client has for its handshake; absent means the engine's own setting.
    pub handshake_timeout: Option<Duration>,
    /// When the connection is closed because its token expires; absent means never.
    pub expires_at: Option<SystemTime>,
    /// What an upstream or an app server is told about the client, and what a refresh of its authentication starts from; absent where
    /// neither needs it.
    pub client_context: Option<Arc<ClientContext>>,
    /// What the client may do to groups without a backend.
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
    /// Holds `what` until the connection has ended.
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
