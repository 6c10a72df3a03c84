//! App servers: in Default mode they answer what clients say. Each keeps a few connections open for a hub, and many clients share each. A
//! connection of type Weak carries no clients and only sends: the persistent transport of management SDKs, in every mode.
//!
//! Three threads of work meet here. A shard gives what a client says to its `Client`, which puts it into the `Outbox` of the
//! server connection that the client belongs to. The reading task of a server connection turns messages into `Order`s and
//! carries them out against the engine, in their order. Whoever comes or goes is entered in the `Registry`.
//!
//! Locks, from the outside in, where one is taken while another is held: `registry`, `clients`, a client's state, an outbox. The
//! others are never held together with any.
//!
//! Start reading at `client.rs` and `execute.rs`.

mod client;
mod departed;
mod execute;
mod forwarding;
mod from_protocol;
mod hello;
mod inflow;
mod invocations;
mod link;
mod metrics;
mod migrate;
mod options;
mod order;
mod outbox;
mod passed_on;
mod registry;
mod results;
mod to_protocol;
mod too_long;
mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use identity::TokenRules;
use prometheus_client::registry::Registry as Metrics;
use signalr_protocol::service::{AckStatus, Message, ServerConnectionType};
use supervision::Unit;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use websocket::CloseCode;

use crate::engine::{AppServer, ConnectionId, EngineHandle, Hub, ServerClose};
use crate::login::Logins;
use crate::options::Mode;
use crate::store::keys::Keys;
use crate::store::user_groups::UserGroups;
use client::{Client, Remains};
use departed::Departed;
use hello::Hello;
use invocations::{Invocations, Pending};
use link::Link;
use metrics::ServerMetrics;
use registry::Registry;

pub(crate) use link::Visitor;
pub use options::Options;
pub(crate) use passed_on::{PassedOn, TooLarge};
pub(crate) use registry::{Answerer, Sticky};

/// How often calls are looked through for those that have waited for too long.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// The app servers of a service; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Servers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: Options,
    mode: Mode,
    /// The name of this process among those that serve the same hubs, as servers are told it.
    instance: Box<str>,
    /// Clients that the service holds at most.
    capacity: u32,
    /// Largest message of a server to one client, in bytes.
    client_message_bytes_max: usize,
    powers: Powers,
    token_rules: TokenRules,
    /// Shards spawn tasks here.
    runtime: tokio::runtime::Handle,
    registry: Mutex<Registry<Arc<Link>>>,
    /// Rung when a server connection is there.
    joined: Notify,
    clients: Mutex<Clients>,
    invocations: Mutex<Invocations>,
    /// A task for each server connection. `None` once the drain has begun.
    links: Mutex<Option<JoinSet<()>>>,
    /// Short tasks that a shard cannot wait for, and the housekeeping. `None` once the drain has ended.
    errands: Mutex<Option<JoinSet<()>>>,
    metrics: ServerMetrics,
}

/// The clients of app servers.
#[derive(Debug, Default)]
struct Clients {
    by_id: HashMap<ConnectionId, Arc<Client>>,
    departed: Departed,
}

/// What [`Servers`] are made from.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) mode: Mode,
    pub(crate) instance: String,
    pub(crate) capacity: u32,
    /// What login tokens of app servers must comply with.
    pub(crate) token_rules: TokenRules,
}

/// Through whom [`Servers`] do what app servers want.
#[derive(Debug)]
pub(crate) struct Powers {
    pub(crate) engine: EngineHandle,
    pub(crate) user_groups: Arc<UserGroups>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) logins: Option<Arc<Logins>>,
    /// What each server connection runs as.
    pub(crate) link: Unit,
}

/// As many server connections are open as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error("the service holds as many server connections as it may: {0}; raise servers.connections_max")]
    Full(usize),
    #[error("the service is shutting down")]
    Stopping,
}

impl Servers {
    /// Begins without any server. Call it within a runtime.
    pub(crate) fn new(settings: Settings, powers: Powers, metrics: &mut Metrics) -> Self {
        let Settings { options, mode, instance, capacity, token_rules } = settings;
        let invocations = Invocations::new(options.invocation_timeout(), options.invocations_max);
        let servers = Self(Arc::new(Shared {
            mode,
            instance: instance.into(),
            capacity,
            client_message_bytes_max: options.message_bytes_max as usize,
            powers,
            token_rules,
            runtime: tokio::runtime::Handle::current(),
            registry: Mutex::new(Registry::new(mode)),
            joined: Notify::new(),
            clients: Mutex::default(),
            invocations: Mutex::new(invocations),
            links: Mutex::new(Some(JoinSet::new())),
            errands: Mutex::new(Some(JoinSet::new())),
            metrics: ServerMetrics::register(metrics),
            options,
        }));
        servers.errand(servers.clone().keep_house());
        servers
    }

    /// Who answers a client of the hub that comes now.
    pub(crate) fn answerer(&self, hub: &Hub, sticky: Option<&Sticky>) -> Answerer {
        lock(&self.0.registry).answerer(hub, sticky)
    }

