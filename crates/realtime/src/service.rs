//! [`Service`]: the HTTP face of the realtime service, and how it starts and ends.

mod access;
mod body;
mod client;
mod rest;
mod server;
mod upgrade;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use http::header::ORIGIN;
use http::{Method, Request, Response};
use http_messages::{Body, Budget};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use state::{Instance, Journal};
use supervision::{Supervisor, Unit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use trace::Tracer;

use crate::engine::{EngineHandle, EngineJoin, NodeId, Upstream};
use crate::error::Refusal;
use crate::events::{self, ConnectionListener};
use crate::login::Logins;
use crate::methods::OwnMethods;
use crate::metrics::RequestMetrics;
use crate::options::APP_TOKEN_BYTES_MAX;
use crate::servers::{self, Servers};
use crate::store::Negotiations;
use crate::store::keys::Keys;
use crate::store::sessions::Sessions;
use crate::store::user_groups::UserGroups;
use crate::upstream::{self, Dispatcher};
use crate::{Handle, Options, StartError, engine, history, to_protocol};
pub(crate) use access::unix_now;
pub(crate) use body::{discard, read_body, refused_body};
pub(crate) use rest::answer_key_rotation;
pub(crate) use rest::watch::trace;

/// Shortest time between two looks at negotiations whose client never came.
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);

/// Answers the requests of clients (`/client/`), of app servers (`/server/`) and of apps (`/api/`). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

/// Owns everything that runs for the service; see [`Join::drain`].
#[derive(Debug)]
pub struct Join {
    shared: Arc<Shared>,
    engine: EngineJoin,
    upstreams: upstream::Running,
    history: Option<history::Join>,
    sweeper: tokio::task::JoinHandle<()>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) instance: Instance,
    pub(crate) keys: Arc<Keys>,
    /// Who proves itself with a login provider's token, where one is configured.
    pub(crate) logins: Option<Arc<Logins>>,
    pub(crate) engine: EngineHandle,
    pub(crate) negotiations: Mutex<Negotiations>,
    pub(crate) sessions: Sessions,
    pub(crate) user_groups: Arc<UserGroups>,
    /// How many may watch at the same time.
    pub(crate) watchers: Arc<Semaphore>,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) servers: Servers,
    /// One task for each client between the answer 101 and its shard. `None` once the drain has begun, so that no task can
    /// start that nobody awaits.
    pub(crate) upgrades: Mutex<Option<JoinSet<()>>>,
    /// Answered 101 and not yet with the engine.
    pub(crate) upgrades_under_way: Gauge,
    pub(crate) requests: RequestMetrics,
    pub(crate) bodies: Budget,
}

/// What the service needs from outside.
pub struct Dependencies {
    /// This process among those that serve the same hubs.
    pub node: NodeId,
    /// Where spans go.
    pub tracer: Tracer,
    /// Logs of events and messages.
    pub journal: Arc<dyn Journal>,
    /// Keys: memberships, connections, access keys.
    pub registry: Arc<dyn state::Registry>,
    /// By which upstreams are called.
    pub egress: egress::Client,
    /// The room that request bodies share with those of other services.
    pub bodies: Budget,
    /// Is told when a thread or task of the service ends.
    pub supervisor: Supervisor,
    /// Who hears that clients come and go, beside the upstreams.
    pub listeners: Vec<Arc<dyn ConnectionListener>>,
}

