//! [`Service`]: the functions host as a `tower::Service`, and how it is started.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Request, Response};
use http_messages::{Body, Budget};
use jiff::tz::TimeZone;
use prometheus_client::registry::Registry;
use state::Instance;
use supervision::{Supervisor, Unit};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::app::App;
use crate::boot::{Boot, Phase, RunningApp, find_connector};
use crate::error::Error;
use crate::function::Trigger;
use crate::handle::{Handle, Join};
use crate::http::{CorsPolicy, Dispatch, PERMIT_BYTES, proxy_client};
use crate::invoke::{Invoker, Running, WorkerLog};
use crate::keys::Keys;
use crate::listen::Listener;
use crate::log::{Level, Logs};
use crate::metrics::Metrics;
use crate::options::{Dependencies, Options};
use crate::startup;
use crate::stop::Stop;
use crate::timer::{ScheduleMonitor, Timer};
use crate::windows_zones;
use crate::workers::start_pool;
use functions_contract::{AppSettings, Connector, Direction};

/// The version of the real host whose behaviour this one follows; told to workers and in `/admin/host/status`.
pub(crate) const HOST_VERSION: &str = "4.1037.0.0";

/// Answers HTTP requests for one function app; cheap to clone.
#[derive(Clone)]
pub struct Service {
    dispatch: Arc<Dispatch>,
}

/// What the triggers that are no HTTP requests need.
pub(crate) struct Triggers {
    pub(crate) options: Options,
    pub(crate) app: App,
    connectors: Vec<Arc<dyn Connector>>,
    lease: Arc<dyn state::Lease>,
    instance: Instance,
    owner: String,
    pub(crate) stop: Stop,
    pub(crate) supervisor: Supervisor,
}

/// Reads the app, starts its workers and returns at once with the service's three faces: for HTTP, for callers in this process, and
/// for whoever ends it. Requests wait until the functions can be called. Must be called in a Tokio runtime.
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
        let app = App::load(&options.app_dir, &dependencies.environment)?;
        let zone = time_zone(&app)?;
        let metrics = Metrics::register(registry);
        let logs = logs(&options, &app);
        let running = Running::new(metrics.in_flight.clone());
        let observer =
            Arc::new(WorkerLog { logs: logs.clone(), running: running.clone(), metrics: metrics.clone() });
        let workers = match dependencies.workers {
            Some(start) => start(observer)?,
            None => start_pool(&options, &app, observer, registry)?,
        };
        let invoker = Invoker {
            workers,
            running,
            logs: logs.clone(),
            tracer: dependencies.tracer,
            metrics,
            limit: app.host.function_timeout,
        };
        let instance = Instance::new(&format!("functions-{}", app.settings.host_id()))
            .map_err(|error| Error::Setting(format!("the host id cannot be used: {error}")))?;
        let keys = Keys::new(Arc::clone(&dependencies.registry), instance.clone(), options.development);
        let (phase_tx, phase) = watch::channel(Phase::Starting);
        let (stop_tx, stop) = Stop::channel();
        let bodies = dependencies.bodies;
        let dispatch = dispatch(&options, &app, phase.clone(), keys.clone(), &invoker, bodies, stop.clone())?;
        // Where nobody is asked for a key, none is checked.
        let known_keys = keys.clone();
        let supervisor = dependencies.supervisor.clone();
        let follow_keys = options.enable_auth.then(|| follow(supervisor.clone(), keys, stop.clone()));
        let boot = Boot {
            app: app.clone(),
            environment: dependencies.environment,
            only: options.functions.clone(),
            connectors: dependencies.connectors.clone(),
            zone,
            invoker: invoker.clone(),
            stop: stop.clone(),
            schedule_monitor: ScheduleMonitor {
                registry: dependencies.registry,
                instance: instance.clone(),
                logs,
            },
            tries_sources: !options.runs_triggers,
        };
        let triggers = Triggers {
            options,
            app: app.clone(),
            connectors: dependencies.connectors,
            lease: dependencies.lease,
            instance,
            owner: dependencies.owner,
            stop,
            supervisor: dependencies.supervisor,
        };
        let task = tokio::spawn(run(supervisor, boot, triggers, phase_tx, follow_keys));
        let handle = Handle::new(app, invoker, known_keys, phase, stop_tx, task);
        Ok((Self { dispatch: Arc::new(dispatch) }, handle))
    }
}

