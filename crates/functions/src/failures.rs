//! [`Failures`]: the failed starts of the app, and how long to wait after one.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::Snapshot;
use crate::options::Options;

/// The longest pause after a change of files, if the same failure repeats.
const CHANGE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why the app is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartReason {
    /// A file of the app has changed.
    Files,
    /// The pause after a failure is over.
    Time,
    /// [`crate::Handle::reload`].
    Request,
}

/// The state of the app's files; `None` only if the runtime shuts down.
pub(crate) async fn snapshot(options: &Options) -> Option<Snapshot> {
    let (dir, ignored) = (options.app_dir.clone(), options.ignored_dirs.clone());
    tokio::task::spawn_blocking(move || Snapshot::read(&dir, &ignored)).await.ok()
}

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

    /// Waits until the files differ from `before` and stop changing, or until the retry pause is over. An installation writes files
    /// for a while; the app is started when it pauses.
    pub(crate) async fn wait(&self, options: &Options, before: Option<Snapshot>) -> RestartReason {
        let interval = Duration::from_millis(options.watch_interval_ms.max(10));
        let now = Instant::now();
        // Limits the restarts of an app that writes into its own folder while it fails.
        let earliest = now + doubled(interval, self.same, CHANGE_PAUSE_MAX);
        let (min, max) = (options.start_retry_ms_min.max(10), options.start_retry_ms_max.max(10));
        let latest = now + doubled(Duration::from_millis(min), self.same, Duration::from_millis(max));
        let mut last = before;
        loop {
            tokio::time::sleep(interval).await;
            let seen = snapshot(options).await;
            let is_stable = seen == last;
            if seen != before && is_stable && Instant::now() >= earliest {
                return RestartReason::Files;
            }
            if is_stable && Instant::now() >= latest {
                return RestartReason::Time;
            }
            last = seen;
        }
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
