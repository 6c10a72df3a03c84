//! [`Servers`]: the state that all server connections and clients of app servers share.
//!
//! Lock order, where two locks are held: `connections`, `clients`, the state of a client, a send queue. The other locks are never held together
//! with another one.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use identity::TokenRules;
use prometheus_client::registry::Registry;
use signalr_protocol::service::{AckStatus, Message};
use supervision::Unit;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::client::{AppServerClient, ClosedClient};
use super::connection_table::ConnectionTable;
use super::invocations::{Invocations, PendingInvocation};
use super::metrics::ServerMetrics;
use super::options::Options;
use super::recently_closed::RecentlyClosed;
use super::server_connection::ServerConnection;
use super::to_protocol;
use crate::login::Logins;
use crate::mode::Mode;
use crate::store::keys::Keys;
use crate::store::user_groups::UserGroups;
use realtime_engine::{ConnectionId, EngineHandle, Hub, ServerClose};

/// The app servers of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Servers(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) mode: Mode,
    /// The instance id of this process, which app servers get.
    pub(super) instance: Box<str>,
    /// The connection limit of the service.
    pub(super) capacity: u32,
    /// Largest message of an app server to one client, in bytes.
    pub(super) client_message_bytes_max: usize,
    pub(super) services: Services,
    pub(super) token_rules: TokenRules,
    /// Shards spawn tasks here.
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) connections: Mutex<ConnectionTable<Arc<ServerConnection>>>,
    /// Notified when a server connection is added.
    pub(super) connection_added: Notify,
    pub(super) clients: Mutex<ServedClients>,
    pub(super) invocations: Mutex<Invocations>,
    /// One task for each server connection. `None` once the drain has started.
    pub(super) connection_tasks: Mutex<Option<JoinSet<()>>>,
    /// Short tasks for which a shard cannot wait, and the expiry of invocations. `None` once the drain has ended.
    pub(super) tasks: Mutex<Option<JoinSet<()>>>,
    pub(super) metrics: ServerMetrics,
}

/// The clients of app servers.
#[derive(Debug, Default)]
pub(super) struct ServedClients {
    pub(super) by_id: HashMap<ConnectionId, Arc<AppServerClient>>,
    pub(super) recently_closed: RecentlyClosed,
}

/// The configuration of [`Servers`].
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) mode: Mode,
    pub(crate) instance: String,
    pub(crate) capacity: u32,
    /// The rules for login tokens of app servers.
    pub(crate) token_rules: TokenRules,
}

/// The other parts of the service that requests of app servers use.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) engine: EngineHandle,
    pub(crate) user_groups: Arc<UserGroups>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) logins: Option<Arc<Logins>>,
    /// Supervises the server connections.
    pub(crate) unit: Unit,
}

impl Servers {
    /// Starts without app servers. Must be called within a runtime.
    pub(super) fn create(settings: Settings, services: Services, registry: &mut Registry) -> Self {
        let Settings { options, mode, instance, capacity, token_rules } = settings;
        let invocations = Invocations::new(options.invocation_timeout(), options.invocations_max);
        Self(Arc::new(Shared {
            mode,
            instance: instance.into(),
            capacity,
            client_message_bytes_max: options.message_bytes_max as usize,
            services,
            token_rules,
            runtime: tokio::runtime::Handle::current(),
            connections: Mutex::new(ConnectionTable::new(mode)),
            connection_added: Notify::new(),
            clients: Mutex::default(),
            invocations: Mutex::new(invocations),
            connection_tasks: Mutex::new(Some(JoinSet::new())),
            tasks: Mutex::new(Some(JoinSet::new())),
            metrics: ServerMetrics::register(registry),
            options,
        }))
    }

