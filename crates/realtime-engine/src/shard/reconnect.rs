//! Stateful reconnect: attaches new sockets, repeats messages, acknowledges. `stateful.rs` has the state.

use bytes::Bytes;
use signalr_protocol::{HubMessage, Sequenced, parse};
use websocket::{Decoder, Role};

use super::connection::TransportState;
use super::deadlines::Due;
use super::due::{Verdict, View, due};
use super::encode::hub_frame;
use super::hub_messages::Unreadable;
use super::keys::Slot;
use super::pending::{Backlog, FrameAppender};
use super::stateful::{MessageStatus, Stateful};
use super::{PendingFrame, Shard};
use crate::{EndReason, ReattachResult, TraceEventKind};

impl Shard {
    /// Attaches a new socket to a connection that has lost its own, or has not noticed the loss yet.
    pub(super) fn reattach(&mut self, slot: Slot, socket: edge::Socket) -> ReattachResult {
        let is_open = self.connections[slot as usize].index_entry().is_some();
        let connection = &mut self.connections[slot as usize];
        let (protocol, now) = (connection.protocol, self.now);
        let Some(stateful) = connection.stateful_mut().filter(|stateful| is_open && stateful.can_resume())
        else {
            return ReattachResult::Gone;
        };
        let (sequence_id, again) = stateful.resume(now);
        Self::subtract_pending(&mut self.pending_bytes, connection);
        connection.frame_list = None;
        connection.backlog = None;
        connection.transport = TransportState::Socket(socket);
        connection.decoder = Decoder::new(Role::Server, self.settings.options.message_bytes_max);
        connection.last_received_at = self.now;
        if let Some(uncommon) = &mut connection.uncommon {
            uncommon.partial = None;
        }
        // Before any message that is received from the new socket.
        self.ping_server_for(slot, true);
        if let Some(client) = self.client(slot) {
            self.trace(&client, || TraceEventKind::Attached(true));
        }
        // It must be the first message on the new socket.
        let sequence = hub_frame(&HubMessage::Sequence(Sequenced { sequence_id }), protocol);
        self.send_buffered(slot, Some(sequence.pending_frame()), again);
        self.watch_socket(slot);
        ReattachResult::Attached
    }

    /// The socket of a connection is lost: a stateful connection waits for a new one, any other ends.
    pub(super) fn lose_socket(&mut self, slot: Slot) {
        self.lose_client(slot, EndReason::ConnectionLost);
    }

    pub(super) fn lose_client(&mut self, slot: Slot, reason: EndReason) {
        let until = self.now.plus(self.timeouts.disconnect).plus(1);
        let is_open =
            self.connections.get(slot as usize).is_some_and(|connection| connection.index_entry().is_some());
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let resumes = is_open && connection.stateful_mut().is_some_and(|stateful| stateful.can_resume());
        if !resumes || self.draining.is_some() {
            return self.end(slot, reason);
        }
        Self::subtract_pending(&mut self.pending_bytes, connection);
        connection.frame_list = None;
        connection.backlog = None;
        // Dropping the socket removes it from the poll.
        connection.transport = TransportState::Detached { until };
        let due = Due { slot, generation: connection.generation };
        self.deadlines.add(until.min(self.now.plus(self.timeouts.keep_alive)), due);
        self.ping_server_for(slot, true);
        if let Some(client) = self.client(slot) {
            self.trace(&client, || TraceEventKind::Attached(false));
        }
    }

    /// Schedules a check of a stateful connection.
    pub(super) fn check_soon(&mut self, slot: Slot) {
        let generation = self.connections[slot as usize].generation;
        self.soon.push_back((self.now.plus(self.timeouts.soon), slot, generation));
    }

    /// Performs what is due for stateful connections.
    pub(super) fn check_stateful(&mut self) {
        while let Some((deadline, slot, generation)) = self.soon.front().copied() {
            let verdict = due(&View::Unacknowledged { deadline }, self.now);
            if verdict != Verdict::Acknowledge {
                break;
            }
            self.soon.pop_front();
            let same = self.connections.get(slot as usize).is_some_and(|one| one.generation == generation);
            if same {
                self.perform(slot, verdict);
            }
        }
    }

    /// Counts a message of a stateful client, and returns whether it is new.
    pub(super) fn count_received(&mut self, slot: Slot, bytes: usize) -> MessageStatus {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return MessageStatus::Duplicate;
        };
        if !connection.is_stateful {
            return MessageStatus::New;
        }
        let Some(stateful) = connection.stateful_mut() else { return MessageStatus::New };
        let status = stateful.receive(bytes);
        if stateful.is_ack_urgent() {
            self.acknowledge(slot);
        } else if stateful.is_listening() && !std::mem::replace(&mut stateful.is_ack_due, true) {
            self.check_soon(slot);
        }
        status
    }

    /// An Ack or Sequence message.
    pub(super) fn on_sequence(&mut self, slot: Slot, payload: &[u8]) -> Result<(), Unreadable> {
        let connection = &mut self.connections[slot as usize];
        let message = parse(connection.protocol, payload)?;
        // Ignored from a client that is not stateful.
        let Some(stateful) = connection.stateful_mut() else { return Ok(()) };
        match message {
            HubMessage::Ack(ack) if stateful.is_listening() => {
                let before = stateful.own_bytes() as u64;
                stateful.acknowledge(ack.sequence_id);
                self.buffered_own_bytes -= before - stateful.own_bytes() as u64;
                // Its app server may have been slowed down because of what is acknowledged now.
                self.raise_send_rate(slot);
            }
            HubMessage::Sequence(sequence) => stateful.sequence(sequence.sequence_id)?,
            _ => {}
        }
        Ok(())
    }

    /// Acknowledges a client's messages, if they are not acknowledged yet.
    pub(super) fn acknowledge(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if connection.is_closing() {
            return;
        }
        let protocol = connection.protocol;
        if let Some(sequence_id) = connection.stateful_mut().and_then(Stateful::take_ack) {
            let ack = hub_frame(&HubMessage::Ack(Sequenced { sequence_id }), protocol);
            self.append_or_end(slot, &mut FrameAppender::new(ack));
        }
    }

    /// Sends what was withheld until the client's first message.
    pub(super) fn release_withheld(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let queued_posts = connection.stateful_mut().map(Stateful::release).unwrap_or_default();
        if queued_posts.is_empty() || connection.is_closing() {
            return;
        }
        self.send_buffered(slot, None, queued_posts);
    }

    /// Writes frames that are buffered already, after the pending frames.
    fn send_buffered(&mut self, slot: Slot, first: Option<PendingFrame>, buffered: Vec<Bytes>) {
        let connection = &mut self.connections[slot as usize];
        let mut backlog = match (connection.backlog.take(), connection.frame_list.take()) {
            (Some(backlog), _) => backlog,
            (None, Some(frame_list)) => {
                self.pending_bytes += frame_list.bytes() as u64;
                Box::new(Backlog::rest_of(&frame_list, 0))
            }
            (None, None) => Box::default(),
        };
        for pending_frame in first.into_iter().chain(buffered.into_iter().map(PendingFrame::required)) {
            self.pending_bytes += pending_frame.len() as u64;
            backlog.push(pending_frame);
        }
        connection.backlog = Some(backlog);
        self.write_backlog(slot);
    }
}