/// Starts the shards and gives the service's three faces: for HTTP, for callers in this process, and for whoever ends it.
///
/// # Errors
///
/// If no usable key is configured, the state cannot be read, or the operating system gives no threads.
pub async fn start(
    options: Options,
    dependencies: Dependencies,
    registry: &mut Registry,
) -> Result<(Service, Handle, Join), StartError> {
    let instance = options.instance()?;
    options.check()?;
    let (node, tracer, egress) =
        (dependencies.node, dependencies.tracer.clone(), dependencies.egress.clone());
    let supervisor = dependencies.supervisor.clone();
    let (records, journal) = (Arc::clone(&dependencies.registry), Arc::clone(&dependencies.journal));
    let bodies = dependencies.bodies.clone();
    let keys = Keys::open(&options, Arc::clone(&records), instance.clone(), unix_now()).await?;
    let keys = Arc::new(keys);
    let dispatcher = dispatcher(&options, &instance, &keys, dependencies, registry)?;
    let upgrades_under_way = Gauge::default();
    registry.register(
        "realtime_upgrades_under_way",
        "Clients that were answered 101 and do not belong to a shard yet",
        upgrades_under_way.clone(),
    );
    let upstream: Arc<dyn Upstream> = Arc::new(dispatcher.clone());
    let (engine, engine_join) =
        engine::start(&options.engine, node, tracer, &supervisor, registry, Arc::clone(&upstream))
            .map_err(StartError::Engine)?;
    // Before the first client is let in, so that none misses its groups.
    let user_groups = UserGroups::new(Arc::clone(&records), instance.clone(), engine.clone());
    let user_groups = Arc::new(user_groups);
    user_groups.restore(SystemTime::now()).await.map_err(StartError::UserGroups)?;
    let logins = options.openid.clone().map(|openid| Arc::new(Logins::new(openid, egress)));
    let watchers = Arc::new(Semaphore::new(options.watchers_max.min(Semaphore::MAX_PERMITS)));
    let parts =
        history::Parts::new(&options, instance.clone(), Arc::clone(&journal), records, engine.clone());
    let history = history::start(parts, &supervisor, registry).await.map_err(StartError::History)?;
    let (keeping, history) = history.unzip();
    let methods =
        OwnMethods { engine: engine.clone(), journal, instance: instance.clone(), history: keeping };
    let upstreams = dispatcher.run(Arc::new(engine.clone()), Some(Arc::new(methods)), &supervisor).await;
    let upstreams = upstreams.map_err(StartError::Records)?;
    let powers = servers::Powers {
        engine: engine.clone(),
        user_groups: Arc::clone(&user_groups),
        keys: Arc::clone(&keys),
        logins: logins.clone(),
        link: supervisor.owned("app server link"),
    };
    let servers = app_servers(&options, node, powers, registry);
    let lifetime = Duration::from_millis(options.negotiation_lifetime_ms);
    let negotiations = Negotiations::new(lifetime, options.negotiations_max);
    let shared = Arc::new(Shared {
        options,
        instance,
        keys,
        logins,
        engine,
        negotiations: Mutex::new(negotiations),
        sessions: Sessions::default(),
        user_groups,
        watchers,
        upstream,
        dispatcher,
        servers,
        upgrades: Mutex::new(Some(JoinSet::new())),
        upgrades_under_way,
        requests: RequestMetrics::register(registry),
        bodies,
    });
    let handle = Handle::new(Arc::clone(&shared));
    let sweeper = tokio::spawn(sweep(supervisor, Arc::clone(&shared), lifetime));
    let join = Join { shared: Arc::clone(&shared), engine: engine_join, upstreams, history, sweeper };
    Ok((Service(shared), handle, join))
}

/// Forgets clients that negotiated and never came, also when nobody comes after them. Ends with [`Join::drain`].
async fn sweep(supervisor: Supervisor, shared: Arc<Shared>, lifetime: Duration) {
    let sweep = |unit: Unit| {
        let shared = Arc::clone(&shared);
        async move {
            loop {
                unit.fault_point();
                tokio::time::sleep(lifetime.max(SWEEP_EVERY_MIN)).await;
                shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner).sweep(Instant::now());
            }
        }
    };
    supervisor.restarting("negotiations", sweep).await;
}

/// Where app servers connect.
fn app_servers(options: &Options, node: NodeId, powers: servers::Powers, registry: &mut Registry) -> Servers {
    let settings = servers::Settings {
        options: options.servers.clone(),
        mode: options.mode,
        instance: format!("{}-{}", options.instance, node.0),
        capacity: options.engine.connections_max,
        token_rules: access::rules(options, APP_TOKEN_BYTES_MAX),
    };
    Servers::new(settings, powers, registry)
}

