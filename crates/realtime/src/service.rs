//! [`Service`]: the HTTP face of the realtime service, and how it starts and ends.

mod access;
mod body;
mod client;
mod rest;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use identity::KeySet;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use state::{Instance, Journal};
use tokio::task::JoinSet;
use trace::Tracer;

use crate::engine::{EngineHandle, EngineJoin, NoUpstream, NodeId, Upstream};
use crate::error::Refusal;
use crate::history::Rule as HistoryRule;
use crate::metrics::RequestMetrics;
use crate::store::Negotiations;
use crate::store::sessions::Sessions;
use crate::{Body, Handle, Options, StartError, engine, history, to_protocol};
pub(crate) use access::unix_now;
pub(crate) use body::read_body;

/// Answers the requests of clients (`/client/`) and of apps (`/api/`). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service(Arc<Shared>);

/// Owns everything that runs for the service; see [`Join::drain`].
#[derive(Debug)]
pub struct Join {
    shared: Arc<Shared>,
    engine: EngineJoin,
    history: Option<history::Join>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) instance: Instance,
    pub(crate) keys: KeySet,
    pub(crate) engine: EngineHandle,
    pub(crate) negotiations: Mutex<Negotiations>,
    pub(crate) sessions: Sessions,
    pub(crate) upstream: Arc<dyn Upstream>,
    /// One task for each client between the answer 101 and its shard. `None` once the drain has begun, so that no task can
    /// start that nobody awaits.
    pub(crate) upgrades: Mutex<Option<JoinSet<()>>>,
    /// Answered 101 and not yet with the engine.
    pub(crate) upgrades_under_way: Gauge,
    pub(crate) requests: RequestMetrics,
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
    let (instance, keys) = (options.instance()?, options.keys()?);
    let Dependencies { node, tracer, journal, registry: state, .. } = dependencies;
    let requests = RequestMetrics::register(registry);
    let upgrades_under_way = Gauge::default();
    registry.register(
        "realtime_upgrades_under_way",
        "Clients that were answered 101 and do not belong to a shard yet",
        upgrades_under_way.clone(),
    );
    let upstream: Arc<dyn Upstream> = Arc::new(NoUpstream);
    let (engine, engine_join) = engine::start(&options.engine, node, tracer, registry, Arc::clone(&upstream))
        .map_err(StartError::Engine)?;
    let rules: Arc<[HistoryRule]> = options.history.clone().into();
    let history = history::start(rules, instance.clone(), journal, state, &engine, registry)
        .await
        .map_err(StartError::History)?;
    let lifetime = Duration::from_millis(options.negotiation_lifetime_ms);
    let negotiations = Negotiations::new(lifetime, options.negotiations_max);
    let shared = Arc::new(Shared {
        options,
        instance,
        keys,
        engine,
        negotiations: Mutex::new(negotiations),
        sessions: Sessions::default(),
        upstream,
        upgrades: Mutex::new(Some(JoinSet::new())),
        upgrades_under_way,
        requests,
    });
    let handle = Handle::new(Arc::clone(&shared));
    Ok((Service(Arc::clone(&shared)), handle, Join { shared, engine: engine_join, history }))
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
    let path = request.uri().path();
    let (operation, response) = if path == "/client" || path.starts_with("/client/") {
        client::answer(shared, request).await
    } else if path == "/api" || path.starts_with("/api/") {
        rest::answer(shared, request).await
    } else {
        ("unknown", to_protocol::error_detail(elsewhere(path)))
    };
    shared.requests.record(operation, response.status());
    response
}

/// Says what is here, for paths that belong to neither face.
fn elsewhere(path: &str) -> Refusal {
    if path == "/server" || path.starts_with("/server/") {
        // An app server in Default mode connects here; only the Serverless mode is there.
        return Refusal::not_found(
            "app servers cannot connect yet: this service works in Serverless mode, over /api and functions",
        );
    }
    Refusal::not_found(
        "nothing is here; clients connect at /client/?hub=<hub>, apps send at /api/v1/hubs/<hub>",
    )
}

impl Join {
    /// Ends the service: turns new clients away, waits for those under way, tells every client to connect again, and cuts those
    /// that have not gone after `cut_after`. Returns when every task and thread has ended.
    pub async fn drain(self, cut_after: Duration) {
        let upgrades = self.shared.upgrades.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut upgrades = upgrades.expect("only this takes them, and it ends with self");
        // A client that never reads its 101 would keep its task for ever.
        let all_ended = async { while upgrades.join_next().await.is_some() {} };
        if tokio::time::timeout(cut_after, all_ended).await.is_err() {
            upgrades.shutdown().await;
        }
        if let Some(history) = self.history {
            history.drain().await;
        }
        self.engine.drain(cut_after).await;
    }
}
