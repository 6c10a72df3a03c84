//! How clients leave a server that shuts down, or that was lost: to another server, unnoticed, or by being told to come again.

use std::sync::Arc;

use signalr_protocol::service::{ConnectionKind, Extensions, FlowOperation, Message};
use tokio::task::JoinSet;

use super::client::Client;
use super::link::Link;
use super::order::Shutdown;
use super::{Servers, lock};
use crate::engine::{ConnectionId, ServerClose};

/// Clients that move at once: each waits for its server to hold back what it has for it.
const MOVING_MAX: usize = 128;

impl Servers {
    /// A server shuts down: it gets no new clients on this connection, and those it has are treated as it wishes.
    pub(super) fn shut_down(&self, link: &Arc<Link>, how: Shutdown) {
        let clients = lock(&self.0.registry).leave(&link.hub, link.id);
        link.outbox.push(&Message::Ping { messages: vec!["shutdown", "finack"] });
        let count = clients.len();
        tracing::info!(hub = %link.hub, server = %link.server, clients = count, ?how, "an app server shuts down");
        let (servers, link) = (self.clone(), Arc::clone(link));
        match how {
            Shutdown::Wait => {}
            Shutdown::Drop => self.errand(async move {
                for id in clients {
                    servers.send_away(&link, id).await;
                }
            }),
            // Not by the task that reads: the server's answers come on this very connection.
            Shutdown::Migrate => self.errand(async move { servers.move_all(&link, clients).await }),
        }
    }

    async fn move_all(&self, link: &Arc<Link>, clients: Vec<ConnectionId>) {
        let mut moving = JoinSet::new();
        for id in clients {
            if moving.len() >= MOVING_MAX {
                moving.join_next().await;
            }
            let (servers, link) = (self.clone(), Arc::clone(link));
            moving.spawn(async move {
                let Some(client) = servers.client(&link.hub, id) else { return };
                // One that cannot move stays until its server closes the connection.
                servers.migrate(&client, id, &link).await;
            });
        }
        while moving.join_next().await.is_some() {}
    }

    /// The server connection is gone without a word.
    pub(super) async fn lost(&self, link: &Arc<Link>, id: ConnectionId) {
        let client = self.client(&link.hub, id);
        if let Some(client) = &client
            && link.moves_on_loss
            && self.hand_over(client, id, link)
        {
            return;
        }
        let close =
            ServerClose { error: Some("ServerOffline".into()), allow_reconnect: true, say_close: true };
        match client {
            Some(client) => drop(self.end_client(&client, id, close).await),
            // It is about to open, and will not be answered.
            None => self.end_soon(id, close),
        }
    }

    /// Tells a client to come again, to another server.
    async fn send_away(&self, link: &Arc<Link>, id: ConnectionId) {
        if let Some(client) = self.client(&link.hub, id) {
            let close = ServerClose { error: None, allow_reconnect: true, say_close: true };
            self.end_client(&client, id, close).await;
            link.outbox.push_from(id, |out| super::to_protocol::close(id, None, None, out));
        }
    }

    /// Moves a client while its server is still there: first the client is read no more, and the server holds back what it has for it,
    /// so that nothing is cut in two.
    async fn migrate(&self, client: &Arc<Client>, id: ConnectionId, from: &Arc<Link>) {
        self.engine().pause(id).await;
        if from.modern {
            let acknowledged = client.await_pause();
            self.control_flow(from, id, FlowOperation::Pause);
            let patience = self.options().pause_timeout();
            // A server that knows nothing of flow control does not answer.
            let _ = tokio::time::timeout(patience, acknowledged).await;
        }
        let moved = self.hand_over(client, id, from);
        if !moved && from.modern {
            self.control_flow(from, id, FlowOperation::Resume);
        }
        self.engine().resume(id).await;
    }

    /// Gives a client to another server than that of `from`. Says whether there was one.
    fn hand_over(&self, client: &Arc<Client>, id: ConnectionId, from: &Link) -> bool {
        // What a client has on a server that it requires is nowhere else.
        if client.sticky.as_ref().is_some_and(|sticky| sticky.required) {
            return false;
        }
        let sticky = client.sticky.as_ref();
        let Some((to_id, to)) = lock(&self.0.registry).assign(&client.hub, id, sticky, Some(&from.server))
        else {
            return false;
        };
        let moved = client.move_to(from, &to, self.instance());
        let left = if moved { from.id } else { to_id };
        lock(&self.0.registry).release(&client.hub, id, left);
        if moved {
            self.metrics().migrations.inc();
            tracing::debug!(%id, from = %from.server, to = %to.server, "a client has moved to another app server");
        }
        moved
    }

    fn control_flow(&self, link: &Link, id: ConnectionId, operation: FlowOperation) {
        let id = id.to_string();
        link.outbox.push(&Message::ConnectionFlowControl {
            connection_id: &id,
            connection_type: ConnectionKind::Client,
            operation,
            extensions: Extensions::default(),
        });
    }
}
