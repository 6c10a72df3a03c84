//! Bringing the app up: at the start, and again after it failed, when its files have changed or some time has passed. An app that
//! throws because a database is away changes no file.

use http_messages::error_chain;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::{App, Snapshot};
use crate::log::Level;
use crate::options::Options;
use crate::running_app::{Phase, RunningApp};
use crate::startup::AppStartup;
use crate::time_zone::time_zone;
use crate::triggers::Triggers;

/// Longest pause after a change, where changes have not helped.
const CHANGE_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Brings the app up and runs its triggers until the host stops.
pub(crate) async fn run(mut startup: AppStartup, mut triggers: Triggers, phase: watch::Sender<Phase>) {
    let mut stop = triggers.stop.clone();
    // Held until the host stops: dropping it would take the app off the list.
    let readiness = triggers.supervisor.component("function app");
    let started = async {
        let mut failures = Failures::default();
        loop {
            let seen = look(&triggers.options).await;
            let mut why = match startup.run().await {
                Ok(running) => {
                    if failures.count > 0 {
                        startup.invoker.logs.host(Level::Info, "The function app has started now.");
                    }
                    // First, so that who waits for the phase finds the app ready.
                    readiness.set_ready();
                    break Arc::new(running);
                }
                Err(error) => error_chain(&*error),
            };
            loop {
                if failures.is_new(&why) {
                    let text = format!(
                        "The function app did not start: {why}\nIt is started again when a file of the app changes."
                    );
                    startup.invoker.logs.host(Level::Error, text);
                }
                readiness.set_not_ready(format!("it did not start: {why}"));
                phase.send_replace(Phase::Failed(why.into()));
                let change = failures.wait(&triggers.options, seen).await;
                if change == Change::Files {
                    // Whoever asks now asks because something was mended, and waits for what becomes of it.
                    phase.send_replace(Phase::Starting);
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
        () = stop.stopped() => return,
    };
    phase.send_replace(Phase::Running(Arc::clone(&running)));
    if triggers.options.runs_triggers {
        run_triggers(&triggers, &running).await;
    }
    // The phase must stay readable until the host stops, even for an app without such triggers.
    stop.stopped().await;
}

async fn run_triggers(triggers: &Triggers, running: &RunningApp) {
    let mut tasks = JoinSet::new();
    triggers.spawn(running, &mut tasks);
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a trigger's task ended abnormally; its function is no longer started");
        }
    }
}

/// Reads the app's files and settings anew and starts its workers with them.
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

async fn look(options: &Options) -> Option<Snapshot> {
    let (dir, left_out) = (options.app_dir.clone(), options.ignored_dirs.clone());
    // None only if the runtime ends.
    tokio::task::spawn_blocking(move || Snapshot::read(&dir, &left_out)).await.ok()
}

/// Why the app is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Files,
    Time,
}

/// How often the app did not start, and with what words.
#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// How often in a row with the same words.
    same: u32,
    last: Option<String>,
}

impl Failures {
    /// Counts a failure, and says whether its words are new: the same ones are not logged twice.
    fn is_new(&mut self, why: &str) -> bool {
        self.count += 1;
        let is_new = self.last.as_deref() != Some(why);
        self.same = if is_new { 0 } else { self.same + 1 };
        self.last = Some(why.to_owned());
        is_new
    }

    /// Waits until files differ from `before` and rest again, or until it is time to try all the same. An installation writes
    /// files for a while; the app is tried when it pauses.
    async fn wait(&self, options: &Options, before: Option<Snapshot>) -> Change {
        let interval = Duration::from_millis(options.watch_interval_ms.max(10));
        let now = Instant::now();
        // An app that writes into its own folder while it fails must not be started as fast as it fails.
        let earliest = now + doubled(interval, self.same, CHANGE_PAUSE_MAX);
        let (min, max) = (options.start_retry_ms_min.max(10), options.start_retry_ms_max.max(10));
        let latest = now + doubled(Duration::from_millis(min), self.same, Duration::from_millis(max));
        let mut last = before;
        loop {
            tokio::time::sleep(interval).await;
            let seen = look(options).await;
            let rests = seen == last;
            if seen != before && rests && Instant::now() >= earliest {
                return Change::Files;
            }
            if rests && Instant::now() >= latest {
                return Change::Time;
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
        let new = ["a", "a", "b", "a", "a"].map(|why| failures.is_new(why));
        assert_eq!(new, [true, false, true, true, false]);
        assert_eq!((failures.count, failures.same), (5, 1));
    }
}
