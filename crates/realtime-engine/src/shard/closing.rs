//! Ends connections: with an orderly close, or at once.

use std::sync::atomic::Ordering;

use signalr_protocol::HubProtocol;
use supervision::is_mutated;
use websocket::{CloseCode, close_frame};

use super::Shard;
use super::connection::{Connection, ConnectionState, Opening, TransportState};
use super::deadlines::Due;
use super::encode::{close_message, hub_frame};
use super::keys::Slot;
use super::pending::{Frame, FrameAppender};
use crate::metrics::EndLabels;
use crate::{ClientAdmission, ClientConnection, EndReason, Hub, TraceEventKind};

impl Shard {
    /// Describes a connection to the upstream; `None` unless it is open.
    pub(super) fn client(&self, slot: Slot) -> Option<ClientConnection> {
        let connection = self.connections.get(slot as usize)?;
        let index_entry = connection.index_entry()?;
        Some(ClientConnection {
            id: connection.id,
            hub: self.index.hub(index_entry.hub).clone(),
            user: index_entry.user.map(|(user, _)| self.index.user(user).clone()),
            protocol: connection.protocol,
            client_context: connection.uncommon.as_ref().and_then(|uncommon| uncommon.client_context.clone()),
        })
    }

    /// Closes a connection, with the error in the Close message.
    pub(super) fn close(
        &mut self,
        slot: Slot,
        reason: EndReason,
        error: Option<&str>,
        allow_reconnect: bool,
    ) {
        // The connection may have ended already.
        let Some(connection) = self.connections.get(slot as usize) else { return };
        let message = hub_frame(&close_message(error, allow_reconnect), connection.protocol);
        self.leave(slot, reason, Some(message), CloseCode::NORMAL, "", error);
    }

    /// Starts an orderly close: a last hub message, a close frame, and time for the client to respond. The connection receives no
    /// more published messages.
    pub(super) fn close_with(
        &mut self,
        slot: Slot,
        reason: EndReason,
        last: Option<Frame>,
        code: CloseCode,
        text: &str,
    ) {
        let error = (!text.is_empty()).then_some(text);
        self.leave(slot, reason, last, code, text, error);
    }

    fn leave(
        &mut self,
        slot: Slot,
        reason: EndReason,
        last: Option<Frame>,
        code: CloseCode,
        text: &str,
        error: Option<&str>,
    ) {
        if self.connections.get(slot as usize).is_none_or(Connection::is_closing) {
            return;
        }
        // Messages that its app server sent before must be delivered before the Close message.
        self.release_withheld(slot);
        if self.connections.get(slot as usize).is_none_or(Connection::is_closing) {
            return;
        }
        self.deregister(slot, reason, error);
        if matches!(self.connections[slot as usize].transport, TransportState::Detached { .. }) {
            return self.remove(slot);
        }
        for frame in last.into_iter().chain([Frame::control(close_frame(code, text))]) {
            if self.connections.contains(slot as usize) {
                self.append_or_end(slot, &mut FrameAppender::new(frame));
            }
        }
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.last_received_at = self.now;
            // Its entry among the deadlines may be later than the close timeout.
            let due = Due { slot, generation: connection.generation };
            self.deadlines.add(self.now.plus(self.timeouts.close).plus(1), due);
        }
    }

    /// Ends a connection at once.
    pub(super) fn end(&mut self, slot: Slot, reason: EndReason) {
        if self.connections.get(slot as usize).is_some_and(|connection| !connection.is_closing()) {
            self.deregister(slot, reason, None);
        }
        self.remove(slot);
    }

    /// The only function in which a connection leaves its hub: removes it from the index, counts the reason, notifies the
    /// upstream or app server.
    fn deregister(&mut self, slot: Slot, reason: EndReason, error: Option<&str>) {
        let (client, hub) = self.registered_client(slot);
        let (mut server, guard) = match &mut self.connections[slot as usize].state {
            ConnectionState::Opening(opening) => {
                (opening.admission.server.clone(), opening.admission.guard.take())
            }
            ConnectionState::Handshaking(handshaking) => (None, handshaking.admission.guard.take()),
            ConnectionState::Open(_) | ConnectionState::Closing { .. } => (None, None),
        };
        let was_open = self.connections[slot as usize].index_entry().is_some();
        self.index.close(&mut self.connections, slot);
        let connection = &mut self.connections[slot as usize];
        connection.state = ConnectionState::Closing { shut: false };
        connection.is_stateful = false;
        let id = connection.id;
        // Releases the client's token, so that it starts a new connection; a client of an HTTP transport still needs it to read
        // its last messages.
        let keeps_secret = matches!(connection.transport, TransportState::Http(_));
        if guard.is_some() {
            connection.rare_or_new().guard = guard;
        }
        let mut hears = true;
        if let Some(rare) = connection.rare_mut() {
            if !keeps_secret {
                rare.guard = None;
            }
            // Notifies the callers that wait for results that the connection has ended.
            rare.pending_results.clear();
            rare.queued_posts.clear();
            hears = !rare.is_end_known;
            server = server.or(rare.server.take());
        }
        self.settings.metrics.ends.get_or_create(&EndLabels { reason }).inc();
        if let Some(hub) = hub {
            self.settings.hub_counts.release(&hub);
        }
        let Some(client) = client else { return };
        if was_open && !is_mutated("end-without-reason") {
            let event = || TraceEventKind::Ended { reason, error: error.map(Into::into) };
            self.trace(&client, event);
        }
        match server {
            _ if !hears => {}
            Some(server) => server.closed(id, error),
            None => self.settings.upstream.disconnected(&client, reason, error),
        }
    }

    /// The client of a connection, if an upstream or app server was notified of it, and the hub in which it is counted.
    fn registered_client(&self, slot: Slot) -> (Option<ClientConnection>, Option<Hub>) {
        let connection = &self.connections[slot as usize];
        match &connection.state {
            ConnectionState::Handshaking(handshaking) => (None, Some(handshaking.admission.hub.clone())),
            ConnectionState::Opening(opening) => {
                let Opening { admission, .. } = &**opening;
                (Some(client_of(admission, connection.protocol)), Some(admission.hub.clone()))
            }
            ConnectionState::Open(_) => {
                let client = self.client(slot);
                let hub = client.as_ref().map(|client| client.hub.clone());
                (client, hub)
            }
            ConnectionState::Closing { .. } => (None, None),
        }
    }

    /// Drops a connection that is closing. Dropping the socket removes it from the poll.
    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(connection) = self.connections.try_remove(slot as usize) {
            Self::subtract_pending(&mut self.pending_bytes, &connection);
            let stateful = connection.rare().and_then(|rare| rare.stateful.as_ref());
            self.buffered_own_bytes -= stateful.map_or(0, |stateful| stateful.own_bytes() as u64);
            self.index.forget(connection.id);
            self.settings.connections.fetch_sub(1, Ordering::AcqRel);
            if let TransportState::Http(http) = &connection.transport {
                http.end();
            }
        }
    }

    pub(super) fn end_all(&mut self) {
        let slots: Vec<Slot> = self.connections.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.end(slot, EndReason::Drained);
        }
    }
}

/// Describes a client that is not connected yet.
pub(super) fn client_of(admission: &ClientAdmission, protocol: HubProtocol) -> ClientConnection {
    ClientConnection {
        id: admission.connection,
        hub: admission.hub.clone(),
        user: admission.user.clone(),
        protocol,
        client_context: admission.client_context.clone(),
    }
}
