//! Starts generations of the app, and keeps one of them in service until the host stops.
//!
//! The first start is repeated after a failure: when files of the app have changed, or after a pause, because an app that fails while a
//! database is unavailable changes no file. A later generation starts beside the one in service; if it fails, that one stays.
//!
//! ```text
//! read files -> start workers -> index, load -> replace the generation in service -> old one drains
//!                     |               |             at once: HTTP, calls by name
//!                     +- failure -----+             when the old one has ended its own: timers, sources
//!                        old one stays
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_messages::error_chain;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::app::{Snapshot, WatchScope};
use crate::app_watcher::AppWatcher;
use crate::current::Current;
use crate::error::Error;
use crate::failures::Failures;
use crate::generation::{AppPhase, Generation};
use crate::http::{CorsPolicy, HttpSettings};
use crate::log::Level;
use crate::reload_error::{ReloadError, ReloadRequest};
use crate::restart_reason::RestartReason;
use crate::retire::{Retirement, retire};
use crate::shutdown::Shutdown;
use crate::starter::GenerationStarter;
use crate::startup::AppStartup;
use crate::takeover::check_takeover;
use crate::triggers::{TriggerTasks, Triggers};

/// How many replaced generations may drain at a time. A further one is not started before one of them has ended: each has workers.
const DRAINING_MAX: usize = 8;

/// How long a start may continue after files of the app have changed.
const SUPERSEDED_AFTER: Duration = Duration::from_secs(3);

/// The first start of the app.
pub(crate) struct FirstStart {
    /// The files of the app before they were read.
    pub(crate) files: Snapshot,
    /// The reason if the app could not be read.
    pub(crate) startup: Result<AppStartup, Error>,
}

/// Starts generations of the app.
pub(crate) struct Host {
    pub(crate) starter: GenerationStarter,
    pub(crate) triggers: Triggers,
    pub(crate) phase: watch::Sender<AppPhase>,
    pub(crate) settings: Current<HttpSettings>,
    pub(crate) cors: Current<CorsPolicy>,
    pub(crate) requests: mpsc::Receiver<ReloadRequest>,
    pub(crate) shutdown: Shutdown,
}

/// The generation in service, and those that it replaced.
#[derive(Default)]
struct Service {
    current: Option<(Arc<Generation>, TriggerTasks)>,
    /// Whether the generation in service replaced none.
    is_first: bool,
    retiring: JoinSet<()>,
}

impl Host {
    /// Keeps a generation in service until the host stops. Returns when all triggers have ended.
    pub(crate) async fn run(mut self, first: FirstStart) {
        let mut shutdown = self.shutdown.clone();
        let mut service = Service::default();
        tokio::select! {
            () = shutdown.requested() => {}
            never = self.serve(first, &mut service) => never,
        }
        if let Some((generation, triggers)) = &mut service.current {
            generation.retry_stop.send_replace(true);
            triggers.stop();
            triggers.ended().await;
        }
        while service.retiring.join_next().await.is_some() {}
    }

