//! Options of connection events.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of retries of connection events, and of dead letters. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Most attempts to deliver one event. Default: 20. Since 0.1.0.
    pub attempts_max: NonZeroU32,
    /// Longest time for which delivery is retried, in seconds. Default: 3600. Since 0.1.0.
    pub age_max_s: NonZeroU64,
    /// Pause before the second attempt, in milliseconds; each further one is twice as long. Default: 1000. Since 0.1.0.
    pub backoff_first_ms: NonZeroU64,
    /// Longest pause between two attempts, in milliseconds. Default: 60000. Since 0.1.0.
    pub backoff_max_ms: NonZeroU64,
    /// Most events in memory. At the limit a `disconnected` waits on disk, and a `connected` becomes a dead letter. Default:
    /// 10000. Since 0.1.0.
    pub pending_max: NonZeroUsize,
    /// Most events that wait on disk for memory; further ones become dead letters. Default: 1000000. Since 0.1.0.
    pub parked_max: NonZeroUsize,
    /// Most dead letters that are stored; the oldest are removed first. Default: 10000. Since 0.1.0.
    pub dead_letters_max: NonZeroU64,
    /// How long a dead letter is stored, in seconds. Default: 604800, which is a week. Since 0.1.0.
    pub dead_letter_age_s: NonZeroU64,
}

impl Default for Options {
    fn default() -> Self {
        let number = |number| NonZeroU64::new(number).expect("not zero");
        let count = |number| NonZeroUsize::new(number).expect("not zero");
        Self {
            attempts_max: NonZeroU32::new(20).expect("not zero"),
            age_max_s: number(3_600),
            backoff_first_ms: number(1_000),
            backoff_max_ms: number(60_000),
            pending_max: count(10_000),
            parked_max: count(1_000_000),
            dead_letters_max: number(10_000),
            dead_letter_age_s: number(7 * 24 * 60 * 60),
        }
    }
}

impl Options {
    pub(crate) fn age_max(&self) -> Duration {
        Duration::from_secs(self.age_max_s.get())
    }

    pub(crate) fn dead_letter_age(&self) -> Duration {
        Duration::from_secs(self.dead_letter_age_s.get())
    }
}
