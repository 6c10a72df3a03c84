//! [`FunctionConcurrency`]: how many deliveries of one function may run at a time. Pure: it counts measurements instead of reading a
//! clock.
//!
//! The rules are those of the WebJobs SDK (`ConcurrencyManager` and `ConcurrencyStatus`), where a measurement is made each second. From 1,
//! the number grows by 1, then 2, up to 6, while host and workers have had too little to do for six measurements and the function used
//! all that it may; it shrinks in the same way while they have had too much to do for four. After it has shrunk it does not grow for a
//! while, which is shorter for a fast function.

use std::time::Duration;

use super::throttle::{ThrottleState, Throttles};

/// Consecutive measurements with the same state before the number grows, and before it shrinks.
const GROW_AFTER: u32 = 5;
const SHRINK_AFTER: u32 = 3;

/// Measurements between two changes: at least, and for a function that is slow or did not run.
const CHANGE_PAUSE_MIN: f64 = 2.0;
const CHANGE_PAUSE: f64 = 5.0;

/// Measurements between shrinking and growing, likewise.
const SHRUNK_PAUSE_MIN: f64 = 10.0;
const SHRUNK_PAUSE: f64 = 30.0;

/// Measurements after which a further change in the same direction begins with 1 again.
const RUN_WINDOW: u64 = 10;

/// The most that a change grows by, above 1.
const STEP_MAX: usize = 5;

/// How a number changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConcurrencyChange {
    Grown,
    Shrunk,
}

/// How many deliveries of one function may run at a time, and what decides that.
#[derive(Clone, Debug)]
pub(super) struct FunctionConcurrency {
    limit: usize,
    running: usize,
    /// Since the last change: the most that ran at a time, and the number and total duration of those that ended.
    running_max: usize,
    ended: u32,
    ended_total: Duration,
    /// The measurement at which it last changed, and last shrank.
    changed_at: u64,
    shrunk_at: Option<u64>,
    /// The direction of the last changes, and how many came before it in the same direction.
    direction: Option<ConcurrencyChange>,
    run: usize,
}

