//! App servers: in Default mode they handle the messages of clients. An app server opens a few server connections for a hub, and each carries many
//! clients. A connection of type Weak carries no clients and only sends: the persistent transport of management SDKs, in every mode.
//!
//! A shard passes the messages of a client to its `ServedClient`, which adds them to the send queue of the client's server connection. The
//! task of a server connection parses messages into `ServerRequest`s and executes them in order against the engine. Both change the table
//! of connections.
//!
//! Start reading at `served_client.rs` and `execute.rs`.

mod client;
mod connection_table;
mod connection_task;
mod early_results;
mod execute;
mod forwarded_headers;
mod forwarding;
mod from_protocol;
mod handshake;
mod invocations;
mod message_io;
mod message_splitter;
mod metrics;
mod migration;
mod options;
mod oversized;
mod recently_closed;
mod request;
mod send_queue;
mod served_client;
mod server_connection;
mod shared;
mod to_protocol;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use prometheus_client::registry::Registry;
use signalr_protocol::service::{Message, ServerConnectionType};
use websocket::CloseCode;

use crate::mode::Mode;
use client::AppServerClient;
use connection_table::ConnectionPurpose;
pub(crate) use connection_table::{ClientHandler, StickyServer};
pub(crate) use forwarded_headers::{ForwardedHeaders, TooManyHeaders};
use handshake::Handshake;
pub use options::Options;
use realtime_engine::{AppServer, ConnectionId, Hub};
use served_client::ServedClient;
pub(crate) use server_connection::ConnectingServer;
use server_connection::ServerConnection;
use shared::lock;
pub(crate) use shared::{Servers, Services, Settings};
use tracing::Instrument as _;

/// Longest interval between two checks for expired invocations.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why a server connection is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("too many server connections; the limit is {0} (servers.connections_max)")]
    TooManyConnections(usize),
    #[error("the service is shutting down")]
    Stopping,
}

impl Servers {
    /// Starts without app servers. Must be called within a runtime.
    pub(crate) fn new(settings: Settings, services: Services, registry: &mut Registry) -> Self {
        let servers = Self::create(settings, services, registry);
        servers.spawn(servers.clone().expire_invocations());
        servers
    }

    /// Who handles the messages of a client that connects to the hub now.
    pub(crate) fn client_handler(&self, hub: &Hub, sticky: Option<&StickyServer>) -> ClientHandler {
        lock(&self.0.connections).client_handler(hub, sticky)
    }

    /// Whether app servers may still connect for a hub whose clients upstreams handle: in Classic mode.
    pub(crate) fn may_gain_server(&self) -> bool {
        self.0.mode == Mode::Classic
    }

    /// In Classic mode, waits until the hub has an app server, for at most `await_server_timeout_ms`: a client that negotiated with an app server
    /// must not be given to upstreams because the server connection opens a moment later.
    pub(crate) async fn await_server(&self, hub: &Hub, sticky: Option<&StickyServer>) {
        let until = tokio::time::Instant::now() + self.options().await_server_timeout();
        loop {
            let added = self.0.connection_added.notified();
            tokio::pin!(added);
            // Registered before the check, so that no connection is missed that is added in between.
            added.as_mut().enable();
            if !self.may_gain_server() || self.client_handler(hub, sticky) != ClientHandler::Upstream {
                return;
            }
            if tokio::time::timeout_at(until, added).await.is_err() {
                return;
            }
        }
    }

    /// Whether every app server of the hub supports stateful reconnect.
    pub(crate) fn all_stateful(&self, hub: &Hub) -> bool {
        lock(&self.0.connections).all_stateful(hub)
    }