    /// Starts one generation after the other, each for a reason. Never returns.
    async fn serve(&mut self, first: FirstStart, service: &mut Service) {
        let options = self.starter.options.get();
        // Kept until the host stops: dropping it would remove the app from the readiness report.
        let readiness = self.triggers.supervisor.component("function app");
        let mut failures = Failures::default();
        let mut requests = Vec::new();
        let mut reason = None;
        let mut watcher = AppWatcher::new(&options, self.starter.app.clone());
        if options.is_hot_reload_on() {
            watcher = watcher.with_events();
        }
        let FirstStart { files: mut seen, mut startup } = first;
        loop {
            let started_at = Instant::now();
            let result = match startup {
                Err(error) => Err(ReloadError {
                    description: error.description(),
                    why: error_chain(&error),
                    functions: Vec::new(),
                }),
                Ok(starting) => match self.start_latest(starting, service, &mut watcher, &seen).await {
                    Ok(result) => result,
                    Err(Superseded(files)) => {
                        reason = Some(RestartReason::Files(files));
                        seen = watcher.snapshot().await;
                        startup = self.prepare(service);
                        continue;
                    }
                },
            };
            let result = result.map_err(Arc::new);
            match &result {
                Ok(()) => {
                    self.report_start(service, reason.as_ref(), started_at.elapsed());
                    failures = Failures::default();
                    readiness.set_ready();
                }
                Err(error) => {
                    self.report_failure(error, &mut failures, service);
                    if service.current.is_none() {
                        readiness.set_not_ready(format!("it did not start: {}", error.why));
                    }
                }
            }
            self.publish(service, result.as_ref().err());
            for request in requests.drain(..) {
                // The requester may have been dropped.
                let _: Result<(), _> = ReloadRequest::send(request, result.clone());
            }
            let next = self.next_reason(&failures, &seen, &mut watcher, &mut requests).await;
            if service.current.is_none() && next != RestartReason::Time {
                // A request that arrives now waits for the result of the new start.
                self.phase.send_replace(AppPhase::Starting);
            }
            reason = Some(next);
            while service.retiring.try_join_next().is_some() {}
            while service.retiring.len() >= DRAINING_MAX && service.retiring.join_next().await.is_some() {}
            seen = watcher.snapshot().await;
            startup = self.prepare(service);
        }
    }

    /// Reads the app, and starts the workers of a new generation.
    fn prepare(&self, service: &Service) -> Result<AppStartup, Error> {
        let app = self.starter.read()?;
        if service.current.is_none() {
            self.starter.logs.set_levels(app.host.log_levels.clone());
        }
        self.starter.prepare(app)
    }

    /// Waits until the app has to be started again.
    async fn next_reason(
        &mut self,
        failures: &Failures,
        seen: &Snapshot,
        watcher: &mut AppWatcher,
        requests: &mut Vec<ReloadRequest>,
    ) -> RestartReason {
        let options = self.starter.options.get();
        let now = Instant::now();
        let has_failed = failures.count > 0;
        let changed = async {
            let scope = if has_failed { WatchScope::All } else { WatchScope::Watched };
            let files = watcher.changed(seen, scope).await;
            if has_failed {
                sleep_until(now + failures.change_pause(&options)).await;
            }
            files
        };
        let requested = async {
            match self.requests.recv().await {
                Some(request) => request,
                None => std::future::pending().await,
            }
        };
        let reason = tokio::select! {
            files = changed, if has_failed || options.is_hot_reload_on() => RestartReason::Files(files),
            () = sleep_until(now + failures.retry_pause(&options)), if has_failed => RestartReason::Time,
            request = requested => {
                requests.push(request);
                RestartReason::Request
            }
        };
        // One start is enough for all that have asked until now.
        while let Ok(request) = self.requests.try_recv() {
            requests.push(request);
        }
        reason
    }

    /// Starts a generation, unless its files change while it starts: the result would soon be outdated, and the start may never
    /// end.
    async fn start_latest(
        &self,
        startup: AppStartup,
        service: &mut Service,
        watcher: &mut AppWatcher,
        seen: &Snapshot,
    ) -> Result<Result<(), ReloadError>, Superseded> {
        let number = startup.number;
        let is_watched = self.starter.options.get().is_hot_reload_on();
        let superseded = tokio::select! {
            result = self.start(startup, service) => return Ok(result),
            superseded = superseded(watcher, seen), if is_watched => superseded,
        };
        self.starter.generations.drain(number, Duration::ZERO).await;
        Err(superseded)
    }

