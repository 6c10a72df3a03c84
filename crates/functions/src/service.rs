//! [`Service`]: the functions host as a `tower::Service`, and how it is started.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use functions_contract::{AppSettings as _, Connector};
use http::{Request, Response};
use http_messages::{Body, Budget};
use prometheus_client::registry::Registry;
use state::Instance;
use supervision::{Supervisor, Unit};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::app::{App, Snapshot, WatchRules};
use crate::connectors::push_extensions;
use crate::cors_options::cors_policy;
use crate::current::Current;
use crate::dependencies::Dependencies;
use crate::dynamic_concurrency::DynamicConcurrency;
use crate::error::Error;
use crate::generation::AppPhase;
use crate::generations::Generations;
use crate::handle::{Handle, HandleParts, Join};
use crate::host::{FirstStart, Host};
use crate::host_triggers::HostTriggers;
use crate::http::{Dispatch, HttpSettings, PERMIT_BYTES, proxy_client};
use crate::keys::AppKeys;
use crate::log::{Level, Logs};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::reload_error::ReloadRequest;
use crate::shutdown::Shutdown;
use crate::starter::GenerationStarter;
use crate::startup::AppStartup;
use crate::timer::ScheduleMonitor;
use crate::triggers::Triggers;
use crate::usage::Usage;
use crate::workers::pool_starter;

/// How many calls of [`Handle::reload`] may wait for the host.
const REQUESTS_MAX: usize = 16;

/// Responds to HTTP requests for one function app; cheap to clone.
#[derive(Clone)]
pub struct Service {
    dispatch: Arc<Dispatch>,
}

/// Reads the app, starts its workers and returns at once: the service for HTTP, the handle for callers in this process, and the
/// owner of its tasks. Requests wait until the functions can be called. Must be called in a Tokio runtime.
///
/// # Errors
///
/// If the app or one of its settings cannot be read, or its workers cannot be started.
pub fn start(
    options: Options,
    dependencies: Dependencies,
    metrics: &mut Registry,
) -> Result<(Service, Handle, Join), Error> {
    let (service, handle) = Service::start(options, dependencies, metrics)?;
    let join = Join(handle.clone());
    Ok((service, handle, join))
}

impl Service {
    /// Reads the app, starts its workers and returns at once: requests wait until the functions can be called. Must be called
    /// in a Tokio runtime.
    pub fn start(
        options: Options,
        dependencies: Dependencies,
        registry: &mut Registry,
    ) -> Result<(Self, Handle), Error> {
        let connectors = with_host_triggers(dependencies.connectors);
        let metrics = Metrics::register(registry);
        let current = Current::new(options.clone());
        let start_workers = dependencies.workers.unwrap_or_else(|| pool_starter(current.clone(), registry));
        let (phase_sender, phase) = watch::channel(AppPhase::Starting);
        let (shutdown_sender, shutdown) = Shutdown::channel();
        let FirstRead { app, files, unread } = FirstRead::of(&options, &dependencies.environment)?;
        let logs = logs(&options, &app);
        let instance = instance(&app)?;
        let keys = AppKeys::new(Arc::clone(&dependencies.registry), instance.clone(), options.development);
        let generations = Generations::default();
        let concurrency =
            DynamicConcurrency::new(&dependencies.registry, &instance, &logs, &metrics, &options);
        let usage = Usage::new(Arc::clone(&dependencies.registry), instance.clone(), options.usage_days_max);
        let starter = GenerationStarter {
            options: current.clone(),
            environment: dependencies.environment,
            connectors: connectors.clone(),
            logs: logs.clone(),
            keys: keys.clone(),
            tracer: dependencies.tracer,
            metrics,
            schedule_monitor: ScheduleMonitor::new(dependencies.registry, &instance, &logs),
            start_workers,
            generations: generations.clone(),
            usage: usage.clone(),
            app: Current::new(app.clone()),
            number_next: AtomicU64::new(1),
        };
        let (reload, requests) = mpsc::channel(REQUESTS_MAX);
        let dispatch =
            Arc::new(dispatch(&starter, &app, phase.clone(), dependencies.bodies, reload.clone())?);
        let first = FirstStart { startup: first_startup(&starter, app, unread)?, files };
        let supervisor = dependencies.supervisor;
        let background = Background::of(&starter, supervisor.clone(), concurrency.clone(), shutdown.clone());
        let triggers = Triggers {
            options: current,
            connectors,
            lease: dependencies.lease,
            instance,
            owner: dependencies.owner,
            supervisor,
            concurrency,
        };
        let handle = HandleParts {
            options: starter.options.clone(),
            app: starter.app.clone(),
            logs,
            generations,
            usage,
            keys,
            dispatch: Arc::clone(&dispatch),
            phase,
            shutdown: shutdown_sender,
            reload,
        };
        let host = Host {
            starter,
            triggers,
            phase: phase_sender,
            settings: dispatch.settings.clone(),
            cors: dispatch.cors.clone(),
            requests,
            shutdown,
        };
        let handle = Handle::new(handle, tokio::spawn(run(host, first, background)));
        Ok((Self { dispatch }, handle))
    }
}

