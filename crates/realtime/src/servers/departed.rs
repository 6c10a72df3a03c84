//! [`Departed`]: clients that ended a moment ago. What their app server sent before it learned of the end is no mistake of its own.
//! Pure: the time comes in.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::engine::ConnectionId;

/// An app server learns of an end in milliseconds; behind a full queue, in seconds.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Clients of which this is known, at most; beyond that the oldest are forgotten. About 6 MB.
const KEPT_MAX: usize = 100_000;

/// Clients that ended, for [`KEPT_FOR`].
#[derive(Debug, Default)]
pub(crate) struct Departed {
    ids: HashSet<ConnectionId>,
    by_age: VecDeque<(Instant, ConnectionId)>,
}

impl Departed {
    /// A client has ended.
    pub(crate) fn insert(&mut self, id: ConnectionId, now: Instant) {
        self.forget_old(now);
        if self.ids.insert(id) {
            if self.by_age.len() >= KEPT_MAX
                && let Some((_, oldest)) = self.by_age.pop_front()
            {
                self.ids.remove(&oldest);
            }
            self.by_age.push_back((now, id));
        }
    }

    /// Whether the client ended a moment ago.
    pub(crate) fn contains(&mut self, id: ConnectionId, now: Instant) -> bool {
        self.forget_old(now);
        self.ids.contains(&id)
    }

    /// Gives the memory of old entries back. To be called now and then where nobody comes or goes.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        while let Some((ended, id)) = self.by_age.front()
            && now.duration_since(*ended) >= KEPT_FOR
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
    fn a_client_that_ended_is_known_for_a_minute() {
        let (mut departed, now, ada) = (Departed::default(), Instant::now(), id(1));
        departed.insert(ada, now);
        departed.insert(ada, now + Duration::from_secs(30));
        assert!(departed.contains(ada, now + Duration::from_millis(59_999)));
        assert!(!departed.contains(id(2), now));
        assert!(!departed.contains(ada, now + KEPT_FOR));
        assert!(departed.by_age.is_empty() && departed.ids.is_empty());
    }

    #[test]
    fn more_ends_than_the_bound_forget_the_oldest() {
        let (mut departed, now, first) = (Departed::default(), Instant::now(), id(0));
        departed.insert(first, now);
        let second = id(1);
        departed.insert(second, now);
        for number in 0..KEPT_MAX - 1 {
            departed.insert(id(2 + number), now);
        }
        assert!(!departed.contains(first, now) && departed.contains(second, now));
        assert_eq!((departed.ids.len(), departed.by_age.len()), (KEPT_MAX, KEPT_MAX));
        departed.forget_old(now + KEPT_FOR);
        assert_eq!(departed.by_age.capacity(), 0);
    }
}
