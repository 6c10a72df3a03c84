//! Streams that clients without an app server have invoked: which of them are open, and their items.

use std::sync::Arc;

use super::Shard;
use super::connection::TransportState;
use super::keys::Slot;
use crate::stream::StreamMessages;
use crate::{InvocationRejection, StreamState};

/// Types of hub messages.
const STREAM_INVOCATION: u8 = 4;
const CANCEL_INVOCATION: u8 = 5;

/// Longest invocation id of a stream that is tracked, in bytes: 100 characters, the limit of REST. A stream with a longer id can
/// only be completed by the response of the upstream.
const ID_BYTES_MAX: usize = 400;

/// The part of [`Options::pending_bytes_max`](crate::Options::pending_bytes_max) that may be pending before senders of streams wait.
const BEHIND_DIVISOR: usize = 4;

impl Shard {
    /// Rejects a stream above the client's limit.
    pub(super) fn check_stream(
        &self,
        slot: Slot,
        message_type: u8,
        id: Option<&str>,
    ) -> Result<(), InvocationRejection> {
        let (STREAM_INVOCATION, Some(id)) = (message_type, id) else { return Ok(()) };
        let streams_max = self.settings.options.connection_streams_max.get();
        let open = self.connections[slot as usize].rare().map(|rare| &rare.open_streams);
        let is_refused = open.is_some_and(|open| open.len() >= streams_max as usize && !open.contains(id));
        if is_refused {
            return Err(InvocationRejection(format!(
                "too many open streams; the limit of the connection is {streams_max}; cancel one, or wait until one ends"
            )));
        }
        Ok(())
    }

    /// Records that a client has invoked or cancelled a stream.
    pub(super) fn record_stream(&mut self, slot: Slot, message_type: u8, id: Option<&str>) {
        let Some(id) = id.filter(|id| id.len() <= ID_BYTES_MAX) else { return };
        let connection = &mut self.connections[slot as usize];
        match message_type {
            STREAM_INVOCATION => {
                connection.rare_or_new().open_streams.insert(id.into());
            }
            CANCEL_INVOCATION => {
                if let Some(rare) = connection.rare_mut() {
                    rare.open_streams.remove(id);
                }
            }
            _ => {}
        }
    }

    /// Sends items of a stream, if it is open.
    pub(super) fn stream_part(&mut self, part: StreamMessages) {
        let StreamMessages { hub, connection, stream, messages, is_end, answer } = part;
        // The caller may have stopped waiting; the command is executed anyway.
        let Some(slot) = self.index.find(&self.connections, &hub, connection) else {
            let _ = answer.send(StreamState::NoConnection);
            return;
        };
        let open = self.connections[slot as usize].rare_mut().map(|rare| &mut rare.open_streams);
        let is_open =
            open.is_some_and(|open| if is_end { open.remove(&stream) } else { open.contains(&stream) });
        if !is_open {
            let _ = answer.send(StreamState::NotOpen);
            return;
        }
        for work in messages {
            self.publish(Arc::new(work));
        }
        let _ = answer.send(StreamState::Sent { is_behind: self.is_behind(slot) });
    }

    /// Whether a client reads more slowly than messages are sent to it.
    fn is_behind(&self, slot: Slot) -> bool {
        // It may have ended with the last message.
        let Some(connection) = self.connections.get(slot as usize) else { return false };
        let waiting = connection.frame_list.as_ref().map_or(0, |frame_list| frame_list.bytes())
            + connection.backlog.as_ref().map_or(0, |backlog| backlog.bytes());
        let in_http_transport = match &connection.transport {
            TransportState::Socket(_) => 0,
            TransportState::Http(http) => http.bytes(),
            // Messages that cannot be sent now are buffered until it reconnects.
            TransportState::Detached { .. } => return true,
        };
        waiting + in_http_transport > self.policy(slot).pending_bytes_max / BEHIND_DIVISOR
    }
}
