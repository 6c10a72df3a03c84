//! Clients by their secrets: those that have negotiated and not yet connected, and [`sessions`] of those that come again with the
//! same secret. Pure: the time comes in.
//!
//! Every entry lives equally long, so the oldest one ends first, and a queue in order of age is all the timer there is. An entry
//! that was used is kept for the rest of its time, so that a second use is told from an unknown id.

pub(crate) mod keys;
pub(crate) mod sessions;
pub(crate) mod user_groups;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use realtime_engine::{ConnectionId, Hub, should_shrink};

/// What was agreed on with a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Negotiated {
    pub(crate) connection: ConnectionId,
    pub(crate) hub: Hub,
    pub(crate) user_id: Option<Box<str>>,
    /// Whether the client was promised that it may replace a lost WebSocket.
    pub(crate) stateful: bool,
    /// What the client has sent by requests before it chose a transport.
    pub(crate) early: Vec<u8>,
}

/// The waiting negotiations of one service.
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

/// What an id leads to.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken {
    /// Its client may connect, once.
    Fresh(Negotiated),
    /// Its client has connected already.
    Used,
    /// It was never given out, or its time is over, or it belongs to somebody else.
    Unknown,
}

/// What became of bytes that came before their client chose a transport.
#[derive(Debug, PartialEq)]
pub(crate) enum Early {
    /// They are kept for when it does.
    Kept,
    /// They are more than are kept.
    TooMuch,
    /// There is no such negotiation, or its client has connected.
    Unknown,
}

/// Most bytes that are kept for a client that has not chosen a transport: as many as a handshake may have.
pub(crate) const EARLY_BYTES_MAX: usize = 4_096;

/// As many negotiations wait as may.
#[derive(Debug, PartialEq)]
pub(crate) struct StoreFull;

impl Negotiations {
    pub(crate) fn new(lifetime: Duration, entries_max: usize) -> Self {
        Self { lifetime, entries_max, entries: HashMap::new(), by_age: VecDeque::new() }
    }

    /// Remembers a negotiation under the secret that its client will show.
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

    /// Uses a secret on behalf of a client of `hub` who is `user_id`. A token for another hub or user does not use it up.
    pub(crate) fn take(&mut self, secret: &str, hub: &Hub, user_id: Option<&str>, now: Instant) -> Taken {
        self.forget_old(now);
        let Some(entry) = self.entries.get_mut(secret) else { return Taken::Unknown };
        if entry.negotiated.hub != *hub || entry.negotiated.user_id.as_deref() != user_id {
            return Taken::Unknown;
        }
        if std::mem::replace(&mut entry.used, true) {
            return Taken::Used;
        }
        let early = std::mem::take(&mut entry.negotiated.early);
        Taken::Fresh(Negotiated { early, ..entry.negotiated.clone() })
    }

    /// Keeps what a client sends before it has chosen a transport: with requests the handshake may come first.
    pub(crate) fn keep_early(
        &mut self,
        secret: &str,
        hub: &Hub,
        user_id: Option<&str>,
        bytes: &[u8],
        now: Instant,
    ) -> Early {
        self.forget_old(now);
        let Some(Entry { negotiated, used: false }) = self.entries.get_mut(secret) else {
            return Early::Unknown;
        };
        if negotiated.hub != *hub || negotiated.user_id.as_deref() != user_id {
            return Early::Unknown;
        }
        if negotiated.early.len() + bytes.len() > EARLY_BYTES_MAX {
            return Early::TooMuch;
        }
        negotiated.early.extend_from_slice(bytes);
        Early::Kept
    }

    /// Whether a client has connected with this secret, in the time in which that is remembered.
    pub(crate) fn is_used(&mut self, secret: &str, hub: &Hub, now: Instant) -> bool {
        self.forget_old(now);
        self.entries.get(secret).is_some_and(|entry| entry.used && entry.negotiated.hub == *hub)
    }

