//! How the service starts and ends: [`start`], [`Join`].

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use http_messages::Budget;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use state::{Instance, Journal};
use supervision::{Supervisor, Unit};
use tokio::task::JoinSet;
use trace::Tracer;

use crate::events::{self, ConnectionListener};
use crate::handle::Handle;
use crate::history;
use crate::login::Logins;
use crate::methods::OwnMethods;
use crate::metrics::RequestMetrics;
use crate::options::{APP_TOKEN_BYTES_MAX, Options, OptionsError};
use crate::servers::{self, Servers};
use crate::service::{Service, Shared, rules};
use crate::store::Negotiations;
use crate::store::keys::{Keys, OpenKeysError};
use crate::store::sessions::Sessions;
use crate::store::user_groups::{RestoreError, UserGroups};
use crate::unix_time::unix_now;
use crate::upstream::{self, Dispatcher};
use realtime_engine::{EngineJoin, NodeId, Upstream};

/// Shortest interval at which expired negotiations are removed.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What the service needs from other crates.
pub struct Dependencies {
    /// The number of this process among those that serve the same hubs.
    pub node: NodeId,
    /// Records spans.
    pub tracer: Tracer,
    /// Stores dead letters and message history.
    pub journal: Arc<dyn Journal>,
    /// Stores users' groups, connection records and keys.
    pub registry: Arc<dyn state::Registry>,
    /// Sends requests to upstreams and to the login provider.
    pub egress: egress::Client,
    /// The memory that request bodies share with those of other services.
    pub bodies: Budget,
    /// Supervises the threads and tasks of the service.
    pub supervisor: Supervisor,
    /// Listeners for connection events, in addition to the upstreams.
    pub listeners: Vec<Arc<dyn ConnectionListener>>,
}