    /// The headers of a client's connect request for its app server. Fails if they exceed the limits of the options.
    pub(crate) fn forwarded_headers(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<ForwardedHeaders, TooManyHeaders> {
        ForwardedHeaders::new(headers, peer, self.0.options.client_header_limits())
    }

    /// The app server for a client that is about to connect. It is assigned to a server connection when its handshake arrives.
    pub(crate) fn for_client(
        &self,
        hub: Hub,
        sticky: Option<StickyServer>,
        headers: ForwardedHeaders,
    ) -> Arc<dyn AppServer> {
        Arc::new(ServedClient::new(self.clone(), AppServerClient::new(hub, sticky, headers)))
    }

    /// Runs a server connection in its own task, after the response 101 to its upgrade.
    pub(crate) fn accept(
        &self,
        upgrade: edge::Upgrade,
        connecting: ConnectingServer,
    ) -> Result<(), AcceptError> {
        let mut tasks = lock(&self.0.connection_tasks);
        let tasks = tasks.as_mut().ok_or(AcceptError::Stopping)?;
        while tasks.try_join_next().is_some() {}
        let limit = self.0.options.connections_max;
        if tasks.len() >= limit {
            return Err(AcceptError::TooManyConnections(limit));
        }
        let servers = self.clone();
        let fields = tracing::error_span!("server_connection", hub = connecting.hub.name());
        let task = async move {
            match upgrade.into_duplex().await {
                Ok(stream) => connection_task::run(servers, stream, connecting).await,
                Err(error) => tracing::debug!(%error, "an app server left before its WebSocket opened"),
            }
        };
        tasks.spawn(task.instrument(fields));
        Ok(())
    }

    /// Closes all server connections: announces the end of this instance, writes what is queued, and cancels those that are still open after
    /// `cut_after`. The clients have been closed before.
    pub(crate) async fn drain(&self, cut_after: Duration) {
        let connection_tasks = lock(&self.0.connection_tasks).take();
        for server in lock(&self.0.connections).connections() {
            let messages = vec!["offline", self.instance()];
            server.send_queue.push(&Message::Ping { messages });
            server.end(CloseCode::GOING_AWAY, "the service is shutting down");
        }
        if let Some(mut connection_tasks) = connection_tasks {
            let all_ended = async { while connection_tasks.join_next().await.is_some() {} };
            if tokio::time::timeout(cut_after, all_ended).await.is_err() {
                connection_tasks.shutdown().await;
            }
        }
        let tasks = lock(&self.0.tasks).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// Whether a client has an app server that accepts its messages in parts.
    pub(crate) fn accepts_parts(&self, hub: &Hub, id: ConnectionId) -> bool {
        self.client(hub, id).is_some_and(|client| client.accepts_parts())
    }

    /// Adds a connection whose handshake was accepted. `None` while the service drains.
    pub(super) fn add_connection(
        &self,
        connecting: ConnectingServer,
        handshake: &Handshake,
    ) -> Option<Arc<ServerConnection>> {
        let purpose = match handshake.connection_type {
            ServerConnectionType::Weak => ConnectionPurpose::Sending,
            _ => ConnectionPurpose::Clients { stateful: handshake.stateful },
        };
        if lock(&self.0.connection_tasks).is_none() {
            return None;
        }
        let (hub, server_id) = (connecting.hub.clone(), Arc::clone(&connecting.server_id));
        let pending_bytes_max = self.0.options.pending_bytes_max;
        let make = |id| Arc::new(ServerConnection::new(id, connecting, handshake, pending_bytes_max));
        let server = lock(&self.0.connections).add(&hub, server_id, purpose, make);
        self.0.metrics.connections.inc();
        self.0.connection_added.notify_waiters();
        Some(server)
    }

    /// Removes a connection that has ended: its clients migrate, or are closed so that they reconnect.
    pub(super) async fn remove_connection(&self, server: &Arc<ServerConnection>) {
        // Its task may have panicked; nothing may wait for space in the queue then.
        server.send_queue.close();
        let clients = lock(&self.0.connections).remove(&server.hub, server.id);
        self.0.metrics.connections.dec();
        for client in server.send_queue.take_paused() {
            self.engine().resume(client).await;
        }
        if !clients.is_empty() {
            tracing::info!(hub = %server.hub, server = %server.server_id, clients = clients.len(), "the server connection of clients was lost");
        }
        for id in clients {
            self.migrate_or_close(server, id).await;
        }
    }

    /// Completes invocations without a result in time with an error, and forgets clients that disconnected long ago.
    async fn expire_invocations(self) {
        let interval = EXPIRY_INTERVAL.min(self.0.options.invocation_timeout()).max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(interval);
        loop {
            ticks.tick().await;
            let (expired, waiting) = {
                let mut invocations = lock(&self.0.invocations);
                (invocations.expire(Instant::now()), invocations.len())
            };
            lock(&self.0.clients).recently_closed.remove_old(Instant::now());
            self.0.metrics.invocations.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            for pending in expired {
                self.fail(&pending, "the client did not send a result in time");
            }
        }
    }
}