    /// Whether a hub that is answered by the upstream may still get an app server: in Classic mode.
    pub(crate) fn may_come(&self) -> bool {
        self.0.mode == Mode::Classic
    }

    /// Waits until a hub in Classic mode has an app server, at most for `await_server_timeout_ms`: a client that negotiated with one must not
    /// be taken for one without because the server's connection opens a moment later.
    pub(crate) async fn await_server(&self, hub: &Hub, sticky: Option<&Sticky>) {
        let until = tokio::time::Instant::now() + self.options().await_server_timeout();
        loop {
            let joined = self.0.joined.notified();
            tokio::pin!(joined);
            // Registered before looking, so that no server is missed that comes in between.
            joined.as_mut().enable();
            if !self.may_come() || self.answerer(hub, sticky) != Answerer::Upstream {
                return;
            }
            if tokio::time::timeout_at(until, joined).await.is_err() {
                return;
            }
        }
    }

    /// Whether every server of the hub lets its clients reconnect statefully.
    pub(crate) fn all_stateful(&self, hub: &Hub) -> bool {
        lock(&self.0.registry).all_stateful(hub)
    }

    /// What of a client's connect request its app server is told; refused where that is too much.
    pub(crate) fn passed_on(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<PassedOn, TooLarge> {
        PassedOn::of(headers, peer, self.0.options.client_header_bounds())
    }

    /// The app server for a client that is about to connect: which one is decided when it has shaken hands.
    pub(crate) fn for_client(
        &self,
        hub: Hub,
        sticky: Option<Sticky>,
        headers: PassedOn,
    ) -> Arc<dyn AppServer> {
        Client::new(self.clone(), hub, sticky, headers)
    }

    /// Takes a server connection whose upgrade was answered 101, in a task of its own.
    pub(crate) fn welcome(&self, upgrade: edge::Upgrade, visitor: Visitor) -> Result<(), NotTaken> {
        let mut links = lock(&self.0.links);
        let links = links.as_mut().ok_or(NotTaken::Stopping)?;
        while links.try_join_next().is_some() {}
        let most = self.0.options.connections_max;
        if links.len() >= most {
            return Err(NotTaken::Full(most));
        }
        let servers = self.clone();
        links.spawn(async move {
            match upgrade.into_duplex().await {
                Ok(stream) => link::run(servers, stream, visitor).await,
                Err(error) => tracing::debug!(%error, "an app server left before its WebSocket opened"),
            }
        });
        Ok(())
    }

    /// Ends all server connections: tells each that this instance goes, writes what waits, and cuts those that have not ended after
    /// `cut_after`. The clients have gone before.
    pub(crate) async fn drain(&self, cut_after: Duration) {
        let links = lock(&self.0.links).take();
        for link in lock(&self.0.registry).links() {
            let messages = vec!["offline", self.instance()];
            link.outbox.push(&Message::Ping { messages });
            link.end(CloseCode::GOING_AWAY, "the service is shutting down");
        }
        if let Some(mut links) = links {
            let all_ended = async { while links.join_next().await.is_some() {} };
            if tokio::time::timeout(cut_after, all_ended).await.is_err() {
                links.shutdown().await;
            }
        }
        let errands = lock(&self.0.errands).take();
        if let Some(mut errands) = errands {
            errands.shutdown().await;
        }
    }

    /// Where a test can make a server connection panic.
    fn fault_point(&self) {
        self.0.powers.link.fault_point();
    }

    fn options(&self) -> &Options {
        &self.0.options
    }

    fn instance(&self) -> &str {
        &self.0.instance
    }

    fn engine(&self) -> &EngineHandle {
        &self.0.powers.engine
    }

    fn metrics(&self) -> &ServerMetrics {
        &self.0.metrics
    }

    fn carries_clients(&self) -> bool {
        self.0.mode != Mode::Serverless
    }

    /// A connection has shaken hands. `None` while the service drains.
    fn join(&self, visitor: Visitor, hello: &Hello) -> Option<Arc<Link>> {
        let purpose = match hello.connection_type {
            ServerConnectionType::Weak => registry::Purpose::Sending,
            _ => registry::Purpose::Clients { stateful: hello.stateful },
        };
        if lock(&self.0.links).is_none() {
            return None;
        }
        let (hub, server) = (visitor.hub.clone(), Arc::clone(&visitor.server));
        let pending_bytes_max = self.0.options.pending_bytes_max;
        let make = |id| Arc::new(Link::new(id, visitor, hello, pending_bytes_max));
        let link = lock(&self.0.registry).add(&hub, server, purpose, make);
        self.0.metrics.connections.inc();
        self.0.joined.notify_waiters();
        Some(link)
    }

    /// A connection has ended: its clients go elsewhere, or are told to come again.
    async fn part(&self, link: &Arc<Link>) {
        // Nobody may wait for room on it, should its task have panicked.
        link.outbox.close();
        let clients = lock(&self.0.registry).remove(&link.hub, link.id);
        self.0.metrics.connections.dec();
        for client in link.outbox.release() {
            self.engine().resume(client).await;
        }
        if !clients.is_empty() {
            tracing::info!(hub = %link.hub, server = %link.server, clients = clients.len(), "clients have lost their app server");
        }
        for id in clients {
            self.lost(link, id).await;
        }
    }

    /// Gives a client that has shaken hands to a server connection, and calls `begin` with it. Says whether there was one. Nobody leaves the
    /// registry meanwhile: a server that says that it shuts down gets its answer behind all its clients.
    fn admit(&self, client: &Arc<Client>, id: ConnectionId, begin: impl FnOnce(&Arc<Link>)) -> bool {
        let mut registry = lock(&self.0.registry);
        let sticky = client.sticky.as_ref();
        let assigned = registry.assign(&client.hub, id, sticky, None, |link| !link.outbox.is_closed());
        let Some((_, link)) = assigned else { return false };
        lock(&self.0.clients).by_id.insert(id, Arc::clone(client));
        begin(&link);
        true
    }

    /// Forgets a client that is gone. Says which server connection it belonged to.
    fn forget(&self, client: &Client, id: ConnectionId) -> Option<Arc<Link>> {
        let Remains { owner, deferred } = client.end();
        for (link, order) in deferred {
            let text = "the connection ended before its handshake was answered";
            self.decline(&link, &order, AckStatus::NotFound, text);
        }
        if let Some(owner) = &owner {
            owner.slow_down(id, false);
            lock(&self.0.registry).release(&client.hub, id, owner.id);
        }
        {
            let mut clients = lock(&self.0.clients);
            clients.by_id.remove(&id);
            clients.departed.insert(id, Instant::now());
        }
        let without_result = lock(&self.0.invocations).client_gone(id);
        for pending in without_result {
            self.fail(&pending, "the client disconnected before it answered");
        }
        owner
    }

    /// Tells a caller that there will be no result.
    fn fail(&self, pending: &Pending, why: &str) {
        if let Some(caller) = self.caller(pending) {
            let (client, server) = (pending.client.to_string(), &pending.caller_server);
            let message = to_protocol::no_result(&pending.invocation, &client, server, why);
            caller.outbox.push_later(pending.not_before, |out| message.encode(out));
        }
    }

    /// The connection over which a caller is told: the one that it asked on, or another one of its process.
    fn caller(&self, pending: &Pending) -> Option<Arc<Link>> {
        let registry = lock(&self.0.registry);
        let link = registry.link(&pending.hub, pending.caller);
        link.or_else(|| registry.link_of_server(&pending.hub, &pending.caller_server))
    }

    /// Whether a client has an app server that takes its messages in pieces.
    pub(crate) fn takes_pieces(&self, hub: &Hub, id: ConnectionId) -> bool {
        self.client(hub, id).is_some_and(|client| AppServer::takes_pieces(&*client))
    }

    /// A client of the hub, if it is one of an app server.
    fn client(&self, hub: &Hub, id: ConnectionId) -> Option<Arc<Client>> {
        let client = lock(&self.0.clients).by_id.get(&id).cloned();
        client.filter(|client| client.hub == *hub)
    }

    /// Whether a client of an app server has ended a moment ago.
    fn has_departed(&self, id: ConnectionId) -> bool {
        lock(&self.0.clients).departed.contains(id, Instant::now())
    }

    /// Ends a client on behalf of its server. Says whether it was there.
    async fn end_client(&self, client: &Client, id: ConnectionId, close: ServerClose) -> bool {
        // The engine does not tell the one who ends it.
        let ended = self.engine().end_client(id, close).await.unwrap_or(false);
        self.forget(client, id);
        ended
    }

    /// As [`Servers::end_client`], from a shard's thread, for a client that no server has.
    fn end_soon(&self, id: ConnectionId, close: ServerClose) {
        let engine = self.engine().clone();
        self.errand(async move {
            // An engine that has ended has no clients.
            let _ = engine.end_client(id, close).await;
        });
    }

    /// Asks a server that is far behind for another connection.
    fn ask_for_another(&self, link: &Link) {
        if link.may_hint(Instant::now()) {
            link.outbox.push(&Message::Ping { messages: vec!["target", self.instance()] });
        }
    }

    fn errand(&self, errand: impl Future<Output = ()> + Send + 'static) {
        let mut errands = lock(&self.0.errands);
        if let Some(errands) = errands.as_mut() {
            while errands.try_join_next().is_some() {}
            errands.spawn_on(errand, &self.0.runtime);
        }
    }

    async fn keep_house(self) {
        let often = HOUSEKEEPING.min(self.0.options.invocation_timeout()).max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(often);
        loop {
            ticks.tick().await;
            let (expired, waiting) = {
                let mut invocations = lock(&self.0.invocations);
                (invocations.expire(Instant::now()), invocations.len())
            };
            lock(&self.0.clients).departed.forget_old(Instant::now());
            self.0.metrics.invocations.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            for pending in expired {
                self.fail(&pending, "the client did not answer in time");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