/// The log of an app, with what was noticed while its files were read.
fn logs(options: &Options, app: &App) -> Logs {
    let logs = Logs::new(options.log_lines_max, options.log_text_bytes_max);
    logs.set_levels(app.host.log_levels.clone());
    for notice in &app.notices {
        logs.host(Level::Warn, notice.clone());
    }
    logs
}

/// Runs the app and the cache of keys until the host stops.
async fn run(
    supervisor: Supervisor,
    boot: Boot,
    triggers: Triggers,
    phase: watch::Sender<Phase>,
    follow_keys: Option<impl Future<Output = ()>>,
) {
    let follow_keys = async {
        if let Some(follow_keys) = follow_keys {
            follow_keys.await;
        }
    };
    let startup = supervisor.essential("functions host", |unit| async move {
        unit.fault_point();
        startup::run(boot, triggers, phase).await;
    });
    tokio::join!(startup, follow_keys);
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Overload is answered per request, with 429.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let dispatch = Arc::clone(&self.dispatch);
        Box::pin(async move { Ok(dispatch.handle(request).await) })
    }
}

/// Keeps the cache of keys until the host stops.
async fn follow(supervisor: Supervisor, keys: Keys, stop: Stop) {
    let task = |unit: Unit| {
        let (keys, stop) = (keys.clone(), stop.clone());
        async move {
            unit.fault_point();
            keys.follow(stop).await;
        }
    };
    supervisor.restarting("functions keys", task).await;
}

fn dispatch(
    options: &Options,
    app: &App,
    phase: watch::Receiver<Phase>,
    keys: Keys,
    invoker: &Invoker,
    bodies: Budget,
    stop: Stop,
) -> Result<Dispatch, Error> {
    let http = &app.host.http;
    let worker_bodies_permits =
        (options.worker_bodies_bytes_max / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
    let outstanding =
        http.outstanding_requests_max.map_or(options.requests_max, |max| max.min(options.requests_max));
    let origins =
        if options.cors_origins.is_empty() { &app.local.cors_origins } else { &options.cors_origins };
    let credentials = options.cors_credentials.unwrap_or(app.local.cors_credentials);
    let cors = CorsPolicy::new(origins, credentials).exposing(&options.cors_exposed_headers);
    let cors = cors.ok_or_else(|| {
        let names = options.cors_exposed_headers.join(", ");
        Error::Setting(format!(
            "functions.cors_exposed_headers has \"{names}\", of which one is no name of a header"
        ))
    })?;
    let header = |(name, value): &(String, String)| {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        parsed.ok_or_else(|| {
            Error::Setting(format!(
                "host.json: extensions.http.customHeaders has \"{name}\", which is no valid header"
            ))
        })
    };
    Ok(Dispatch {
        app: app.clone(),
        phase,
        keys,
        is_auth_enforced: options.enable_auth,
        cors,
        body_bytes_max: body_bytes_max(options, app)?,
        start_wait: Duration::from_millis(options.start_wait_ms),
        outstanding: Arc::new(Semaphore::new(outstanding.min(Semaphore::MAX_PERMITS))),
        concurrent: http
            .concurrent_requests_max
            .map(|max| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))),
        custom_headers: http.custom_headers.iter().map(header).collect::<Result<_, _>>()?,
        logs: invoker.logs.clone(),
        metrics: invoker.metrics.clone(),
        started: Instant::now(),
        bodies,
        worker_bodies: Arc::new(Semaphore::new(worker_bodies_permits)),
        worker_bodies_permits,
        stop,
        proxy: proxy_client(),
    })
}