impl FunctionConcurrency {
    /// One at a time, or what was stored.
    pub(super) fn new(stored: Option<usize>, now: u64) -> Self {
        Self {
            limit: stored.unwrap_or(1).max(1),
            running: 0,
            running_max: 0,
            ended: 0,
            ended_total: Duration::ZERO,
            changed_at: now,
            shrunk_at: None,
            direction: None,
            run: 0,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn started(&mut self) {
        self.running += 1;
        self.running_max = self.running_max.max(self.running);
    }

    pub(super) fn ended(&mut self, took: Duration) {
        self.running = self.running.saturating_sub(1);
        self.ended = self.ended.saturating_add(1);
        self.ended_total += took;
    }

    /// Changes the limit if it is time for that. `now` is the number of the measurement, which was made `interval` after the last one.
    pub(super) fn adjust(
        &mut self,
        throttles: &Throttles,
        limit_max: usize,
        now: u64,
        interval: Duration,
    ) -> Option<ConcurrencyChange> {
        if passed(now, self.changed_at) <= self.pause(CHANGE_PAUSE_MIN, CHANGE_PAUSE, 1.0, interval) {
            return None;
        }
        let change = match throttles.state() {
            ThrottleState::Unknown => return None,
            ThrottleState::Off => {
                let is_quiet = self.shrunk_at.is_some_and(|at| {
                    passed(now, at) < self.pause(SHRUNK_PAUSE_MIN, SHRUNK_PAUSE, 10.0, interval)
                });
                let is_used = self.running_max >= self.limit;
                let may_grow = self.limit < limit_max;
                let grows = throttles.consecutive() >= GROW_AFTER && !is_quiet && is_used && may_grow;
                grows.then_some(ConcurrencyChange::Grown)
            }
            ThrottleState::On => {
                let shrinks = throttles.consecutive() >= SHRINK_AFTER && self.limit > 1;
                shrinks.then_some(ConcurrencyChange::Shrunk)
            }
        }?;
        let step = self.step(change, now);
        self.limit = match change {
            ConcurrencyChange::Grown => (self.limit + step).min(limit_max),
            ConcurrencyChange::Shrunk => {
                self.shrunk_at = Some(now);
                self.limit.saturating_sub(step).max(1)
            }
        };
        self.changed_at = now;
        self.running_max = 0;
        (self.ended, self.ended_total) = (0, Duration::ZERO);
        Some(change)
    }

    /// By how much the next change in a direction is: more for each that came before it in quick succession.
    fn step(&mut self, direction: ConcurrencyChange, now: u64) -> usize {
        let turns = self.direction.is_some_and(|last| last != direction);
        let run = if turns || now - self.changed_at > RUN_WINDOW {
            self.run = 0;
            0
        } else {
            self.run += 1;
            self.run - 1
        };
        self.direction = Some(direction);
        1 + run.min(STEP_MAX)
    }

    /// A pause in measurements: shorter than the default if the function is fast.
    fn pause(&self, min: f64, default: f64, factor: f64, interval: Duration) -> f64 {
        if self.ended == 0 {
            return default;
        }
        let average = self.ended_total.as_secs_f64() / f64::from(self.ended);
        (min + factor * average / interval.as_secs_f64()).min(default)
    }
}

/// The measurements since one of them.
#[expect(clippy::cast_precision_loss, reason = "measurements of 100 million years are exact")]
fn passed(now: u64, since: u64) -> f64 {
    now.saturating_sub(since) as f64
}

#[cfg(test)]
mod tests {
    use super::super::throttle::LoadSample;
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    /// Runs one measurement for each letter: `f` with full use and a fast function, `s` with full use and a slow one, `h` with half
    /// use, `c` with too much CPU. Returns the limit after each.
    fn limits(letters: &str, limit_max: Option<usize>, stored: Option<usize>) -> Vec<usize> {
        let (mut throttles, mut function) = (Throttles::default(), FunctionConcurrency::new(stored, 0));
        let mut limits = Vec::new();
        for (letter, now) in letters.chars().zip(1..) {
            let cpu = if letter == 'c' { 1.0 } else { 0.0 };
            throttles.add(LoadSample { cpu: Some(cpu), ..LoadSample::default() }, 0.8, 0.8);
            let used = if letter == 'h' { function.limit().div_ceil(2) } else { function.limit() };
            let took = if letter == 's' { Duration::from_secs(20) } else { Duration::from_millis(10) };
            (0..used).for_each(|_| function.started());
            (0..used).for_each(|_| function.ended(took));
            function.adjust(&throttles, limit_max.unwrap_or(usize::MAX), now, INTERVAL);
            limits.push(function.limit());
        }
        limits
    }

    #[test]
    fn the_limit_follows_the_rules_of_the_webjobs_sdk() {
        // Letters as above; the limits after each of the last measurements.
        type Row = (&'static str, &'static str, Option<usize>, Option<usize>, &'static [usize]);
        let table: &[Row] = &[
            ("nothing changes before ten measurements", "fffffffff", None, None, &[1]),
            (
                "a fast function grows every third measurement, faster each time",
                "ffffffffff fff fff fff fff",
                None,
                None,
                &[2, 2, 2, 4, 4, 4, 7, 7, 7, 11, 11, 11, 16],
            ),
            (
                "a slow one every sixth",
                "ssssssssss ssssss ssssss",
                None,
                None,
                &[2, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 7],
            ),
            (
                "what is not used does not grow",
                "ffffffffff hhh hhhhh",
                None,
                Some(4),
                &[5, 5, 5, 5, 5, 5, 5, 5, 5],
            ),
            ("the maximum holds", "ffffffffff fff fff", Some(3), Some(2), &[3, 3, 3, 3, 3, 3, 3]),
            (
                "load shrinks it, faster each time",
                "cccccccc ccc ccc ccc",
                None,
                Some(9),
                &[8, 8, 8, 6, 6, 6, 3, 3, 3, 1],
            ),
            ("one always remains", "cccccccc ccc ccc ccc ccc", None, Some(2), &[1, 1, 1, 1]),
            (
                "after it has shrunk it does not grow for a while",
                "cccccccc ffffffffffffffffffff",
                None,
                Some(3),
                &[2, 3, 3, 3, 4, 4, 4, 6, 6, 6, 9],
            ),
        ];
        for (what, letters, limit_max, stored, expected) in table {
            let found = limits(&letters.replace(' ', ""), *limit_max, *stored);
            let newest = &found[found.len() - expected.len()..];
            assert_eq!(&newest, expected, "{what}: {found:?}");
        }
    }
}
