//! [`RecentlyClosed`]: clients that disconnected recently. Messages that their app server sent before it received the close are not an error. Pure: the time is
//! an argument.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use realtime_engine::ConnectionId;

/// An app server receives a close within milliseconds, or within seconds if its queue is full.
const LIFETIME: Duration = Duration::from_secs(60);

/// Most entries; the oldest are removed at the limit. About 6 MB.
const ENTRIES_MAX: usize = 100_000;

/// Clients that disconnected within [`LIFETIME`].
#[derive(Debug, Default)]
pub(crate) struct RecentlyClosed {
    ids: HashSet<ConnectionId>,
    by_age: VecDeque<(Instant, ConnectionId)>,
}

impl RecentlyClosed {
    /// Adds a client that has disconnected.
    pub(crate) fn insert(&mut self, id: ConnectionId, now: Instant) {
        self.remove_old(now);
        if self.ids.insert(id) {
            if self.by_age.len() >= ENTRIES_MAX
                && let Some((_, oldest)) = self.by_age.pop_front()
            {
                self.ids.remove(&oldest);
            }
            self.by_age.push_back((now, id));
        }
    }

    /// Whether the client disconnected recently.
    pub(crate) fn contains(&mut self, id: ConnectionId, now: Instant) -> bool {
        self.remove_old(now);
        self.ids.contains(&id)
    }

    /// Removes old entries and frees their memory. To be called from time to time.
    pub(crate) fn remove_old(&mut self, now: Instant) {
        while let Some((ended, id)) = self.by_age.front()
            && now.duration_since(*ended) >= LIFETIME
        {
            self.ids.remove(id);
            self.by_age.pop_front();
        }
        if self.by_age.is_empty() && self.by_age.capacity() > 1024 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::parse(&format!("AAAAA{number:0>20}AA")).expect("an id")
    }

    #[test]
    fn a_client_is_listed_for_a_minute() {
        let (mut recently_closed, now, ada) = (RecentlyClosed::default(), Instant::now(), id(1));
        recently_closed.insert(ada, now);
        recently_closed.insert(ada, now + Duration::from_secs(30));
        assert!(recently_closed.contains(ada, now + Duration::from_millis(59_999)));
        assert!(!recently_closed.contains(id(2), now));
        assert!(!recently_closed.contains(ada, now + LIFETIME));
        assert!(recently_closed.by_age.is_empty() && recently_closed.ids.is_empty());
    }

    #[test]
    fn the_oldest_entries_are_removed_beyond_the_limit() {
        let (mut recently_closed, now, first) = (RecentlyClosed::default(), Instant::now(), id(0));
        recently_closed.insert(first, now);
        let second = id(1);
        recently_closed.insert(second, now);
        for number in 0..ENTRIES_MAX - 1 {
            recently_closed.insert(id(2 + number), now);
        }
        assert!(!recently_closed.contains(first, now) && recently_closed.contains(second, now));
        assert_eq!((recently_closed.ids.len(), recently_closed.by_age.len()), (ENTRIES_MAX, ENTRIES_MAX));
        recently_closed.remove_old(now + LIFETIME);
        assert_eq!(recently_closed.by_age.capacity(), 0);
    }
}
