//! Sessions of clients that use their connection token more than once: each request of an HTTP transport, or a new WebSocket of
//! stateful reconnect. Other WebSockets have no session. Each request may have its own access token, but it must be of the same
//! user and hub.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use realtime_engine::should_shrink;
use realtime_engine::{ConnectionGuard, ConnectionId, HttpTransport, Hub};

/// A client that may use its connection token again.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    pub(crate) hub: Hub,
    pub(crate) user_id: Option<Box<str>>,
    pub(crate) kind: Kind,
}

/// The transport of a session.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A WebSocket that stateful reconnect may replace.
    Stateful,
    /// An HTTP transport.
    Http(Arc<HttpTransport>),
}

/// All sessions of a service, by connection token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<Arc<str>, Session>>>);

/// Removes a session when the engine drops its connection.
struct Forget {
    sessions: Sessions,
    secret: Arc<str>,
}

impl Sessions {
    /// Stores a session for as long as the guard exists.
    pub(crate) fn insert(&self, secret: &str, session: Session) -> ConnectionGuard {
        let secret: Arc<str> = secret.into();
        self.lock().insert(Arc::clone(&secret), session);
        ConnectionGuard::new(Forget { sessions: self.clone(), secret })
    }

    /// The session of a connection token, if it belongs to this user of this hub.
    pub(crate) fn get(&self, secret: &str, hub: &Hub, user_id: Option<&str>) -> Option<Session> {
        let sessions = self.lock();
        let session = sessions.get(secret)?;
        (session.hub == *hub && session.user_id.as_deref() == user_id).then(|| session.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        sessions.remove(&self.secret);
        if should_shrink(sessions.len(), sessions.capacity()) {
            let length = sessions.len();
            sessions.shrink_to(2 * length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_own_client_until_its_guard_is_dropped() {
        let hub = |name| Hub::new(state::Instance::new("test").unwrap(), name);
        let connection = ConnectionId::parse(&"A".repeat(27)).unwrap();
        let sessions = Sessions::default();
        let kind = Kind::Stateful;
        let guard =
            sessions.insert("s", Session { connection, hub: hub("chat"), user_id: Some("ada".into()), kind });
        assert!(sessions.get("s", &hub("chat"), Some("ada")).is_some());
        assert!(sessions.get("s", &hub("chat"), None).is_none());
        assert!(sessions.get("s", &hub("other"), Some("ada")).is_none());
        drop(guard);
        assert!(sessions.get("s", &hub("chat"), Some("ada")).is_none());
    }
}
