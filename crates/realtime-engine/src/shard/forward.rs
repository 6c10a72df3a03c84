//! Forwards messages of clients to their app servers as they arrive; only short messages are buffered.
//!
//! A stateful client's messages are counted, and duplicates are skipped; Ack and Sequence are not forwarded, because the SDK does
//! not support them. When an app server receives the reconnect message, it discards the incomplete message of the lost socket;
//! the client sends that message again from the start.

use std::sync::Arc;

use bytes::Bytes;
use signalr_protocol::{HubMessage, HubMessageType, is_sequenced, peek};

use super::Shard;
use super::connection::ConnectionState;
use super::forwarding::Forwarding;
use super::hub_messages::Unreadable;
use super::keys::Slot;
use super::splitter::{MessageSplitter, SplitPart};
use super::stateful::MessageStatus;
use crate::{AppServer, Capacity, ConnectionId};

impl Shard {
    /// The app server of a client.
    pub(super) fn server_of(&self, slot: Slot) -> Option<&Arc<dyn AppServer>> {
        let connection = self.connections.get(slot as usize)?;
        match &connection.state {
            ConnectionState::Opening(opening) => opening.admission.server.as_ref(),
            ConnectionState::Open(_) => connection.server(),
            ConnectionState::Handshaking(_) | ConnectionState::Closing { .. } => None,
        }
    }

    /// Whether a client's messages can be forwarded in parts.
    pub(super) fn accepts_parts(&self, slot: Slot) -> bool {
        self.server_of(slot).is_some_and(|server| server.accepts_parts())
    }

    /// Whether reading from a client is paused because its app server's queue is full. Checked before each read, because one more
    /// read of each of many clients would exceed the limit.
    pub(super) fn is_server_full(&mut self, slot: Slot) -> bool {
        let Some(connection) = self.connections.get(slot as usize) else { return false };
        let id = connection.id;
        let is_full = self.server_of(slot).is_some_and(|server| server.capacity(id) == Capacity::Exhausted);
        if is_full {
            self.connections[slot as usize].is_paused = true;
        }
        is_full
    }

    /// Forwards bytes of a client; `is_end` if a WebSocket message or a request ends with them.
    pub(super) fn forward(&mut self, slot: Slot, bytes: &[u8], is_end: bool) -> Result<(), Unreadable> {
        let Some(server) = self.server_of(slot).map(Arc::clone) else { return Ok(()) };
        let connection = &mut self.connections[slot as usize];
        self.metrics.turn.received_messages += u64::from(is_end);
        let (id, now) = (connection.id, self.now);
        if let Some(rare) = connection.rare_mut() {
            rare.last_message_at = now;
        }
        if connection.is_stateful {
            return self.forward_sequenced(slot, id, server.as_ref(), bytes);
        }
        if is_end || !bytes.is_empty() {
            self.send_to_server(slot, id, server.as_ref(), bytes.to_vec(), !is_end);
        }
        Ok(())
    }

    fn send_to_server(
        &mut self,
        slot: Slot,
        id: ConnectionId,
        server: &dyn AppServer,
        bytes: Vec<u8>,
        is_partial: bool,
    ) {
        if server.data(id, Bytes::from(bytes), is_partial) == Capacity::Exhausted
            && let Some(connection) = self.connections.get_mut(slot as usize)
        {
            connection.is_paused = true;
        }
    }

    fn forward_sequenced(
        &mut self,
        slot: Slot,
        id: ConnectionId,
        server: &dyn AppServer,
        bytes: &[u8],
    ) -> Result<(), Unreadable> {
        self.release_withheld(slot);
        let bytes_max = self.settings.options.forwarded_message_bytes_max as usize;
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Ok(()) };
        let protocol = connection.protocol;
        let Some(stateful) = connection.stateful_mut() else { return Ok(()) };
        let mut forwarding = stateful.forwarding.take().unwrap_or_else(|| {
            let splitter = MessageSplitter::new(protocol, bytes_max);
            Box::new(Forwarding { splitter, is_forwarded: false, is_sequenced: false })
        });
        let Forwarding { splitter, is_forwarded, is_sequenced } = &mut *forwarding;
        let mut out = Vec::new();
        let result = splitter.feed(bytes, |cut| match cut {
            SplitPart::Message { framed, payload } => {
                if self.should_forward(slot, framed.len(), payload)? {
                    out.extend_from_slice(framed);
                }
                Ok(())
            }
            SplitPart::LongStart { bytes, is_sequenced: numbered } => {
                *is_sequenced = numbered;
                *is_forwarded = !numbered || self.is_next_new(slot);
                if *is_forwarded {
                    // Complete messages are sent first, so that they are not lost if the rest of this one never arrives.
                    if !out.is_empty() {
                        self.send_to_server(slot, id, server, std::mem::take(&mut out), false);
                    }
                    out.extend_from_slice(bytes);
                }
                Ok(())
            }
            SplitPart::LongMiddle(bytes) => {
                if *is_forwarded {
                    out.extend_from_slice(bytes);
                }
                Ok(())
            }
            SplitPart::LongEnd { bytes, all } => {
                if *is_sequenced {
                    self.count_received(slot, all);
                }
                if *is_forwarded {
                    out.extend_from_slice(bytes);
                }
                Ok(())
            }
        });
        let is_partial = *is_forwarded && splitter.is_within_long();
        if !out.is_empty() {
            self.send_to_server(slot, id, server, out, is_partial);
        }
        let connection = self.connections.get_mut(slot as usize);
        if let Some(stateful) = connection.and_then(|connection| connection.stateful_mut()) {
            stateful.forwarding = Some(forwarding);
        }
        result
    }

    /// Sends a ping to the app server for a client that has no socket now: the hub in the app server would close a client that
    /// does not ping. `is_new` when a socket was lost or attached: the rest of an interrupted message will not follow.
    pub(super) fn ping_server_for(&mut self, slot: Slot, is_new: bool) {
        let Some(server) = self.server_of(slot).map(Arc::clone) else { return };
        let connection = &mut self.connections[slot as usize];
        let (id, protocol) = (connection.id, connection.protocol);
        if is_new {
            if let Some(stateful) = connection.stateful_mut() {
                stateful.forwarding = None;
            }
            server.reconnected(id);
        }
        let mut ping = Vec::new();
        HubMessage::Ping.encode(protocol, &mut ping);
        server.data(id, ping.into(), false);
    }

    /// Handles one complete message, and returns whether it is forwarded to the app server.
    fn should_forward(
        &mut self,
        slot: Slot,
        framed_bytes: usize,
        payload: &[u8],
    ) -> Result<bool, Unreadable> {
        let Some(connection) = self.connections.get(slot as usize) else { return Ok(false) };
        if connection.is_closing() {
            return Ok(false);
        }
        let protocol = connection.protocol;
        if is_sequenced(protocol, payload) {
            return Ok(self.count_received(slot, framed_bytes) == MessageStatus::New);
        }
        // The app server rejects a message that cannot be parsed.
        let kind = peek(protocol, payload).map(|peek| peek.kind);
        if matches!(kind, Ok(HubMessageType::Ack | HubMessageType::Sequence)) {
            self.on_sequence(slot, payload)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether the next counted message of a stateful client is new.
    fn is_next_new(&mut self, slot: Slot) -> bool {
        let connection = self.connections.get_mut(slot as usize);
        connection
            .and_then(|connection| connection.stateful_mut())
            .is_some_and(|stateful| stateful.is_next_new())
    }
}
