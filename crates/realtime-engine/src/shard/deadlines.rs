//! [`Deadlines`]: when to check each connection. A timer wheel: adding an entry costs one push, whatever the number of
//! connections, and each connection has one entry.

use std::time::{Duration, Instant};

use super::keys::Slot;

/// The time of a shard, counted from its start in units of [`Deadlines::tick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u32);

/// A connection to check; the generation shows whether it is still the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) slot: Slot,
    pub(crate) generation: u32,
}

#[derive(Debug)]
pub(crate) struct Deadlines {
    start: Instant,
    tick: Duration,
    /// The bucket of this tick and of those before it has been emptied.
    done: Tick,
    buckets: Vec<Vec<Due>>,
}

impl Tick {
    pub(crate) fn plus(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks))
    }
}

impl Deadlines {
    /// Later deadlines are added to the last bucket and checked again when it is reached.
    const BUCKETS: u32 = 64;

    pub(crate) fn new(start: Instant, tick: Duration) -> Self {
        Self { start, tick, done: Tick(0), buckets: vec![Vec::new(); Self::BUCKETS as usize] }
    }

    /// The tick that an instant falls into.
    pub(crate) fn at(&self, now: Instant) -> Tick {
        self.at_elapsed(now.saturating_duration_since(self.start))
    }

    /// The first tick that begins after a duration since an instant.
    pub(crate) fn after(&self, since: Instant, time: Duration) -> Tick {
        self.at_elapsed(since.saturating_duration_since(self.start).saturating_add(time)).plus(1)
    }

    fn at_elapsed(&self, elapsed: Duration) -> Tick {
        Tick(u32::try_from(elapsed.as_nanos() / self.tick.as_nanos()).unwrap_or(u32::MAX))
    }

    /// The number of ticks in a duration, rounded up: a deadline is never early.
    pub(crate) fn ticks(&self, time: Duration) -> u32 {
        u32::try_from(time.as_nanos().div_ceil(self.tick.as_nanos())).unwrap_or(u32::MAX)
    }

    pub(crate) fn add(&mut self, at: Tick, due: Due) {
        // At least the next tick, because the bucket of this one may be empty already; at most one turn of the wheel, which is
        // the bucket of now.
        let at = at.0.clamp(self.done.0 + 1, self.done.0 + Self::BUCKETS);
        self.buckets[(at % Self::BUCKETS) as usize].push(due);
    }

    /// Removes and returns the entries that are due, in order.
    pub(crate) fn advance(&mut self, now: Tick, due: &mut Vec<Due>) {
        // After a long sleep each bucket is emptied once, not once for each lost tick.
        let from = self.done.0.max(now.0.saturating_sub(Self::BUCKETS));
        for tick in from + 1..=now.0 {
            due.append(&mut self.buckets[(tick % Self::BUCKETS) as usize]);
        }
        self.done = self.done.max(now);
    }

    /// Releases unused memory. Without connections, every entry is for one that has ended.
    pub(crate) fn shrink(&mut self, nobody_is_left: bool) {
        for bucket in &mut self.buckets {
            if nobody_is_left {
                bucket.clear();
            }
            bucket.shrink_to_fit();
        }
    }

    /// When the next tick begins.
    pub(crate) fn next_tick(&self) -> Instant {
        self.start + self.tick * self.done.0.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_due_at_their_tick_and_distant_ones_within_one_turn_of_the_wheel() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::new(start, second);
        let entry = |slot| Due { slot, generation: 0 };
        for (at, slot) in [(0, 0), (3, 3), (64, 64), (1000, 1000)] {
            deadlines.add(Tick(at), entry(slot));
        }
        let mut out = |tick| {
            let mut due = Vec::new();
            deadlines.advance(deadlines.at(start + second * tick), &mut due);
            due.into_iter().map(|due| due.slot).collect::<Vec<_>>()
        };
        assert_eq!(out(1), [0]);
        assert_eq!(out(2), [0; 0]);
        assert_eq!(out(3), [3]);
        assert_eq!(out(63), [0; 0]);
        assert_eq!(out(500), [64, 1000]);
        assert_eq!(out(900), [0; 0]);
    }

    #[test]
    fn times_are_rounded_up() {
        let start = Instant::now();
        let deadlines = Deadlines::new(start, Duration::from_millis(100));
        assert_eq!(deadlines.ticks(Duration::from_millis(101)), 2);
        assert_eq!(deadlines.ticks(Duration::from_millis(100)), 1);
        assert_eq!(deadlines.after(start, Duration::from_millis(99)), Tick(1));
        assert_eq!(deadlines.after(start, Duration::from_millis(100)), Tick(2));
    }
}
