//! The read phase: from readable sockets, through frames, to hub messages and what they ask for.

use std::io;

use bytes::Bytes;
use signalr_protocol::{
    FramingError, HANDSHAKE_ACCEPTED, HandshakeError, HandshakeRequest, HubProtocol, MessageKind, ParseError,
    RECORD_SEPARATOR, Splitter, handshake_refused, next_message, peek,
};
use websocket::{Close, CloseCode, Decoder, Event, Opcode, Role, frame};

use super::Shard;
use super::connection::{Slot, Stage};
use super::deadlines::Due;
use super::encode::{Encoded, close_message, opcode};
use super::pending::Step;
use crate::engine::{ClientInvocation, EndReason, OutgoingMessage};

/// Reads of one connection before others have their turn.
const READS_MAX: usize = 16;

/// Longest handshake record: it holds a name and a number.
const HANDSHAKE_BYTES_MAX: usize = 4096;

/// Whether a connection's input is to be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// Why a hub message ends the connection; the text goes into its Close message.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error(transparent)]
    Message(#[from] ParseError),
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
        let Some(connection) = self.connections.get_mut(slot as usize) else { return Flow::Stop };
        let length = match connection.socket.try_read(buffer) {
            Ok(0) => {
                self.end(slot, EndReason::ConnectionLost);
                return Flow::Stop;
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flow::Stop,
            Err(_) => {
                self.end(slot, EndReason::ConnectionLost);
                return Flow::Stop;
            }
        };
        self.metrics.turn.received_bytes += length as u64;
        if connection.is_closing() {
            // `heard` is when the closing began, and the deadline counts from there.
            return Flow::Continue;
        }
        connection.heard = self.now;
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
            let decoded = match decoder.decode(input) {
                Ok(decoded) => decoded,
                Err(violation) => {
                    let code = violation.close_code();
                    self.say_goodbye(slot, EndReason::WebSocketViolation, None, code, &violation.to_string());
                    return Flow::Continue;
                }
            };
            let consumed = decoded.consumed;
            match decoded.event {
                None => return Flow::Continue,
                Some(Event::Message(_, payload)) => self.on_message(slot, payload),
                Some(Event::Ping(payload)) => {
                    self.append_or_end(slot, &mut Step::new(frame(Opcode::Pong, payload)));
                }
                Some(Event::Pong(_)) => {}
                Some(Event::Close(Close { code, .. })) => {
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

    fn on_message(&mut self, slot: Slot, payload: &[u8]) {
        let connection = &mut self.connections[slot as usize];
        let Stage::Handshaking(handshaking) = &mut connection.stage else {
            return self.on_hub_bytes(slot, payload);
        };
        // The record may come in pieces, and hub messages may follow it in the same one.
        let end = payload.iter().position(|byte| *byte == RECORD_SEPARATOR);
        let piece = &payload[..end.unwrap_or(payload.len())];
        let mut record = std::mem::take(&mut handshaking.record);
        record.extend_from_slice(piece);
        match end {
            _ if record.len() > HANDSHAKE_BYTES_MAX => {
                self.refuse_handshake(slot, "the handshake is longer than any handshake is");
            }
            None => handshaking.record = record,
            Some(end) => match HandshakeRequest::parse(&record) {
                Err(error) => self.refuse_handshake(slot, &error.to_string()),
                // Only an app server can answer what a Blazor client says.
                Ok(HandshakeRequest { protocol: protocol @ HubProtocol::BlazorPack, .. }) => {
                    let refused = HandshakeError::Protocol(protocol.name().to_owned());
                    self.refuse_handshake(slot, &refused.to_string());
                }
                Ok(HandshakeRequest { protocol, .. }) => {
                    self.accept_handshake(slot, protocol);
                    let rest = &payload[end + 1..];
                    if !rest.is_empty() && self.connections.contains(slot as usize) {
                        self.on_hub_bytes(slot, rest);
                    }
                }
            },
        }
    }

    fn refuse_handshake(&mut self, slot: Slot, why: &str) {
        let record = frame(Opcode::Text, &handshake_refused(why));
        let reason = EndReason::HandshakeRefused;
        self.say_goodbye(slot, reason, Some(record), CloseCode::NORMAL, "");
    }

    fn accept_handshake(&mut self, slot: Slot, protocol: HubProtocol) {
        let connection = &mut self.connections[slot as usize];
        // The index puts the connection's places here in a moment.
        let stage = std::mem::replace(&mut connection.stage, Stage::Closing { shut: false });
        let Stage::Handshaking(handshaking) = stage else {
            unreachable!("only a connection that shakes hands gets here");
        };
        let (admission, looked_at) = (handshaking.admission, handshaking.deadline);
        connection.protocol = protocol;
        if let Some(expires_at) = admission.expires_at {
            let left = expires_at.duration_since(std::time::SystemTime::now()).unwrap_or_default();
            let expires = self.now.plus(self.deadlines.ticks(left));
            connection.rare.get_or_insert_default().expires = Some(expires);
            // The next look is at the end of the time for the handshake, which may be too late.
            if expires < looked_at {
                let due = Due { slot, generation: connection.generation };
                self.deadlines.add(expires, due);
            }
        }
        self.index.open(&mut self.connections, slot, &admission.hub, admission.user.as_ref());
        // Before anything that is published from now on.
        let answer = frame(opcode(protocol), HANDSHAKE_ACCEPTED);
        self.append_or_end(slot, &mut Step::new(answer));
        if let Some(client) = self.client(slot) {
            self.settings.upstream.connected(&client);
        }
    }

    /// Hub messages, in whatever pieces.
    fn on_hub_bytes(&mut self, slot: Slot, mut input: &[u8]) {
        let bytes_max = self.settings.options.message_bytes_max as usize;
        let connection = &mut self.connections[slot as usize];
        let protocol = connection.protocol;
        let partial = connection.rare.as_mut().and_then(|rare| rare.partial.take());
        let result = if let Some(mut splitter) = partial {
            let result = splitter.feed(input, |payload| self.on_hub_message(slot, payload));
            self.keep_partial(slot, splitter);
            result
        } else {
            loop {
                match next_message(protocol, input, bytes_max) {
                    Err(error) => break Err(error.into()),
                    Ok(None) if input.is_empty() => break Ok(()),
                    Ok(None) => {
                        let mut splitter = Splitter::new(protocol, bytes_max);
                        let result = splitter.feed(input, |_| Ok(()));
                        self.keep_partial(slot, splitter);
                        break result;
                    }
                    Ok(Some((payload, used))) => {
                        if let Err(error) = self.on_hub_message(slot, payload) {
                            break Err(error);
                        }
                        input = &input[used..];
                    }
                }
            }
        };
        if let Err(error) = result {
            self.close(slot, EndReason::MalformedMessage, Some(&error.to_string()), false);
        }
    }

    fn keep_partial(&mut self, slot: Slot, splitter: Splitter) {
        if splitter.partial_bytes() > 0
            && let Some(connection) = self.connections.get_mut(slot as usize)
        {
            connection.rare.get_or_insert_default().partial = Some(splitter);
        }
    }

    fn on_hub_message(&mut self, slot: Slot, payload: &[u8]) -> Result<(), Unreadable> {
        let Some(client) = self.client(slot) else { return Ok(()) };
        self.metrics.turn.received_messages += 1;
        let peek = peek(client.protocol, payload)?;
        let message_type = match peek.kind {
            MessageKind::Invocation => 1,
            MessageKind::StreamItem => 2,
            MessageKind::Completion => 3,
            MessageKind::StreamInvocation => 4,
            MessageKind::CancelInvocation => 5,
            MessageKind::Close => {
                self.say_goodbye(slot, EndReason::ClientClosed, None, CloseCode::NORMAL, "");
                return Ok(());
            }
            // That it came is what a ping says; the others belong to stateful reconnect, which is not offered, or to later
            // versions of the protocol.
            MessageKind::Ping | MessageKind::Ack | MessageKind::Sequence | MessageKind::Unknown(_) => {
                return Ok(());
            }
        };
        let invocation_id: Option<Box<str>> = peek.invocation_id.map(|id| id.as_ref().into());
        let invocation = ClientInvocation {
            client,
            message_type,
            invocation_id: invocation_id.clone(),
            payload: Bytes::copy_from_slice(payload),
        };
        let answered = matches!(peek.kind, MessageKind::Invocation | MessageKind::StreamInvocation);
        if let Err(refusal) = self.settings.upstream.invoke(invocation)
            && answered
            && let Some(id) = invocation_id
        {
            let message = OutgoingMessage::completion_error(&id, &refusal.0);
            let protocol = self.connections[slot as usize].protocol;
            if let Some(step) = Encoded::new(&message).step(protocol) {
                self.append_or_end(slot, step);
            }
        }
        Ok(())
    }

    /// Closes a connection that speaks the hub protocol, with the reason in the Close message.
    pub(super) fn close(
        &mut self,
        slot: Slot,
        reason: EndReason,
        error: Option<&str>,
        allow_reconnect: bool,
    ) {
        // What led here may have ended the connection already.
        let Some(connection) = self.connections.get(slot as usize) else { return };
        let protocol = connection.protocol;
        let message = super::encode::hub_frame(&close_message(error, allow_reconnect), protocol);
        self.say_goodbye(slot, reason, Some(message), CloseCode::NORMAL, "");
    }
}
