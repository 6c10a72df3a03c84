//! Migrates clients from an app server that shuts down, or whose connection was lost, to another one, or tells them to reconnect.

use std::sync::Arc;

use signalr_protocol::service::Message;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::AppServerClient;
use super::request::Shutdown;
use super::server_connection::ServerConnection;
use super::shared::{Servers, lock};
use super::to_protocol;
use realtime_engine::{ConnectionId, Hub, OutgoingMessage, Publish, ServerClose, Target};

/// Clients that are paused at the same time. Each waits for its app server to acknowledge.
const PAUSED_MAX: usize = 128;

/// The error of a client's invocation that has no result.
const INVOCATION_LOST: &str = "The app server was shut down or lost before it completed this invocation, which it may have executed; repeat it if that does no harm.";

impl Servers {
    /// An app server shuts down: the connection gets no new clients, and `how` decides about those that it carries.
    pub(super) fn shut_down(&self, server: &Arc<ServerConnection>, how: Shutdown) {
        let clients = lock(&self.0.connections).drain(&server.hub, server.id);
        server.send_queue.push(&Message::Ping { messages: vec!["shutdown", "finack"] });
        let count = clients.len();
        tracing::info!(hub = %server.hub, server = %server.server_id, clients = count, ?how, "an app server shuts down");
        let (servers, server) = (self.clone(), Arc::clone(server));
        match how {
            Shutdown::Wait => {}
            Shutdown::Drop => self.spawn(async move {
                for id in clients {
                    servers.close_for_reconnect(&server, id).await;
                }
            }),
            // Not in the reading task: the responses of the app server arrive on this connection.
            Shutdown::Migrate => self.spawn(async move { servers.migrate_all(&server, clients).await }),
        }
    }

    async fn migrate_all(&self, server: &Arc<ServerConnection>, clients: Vec<ConnectionId>) {
        let until = Instant::now() + self.options().move_timeout();
        let permits = Arc::new(Semaphore::new(PAUSED_MAX));
        let mut migrations = JoinSet::new();
        for id in clients {
            let Some(client) = self.client(&server.hub, id) else { continue };
            let (servers, server, permits) = (self.clone(), Arc::clone(server), Arc::clone(&permits));
            migrations.spawn(async move { servers.migrate(&client, id, &server, until, &permits).await });
        }
        while migrations.join_next().await.is_some() {}
    }

    /// Migrates a client of a lost server connection, or tells it to reconnect.
    pub(super) async fn migrate_or_close(&self, server: &Arc<ServerConnection>, id: ConnectionId) {
        let client = self.client(&server.hub, id);
        if let Some(client) = &client
            && server.migrates_on_loss
            && self.move_client(client, id, server).await
        {
            return;
        }
        if client.as_ref().is_some_and(|client| !client.detach(server)) {
            // It has disconnected, or has migrated already.
            return;
        }
        let close =
            ServerClose { error: Some("ServerOffline".into()), allow_reconnect: true, send_close: true };
        match client {
            Some(client) => drop(self.end_client(&client, id, close).await),
            // It is about to open, and would get no response to its handshake.
            None => self.end_soon(id, close),
        }
    }

    /// Closes a client so that it reconnects and gets another app server.
    async fn close_for_reconnect(&self, server: &Arc<ServerConnection>, id: ConnectionId) {
        if let Some(client) = self.client(&server.hub, id) {
            let close = ServerClose { error: None, allow_reconnect: true, send_close: true };
            self.end_client(&client, id, close).await;
            server.send_queue.push_for(id, |out| to_protocol::close(id, None, None, out));
        }
    }

    /// Migrates a client while its app server is still connected. The SDK discards completions that are not sent before the pause, so the app
    /// server has until `until` to complete the client's invocations, while new ones are held back. A client that cannot migrate stays until
    /// its app server closes the connection.
    async fn migrate(
        &self,
        client: &AppServerClient,
        id: ConnectionId,
        from: &Arc<ServerConnection>,
        until: Instant,
        permits: &Semaphore,
    ) {
        if client.requires_its_server() {
            return;
        }
        let Some(drained) = client.hold_invocations(from) else { return };
        // Invocations that are not complete by then fail.
        let _ = timeout_at(until, drained).await;
        let permit = permits.acquire().await;
        let acknowledged = client.pause(from);
        let was_paused = acknowledged.is_some();
        let mut moved = false;
        if let Some(acknowledged) = acknowledged {
            // App servers without flow control do not acknowledge.
            let _ = timeout(self.options().pause_timeout(), acknowledged).await;
            moved = self.move_client(client, id, from).await;
        }
        drop(permit);
        if !moved {
            client.stay(from, was_paused);
        }
        // It may have been paused because too many bytes were held back.
        self.engine().resume(id).await;
    }

    /// Assigns a client to another app server than that of `from`. Returns whether there was one.
    async fn move_client(&self, client: &AppServerClient, id: ConnectionId, from: &ServerConnection) -> bool {
        if client.requires_its_server() {
            return false;
        }
        let sticky = client.sticky.as_ref();
        let (to, unanswered) = {
            // The lock orders this with the shutdown of the new app server.
            let mut connections = lock(&self.0.connections);
            let assigned = connections.assign(&client.hub, id, sticky, Some(&from.server_id), |server| {
                !server.send_queue.is_closed()
            });
            let Some((to_id, to)) = assigned else { return false };
            let unanswered = client.move_to(from, &to, self.instance());
            if unanswered.is_some() {
                connections.release(&client.hub, id, from.id);
            } else if client.owner().is_none_or(|owner| owner.id != to_id) {
                // It has disconnected, or has migrated already, perhaps to the same server connection.
                connections.release(&client.hub, id, to_id);
            }
            (to, unanswered)
        };
        let Some(unanswered) = unanswered else { return false };
        self.metrics().migrations.inc();
        tracing::debug!(%id, from = %from.server_id, to = %to.server_id, unanswered = unanswered.len(), "a client has migrated to another app server");
        self.announce_invocations(id, &to);
        self.fail_invocations(&client.hub, id, &unanswered).await;
        true
    }

    /// Tells the new app server of the client which invocations of other app servers it will get results for.
    fn announce_invocations(&self, id: ConnectionId, to: &ServerConnection) {
        let pending = lock(&self.0.invocations).of_client(id);
        for pending in pending.iter().filter(|pending| *pending.caller_server != *to.server_id) {
            to.send_queue.push(&to_protocol::invocation(pending, &id.to_string()));
        }
    }

    /// Completes invocations of a client with an error, because its app server did not complete them.
    async fn fail_invocations(&self, hub: &Hub, id: ConnectionId, invocations: &[Box<str>]) {
        for invocation in invocations {
            self.metrics().invocations_lost.inc();
            let publish = Publish {
                hub: hub.clone(),
                target: Target::Connection(id),
                excluded: Vec::new(),
                excluded_users: Vec::new(),
                message: OutgoingMessage::completion_error(invocation, INVOCATION_LOST),
                trace: None,
            };
            if let Err(error) = self.engine().publish(publish).await {
                tracing::debug!(%id, %error, "the error completion for a client was not sent");
            }
        }
    }
}