    /// Forgets a secret whose further uses a session sees to.
    pub(crate) fn forget(&mut self, secret: &str) {
        self.entries.remove(secret);
    }

    /// Forgets those whose time is over; otherwise it is only done when the next client comes.
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
    fn what_comes_before_the_transport_is_kept_for_its_client_and_bounded() {
        let (mut negotiations, now) = (Negotiations::new(Duration::from_secs(15), 10), Instant::now());
        negotiations.insert("s", negotiated(), now).unwrap();
        let mut keep =
            |user, bytes: &[u8]| negotiations.keep_early("s", &hub("chat"), Some(user), bytes, now);
        assert_eq!(keep("ben", b"x"), Early::Unknown);
        assert_eq!((keep("ada", b"a"), keep("ada", b"b")), (Early::Kept, Early::Kept));
        assert_eq!(keep("ada", &[0; EARLY_BYTES_MAX]), Early::TooMuch);
        let Taken::Fresh(taken) = negotiations.take("s", &hub("chat"), Some("ada"), now) else { panic!() };
        assert_eq!(taken.early, b"ab");
        assert_eq!(negotiations.keep_early("s", &hub("chat"), Some("ada"), b"c", now), Early::Unknown);
        assert_eq!(negotiations.keep_early("t", &hub("chat"), Some("ada"), b"c", now), Early::Unknown);
    }

    #[test]
    fn a_secret_is_used_once_by_its_own_client() {
        let (mut negotiations, now) = (Negotiations::new(Duration::from_secs(15), 10), Instant::now());
        negotiations.insert("s", negotiated(), now).unwrap();
        assert_eq!(negotiations.take("x", &hub("chat"), Some("ada"), now), Taken::Unknown);
        assert_eq!(negotiations.take("s", &hub("other"), Some("ada"), now), Taken::Unknown);
        assert_eq!(negotiations.take("s", &hub("chat"), None, now), Taken::Unknown);
        assert_eq!(negotiations.take("s", &hub("chat"), Some("ada"), now), Taken::Fresh(negotiated()));
        assert_eq!(negotiations.take("s", &hub("chat"), Some("ada"), now), Taken::Used);
        assert!(negotiations.is_used("s", &hub("chat"), now));
        negotiations.forget("s");
        assert!(!negotiations.is_used("s", &hub("chat"), now));
    }

    #[test]
    fn time_and_a_bound_limit_what_is_remembered() {
        let (mut negotiations, start) = (Negotiations::new(Duration::from_secs(15), 2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        negotiations.insert("a", negotiated(), at(0)).unwrap();
        negotiations.insert("b", negotiated(), at(10)).unwrap();
        assert_eq!(negotiations.insert("c", negotiated(), at(14)), Err(StoreFull));
        assert_eq!(negotiations.take("a", &hub("chat"), Some("ada"), at(15)), Taken::Unknown);
        negotiations.insert("c", negotiated(), at(15)).unwrap();
        assert_eq!(negotiations.take("b", &hub("chat"), Some("ada"), at(24)), Taken::Fresh(negotiated()));
        assert_eq!(negotiations.take("b", &hub("chat"), Some("ada"), at(25)), Taken::Unknown);
    }

    #[test]
    fn memory_is_given_back_when_many_were_forgotten() {
        let (mut negotiations, start) = (Negotiations::new(Duration::from_secs(15), 100_000), Instant::now());
        for number in 0..50_000 {
            negotiations.insert(&number.to_string(), negotiated(), start).unwrap();
        }
        let later = start + Duration::from_secs(10);
        negotiations.insert("late", negotiated(), later).unwrap();
        negotiations.sweep(later);
        assert!(negotiations.entries.capacity() >= 50_000, "they are still there");
        negotiations.sweep(start + Duration::from_secs(15));
        assert!(negotiations.entries.capacity() < 100 && negotiations.by_age.capacity() < 100);
        assert_eq!(negotiations.take("late", &hub("chat"), Some("ada"), later), Taken::Fresh(negotiated()));
    }
}