    /// A point at which tests make a server connection panic.
    pub(super) fn fault_point(&self) {
        self.0.services.unit.fault_point();
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(super) fn instance(&self) -> &str {
        &self.0.instance
    }

    pub(super) fn engine(&self) -> &EngineHandle {
        &self.0.services.engine
    }

    pub(super) fn metrics(&self) -> &ServerMetrics {
        &self.0.metrics
    }

    pub(super) fn carries_clients(&self) -> bool {
        self.0.mode != Mode::Serverless
    }

    /// Assigns a client whose handshake arrived to a server connection and calls `begin` with it. Returns whether there was one. The table is
    /// locked meanwhile, so that an app server that shuts down gets the response after all its clients.
    pub(super) fn admit(
        &self,
        client: &Arc<AppServerClient>,
        id: ConnectionId,
        begin: impl FnOnce(&Arc<ServerConnection>),
    ) -> bool {
        let mut connections = lock(&self.0.connections);
        let sticky = client.sticky.as_ref();
        let assigned =
            connections.assign(&client.hub, id, sticky, None, |server| !server.send_queue.is_closed());
        let Some((_, server)) = assigned else { return false };
        lock(&self.0.clients).by_id.insert(id, Arc::clone(client));
        begin(&server);
        true
    }

    /// Removes a client that has disconnected. Returns its server connection.
    pub(super) fn remove_client(
        &self,
        client: &AppServerClient,
        id: ConnectionId,
    ) -> Option<Arc<ServerConnection>> {
        let ClosedClient { owner, deferred } = client.end();
        for (server, order) in deferred {
            let text = "the connection ended before the response to its handshake";
            self.decline(&server, &order, AckStatus::NotFound, text);
        }
        if let Some(owner) = &owner {
            owner.set_slow(id, false);
            lock(&self.0.connections).release(&client.hub, id, owner.id);
        }
        {
            let mut clients = lock(&self.0.clients);
            clients.by_id.remove(&id);
            clients.recently_closed.insert(id, Instant::now());
        }
        let unanswered = lock(&self.0.invocations).remove_client(id);
        for pending in unanswered {
            self.fail(&pending, "the client disconnected before it answered");
        }
        owner
    }

    /// Completes an invocation with an error.
    pub(super) fn fail(&self, pending: &PendingInvocation, why: &str) {
        if let Some(caller) = self.caller(pending) {
            let (client, server) = (pending.client.to_string(), &pending.caller_server);
            let message = to_protocol::no_result(&pending.invocation, &client, server, why);
            caller.send_queue.push_delayed(pending.not_before, |out| message.encode(out));
        }
    }

    /// The connection for the result of an invocation: the one that requested it, or another one of the same app server.
    pub(super) fn caller(&self, pending: &PendingInvocation) -> Option<Arc<ServerConnection>> {
        let connections = lock(&self.0.connections);
        let server = connections.connection(&pending.hub, pending.caller);
        server.or_else(|| connections.connection_of_server(&pending.hub, &pending.caller_server))
    }

    /// A client of the hub that an app server handles.
    pub(super) fn client(&self, hub: &Hub, id: ConnectionId) -> Option<Arc<AppServerClient>> {
        let client = lock(&self.0.clients).by_id.get(&id).cloned();
        client.filter(|client| client.hub == *hub)
    }

    /// Whether a client of an app server has disconnected recently.
    pub(super) fn has_recently_closed(&self, id: ConnectionId) -> bool {
        lock(&self.0.clients).recently_closed.contains(id, Instant::now())
    }

    /// Closes a client for its app server. Returns whether it was connected.
    pub(super) async fn end_client(
        &self,
        client: &AppServerClient,
        id: ConnectionId,
        close: ServerClose,
    ) -> bool {
        // The engine reports no end that was requested here.
        let ended = self.engine().end_client(id, close).await.unwrap_or(false);
        self.remove_client(client, id);
        ended
    }

    /// As [`Servers::end_client`], but from a shard's thread, for a client without an app server.
    pub(super) fn end_soon(&self, id: ConnectionId, close: ServerClose) {
        let engine = self.engine().clone();
        self.spawn(async move {
            // It fails only if the engine has ended, and then there are no clients.
            let _ = engine.end_client(id, close).await;
        });
    }

    /// Asks an app server whose queue is full for another connection.
    pub(super) fn request_server_connection(&self, server: &ServerConnection) {
        if server.may_send_hint(Instant::now()) {
            server.send_queue.push(&Message::Ping { messages: vec!["target", self.instance()] });
        }
    }

    /// Runs a short task that the drain awaits.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.0.tasks);
        if let Some(tasks) = tasks.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn_on(task, &self.0.runtime);
        }
    }
}

/// Locks a mutex, also after a panic of another holder.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
