//! Starts the app, and starts it again after a failure when its files have changed or after a pause: an app that fails because a
//! database is unavailable changes no file. Then runs its triggers.

use http_messages::error_chain;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::{App, Snapshot};
use crate::log::Level;
use crate::options::Options;
use crate::running_app::{AppPhase, RunningApp};
use crate::startup::AppStartup;
use crate::time_zone::time_zone;
use crate::triggers::Triggers;

/// The longest pause after a change of files, if the same failure repeats.
const CHANGE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Starts the app and runs its triggers until the host stops.
pub(crate) async fn run(mut startup: AppStartup, mut triggers: Triggers, phase: watch::Sender<AppPhase>) {
    let mut shutdown = triggers.shutdown.clone();
    // Kept until the host stops: dropping it would remove the app from the readiness report.
    let readiness = triggers.supervisor.component("function app");
    let started = async {
        let mut failures = Failures::default();
        loop {
            let seen = snapshot(&triggers.options).await;
            let mut why = match startup.run().await {
                Ok(running) => {
                    if failures.count > 0 {
                        startup.invoker.logs.host(Level::Info, "The function app has started.");
                    }
                    // Before the phase changes, so that the app is ready for every waiter of the phase.
                    readiness.set_ready();
                    break Arc::new(running);
                }
                Err(error) => error_chain(&*error),
            };
            loop {
                if failures.record(&why) {
                    let text = format!(
                        "The function app did not start: {why}\nIt is started again when a file of the app changes."
                    );
                    startup.invoker.logs.host(Level::Error, text);
                }
                readiness.set_not_ready(format!("it did not start: {why}"));
                phase.send_replace(AppPhase::Failed(why.into()));
                let reason = failures.wait(&triggers.options, seen).await;
                if reason == RestartReason::Files {
                    // A request that arrives now waits for the result of the new start.
                    phase.send_replace(AppPhase::Starting);
                }
                match reload(&mut startup, &mut triggers) {
                    Ok(()) => break,
                    Err(error) => why = error,
                }
            }
        }
    };
    let running = tokio::select! {
        running = started => running,
        () = shutdown.requested() => return,
    };
    phase.send_replace(AppPhase::Running(Arc::clone(&running)));
    if triggers.options.runs_triggers {
        run_triggers(&triggers, &running).await;
    }
    // The phase must stay readable until the host stops, even if the app has no such triggers.
    shutdown.requested().await;
}

async fn run_triggers(triggers: &Triggers, running: &RunningApp) {
    let mut tasks = JoinSet::new();
    triggers.spawn(running, &mut tasks);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "the task of a trigger ended abnormally; its function is no longer triggered");
        }
    }
}

/// Reads the app's files and settings again and restarts its workers with them.
fn reload(startup: &mut AppStartup, triggers: &mut Triggers) -> Result<(), String> {
    let app =
        App::load(&triggers.options.app_dir, &startup.environment).map_err(|error| error_chain(&error))?;
    startup.zone = time_zone(&app).map_err(|error| error_chain(&error))?;
    startup.invoker.logs.set_levels(app.host.log_levels.clone());
    startup.invoker.function_timeout = app.host.function_timeout;
    startup.invoker.workers.restart(&app).map_err(|error| error_chain(&error))?;
    triggers.app = app.clone();
    startup.app = app;
    Ok(())
}

async fn snapshot(options: &Options) -> Option<Snapshot> {
    let (dir, ignored) = (options.app_dir.clone(), options.ignored_dirs.clone());
    // `None` only if the runtime shuts down.
    tokio::task::spawn_blocking(move || Snapshot::read(&dir, &ignored)).await.ok()
}

/// Why the app is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestartReason {
    Files,
    Time,
}

/// The failed starts of the app.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// The number of repetitions of the last reason.
    same: u32,
    last: Option<String>,
}

impl Failures {
    /// Counts a failure; `true` if its reason differs from the last one. A repeated reason is not logged again.
    fn record(&mut self, why: &str) -> bool {
        self.count += 1;
        let is_new = self.last.as_deref() != Some(why);
        self.same = if is_new { 0 } else { self.same + 1 };
        self.last = Some(why.to_owned());
        is_new
    }

    /// Waits until the files differ from `before` and stop changing, or until the retry pause is over. An installation writes files
    /// for a while; the app is started when it pauses.
    async fn wait(&self, options: &Options, before: Option<Snapshot>) -> RestartReason {
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
