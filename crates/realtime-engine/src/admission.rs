//! [`Admission`]: with what a client enters the engine, and what is kept of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{AppServer, ClientContext, ConnectionId, Hub, Roles, UserId};

/// With what a client enters the engine: who it is, by the words of its token.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The hub.
    pub hub: Hub,
    /// Its public name, from [`EngineHandle::issue`](crate::EngineHandle::issue).
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<UserId>,
    /// How long the client has for its handshake; absent means the engine's own setting.
    pub handshake_timeout: Option<Duration>,
    /// When the connection is to be closed because its token ends; absent means never.
    pub expires_at: Option<SystemTime>,
    /// What an upstream or an app server is told about the client, and what a refresh of its authentication begins with; absent where
    /// nobody asks.
    pub client_context: Option<Arc<ClientContext>>,
    /// What the client may do without a backend.
    pub roles: Option<Roles>,
    /// Whether negotiate promised that a new socket may take the place of a lost one.
    pub stateful: bool,
    /// The app server that answers for the client, in Default mode.
    pub server: Option<Arc<dyn AppServer>>,
    /// Dropped when the engine has let go of the connection.
    pub guard: Option<ConnectionGuard>,
}

/// Something that ends when a connection does.
#[derive(Clone)]
pub struct ConnectionGuard(#[allow(dead_code, reason = "held for its drop")] Arc<dyn Send + Sync>);

impl ConnectionGuard {
    /// Holds `what` until the connection is gone.
    pub fn new(what: impl Send + Sync + 'static) -> Self {
        Self(Arc::new(what))
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard(..)")
    }
}

impl Admission {
    /// A client of a hub, with nothing special about it.
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
