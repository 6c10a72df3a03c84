//! Clients by their connection tokens: those that have negotiated and not yet connected, and the [`sessions`] of those that
//! connect again with the same token. Pure: the time is an argument.
//!
//! All entries have the same lifetime, so the oldest one expires first, and a queue in order of age replaces timers. A used entry
//! stays until it expires, so that a second use is distinguished from an unknown token.

pub(crate) mod keys;
pub(crate) mod sessions;
pub(crate) mod user_groups;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_engine::{ConnectionId, Hub, should_shrink};

/// The result of a negotiation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Negotiated {
    pub(crate) connection: ConnectionId,
    pub(crate) hub: Hub,
    pub(crate) user_id: Option<Box<str>>,
    /// Whether stateful reconnect was negotiated.
    pub(crate) stateful: bool,
    /// What the client has sent in requests before it chose a transport.
    pub(crate) early: Vec<u8>,
}

/// The negotiations of one service whose clients have not connected yet.
#[derive(Debug)]
pub(crate) struct Negotiations {
    lifetime: Duration,
    entries_max: usize,
    entries: HashMap<Arc<str>, Entry>,
    by_age: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug)]
struct Entry {
    negotiated: Negotiated,
    used: bool,
}

/// The result of [`Negotiations::claim`].
#[derive(Debug, PartialEq)]
pub(crate) enum ClaimedNegotiation {
    /// The client may connect, once.
    Fresh(Negotiated),
    /// The client has connected already.
    Used,
    /// The token was never issued, has expired, or belongs to another client.
    Unknown,
}

/// The result of storing bytes that a client sent before it chose a transport.
#[derive(Debug, PartialEq)]
pub(crate) enum EarlyBytes {
    /// They are stored until the client connects.
    Stored,
    /// They exceed [`EARLY_BYTES_MAX`].
    TooMuch,
    /// There is no such negotiation, or the client has connected.
    Unknown,
}

/// Most bytes that are stored for a client that has not chosen a transport: the largest handshake.
pub(crate) const EARLY_BYTES_MAX: usize = 4_096;

/// The limit on negotiations that wait is reached.
#[derive(Debug, PartialEq)]
pub(crate) struct StoreFull;