fn with_host_triggers(mut connectors: Vec<Arc<dyn Connector>>) -> Vec<Arc<dyn Connector>> {
    connectors.push(Arc::new(HostTriggers));
    connectors
}

/// The name of an app's part of the state.
fn instance(app: &App) -> Result<Instance, Error> {
    Instance::new(&format!("functions-{}", app.settings.host_id()))
        .map_err(|error| Error::Setting(format!("the host id cannot be used: {error}")))
}

/// The log of an app, starting with the warnings about its files.
fn logs(options: &Options, app: &App) -> Logs {
    let logs = Logs::new(options.log_lines_max, options.log_text_bytes_max);
    logs.set_levels(app.host.log_levels.clone());
    for notice in &app.notices {
        logs.host(Level::Warn, notice.clone());
    }
    logs
}

/// The tasks beside the host, which end with it.
struct Background {
    supervisor: Supervisor,
    /// The keys whose cache is kept current, if it is needed.
    keys: Option<AppKeys>,
    usage: Usage,
    concurrency: DynamicConcurrency,
    generations: Generations,
    shutdown: Shutdown,
}

impl Background {
    fn of(
        starter: &GenerationStarter,
        supervisor: Supervisor,
        concurrency: DynamicConcurrency,
        shutdown: Shutdown,
    ) -> Self {
        // The cache is not needed if keys are not enforced.
        let keys = starter.options.get().enable_auth.then(|| starter.keys.clone());
        let (usage, generations) = (starter.usage.clone(), starter.generations.clone());
        Self { supervisor, keys, usage, concurrency, generations, shutdown }
    }

    async fn run(self) {
        let Self { supervisor, keys, usage, concurrency, generations, shutdown } = self;
        let follow = async {
            if let Some(keys) = keys {
                follow(supervisor.clone(), keys, shutdown.clone()).await;
            }
        };
        let meter = meter(supervisor.clone(), usage, shutdown.clone());
        let adjust = adjust_concurrency(supervisor.clone(), concurrency, generations, shutdown.clone());
        tokio::join!(follow, meter, adjust);
    }
}

/// Runs the app, and the tasks beside it, until the host stops.
async fn run(host: Host, first: FirstStart, background: Background) {
    let supervisor = background.supervisor.clone();
    let host = supervisor.essential("functions host", |unit| async move {
        unit.fault_point();
        host.run(first).await;
    });
    tokio::join!(host, background.run());
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Overload is reported per request, with 429.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let dispatch = Arc::clone(&self.dispatch);
        Box::pin(async move { Ok(dispatch.handle(request).await) })
    }
}

