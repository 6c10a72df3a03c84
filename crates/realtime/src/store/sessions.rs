//! Clients that come more than once with the same secret: each request of an HTTP transport, a new socket of a stateful connection. Other
//! WebSockets need no place here, and have none. Each request may have a token of its own: it must be of the same user and hub.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use realtime_engine::should_shrink;
use realtime_engine::{ConnectionGuard, ConnectionId, HttpTransport, Hub};

/// A client that may come again.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    pub(crate) hub: Hub,
    pub(crate) user_id: Option<Box<str>>,
    pub(crate) kind: Kind,
}

/// How it is connected.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A WebSocket whose place another one may take.
    Stateful,
    /// Requests, with the messages for them.
    Http(Arc<HttpTransport>),
}

/// All such clients of a service, by their secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<Arc<str>, Session>>>);

/// Forgets a session when the engine lets go of its connection.
struct Forget {
    sessions: Sessions,
    secret: Arc<str>,
}

impl Sessions {
    /// Remembers a session for as long as the guard lives.
    pub(crate) fn insert(&self, secret: &str, session: Session) -> ConnectionGuard {
        let secret: Arc<str> = secret.into();
        self.lock().insert(Arc::clone(&secret), session);
        ConnectionGuard::new(Forget { sessions: self.clone(), secret })
    }

    /// The session of a secret, if it belongs to this user of this hub.
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
    fn a_session_is_found_by_its_own_client_until_its_guard_goes() {
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
