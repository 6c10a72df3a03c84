//! [`GenerationStarter`]: what is needed to start a generation of the app, and is the same for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use functions_contract::Connector;
use tokio::sync::watch;
use trace::Tracer;

use crate::app::App;
use crate::cors_options::cors_policy;
use crate::current::Current;
use crate::error::Error;
use crate::generations::Generations;
use crate::http::HttpSettings;
use crate::invoke::{ActiveInvocations, Invoker, WorkerLog};
use crate::keys::AppKeys;
use crate::log::{Level, Logs};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::startup::AppStartup;
use crate::time_zone::time_zone;
use crate::timer::ScheduleMonitor;
use crate::usage::Usage;
use crate::workers::StartWorkers;

/// Starts generations of the app.
pub(crate) struct GenerationStarter {
    pub(crate) options: Current<Options>,
    /// A snapshot of the process's environment.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) connectors: Vec<Arc<dyn Connector>>,
    pub(crate) logs: Logs,
    /// Where the system keys of extensions are stored.
    pub(crate) keys: AppKeys,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: Metrics,
    pub(crate) schedule_monitor: ScheduleMonitor,
    pub(crate) start_workers: StartWorkers,
    pub(crate) generations: Generations,
    pub(crate) usage: Usage,
    /// The app as it was last read.
    pub(crate) app: Current<App>,
    /// The number of the next generation.
    pub(crate) number_next: AtomicU64,
}

impl GenerationStarter {
    /// Reads the app's files and settings.
    pub(crate) fn read(&self) -> Result<App, Error> {
        Ok(App::load(&self.options.get().app_dir, &self.environment)?)
    }

    /// Starts the workers of a new generation. They are among [`Generations`] until they are drained.
    ///
    /// # Errors
    ///
    /// If a setting is invalid, or there is no worker for the app.
    pub(crate) fn prepare(&self, app: App) -> Result<AppStartup, Error> {
        let options = self.options.get();
        let zone = time_zone(&app)?;
        let http = Arc::new(HttpSettings::of(&options, &app)?);
        let cors = Arc::new(cors_policy(&options, &app)?);
        let active = ActiveInvocations::new(self.metrics.in_flight.clone());
        let observer =
            WorkerLog { logs: self.logs.clone(), active: active.clone(), metrics: self.metrics.clone() };
        let workers = (self.start_workers)(&app, Arc::new(observer))?;
        let number = self.number_next.fetch_add(1, Ordering::Relaxed);
        let known = self.app.get();
        // Those of the first app are logged by the start of the host.
        for notice in app.notices.iter().filter(|notice| !known.notices.contains(notice)) {
            self.logs.host(Level::Warn, notice.clone());
        }
        self.app.set(Arc::new(app.clone()));
        let invoker = Invoker {
            workers,
            active,
            logs: self.logs.clone(),
            tracer: self.tracer.clone(),
            metrics: self.metrics.clone(),
            function_timeout: app.host.function_timeout,
        };
        self.generations.add(number, &invoker);
        Ok(AppStartup {
            number,
            app,
            only: options.functions.clone(),
            connectors: self.connectors.clone(),
            zone,
            http,
            cors,
            invoker,
            keys: self.keys.clone(),
            retry_stop: watch::Sender::new(false),
            schedule_monitor: self.schedule_monitor.clone(),
            usage: self.usage.clone(),
            concurrency: options.concurrency.clone(),
            checks_sources: !options.runs_triggers,
        })
    }
}