impl Triggers {
    /// Starts a task for each function with such a trigger.
    pub(crate) fn spawn(&self, running: &RunningApp, tasks: &mut JoinSet<()>) {
        for function in running.functions.iter().filter(|function| !function.declaration.is_disabled) {
            match &function.declaration.trigger {
                Trigger::Http(_) | Trigger::Manual => {}
                Trigger::Timer(trigger) => {
                    let timer = Timer {
                        function: Arc::clone(function),
                        trigger: trigger.clone(),
                        invoker: running.invoker.clone(),
                        monitor: running.schedule_monitor.clone(),
                        lease: Arc::clone(&self.lease),
                        instance: self.instance.clone(),
                        owner: self.owner.clone(),
                        lease_ttl: Duration::from_millis(self.options.timer_lease_ms.max(300)),
                    };
                    let timer = Arc::new(timer);
                    self.supervise(function.name(), tasks, move |stop| {
                        let timer = Arc::clone(&timer);
                        async move { timer.run(stop).await }
                    });
                }
                Trigger::Source => {
                    let kind = &function.declaration.trigger_spec.spec.kind;
                    let connector = find_connector(&self.connectors, kind, Direction::In);
                    let connector = connector.expect("a valid declaration has a connector for its trigger");
                    let listener = Listener {
                        function: Arc::clone(function),
                        connector: Arc::clone(connector),
                        settings: self.app.settings.clone(),
                        invoker: running.invoker.clone(),
                        retry_min: Duration::from_millis(self.options.source_retry_ms_min.max(1)),
                        retry_max: Duration::from_millis(self.options.source_retry_ms_max.max(1)),
                        lag_every: Duration::from_millis(self.options.lag_interval_ms.max(10)),
                    };
                    let listener = Arc::new(listener);
                    self.supervise(function.name(), tasks, move |stop| {
                        let listener = Arc::clone(&listener);
                        async move { listener.run(stop).await }
                    });
                }
            }
        }
    }
}

impl Triggers {
    /// Runs a trigger's task, again if it panics: what it had in hand was not completed, and comes again.
    fn supervise<F>(
        &self,
        function: &str,
        tasks: &mut JoinSet<()>,
        run: impl Fn(Stop) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, stop) = (self.supervisor.clone(), self.stop.clone());
        let name = format!("trigger of {function}");
        tasks.spawn(async move {
            let task = |unit: Unit| {
                let run = run(stop.clone());
                async move {
                    unit.fault_point();
                    run.await;
                }
            };
            supervisor.restarting(&name, task).await;
        });
    }
}

/// Schedules follow `WEBSITE_TIME_ZONE` or `TZ`, else UTC, as in the real host; not the machine's own zone.
pub(crate) fn time_zone(app: &App) -> Result<TimeZone, Error> {
    for name in ["WEBSITE_TIME_ZONE", "TZ"] {
        if let Some(zone) = app.settings.get(name) {
            let zone = zone.trim_start_matches(':');
            return TimeZone::get(windows_zones::iana(zone).unwrap_or(zone)).map_err(|_| {
                Error::Setting(format!(
                    "the setting {name} is \"{zone}\", which is no known time zone; use a name such as Europe/Paris or \
                     W. Europe Standard Time"
                ))
            });
        }
    }
    Ok(TimeZone::UTC)
}

fn body_bytes_max(options: &Options, app: &App) -> Result<usize, Error> {
    const NAME: &str = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT";
    match app.settings.get(NAME) {
        None => Ok(options.body_bytes_max),
        Some(text) => text.trim().parse().map_err(|_| {
            Error::Setting(format!("the setting {NAME} is \"{text}\", but must be a number of bytes"))
        }),
    }
}
