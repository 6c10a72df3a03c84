//! The read phase: from readable sockets, through frames, to hub messages and what they ask for.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use signalr_protocol::{
    Completion, CompletionResult, FramingError, HubMessage, HubMessageType, ParseError, Peek, Splitter,
    next_message, parse, peek,
};
use websocket::{Close, CloseCode, DecodedPart, Decoder, Opcode, Part, Role, frame};

use super::Shard;
use super::connection::{Posted, Road, Stage};
use super::encode::Encoded;
use super::keys::Slot;
use super::pending::{Frame, Step};
use super::stateful::{Arrival, SequenceGap};
use crate::limits::Exceeded;
use crate::{ClientInvocation, ClientResult, EndReason, OutgoingMessage, Received, Room, SightEvent};

/// Reads of one connection before others have their turn.
const READS_MAX: usize = 16;

/// Requests of one client over HTTP that wait while it is not read from.
const HELD_MAX: usize = 16;

/// Whether a connection's input is to be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Why a hub message ends the connection; the text goes into its Close message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error(transparent)]
    Message(#[from] ParseError),
    #[error(transparent)]
    Sequence(#[from] SequenceGap),
    #[error(transparent)]
    Rate(#[from] Exceeded),
}

impl Unreadable {
    fn reason(&self) -> EndReason {
        match self {
            Self::Rate(_) => EndReason::RateLimited,
            Self::Framing(_) | Self::Message(_) | Self::Sequence(_) => EndReason::MalformedMessage,
        }
    }
}

impl Shard {
    /// Reads until the socket has no more, for no second event tells of what is left.
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
        if !connection.is_closing() && (connection.is_paused || self.is_held_back(slot)) {
            // Whoever lets it go on reads again.
            return Flow::Stop;
        }
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Flow::Stop };
        let Road::Socket(socket) = &mut connection.road else { return Flow::Stop };
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
            // `heard` is when the closing began, and the deadline counts from there.
            return Flow::Continue;
        }
        connection.heard = self.now;
        let is_open = connection.places().is_some();
        if is_open && self.is_too_much(slot, 0, length) {
            return Flow::Continue;
        }
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Flow::Stop };
        // Taken out while events borrow from it: what they lead to needs the shard.
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
            let decoded = if self.takes_pieces(slot) {
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
                    self.say_goodbye(slot, EndReason::WebSocketViolation, None, code, &violation.to_string());
                    return Flow::Continue;
                }
            };
            let consumed = decoded.consumed;
            match decoded.part {
                None => return Flow::Continue,
                Some(Part::Data { payload, is_end, .. }) => self.on_message(slot, payload, is_end),
                Some(Part::Ping(_)) if self.is_too_much(slot, 1, 0) => {}
                Some(Part::Ping(payload)) => {
                    let pong = Frame::control(frame(Opcode::Pong, payload));
                    self.append_or_end(slot, &mut Step::new(pong));
                }
                Some(Part::Pong(_)) => {}
                Some(Part::Close(Close { code, .. })) => {
                    // Echoes the code (RFC 6455, 5.5.1).
                    let code = code.unwrap_or(CloseCode::NORMAL);
                    self.say_goodbye(slot, EndReason::ClientClosed, None, code, "");
                }
            }
            match self.connections.get(slot as usize) {
                None => return Flow::Stop,
                // Whatever follows a close does not count any more.
                Some(connection) if connection.is_closing() => return Flow::Continue,
                Some(_) => {}
            }
            input = &mut input[consumed..];
        }
    }

    /// Bytes that a client of an HTTP transport sent in a request.
    pub(super) fn receive(&mut self, slot: Slot, posted: Posted) {
        let connection = &mut self.connections[slot as usize];
        let Posted { payload, is_end, done } = posted;
        if connection.is_closing() {
            let _ = done.send(Received::Gone);
            return;
        }
        connection.heard = self.now;
        if connection.is_paused || self.is_held_back(slot) {
            let connection = &mut self.connections[slot as usize];
            let held = &mut connection.extra_or_new().held;
            if held.len() < HELD_MAX {
                held.push_back(Posted { payload, is_end, done });
            } else {
                let _ = done.send(Received::Busy);
            }
            return;
        }
        self.metrics.turn.received_bytes += payload.len() as u64;
        if !self.is_too_much(slot, 0, payload.len()) {
            self.on_message(slot, &payload, is_end);
        }
        // Whoever asked may have gone away; the bytes are taken all the same.
        let _ = done.send(Received::Taken);
    }

    /// Reads a client again.
    pub(super) fn resume(&mut self, slot: Slot) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if !connection.is_paused {
            return;
        }
        connection.is_paused = false;
        let held = connection.extra_mut().map(|extra| std::mem::take(&mut extra.held)).unwrap_or_default();
        connection.heard = self.now;
        for posted in held {
            if self.connections.contains(slot as usize) {
                self.receive(slot, posted);
            }
        }
        self.unread.push(slot);
    }

    /// A message of the transport, or a part of one.
    fn on_message(&mut self, slot: Slot, payload: &[u8], is_end: bool) {
        let connection = &mut self.connections[slot as usize];
        match &mut connection.stage {
            Stage::Handshaking(_) => self.on_handshake_bytes(slot, payload),
            // At most what one read brought: then reading stops until the handshake is answered.
            Stage::Opening(opening) if opening.admission.server.is_none() => {
                opening.rest.extend_from_slice(payload);
            }
            // Nothing is numbered before the answer; what one read brought waits for it.
            Stage::Opening(opening) if opening.admission.stateful => {
                opening.rest.extend_from_slice(payload);
                connection.is_paused = true;
            }
            Stage::Opening(_) | Stage::Open(_) => self.on_hub_bytes(slot, payload, is_end),
            Stage::Closing { .. } => {}
        }
    }

    /// Hub messages, in whatever pieces.
    pub(super) fn on_hub_bytes(&mut self, slot: Slot, input: &[u8], is_end: bool) {
        let is_served = self.server_of(slot).is_some();
        let result = if is_served { self.forward(slot, input, is_end) } else { self.split(slot, input) };
        if let Err(error) = result {
            // As ASP.NET Core says it: a message that nobody can read need not end the client's work.
            let allow_reconnect = error.reason() == EndReason::MalformedMessage;
            self.close(slot, error.reason(), Some(&error.to_string()), allow_reconnect);
        }
    }

    fn split(&mut self, slot: Slot, mut input: &[u8]) -> Result<(), Unreadable> {
        let bytes_max = self.settings.options.message_bytes_max as usize;
        let connection = &mut self.connections[slot as usize];
        let protocol = connection.protocol;
        let partial = connection.rare.as_mut().and_then(|rare| rare.partial.take());
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
            connection.rare.get_or_insert_default().partial = Some(splitter);
        }
    }

    /// Counts what came against what may come in a second, and ends a connection from which too much came.
    fn is_too_much(&mut self, slot: Slot, messages: u32, bytes: usize) -> bool {
        let Err(exceeded) = self.take_from_rates(slot, messages, bytes) else { return false };
        self.close(slot, EndReason::RateLimited, Some(&exceeded.to_string()), false);
        true
    }

    /// Counts what came against what may come in a second.
    fn take_from_rates(&mut self, slot: Slot, messages: u32, bytes: usize) -> Result<(), Exceeded> {
        if self.connection_rates.is_unlimited() && self.user_rates.is_unlimited() {
            return Ok(());
        }
        let Some(extra) = self.connections[slot as usize].extra_mut() else { return Ok(()) };
        let now = Instant::now();
        if let Some(bucket) = &mut extra.bucket {
            bucket.take(messages, bytes, now)?;
        }
        if let Some(bucket) = &extra.user_bucket {
            let mut bucket = bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            bucket.take(messages, bytes, now)?;
        }
        Ok(())
    }

    fn on_hub_message(&mut self, slot: Slot, payload: &[u8]) -> Result<(), Unreadable> {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Ok(()) };
        if connection.places().is_none() {
            return Ok(());
        }
        if connection.is_stateful {
            self.release_held(slot);
        }
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Ok(()) };
        self.metrics.turn.received_messages += 1;
        let protocol = connection.protocol;
        self.take_from_rates(slot, 1, 0)?;
        let peek = peek(protocol, payload)?;
        let message_type = match peek.kind {
            HubMessageType::Invocation => 1,
            HubMessageType::StreamItem => 2,
            HubMessageType::Completion => 3,
            HubMessageType::StreamInvocation => 4,
            HubMessageType::CancelInvocation => 5,
            HubMessageType::Ack | HubMessageType::Sequence => return self.on_sequence(slot, payload),
            HubMessageType::Close => {
                self.say_goodbye(slot, EndReason::ClientClosed, None, CloseCode::NORMAL, "");
                return Ok(());
            }
            HubMessageType::Ping => {
                // Only who has begun to ping can be missed when it stops; old clients never do.
                self.connections[slot as usize].pings = true;
                return Ok(());
            }
            // They belong to later versions of the protocol.
            HubMessageType::Unknown(_) => return Ok(()),
        };
        if self.count_arrival(slot, payload.len()) == Arrival::Skip {
            return Ok(());
        }
        if let Some(extra) = self.connections[slot as usize].extra_mut() {
            extra.spoke = self.now;
        }
        if message_type == 3 && self.on_result(slot, &peek, payload)? {
            return Ok(());
        }
        self.hand_on(slot, message_type, &peek, payload);
        Ok(())
    }

    /// Numbers a message of a stateful client.
    pub(super) fn count_arrival(&mut self, slot: Slot, bytes: usize) -> Arrival {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Arrival::Skip };
        if !connection.is_stateful {
            return Arrival::New;
        }
        let Some(stateful) = connection.stateful_mut() else { return Arrival::New };
        let arrival = stateful.arrived(bytes);
        if stateful.is_ack_urgent() {
            self.acknowledge(slot);
        } else if stateful.is_listening() && !std::mem::replace(&mut stateful.is_ack_due, true) {
            self.look_soon(slot);
        }
        arrival
    }

    /// What a stateful client says about the numbers of messages.
    pub(super) fn on_sequence(&mut self, slot: Slot, payload: &[u8]) -> Result<(), Unreadable> {
        let connection = &mut self.connections[slot as usize];
        let message = parse(connection.protocol, payload)?;
        // From any other client they mean nothing.
        let Some(stateful) = connection.stateful_mut() else { return Ok(()) };
        match message {
            HubMessage::Ack(ack) if stateful.is_listening() => {
                let before = stateful.own_bytes() as u64;
                stateful.acknowledge(ack.sequence_id);
                self.kept_own_bytes -= before - stateful.own_bytes() as u64;
                // Its server may have been slowed down for what is acknowledged now.
                self.quicken(slot);
            }
            HubMessage::Sequence(sequence) => stateful.sequence(sequence.sequence_id)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes the answer to a call of the client's method, if it is one that somebody waits for.
    fn on_result(&mut self, slot: Slot, peek: &Peek<'_>, payload: &[u8]) -> Result<bool, Unreadable> {
        let connection = &mut self.connections[slot as usize];
        let protocol = connection.protocol;
        let Some(id) = peek.invocation_id.as_deref() else { return Ok(false) };
        let Some(answer) = connection.extra_mut().and_then(|extra| extra.calls.remove(id)) else {
            return Ok(false);
        };
        if let HubMessage::Completion(Completion { result, .. }) = parse(protocol, payload)? {
            let outcome = match result {
                CompletionResult::Error(error) => Err(error.into_owned()),
                CompletionResult::Void => Ok(None),
                CompletionResult::Value(value) => Ok(Some(Bytes::copy_from_slice(&value))),
            };
            // Whoever asked may have given up.
            let _ = answer.send(Ok(ClientResult { protocol, outcome }));
        }
        Ok(true)
    }

    /// Gives what a client asks for to whoever answers.
    fn hand_on(&mut self, slot: Slot, message_type: u8, peek: &Peek<'_>, payload: &[u8]) {
        let Some(client) = self.client(slot) else { return };
        let roles = self.connections[slot as usize].extra().and_then(|extra| extra.roles.clone());
        let invocation_id: Option<Box<str>> = peek.invocation_id.as_deref().map(Into::into);
        let target: Option<Box<str>> = peek.target.as_deref().map(Into::into);
        let bytes = payload.len() as u64;
        self.show(&client, || SightEvent::Received { message_type, method: target.clone(), bytes });
        let invocation = ClientInvocation {
            client,
            roles,
            message_type,
            invocation_id: invocation_id.clone(),
            target,
            payload: Bytes::copy_from_slice(payload),
        };
        let is_answered = matches!(message_type, 1 | 4);
        let id = invocation_id.as_deref();
        let taken = match self.check_stream(slot, message_type, id) {
            Ok(()) => self.settings.upstream.invoke(invocation),
            Err(refusal) => Err(refusal),
        };
        match taken {
            Ok(room) => {
                self.note_stream(slot, message_type, id);
                if room == Room::Full {
                    self.connections[slot as usize].is_paused = true;
                }
            }
            Err(refusal) => {
                if let Some(id) = invocation_id.filter(|_| is_answered) {
                    let message = OutgoingMessage::completion_error(&id, &refusal.0);
                    let protocol = self.connections[slot as usize].protocol;
                    if let Some(step) = Encoded::new(&message, false).step(protocol) {
                        self.append_or_end(slot, step);
                    }
                }
            }
        }
    }
}