/// Stores the usage of functions until the host stops.
async fn meter(supervisor: Supervisor, usage: Usage, shutdown: Shutdown) {
    let task = |unit: Unit| {
        let (usage, shutdown) = (usage.clone(), shutdown.clone());
        async move {
            unit.fault_point();
            usage.run(shutdown).await;
        }
    };
    supervisor.restarting("functions usage", task).await;
}

/// Adjusts the concurrency of functions until the host stops.
async fn adjust_concurrency(
    supervisor: Supervisor,
    concurrency: DynamicConcurrency,
    generations: Generations,
    shutdown: Shutdown,
) {
    let task = |unit: Unit| {
        let (concurrency, generations, shutdown) =
            (concurrency.clone(), generations.clone(), shutdown.clone());
        async move {
            unit.fault_point();
            concurrency.run(|| (generations.pids(), generations.is_worker_slow()), shutdown).await;
        }
    };
    supervisor.restarting("functions concurrency", task).await;
}

/// Keeps the cache of keys current until the host stops.
async fn follow(supervisor: Supervisor, keys: AppKeys, shutdown: Shutdown) {
    let task = |unit: Unit| {
        let (keys, shutdown) = (keys.clone(), shutdown.clone());
        async move {
            unit.fault_point();
            keys.follow(shutdown).await;
        }
    };
    supervisor.restarting("functions keys", task).await;
}

/// What is read of the app before its first start.
struct FirstRead {
    app: App,
    files: Snapshot,
    /// Why the files of the app cannot be used; the host waits for their next edit.
    unread: Option<Error>,
}

impl FirstRead {
    fn of(options: &Options, environment: &BTreeMap<String, String>) -> Result<Self, Error> {
        let load = || match App::load(&options.app_dir, environment) {
            Ok(app) => Ok((app, None)),
            Err(error) if error.is_edit() && options.is_hot_reload_on() => {
                Ok((App::unreadable(&options.app_dir, environment), Some(error.into())))
            }
            Err(error) => Err(error),
        };
        let (app, _) = load()?;
        let files = Snapshot::read(&options.app_dir, &options.ignored_dirs, &WatchRules::of(&app));
        // Again, so that no edit between the two is missed.
        let (app, unread) = load()?;
        Ok(Self { app, files, unread })
    }
}

/// The first start of the app, or why it cannot be started before the next edit.
fn first_startup(
    starter: &GenerationStarter,
    app: App,
    unread: Option<Error>,
) -> Result<Result<AppStartup, Error>, Error> {
    if let Some(error) = unread {
        return Ok(Err(error));
    }
    match starter.prepare(app) {
        Ok(startup) => Ok(Ok(startup)),
        Err(error @ Error::Setting(_)) if starter.options.get().is_hot_reload_on() => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

fn dispatch(
    starter: &GenerationStarter,
    app: &App,
    phase: watch::Receiver<AppPhase>,
    bodies: Budget,
    reload: mpsc::Sender<ReloadRequest>,
) -> Result<Dispatch, Error> {
    let options = &*starter.options.get();
    let worker_bodies_permits =
        (options.worker_bodies_bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
    // Invalid settings of the app are reported by its start.
    let settings = HttpSettings::of(options, app).unwrap_or_else(|_| HttpSettings::of_options(options, app));
    Ok(Dispatch {
        phase,
        keys: starter.keys.clone(),
        is_auth_enforced: options.enable_auth,
        cors: Current::new(cors_policy(options, app)?),
        settings: Current::new(settings),
        start_wait: Duration::from_millis(options.start_wait_ms),
        logs: starter.logs.clone(),
        metrics: starter.metrics.clone(),
        extensions: push_extensions(&starter.connectors),
        reload,
        started: Instant::now(),
        bodies,
        worker_bodies: Arc::new(Semaphore::new(worker_bodies_permits)),
        worker_bodies_permits,
        proxy: proxy_client(),
    })
}