    /// Starts a generation and puts it into service.
    async fn start(&self, startup: AppStartup, service: &mut Service) -> Result<(), ReloadError> {
        let number = startup.number;
        let started = startup.run().await.map_err(|error| ReloadError {
            description: error.description(),
            why: error_chain(&*error),
            functions: Vec::new(),
        });
        let started = started.and_then(|generation| match &service.current {
            Some((current, _)) => check_takeover(&generation, current).map(|()| generation),
            None => Ok(generation),
        });
        match started {
            Ok(generation) => {
                // Before its listeners start.
                let functions: Vec<&str> =
                    generation.functions.iter().map(|function| function.name()).collect();
                self.triggers.concurrency.configure(&generation.app.host.concurrency, &functions).await;
                self.replace(generation, &startup, service);
                Ok(())
            }
            Err(error) => {
                self.starter.generations.drain(number, Duration::ZERO).await;
                Err(error)
            }
        }
    }

    /// Puts a generation into service, and lets the one that was in service drain.
    fn replace(&self, generation: Generation, startup: &AppStartup, service: &mut Service) {
        let options = self.starter.options.get();
        let generation = Arc::new(generation);
        self.starter.logs.set_levels(generation.app.host.log_levels.clone());
        self.settings.set(Arc::clone(&generation.http));
        self.cors.set(Arc::clone(&startup.cors));
        // Before its triggers, which may call it by HTTP. A request that has the old generation has delayed the drain of it.
        self.phase
            .send_replace(AppPhase::Running { generation: Arc::clone(&generation), reload_error: None });
        let mut previous = service.current.take();
        service.is_first = previous.is_none();
        let triggers = if options.runs_triggers {
            self.triggers.start(&generation, previous.as_mut().map(|(_, triggers)| triggers))
        } else {
            TriggerTasks::default()
        };
        service.current = Some((generation, triggers));
        if let Some((generation, triggers)) = previous {
            let retirement = Retirement {
                generation,
                triggers,
                grace: Duration::from_millis(options.generation_drain_ms),
                generations: self.starter.generations.clone(),
                shutdown: self.shutdown.clone(),
            };
            service.retiring.spawn(retire(retirement));
        }
    }

    /// Logs a start that succeeded; the first one only after a failure.
    fn report_start(&self, service: &Service, reason: Option<&RestartReason>, took: Duration) {
        let Some(reason) = reason else { return };
        let number = service.current.as_ref().map_or(0, |(generation, _)| generation.number);
        let text = if service.is_first {
            "The function app has started.".to_owned()
        } else {
            format!(
                "The function app was reloaded {} (version {number}, started in {} ms).",
                reason.text(),
                took.as_millis()
            )
        };
        self.starter.logs.host(Level::Info, text);
    }

    /// Logs a failed start; one with the same reason as the last only once.
    fn report_failure(&self, error: &ReloadError, failures: &mut Failures, service: &Service) {
        if !failures.record(&error.why) {
            return;
        }
        let text = match &service.current {
            None => format!(
                "The function app did not start: {}\nIt is started again when a file of the app changes.",
                error.why
            ),
            Some(_) => format!("{}\nIt is started again when a file of the app changes.", error.text()),
        };
        self.starter.logs.host_error(error.description, text);
    }

    /// Reports the outcome of a start to readers of the phase.
    fn publish(&self, service: &Service, error: Option<&Arc<ReloadError>>) {
        let phase = match (&service.current, error) {
            (Some((generation, _)), error) => {
                AppPhase::Running { generation: Arc::clone(generation), reload_error: error.cloned() }
            }
            (None, Some(error)) => AppPhase::Failed(error.why.as_str().into()),
            (None, None) => return,
        };
        self.phase.send_replace(phase);
    }
}

/// Files of the app changed while it started.
struct Superseded(Vec<PathBuf>);

/// Waits until files have changed since `seen`, but at least a short time: a start that is nearly complete may end, so that edits
/// in quick succession do not prevent every start.
async fn superseded(watcher: &mut AppWatcher, seen: &Snapshot) -> Superseded {
    sleep(SUPERSEDED_AFTER).await;
    Superseded(watcher.changed(seen, WatchScope::Watched).await)
}
