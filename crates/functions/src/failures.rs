//! [`Failures`]: the failed starts of the app, and how long to wait after one.

use std::time::Duration;

use crate::options::Options;

/// The longest pause after a change of files, if the same failure repeats.
const CHANGE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The failed starts of the app.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: u32,
    /// The number of repetitions of the last reason.
    same: u32,
    last: Option<String>,
}

impl Failures {
    /// Counts a failure; `true` if its reason differs from the last one. A repeated reason is not logged again.
    pub(crate) fn record(&mut self, why: &str) -> bool {
        self.count += 1;
        let is_new = self.last.as_deref() != Some(why);
        self.same = if is_new { 0 } else { self.same + 1 };
        self.last = Some(why.to_owned());
        is_new
    }

    /// How long after the last failure a change of files starts the app. Limits the starts of an app that writes into its own folder
    /// while it fails.
    pub(crate) fn change_pause(&self, options: &Options) -> Duration {
        doubled(Duration::from_millis(options.watch_interval_ms.max(10)), self.same, CHANGE_PAUSE_MAX)
    }

    /// How long after the last failure the app is started without a change.
    pub(crate) fn retry_pause(&self, options: &Options) -> Duration {
        let (min, max) = (options.start_retry_ms_min.max(10), options.start_retry_ms_max.max(10));
        doubled(Duration::from_millis(min), self.same, Duration::from_millis(max))
    }
}

fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(most.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_pauses_double_up_to_a_limit() {
        let second = Duration::from_secs(1);
        let pauses = [0, 1, 3, 4, 40].map(|times| doubled(second, times, second * 10).as_secs());
        assert_eq!(pauses, [1, 2, 8, 10, 10]);
    }

    #[test]
    fn a_repeated_failure_is_new_only_once() {
        let mut failures = Failures::default();
        let new = ["a", "a", "b", "a", "a"].map(|why| failures.record(why));
        assert_eq!(new, [true, false, true, true, false]);
        assert_eq!((failures.count, failures.same), (5, 1));
    }
}
