//! The read phase: from readable sockets and posted requests, through frames, to hub messages.

use std::io;

use signalr_protocol::{Splitter, next_message};
use websocket::{CloseBody, CloseCode, DecodedPart, Decoder, Opcode, Part, Role, frame};

use super::Shard;
use super::connection::{ConnectionState, PostedBytes, TransportState};
use super::hub_messages::Unreadable;
use super::keys::Slot;
use super::pending::{Frame, FrameAppender};
use crate::{EndReason, ReceiveResult};

/// Largest number of consecutive reads of one connection, before others are read.
const READS_MAX: usize = 16;

/// Largest number of queued requests of one client while it is paused.
const HELD_MAX: usize = 16;

/// Whether to continue reading from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl Shard {
    /// Edge-triggered: reads until the socket has no more; mio reports readiness once.
    pub(super) fn on_readable(&mut self, slot: Slot) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let mut flow = Flow::Continue;
        for _ in 0..READS_MAX {
            flow = self.read_once(slot, &mut buffer);
            if flow == Flow::Stop {
                break;
            }
        }
        if flow == Flow::Continue {
            self.unread.push(slot);
        }
        self.read_buffer = buffer;
    }

    fn read_once(&mut self, slot: Slot, buffer: &mut [u8]) -> Flow {
        let Some(connection) = self.connections.get(slot as usize) else { return Flow::Stop };
        if !connection.is_closing() && (connection.is_paused || self.is_server_full(slot)) {
            // `resume` reads again.
            return Flow::Stop;
        }
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Flow::Stop };
        let TransportState::Socket(socket) = &mut connection.transport else { return Flow::Stop };
        let length = match socket.try_read(buffer) {
            Ok(0) => {
                self.lose_socket(slot);
                return Flow::Stop;
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Stop,
            Err(_) => {
                self.lose_socket(slot);
                return Flow::Stop;
            }
        };
        self.metrics.turn.received_bytes += length as u64;
        if connection.is_closing() {
            // `last_received_at` is the start of the close, from which the deadline is measured.
            return Flow::Continue;
        }
        connection.last_received_at = self.now;
        let is_open = connection.index_entry().is_some();
        if is_open && self.exceeds_rates(slot, 0, length) {
            return Flow::Continue;
        }
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Flow::Stop };
        // Moved out while events borrow from it, because handling them needs the shard.
        let mut decoder = std::mem::replace(&mut connection.decoder, Decoder::new(Role::Server, 0));
        let flow = self.decode(slot, &mut decoder, &mut buffer[..length]);
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.decoder = decoder;
        }
        flow
    }

    fn decode(&mut self, slot: Slot, decoder: &mut Decoder, mut input: &mut [u8]) -> Flow {
        loop {
            let options = &self.settings.options;
            let decoded = if self.accepts_parts(slot) {
                decoder.set_message_bytes_max(options.forwarded_message_bytes_max);
                decoder.decode_part(input)
            } else {
                decoder.set_message_bytes_max(options.message_bytes_max);
                decoder.decode(input).map(DecodedPart::from)
            };
            let decoded = match decoded {
                Ok(decoded) => decoded,
                Err(violation) => {
                    let code = violation.close_code();
                    self.close_with(slot, EndReason::WebSocketViolation, None, code, &violation.to_string());
                    return Flow::Continue;
                }
            };
            let consumed = decoded.consumed;
            match decoded.part {
                None => return Flow::Continue,
                Some(Part::Data { payload, is_end, .. }) => self.on_message(slot, payload, is_end),
                Some(Part::Ping(_)) if self.exceeds_rates(slot, 1, 0) => {}
                Some(Part::Ping(payload)) => {
                    let pong = Frame::control(frame(Opcode::Pong, payload));
                    self.append_or_end(slot, &mut FrameAppender::new(pong));
                }
                Some(Part::Pong(_)) => {}
                Some(Part::Close(CloseBody { code, .. })) => {
                    // Echoes the code (RFC 6455, 5.5.1).
                    let code = code.unwrap_or(CloseCode::NORMAL);
                    self.close_with(slot, EndReason::ClientClosed, None, code, "");
                }
            }
            match self.connections.get(slot as usize) {
                None => return Flow::Stop,
                // What follows a close is ignored.
                Some(connection) if connection.is_closing() => return Flow::Continue,
                Some(_) => {}
            }
            input = &mut input[consumed..];
        }
    }

    /// Handles bytes that a client of an HTTP transport sent in a request.
    pub(super) fn receive(&mut self, slot: Slot, posted: PostedBytes) {
        let connection = &mut self.connections[slot as usize];
        let PostedBytes { payload, is_end, done } = posted;
        if connection.is_closing() {
            let _ = done.send(ReceiveResult::Gone);
            return;
        }
        connection.last_received_at = self.now;
        if connection.is_paused || self.is_server_full(slot) {
            let connection = &mut self.connections[slot as usize];
            let queued_posts = &mut connection.rare_or_new().queued_posts;
            if queued_posts.len() < HELD_MAX {
                queued_posts.push_back(PostedBytes { payload, is_end, done });
            } else {
                let _ = done.send(ReceiveResult::Busy);
            }
            return;
        }
        self.metrics.turn.received_bytes += payload.len() as u64;
        if !self.exceeds_rates(slot, 0, payload.len()) {
            self.on_message(slot, &payload, is_end);
        }
        // The request may have ended; its bytes are accepted anyway.
        let _ = done.send(ReceiveResult::Accepted);
    }

    /// Resumes reading from a client that was paused.
    pub(super) fn resume(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if !connection.is_paused {
            return;
        }
        connection.is_paused = false;
        let queued_posts =
            connection.rare_mut().map(|rare| std::mem::take(&mut rare.queued_posts)).unwrap_or_default();
        connection.last_received_at = self.now;
        for posted in queued_posts {
            if self.connections.contains(slot as usize) {
                self.receive(slot, posted);
            }
        }
        self.unread.push(slot);
    }

    /// Handles a WebSocket message or the body of a request, or a part of one.
    fn on_message(&mut self, slot: Slot, payload: &[u8], is_end: bool) {
        let connection = &mut self.connections[slot as usize];
        match &mut connection.state {
            ConnectionState::Handshaking(_) => self.on_handshake_bytes(slot, payload),
            // At most what one read returned; the connection is paused until the handshake response.
            ConnectionState::Opening(opening) if opening.admission.server.is_none() => {
                opening.rest.extend_from_slice(payload);
            }
            // Nothing is counted before the handshake response; what one read returned waits for it.
            ConnectionState::Opening(opening) if opening.admission.stateful => {
                opening.rest.extend_from_slice(payload);
                connection.is_paused = true;
            }
            ConnectionState::Opening(_) | ConnectionState::Open(_) => {
                self.on_hub_bytes(slot, payload, is_end);
            }
            ConnectionState::Closing { .. } => {}
        }
    }

    /// Handles hub messages, complete or in parts.
    pub(super) fn on_hub_bytes(&mut self, slot: Slot, input: &[u8], is_end: bool) {
        let is_served = self.server_of(slot).is_some();
        let result = if is_served { self.forward(slot, input, is_end) } else { self.split(slot, input) };
        if let Err(error) = result {
            // As in ASP.NET Core: a client that sent a malformed message may reconnect.
            let allow_reconnect = error.reason() == EndReason::MalformedMessage;
            self.close(slot, error.reason(), Some(&error.to_string()), allow_reconnect);
        }
    }

    fn split(&mut self, slot: Slot, mut input: &[u8]) -> Result<(), Unreadable> {
        let bytes_max = self.settings.options.message_bytes_max as usize;
        let connection = &mut self.connections[slot as usize];
        let protocol = connection.protocol;
        let partial = connection.uncommon.as_mut().and_then(|uncommon| uncommon.partial.take());
        if let Some(mut splitter) = partial {
            let result = splitter.feed(input, |payload| self.on_hub_message(slot, payload));
            self.keep_partial(slot, splitter);
            return result;
        }
        loop {
            match next_message(protocol, input, bytes_max)? {
                None if input.is_empty() => return Ok(()),
                None => {
                    let mut splitter = Box::new(Splitter::new(protocol, bytes_max));
                    let result = splitter.feed(input, |_| Ok(()));
                    self.keep_partial(slot, splitter);
                    return result;
                }
                Some((payload, used)) => {
                    self.on_hub_message(slot, payload)?;
                    input = &input[used..];
                }
            }
        }
    }

    fn keep_partial(&mut self, slot: Slot, splitter: Box<Splitter>) {
        if splitter.partial_bytes() > 0
            && let Some(connection) = self.connections.get_mut(slot as usize)
        {
            connection.uncommon.get_or_insert_default().partial = Some(splitter);
        }
    }
}