/// Owns everything that runs for the service; see [`Join::drain`].
#[derive(Debug)]
pub struct Join {
    shared: Arc<Shared>,
    engine: EngineJoin,
    upstreams: upstream::Join,
    history: Option<history::Join>,
    sweeper: tokio::task::JoinHandle<()>,
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is invalid.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The stored keys cannot be used.
    #[error(transparent)]
    Keys(#[from] OpenKeysError),
    /// The users' stored groups cannot be restored.
    #[error("cannot restore the groups of users")]
    UserGroups(#[source] RestoreError),
    /// The message history cannot be read.
    #[error("cannot read the message history of the realtime service")]
    History(#[source] history::HistoryError),
    /// The shards cannot be started.
    #[error("cannot start the shards of the realtime service")]
    Engine(#[source] realtime_engine::StartError),
    /// The records of an earlier process's connections cannot be read.
    #[error("cannot read the connection records of an earlier process")]
    Records(#[source] state::RegistryError),
}

/// Starts the service. Returns its HTTP interface, a handle for callers in this process, and the owner of its tasks.
///
/// # Errors
///
/// If no usable key is configured, the state cannot be read, or no thread can be started.
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
    let upstream: Arc<dyn Upstream> = Arc::new(dispatcher.clone());
    let (engine, engine_join) =
        realtime_engine::start(&options.engine, node, tracer, &supervisor, registry, Arc::clone(&upstream))
            .map_err(StartError::Engine)?;
    // Before the first client connects, so that none misses its groups.
    let user_groups = UserGroups::new(Arc::clone(&records), instance.clone(), engine.clone());
    let user_groups = Arc::new(user_groups);
    user_groups.restore(SystemTime::now()).await.map_err(StartError::UserGroups)?;
    let logins = options.openid.clone().map(|openid| Arc::new(Logins::new(openid, egress)));
    let history_dependencies = history::Dependencies {
        rules: options.history.clone().into(),
        groups_max: options.history_groups_max,
        instance: instance.clone(),
        journal: Arc::clone(&journal),
        registry: records,
        engine: engine.clone(),
    };
    let history =
        history::start(history_dependencies, &supervisor, registry).await.map_err(StartError::History)?;
    let (history, history_join) = history.unzip();
    let methods = OwnMethods { engine: engine.clone(), journal, instance: instance.clone(), history };
    let upstreams = dispatcher.run(Arc::new(engine.clone()), Some(Arc::new(methods)), &supervisor).await;
    let upstreams = upstreams.map_err(StartError::Records)?;
    let services = servers::Services {
        engine: engine.clone(),
        user_groups: Arc::clone(&user_groups),
        keys: Arc::clone(&keys),
        logins: logins.clone(),
        unit: supervisor.owned("server connection"),
    };
    let servers = app_servers(&options, node, services, registry);
    let lifetime = Duration::from_millis(options.negotiation_lifetime_ms);
    let negotiations = Negotiations::new(lifetime, options.negotiations_max);
    let shared = Arc::new(Shared {
        current_options: RwLock::new(Arc::new(options)),
        instance,
        keys,
        logins,
        engine,
        negotiations: Mutex::new(negotiations),
        sessions: Sessions::default(),
        user_groups,
        watchers: Arc::default(),
        upstream,
        dispatcher,
        servers,
        upgrades: Mutex::new(Some(JoinSet::new())),
        pending_upgrades: pending_upgrades(registry),
        requests: RequestMetrics::register(registry),
        bodies,
    });
    let handle = Handle::new(Arc::clone(&shared));
    let sweeper = tokio::spawn(sweep(supervisor, Arc::clone(&shared), lifetime));
    let join =
        Join { shared: Arc::clone(&shared), engine: engine_join, upstreams, history: history_join, sweeper };
    Ok((Service::new(shared), handle, join))
}

/// Removes negotiations whose client did not connect in time. Runs until [`Join::drain`].
async fn sweep(supervisor: Supervisor, shared: Arc<Shared>, lifetime: Duration) {
    let sweep = |unit: Unit| {
        let shared = Arc::clone(&shared);
        async move {
            loop {
                unit.fault_point();
                tokio::time::sleep(lifetime.max(SWEEP_INTERVAL_MIN)).await;
                shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner).sweep(Instant::now());
            }
        }
    };
    supervisor.restarting("negotiations", sweep).await;
}

fn pending_upgrades(registry: &mut Registry) -> Gauge {
    let gauge = Gauge::default();
    let help = "Clients that have received the response 101 and do not belong to a shard yet";
    registry.register("realtime_upgrades_under_way", help, gauge.clone());
    gauge
}

/// The part of the service to which app servers connect.
fn app_servers(
    options: &Options,
    node: NodeId,
    services: servers::Services,
    registry: &mut Registry,
) -> Servers {
    let settings = servers::Settings {
        options: options.servers.clone(),
        mode: options.mode,
        instance: format!("{}-{}", options.instance, node.0),
        capacity: options.engine.connections_max,
        token_rules: rules(options, APP_TOKEN_BYTES_MAX),
    };
    Servers::new(settings, services, registry)
}

/// Creates the dispatcher, which sends invocations and connection events to upstreams. It runs once the engine does.
fn dispatcher(
    options: &Options,
    instance: &Instance,
    keys: &Arc<Keys>,
    dependencies: Dependencies,
    registry: &mut Registry,
) -> Result<Dispatcher, StartError> {
    let Dependencies { node, tracer, journal, registry: keys_of_state, egress, listeners, .. } = dependencies;
    let rules = upstream::load(&options.upstream).map_err(OptionsError::Upstream)?;
    let metrics = upstream::Metrics::register(registry);
    let keys = Arc::clone(keys);
    // Read for each request, so that a replaced key is not used any more.
    let keys = upstream::KeySource::new(move || keys.current());
    let sender = upstream::Sender::new(&options.upstream, rules, keys, egress, tracer, metrics.clone());
    Ok(Dispatcher::new(upstream::Dependencies {
        sender,
        listeners,
        records: events::Records::new(keys_of_state, instance.clone(), node, events::ProcessRun::now()),
        dead_letters: events::DeadLetters::new(journal, instance.clone(), &options.events),
        options: options.upstream.clone(),
        event_options: options.events.clone(),
        metrics,
    }))
}

impl Join {
    /// Drains the service: refuses new clients, waits for clients that are connecting, tells every client to reconnect, and
    /// closes the sockets of those that are still there after `cut_after`. Returns when every task and thread has ended.
    pub async fn drain(self, cut_after: Duration) {
        self.sweeper.abort();
        // It only sleeps and holds a lock for a short time, so it ends soon.
        let _ = self.sweeper.await;
        let upgrades = self.shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut upgrades = upgrades.expect("only drain removes the set, and drain consumes self");
        // The task of a client that never reads the response 101 must be aborted.
        let all_ended = async { while upgrades.join_next().await.is_some() {} };
        if tokio::time::timeout(cut_after, all_ended).await.is_err() {
            upgrades.shutdown().await;
        }
        self.shared.user_groups.drain().await;
        if let Some(history) = self.history {
            history.drain().await;
        }
        self.engine.drain(cut_after).await;
        // After the engine, which has reported the end of every connection.
        self.upstreams.drain(cut_after).await;
        // Last, so that app servers get a CloseConnection for each client.
        self.shared.servers.drain(cut_after).await;
    }
}