impl Negotiations {
    pub(crate) fn new(lifetime: Duration, entries_max: usize) -> Self {
        Self { lifetime, entries_max, entries: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Adds a negotiation under the connection token of its client.
    pub(crate) fn insert(
        &mut self,
        secret: &str,
        negotiated: Negotiated,
        now: Instant,
    ) -> Result<(), StoreFull> {
        self.forget_old(now);
        if self.entries.len() >= self.entries_max {
            return Err(StoreFull);
        }
        let secret: Arc<str> = secret.into();
        self.by_age.push_back((now + self.lifetime, Arc::clone(&secret)));
        self.entries.insert(secret, Entry { negotiated, used: false });
        Ok(())
    }

    /// Claims a connection token for a client of `hub` with `user_id`. A request for another hub or user does not use it up.
    pub(crate) fn claim(
        &mut self,
        secret: &str,
        hub: &Hub,
        user_id: Option<&str>,
        now: Instant,
    ) -> ClaimedNegotiation {
        self.forget_old(now);
        let Some(entry) = self.entries.get_mut(secret) else { return ClaimedNegotiation::Unknown };
        if entry.negotiated.hub != *hub || entry.negotiated.user_id.as_deref() != user_id {
            return ClaimedNegotiation::Unknown;
        }
        if std::mem::replace(&mut entry.used, true) {
            return ClaimedNegotiation::Used;
        }
        let early = std::mem::take(&mut entry.negotiated.early);
        ClaimedNegotiation::Fresh(Negotiated { early, ..entry.negotiated.clone() })
    }

    /// Stores what a client sends before it has chosen a transport: with HTTP transports the handshake may arrive first.
    pub(crate) fn store_early(
        &mut self,
        secret: &str,
        hub: &Hub,
        user_id: Option<&str>,
        bytes: &[u8],
        now: Instant,
    ) -> EarlyBytes {
        self.forget_old(now);
        let Some(Entry { negotiated, used: false }) = self.entries.get_mut(secret) else {
            return EarlyBytes::Unknown;
        };
        if negotiated.hub != *hub || negotiated.user_id.as_deref() != user_id {
            return EarlyBytes::Unknown;
        }
        if negotiated.early.len() + bytes.len() > EARLY_BYTES_MAX {
            return EarlyBytes::TooMuch;
        }
        negotiated.early.extend_from_slice(bytes);
        EarlyBytes::Stored
    }

    /// Whether a client has connected with this token, while the used entry is stored.
    pub(crate) fn is_used(&mut self, secret: &str, hub: &Hub, now: Instant) -> bool {
        self.forget_old(now);
        self.entries.get(secret).is_some_and(|entry| entry.used && entry.negotiated.hub == *hub)
    }

    /// Removes a token whose further uses a session handles.
    pub(crate) fn forget(&mut self, secret: &str) {
        self.entries.remove(secret);
    }

    /// Removes expired entries; otherwise that happens only when the next client negotiates.
    pub(crate) fn sweep(&mut self, now: Instant) {
        self.forget_old(now);
        if should_shrink(self.entries.len(), self.entries.capacity()) {
            self.entries.shrink_to(2 * self.entries.len());
            self.by_age.shrink_to(2 * self.by_age.len());
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((_, secret)) = self.by_age.pop_front_if(|(end, _)| *end <= now) {
            self.entries.remove(&secret);
        }
    }
}

#[cfg(test)]
mod tests {
    use state::Instance;

    use super::*;

    fn hub(name: &str) -> Hub {
        Hub::new(Instance::new("test").unwrap(), name)
    }

    fn negotiated() -> Negotiated {
        let connection = ConnectionId::parse(&"A".repeat(27)).unwrap();
        let user_id = Some("ada".into());
        Negotiated { connection, hub: hub("chat"), user_id, stateful: false, early: Vec::new() }
    }

    #[test]
    fn bytes_sent_before_the_transport_are_stored_up_to_the_limit() {
        let (mut negotiations, now) = (Negotiations::new(Duration::from_secs(15), 10), Instant::now());
        negotiations.insert("s", negotiated(), now).unwrap();
        let mut keep =
            |user, bytes: &[u8]| negotiations.store_early("s", &hub("chat"), Some(user), bytes, now);
        assert_eq!(keep("ben", b"x"), EarlyBytes::Unknown);
        assert_eq!((keep("ada", b"a"), keep("ada", b"b")), (EarlyBytes::Stored, EarlyBytes::Stored));
        assert_eq!(keep("ada", &[0; EARLY_BYTES_MAX]), EarlyBytes::TooMuch);
        let ClaimedNegotiation::Fresh(taken) = negotiations.claim("s", &hub("chat"), Some("ada"), now) else {
            panic!()
        };
        assert_eq!(taken.early, b"ab");
        assert_eq!(negotiations.store_early("s", &hub("chat"), Some("ada"), b"c", now), EarlyBytes::Unknown);
        assert_eq!(negotiations.store_early("t", &hub("chat"), Some("ada"), b"c", now), EarlyBytes::Unknown);
    }

    #[test]
    fn a_connection_token_is_accepted_once_and_only_from_its_own_client() {
        let (mut negotiations, now) = (Negotiations::new(Duration::from_secs(15), 10), Instant::now());
        negotiations.insert("s", negotiated(), now).unwrap();
        assert_eq!(negotiations.claim("x", &hub("chat"), Some("ada"), now), ClaimedNegotiation::Unknown);
        assert_eq!(negotiations.claim("s", &hub("other"), Some("ada"), now), ClaimedNegotiation::Unknown);
        assert_eq!(negotiations.claim("s", &hub("chat"), None, now), ClaimedNegotiation::Unknown);
        assert_eq!(
            negotiations.claim("s", &hub("chat"), Some("ada"), now),
            ClaimedNegotiation::Fresh(negotiated())
        );
        assert_eq!(negotiations.claim("s", &hub("chat"), Some("ada"), now), ClaimedNegotiation::Used);
        assert!(negotiations.is_used("s", &hub("chat"), now));
        negotiations.forget("s");
        assert!(!negotiations.is_used("s", &hub("chat"), now));
    }

    #[test]
    fn negotiations_expire_and_their_number_is_limited() {
        let (mut negotiations, start) = (Negotiations::new(Duration::from_secs(15), 2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        negotiations.insert("a", negotiated(), at(0)).unwrap();
        negotiations.insert("b", negotiated(), at(10)).unwrap();
        assert_eq!(negotiations.insert("c", negotiated(), at(14)), Err(StoreFull));
        assert_eq!(negotiations.claim("a", &hub("chat"), Some("ada"), at(15)), ClaimedNegotiation::Unknown);
        negotiations.insert("c", negotiated(), at(15)).unwrap();
        assert_eq!(
            negotiations.claim("b", &hub("chat"), Some("ada"), at(24)),
            ClaimedNegotiation::Fresh(negotiated())
        );
        assert_eq!(negotiations.claim("b", &hub("chat"), Some("ada"), at(25)), ClaimedNegotiation::Unknown);
    }

    #[test]
    fn memory_is_released_after_many_negotiations_expired() {
        let (mut negotiations, start) = (Negotiations::new(Duration::from_secs(15), 100_000), Instant::now());
        for number in 0..50_000 {
            negotiations.insert(&number.to_string(), negotiated(), start).unwrap();
        }
        let later = start + Duration::from_secs(10);
        negotiations.insert("late", negotiated(), later).unwrap();
        negotiations.sweep(later);
        assert!(negotiations.entries.capacity() >= 50_000, "the entries are still stored");
        negotiations.sweep(start + Duration::from_secs(15));
        assert!(negotiations.entries.capacity() < 100 && negotiations.by_age.capacity() < 100);
        assert_eq!(
            negotiations.claim("late", &hub("chat"), Some("ada"), later),
            ClaimedNegotiation::Fresh(negotiated())
        );
    }
}
