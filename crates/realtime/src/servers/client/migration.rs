//! How a client changes its app server.
//!
//! An app server from which a client migrates executes the invocations that it has received, but the completions that it has not sent before it is
//! paused never arrive. So new invocations are held back first (`hold_invocations`), then everything (`pause`), and then the client moves
//! (`move_to`) or stays (`stay`).

use std::sync::Arc;

use signalr_protocol::service::FlowOperation;
use tokio::sync::oneshot;

use super::{AppServerClient, State};
use crate::servers::server_connection::ServerConnection;
use crate::servers::to_protocol;
use realtime_engine::SendRate;

impl AppServerClient {
    /// Holds back new invocations of the client. The receiver is notified when its app server has completed the others and the
    /// handshake. `None` if the server connection does not carry the client, or it migrates already.
    pub(in crate::servers) fn hold_invocations(
        &self,
        from: &ServerConnection,
    ) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        if !state.belongs_to(from) || !state.forwarding.is_open() {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        state.forwarding.hold_invocations();
        state.drained = Some(sender);
        state.notify_if_drained();
        Some(receiver)
    }

    /// Holds back everything that the client sends, and pauses the messages of its app server. The receiver is notified when the app server
    /// has acknowledged the pause, or at once where it cannot. `None` if the client cannot migrate.
    pub(in crate::servers) fn pause(&self, from: &ServerConnection) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state();
        let id = state.connection.as_ref()?.id;
        if !state.belongs_to(from) || !state.forwarding.can_move() {
            return None;
        }
        // Nothing is forwarded after the pause: the app server would execute it and never send its completion.
        state.forwarding.pause();
        let (sender, receiver) = oneshot::channel();
        if from.is_recent_sdk {
            state.pause_acknowledged = Some(sender);
            if state.pace != SendRate::Full {
                // A pause during a pause is not acknowledged.
                state.flow_control(id, from, FlowOperation::Resume);
            }
            state.flow_control(id, from, FlowOperation::Pause);
        }
        Some(receiver)
    }

    /// The client stays with its app server, which gets the bytes that were held back.
    pub(in crate::servers) fn stay(&self, with: &ServerConnection, was_paused: bool) {
        let mut state = self.state();
        if !state.belongs_to(with) {
            return;
        }
        let State { connection: Some(connection), forwarding, .. } = &mut *state else { return };
        let id = connection.id;
        let (bytes, is_partial) = forwarding.stay(connection.protocol);
        if !bytes.is_empty() {
            let what =
                to_protocol::Data { is_handshake: false, is_partial, is_recent_sdk: with.is_recent_sdk };
            with.send_queue.push_for(id, |out| to_protocol::data(id, &bytes, what, out));
        }
        if was_paused && with.is_recent_sdk && state.pace == SendRate::Full {
            state.flow_control(id, with, FlowOperation::Resume);
        }
    }

    /// Allows its app server to send one message to the slow client.
    pub(in crate::servers) fn allow_one_message(&self, from: &ServerConnection) {
        let mut state = self.state();
        let Some(id) = state.connection.as_ref().map(|connection| connection.id) else { return };
        if state.belongs_to(from) && state.pace == SendRate::Reduced && !state.forwarding.is_paused() {
            state.flow_control(id, from, FlowOperation::Resume);
            state.flow_control(id, from, FlowOperation::Pause);
        }
    }

    /// The app server has paused its messages to the client.
    pub(in crate::servers) fn pause_acknowledged(&self, by: &ServerConnection) {
        let mut state = self.state();
        if state.owner.as_ref().is_none_or(|owner| owner.server_id != by.server_id) {
            return;
        }
        state.pauses = state.pauses.saturating_sub(1);
        if state.pauses > 0 {
            // That was an earlier pause.
            return;
        }
        if let Some(sender) = state.pause_acknowledged.take() {
            // The receiver may have stopped waiting.
            let _ = sender.send(());
        }
    }

    /// Moves the client to another app server, which gets the bytes that were held back and everything from now on. Returns the ids of the
    /// invocations that the old app server will not complete. `None` if the client was not moved: it has disconnected, or another server
    /// connection carries it.
    pub(in crate::servers) fn move_to(
        &self,
        from: &ServerConnection,
        to: &Arc<ServerConnection>,
        instance: &str,
    ) -> Option<Vec<Box<str>>> {
        let mut state = self.state();
        if !state.belongs_to(from) || !state.forwarding.can_move() {
            return None;
        }
        let State {
            connection: Some(connection), owner: Some(owner), handshake_answered, forwarding, ..
        } = &mut *state
        else {
            return None;
        };
        self.set_accepts_parts(to.is_recent_sdk);
        let (id, protocol) = (connection.id, connection.protocol);
        let client_context = connection.client_context.clone().unwrap_or_default();
        *owner = Arc::clone(to);
        // The state is locked, so that the old app server gets nothing after the CloseConnection and the new one nothing before the
        // OpenConnection.
        from.send_queue.push_for(id, |out| to_protocol::close(id, None, Some(&to.server_id), out));
        let record = to_protocol::handshake_record(protocol);
        let held_back = forwarding.move_on(protocol);
        // If the old app server has not completed the handshake, the new one does, as for a new client.
        let from_name = handshake_answered.then_some(&*from.server_id);
        to.send_queue.push_for(id, |out| {
            to_protocol::open(id, protocol, &client_context, &self.headers, instance, from_name, out);
            let what =
                to_protocol::Data { is_handshake: true, is_partial: false, is_recent_sdk: to.is_recent_sdk };
            to_protocol::data(id, &record, what, out);
            if !held_back.bytes.is_empty() {
                let what = to_protocol::Data {
                    is_handshake: false,
                    is_partial: held_back.is_partial,
                    is_recent_sdk: to.is_recent_sdk,
                };
                to_protocol::data(id, &held_back.bytes, what, out);
            }
        });
        state.partial = Vec::new();
        state.pauses = 0;
        // The old connection may have been lost during another migration, which need not wait any more.
        state.drained = None;
        state.pause_acknowledged = None;
        from.set_slow(id, false);
        if state.pace != SendRate::Full && to.is_recent_sdk {
            // Before the pause, which wakes the task that reads the list of slow clients.
            to.set_slow(id, state.pace == SendRate::Reduced);
            state.flow_control(id, to, FlowOperation::Pause);
        }
        Some(held_back.unanswered)
    }

    /// Detaches the client from a lost server connection; it cannot migrate from then on. Returns whether that connection carried it.
    pub(in crate::servers) fn detach(&self, lost: &ServerConnection) -> bool {
        let mut state = self.state();
        let belonged = state.belongs_to(lost);
        if belonged {
            state.owner = None;
        }
        belonged
    }
}