/// What answers clients' calls and tells of their connections; it runs once the engine does.
fn dispatcher(
    options: &Options,
    instance: &Instance,
    keys: &Arc<Keys>,
    dependencies: Dependencies,
    registry: &mut Registry,
) -> Result<Dispatcher, StartError> {
    let Dependencies { node, tracer, journal, registry: keys_of_state, egress, listeners, .. } = dependencies;
    let rules = upstream::load(&options.upstream)?;
    let metrics = upstream::Metrics::register(registry);
    let keys = Arc::clone(keys);
    // Asked for each request: a key that was replaced signs no more.
    let keys = upstream::KeySource::new(move || keys.current());
    let sender = upstream::Sender::new(&options.upstream, rules, keys, egress, tracer, metrics.clone());
    Ok(Dispatcher::new(upstream::Parts {
        sender,
        listeners,
        records: events::Records::new(keys_of_state, instance.clone(), node, events::Life::now()),
        dead_letters: events::DeadLetters::new(journal, instance.clone(), &options.events),
        options: options.upstream.clone(),
        event_options: options.events.clone(),
        metrics,
    }))
}

impl tower::Service<Request<Body>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(&shared, request).await) })
    }
}

async fn answer(shared: &Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let origin = request.headers().get(ORIGIN).cloned();
    let path = request.uri().path();
    if origin.is_some() && *request.method() == Method::OPTIONS {
        let mut response = to_protocol::preflight(request.headers());
        to_protocol::allow_origin(origin, &mut response);
        shared.requests.record("preflight", response.status());
        return response;
    }
    // Sends are most of what is asked; the others have boxes of their own, so that a send is not moved about with their room.
    let (operation, mut response) = if is_below(path, "/client") {
        Box::pin(client::answer(shared, request)).await
    } else if is_below(path, "/server") {
        Box::pin(server::answer(shared, request)).await
    } else if is_below(path, "/api") {
        rest::answer(shared, request).await
    } else {
        ("unknown", to_protocol::error_detail(elsewhere(path)))
    };
    to_protocol::allow_origin(origin, &mut response);
    shared.requests.record(operation, response.status());
    response
}

/// Whether a path is `place` or below it. As in ASP.NET Core, case does not matter.
fn is_below(path: &str, place: &str) -> bool {
    path.as_bytes().get(..place.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(place.as_bytes()))
        && matches!(path.as_bytes().get(place.len()), None | Some(b'/'))
}

/// Says what is here, for paths that belong to no face.
fn elsewhere(path: &str) -> Refusal {
    let path: String = path.chars().take(256).collect();
    Refusal::not_found(format!(
        "nothing is at '{path}'; clients connect at /client/?hub=<hub>, app servers at /server/?hub=<hub>, apps send at /api/v1/hubs/<hub>"
    ))
}

impl Join {
    /// Ends the service: turns new clients away, waits for those under way, tells every client to connect again, and cuts those
    /// that have not gone after `cut_after`. Returns when every task and thread has ended.
    pub async fn drain(self, cut_after: Duration) {
        self.sweeper.abort();
        // It sleeps, or holds a lock for a moment: its end is near in any case.
        let _ = self.sweeper.await;
        let upgrades = self.shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut upgrades = upgrades.expect("only this takes them, and it ends with self");
        // A client that never reads its 101 would keep its task for ever.
        let all_ended = async { while upgrades.join_next().await.is_some() {} };
        if tokio::time::timeout(cut_after, all_ended).await.is_err() {
            upgrades.shutdown().await;
        }
        self.shared.user_groups.drain().await;
        if let Some(history) = self.history {
            history.drain().await;
        }
        self.engine.drain(cut_after).await;
        // Behind the engine, which has said of every client that it is gone.
        self.upstreams.drain(cut_after).await;
        // Last, so that app servers hear of each client's end.
        self.shared.servers.drain(cut_after).await;
    }
}
