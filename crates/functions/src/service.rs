//! [`Service`]: the functions host as a `tower::Service`, and how it is started.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request, Response};
use http_messages::{Body, Budget};
use prometheus_client::registry::Registry;
use state::Instance;
use supervision::{Supervisor, Unit};
use tokio::sync::{Semaphore, watch};

use crate::app::App;
use crate::connectors::push_extensions;
use crate::cors_options::cors_policy;
use crate::dependencies::Dependencies;
use crate::error::Error;
use crate::handle::{Handle, Join};
use crate::host;
use crate::host_triggers::HostTriggers;
use crate::http::{CurrentCors, Dispatch, PERMIT_BYTES, proxy_client};
use crate::invoke::{ActiveInvocations, Invoker, WorkerLog};
use crate::keys::AppKeys;
use crate::log::{Level, Logs};
use crate::metrics::Metrics;
use crate::options::Options;
use crate::running_app::AppPhase;
use crate::shutdown::Shutdown;
use crate::startup::AppStartup;
use crate::time_zone::time_zone;
use crate::timer::ScheduleMonitor;
use crate::triggers::Triggers;
use crate::workers::start_pool;
use functions_contract::AppSettings;

/// Answers HTTP requests for one function app; cheap to clone.
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
        let mut connectors = dependencies.connectors;
        connectors.push(Arc::new(HostTriggers));
        let app = App::load(&options.app_dir, &dependencies.environment)?;
        let zone = time_zone(&app)?;
        let metrics = Metrics::register(registry);
        let logs = logs(&options, &app);
        let active = ActiveInvocations::new(metrics.in_flight.clone());
        let observer =
            Arc::new(WorkerLog { logs: logs.clone(), active: active.clone(), metrics: metrics.clone() });
        let workers = match dependencies.workers {
            Some(start) => start(observer)?,
            None => start_pool(&options, &app, observer, registry)?,
        };
        let invoker = Invoker {
            workers,
            active,
            logs: logs.clone(),
            tracer: dependencies.tracer,
            metrics,
            function_timeout: app.host.function_timeout,
        };
        let instance = Instance::new(&format!("functions-{}", app.settings.host_id()))
            .map_err(|error| Error::Setting(format!("the host id cannot be used: {error}")))?;
        let keys = AppKeys::new(Arc::clone(&dependencies.registry), instance.clone(), options.development);
        let (phase_tx, phase) = watch::channel(AppPhase::Starting);
        let (shutdown_sender, shutdown) = Shutdown::channel();
        let bodies = dependencies.bodies;
        let mut dispatch =
            dispatch(&options, &app, phase.clone(), keys.clone(), &invoker, bodies, shutdown.clone())?;
        dispatch.extensions = push_extensions(&connectors);
        let dispatch = Arc::new(dispatch);
        // The cache is not needed if keys are not enforced.
        let handle_keys = keys.clone();
        let supervisor = dependencies.supervisor.clone();
        let follow_keys =
            options.enable_auth.then(|| follow(supervisor.clone(), keys.clone(), shutdown.clone()));
        let startup = AppStartup {
            app: app.clone(),
            environment: dependencies.environment,
            only: options.functions.clone(),
            connectors: connectors.clone(),
            zone,
            invoker: invoker.clone(),
            shutdown: shutdown.clone(),
            keys: keys.clone(),
            schedule_monitor: ScheduleMonitor {
                registry: dependencies.registry,
                instance: instance.clone(),
                logs,
            },
            checks_sources: !options.runs_triggers,
        };
        let triggers = Triggers {
            options,
            app: app.clone(),
            connectors,
            lease: dependencies.lease,
            instance,
            owner: dependencies.owner,
            shutdown,
            supervisor: dependencies.supervisor,
        };
        let task = tokio::spawn(run(supervisor, startup, triggers, phase_tx, follow_keys));
        let handle =
            Handle::new(app, invoker, handle_keys, Arc::clone(&dispatch), phase, shutdown_sender, task);
        Ok((Self { dispatch }, handle))
    }
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

/// Runs the app, and keeps the cache of keys, until the host stops.
async fn run(
    supervisor: Supervisor,
    startup: AppStartup,
    triggers: Triggers,
    phase: watch::Sender<AppPhase>,
    follow_keys: Option<impl Future<Output = ()>>,
) {
    let follow_keys = async {
        if let Some(follow_keys) = follow_keys {
            follow_keys.await;
        }
    };
    let host = supervisor.essential("functions host", |unit| async move {
        unit.fault_point();
        host::run(startup, triggers, phase).await;
    });
    tokio::join!(host, follow_keys);
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

fn dispatch(
    options: &Options,
    app: &App,
    phase: watch::Receiver<AppPhase>,
    keys: AppKeys,
    invoker: &Invoker,
    bodies: Budget,
    shutdown: Shutdown,
) -> Result<Dispatch, Error> {
    let http = &app.host.http;
    let worker_bodies_permits =
        (options.worker_bodies_bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
    let outstanding =
        http.outstanding_requests_max.map_or(options.requests_max, |max| max.min(options.requests_max));
    let header = |(name, value): &(String, String)| {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        parsed.ok_or_else(|| {
            Error::Setting(format!(
                "host.json: extensions.http.customHeaders has \"{name}\", which is not a valid header"
            ))
        })
    };
    Ok(Dispatch {
        app: app.clone(),
        phase,
        keys,
        is_auth_enforced: options.enable_auth,
        cors: CurrentCors::new(cors_policy(options, app)?),
        body_bytes_max: body_bytes_max(options, app)?,
        start_wait: Duration::from_millis(options.start_wait_ms),
        outstanding: Arc::new(Semaphore::new(outstanding.min(Semaphore::MAX_PERMITS))),
        concurrent: http
            .concurrent_requests_max
            .map(|max| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))),
        custom_headers: http.custom_headers.iter().map(header).collect::<Result<_, _>>()?,
        logs: invoker.logs.clone(),
        metrics: invoker.metrics.clone(),
        extensions: Vec::new(),
        started: Instant::now(),
        bodies,
        worker_bodies: Arc::new(Semaphore::new(worker_bodies_permits)),
        worker_bodies_permits,
        shutdown,
        proxy: proxy_client(),
    })
}

fn body_bytes_max(options: &Options, app: &App) -> Result<usize, Error> {
    const NAME: &str = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT";
    match app.settings.get(NAME) {
        None => Ok(options.body_bytes_max),
        Some(text) => text.trim().parse().map_err(|_| {
            Error::Setting(format!("the setting {NAME} is \"{text}\", which is not a number of bytes"))
        }),
    }
}
