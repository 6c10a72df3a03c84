//! How clients leave a server that shuts down, or that was lost: to another server, unnoticed, or by being told to come again.

use std::sync::Arc;

use signalr_protocol::service::Message;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::client::Client;
use super::link::Link;
use super::order::Shutdown;
use super::{Servers, lock, to_protocol};
use crate::engine::{ConnectionId, Hub, OutgoingMessage, Publish, ServerClose, Target};

/// Clients that are paused at once: each waits for its server to hold back what it has for it.
const MOVING_MAX: usize = 128;

/// What a client is told of a call that has no result.
const CALL_LOST: &str = "The app server was shut down or lost before it answered this call, which it may have executed; call again if that does no harm.";

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
        let until = Instant::now() + self.options().move_timeout();
        let turns = Arc::new(Semaphore::new(MOVING_MAX));
        let mut moving = JoinSet::new();
        for id in clients {
            let Some(client) = self.client(&link.hub, id) else { continue };
            let (servers, link, turns) = (self.clone(), Arc::clone(link), Arc::clone(&turns));
            moving.spawn(async move { servers.migrate(&client, id, &link, until, &turns).await });
        }
        while moving.join_next().await.is_some() {}
    }

    /// The server connection is gone without a word.
    pub(super) async fn lost(&self, link: &Arc<Link>, id: ConnectionId) {
        let client = self.client(&link.hub, id);
        if let Some(client) = &client
            && link.moves_on_loss
            && self.hand_over(client, id, link).await
        {
            return;
        }
        if client.as_ref().is_some_and(|client| !client.leave(link)) {
            // It has ended, or the move of a server that was shutting down was faster.
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
            link.outbox.push_from(id, |out| to_protocol::close(id, None, None, out));
        }
    }

    /// Moves a client while its server is still there. What the server has not answered when it holds back what it has for the client is
    /// lost (the SDK throws it away), so it is given until `until` to answer the client's calls, while new ones wait here. A client that
    /// cannot move stays until its server closes the connection.
    async fn migrate(
        &self,
        client: &Client,
        id: ConnectionId,
        from: &Arc<Link>,
        until: Instant,
        turns: &Semaphore,
    ) {
        if client.requires_its_server() {
            return;
        }
        let Some(drained) = client.hold_calls(from) else { return };
        // What is not answered by then ends with an error.
        let _ = timeout_at(until, drained).await;
        let turn = turns.acquire().await;
        let acknowledged = client.pause(from);
        let was_paused = acknowledged.is_some();
        let mut moved = false;
        if let Some(acknowledged) = acknowledged {
            // A server that knows nothing of flow control does not answer.
            let _ = timeout(self.options().pause_timeout(), acknowledged).await;
            moved = self.hand_over(client, id, from).await;
        }
        drop(turn);
        if !moved {
            client.stay(from, was_paused);
        }
        // It may have sent more than is held back.
        self.engine().resume(id).await;
    }

    /// Gives a client to another server than that of `from`. Says whether there was one.
    async fn hand_over(&self, client: &Client, id: ConnectionId, from: &Link) -> bool {
        if client.requires_its_server() {
            return false;
        }
        let sticky = client.sticky.as_ref();
        let (to, unanswered) = {
            // A server that shuts down now either gets no client, or has it when it is answered.
            let mut registry = lock(&self.0.registry);
            let assigned =
                registry.assign(&client.hub, id, sticky, Some(&from.server), |link| !link.outbox.is_closed());
            let Some((to_id, to)) = assigned else { return false };
            let unanswered = client.move_to(from, &to, self.instance());
            if unanswered.is_some() {
                registry.release(&client.hub, id, from.id);
            } else if client.owner().is_none_or(|owner| owner.id != to_id) {
                // It has ended, or another move was faster, which may have led to the same server connection.
                registry.release(&client.hub, id, to_id);
            }
            (to, unanswered)
        };
        let Some(unanswered) = unanswered else { return false };
        self.metrics().migrations.inc();
        tracing::debug!(%id, from = %from.server, to = %to.server, unanswered = unanswered.len(), "a client has moved to another app server");
        self.announce_calls(id, &to);
        self.fail_calls(&client.hub, id, &unanswered).await;
        true
    }

    /// The client's new server gets the results of calls that other servers have made, and must know whose they are.
    fn announce_calls(&self, id: ConnectionId, to: &Link) {
        let pending = lock(&self.0.invocations).of_client(id);
        for pending in pending.iter().filter(|pending| *pending.caller_server != *to.server) {
            to.outbox.push(&to_protocol::invocation(pending, &id.to_string()));
        }
    }

    /// Answers calls of a client whose server has gone before it answered them.
    async fn fail_calls(&self, hub: &Hub, id: ConnectionId, calls: &[Box<str>]) {
        for call in calls {
            self.metrics().calls_lost.inc();
            let publish = Publish {
                hub: hub.clone(),
                target: Target::Connection(id),
                excluded: Vec::new(),
                excluded_users: Vec::new(),
                message: OutgoingMessage::completion_error(call, CALL_LOST),
                trace: None,
            };
            if let Err(error) = self.engine().publish(publish).await {
                tracing::debug!(%id, %error, "a client was not told that its call is lost");
            }
        }
    }
}
