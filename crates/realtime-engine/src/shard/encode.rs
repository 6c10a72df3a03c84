//! [`Encoded`]: a message in the encoding of each protocol, encoded when the first receiver needs it.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use signalr_protocol::{
    Close, Completion, CompletionResult, HubMessage, HubProtocol, Invocation, StreamItem, TranscodeError,
    count_sequenced, json_to_msgpack, next_message, parse,
};
use websocket::{FrameBuilder, Opcode};

use super::pending::{Class, Frame, FrameAppender};
use crate::OutgoingMessage;
use crate::message::{CompletionOutcome, MessageContent};

/// The size of an invocation without its method, arguments and id: field names and quotes, 54 bytes in JSON.
const ENVELOPE_BYTES: usize = 64;

/// A message that is appended to the pending frames of one shard's connections.
pub(crate) struct Encoded<'a> {
    message: &'a OutgoingMessage,
    /// Whether a coalescing key is needed: only if the policy of the hub is `latest_by_key`.
    keyed: bool,
    /// Whether it is for one client, from its app server.
    is_own: bool,
    /// Indexed by [`HubProtocol`].
    variants: [Variant; 3],
}

enum Variant {
    NotYet,
    /// The message cannot be encoded in this protocol.
    Impossible,
    Ready(FrameAppender),
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(message: &'a OutgoingMessage, keyed: bool) -> Self {
        Self { message, keyed, is_own: false, variants: [const { Variant::NotYet }; 3] }
    }

    /// A message for one client, from its app server.
    pub(crate) fn own(message: &'a OutgoingMessage) -> Self {
        Self { is_own: true, ..Self::new(message, false) }
    }

    /// The frame to append for receivers of a protocol; `None` if the message cannot be encoded in that protocol.
    pub(crate) fn appender(&mut self, protocol: HubProtocol) -> Option<&mut FrameAppender> {
        let variant = match protocol {
            HubProtocol::Json => &mut self.variants[0],
            HubProtocol::MessagePack => &mut self.variants[1],
            HubProtocol::BlazorPack => &mut self.variants[2],
        };
        if let Variant::NotYet = variant {
            *variant = match encode(&self.message.0, protocol, self.keyed) {
                Some(frame) if self.is_own => Variant::Ready(FrameAppender::new(frame.own())),
                Some(frame) => Variant::Ready(FrameAppender::new(frame)),
                None => Variant::Impossible,
            };
        }
        match variant {
            Variant::Ready(appender) => Some(appender),
            Variant::NotYet | Variant::Impossible => None,
        }
    }
}

impl OutgoingMessage {
    /// Whether the message can be encoded for clients of a hub protocol.
    pub fn can_be_encoded(&self, protocol: HubProtocol) -> bool {
        Encoded::new(self, false).appender(protocol).is_some()
    }
}

/// A hub message of the engine that stateful reconnect does not count, as a frame.
pub(crate) fn hub_frame(message: &HubMessage<'_>, protocol: HubProtocol) -> Frame {
    let mut builder = FrameBuilder::new();
    message.encode(protocol, builder.payload());
    Frame::required(builder.finish(opcode(protocol)))
}

/// The Close message.
pub(crate) fn close_message(error: Option<&str>, allow_reconnect: bool) -> HubMessage<'_> {
    HubMessage::Close(Close { error: error.map(Cow::Borrowed), allow_reconnect })
}

fn encode(content: &MessageContent, protocol: HubProtocol, keyed: bool) -> Option<Frame> {
    match content {
        MessageContent::Invocation { invocation_id, target, arguments } => {
            let invocation = Invocation {
                invocation_id: invocation_id.as_deref().map(Cow::Borrowed),
                ..Invocation::new(target, arguments.as_bytes())
            };
            let said_bytes = [invocation_id.as_deref().unwrap_or(""), target, arguments].map(str::len);
            let bytes_about = said_bytes.iter().sum::<usize>() + ENVELOPE_BYTES;
            let bytes = framed(protocol, bytes_about, |out| match protocol {
                HubProtocol::Json => {
                    invocation.encode_json(out);
                    Some(())
                }
                HubProtocol::MessagePack => untranslatable(invocation.encode_msgpack_from_json(out)),
                HubProtocol::BlazorPack => None,
            })?;
            // An invocation whose caller waits for a result is never dropped.
            let class = match invocation_id {
                Some(_) => Class::Required,
                None if keyed => coalescing_key(HubProtocol::Json, &invocation),
                None => Class::Droppable(0),
            };
            Some(Frame::new(bytes, class, 1))
        }
        MessageContent::StreamItem { invocation_id, item } => {
            let item = value(item, protocol)?;
            let invocation_id = Cow::Borrowed(&**invocation_id);
            let message = HubMessage::StreamItem(StreamItem { headers: Vec::new(), invocation_id, item });
            Some(Frame::new(hub_frame(&message, protocol).bytes().clone(), Class::Required, 1))
        }
        MessageContent::Completion { invocation_id, outcome } => {
            let result = match outcome {
                CompletionOutcome::Error(error) => CompletionResult::Error(Cow::Borrowed(error)),
                CompletionOutcome::Void => CompletionResult::Void,
                CompletionOutcome::Value(text) => CompletionResult::Value(value(text, protocol)?),
            };
            let invocation_id = Cow::Borrowed(&**invocation_id);
            let message = HubMessage::Completion(Completion { headers: Vec::new(), invocation_id, result });
            Some(Frame::new(hub_frame(&message, protocol).bytes().clone(), Class::Required, 1))
        }
        MessageContent::Ready { json, messagepack, blazorpack } => {
            let (own, other) = match protocol {
                HubProtocol::Json => {
                    (json, messagepack.as_ref().map(|framed| (HubProtocol::MessagePack, framed)))
                }
                HubProtocol::MessagePack => {
                    (messagepack, json.as_ref().map(|framed| (HubProtocol::Json, framed)))
                }
                HubProtocol::BlazorPack => (blazorpack, None),
            };
            ready(own.as_ref(), other, protocol, keyed)
        }
        MessageContent::Raw { framed: message, messages } => {
            let bytes = framed(protocol, message.len(), |out| {
                out.extend_from_slice(message);
                readable(protocol, message)
            })?;
            Some(Frame::new(bytes, Class::Required, *messages).in_order())
        }
    }
}

/// A JSON value in the encoding of a protocol.
fn value(json: &str, protocol: HubProtocol) -> Option<Cow<'_, [u8]>> {
    match protocol {
        HubProtocol::Json => Some(Cow::Borrowed(json.as_bytes())),
        HubProtocol::MessagePack => {
            let mut out = Vec::new();
            untranslatable(json_to_msgpack(json.as_bytes(), &mut out))?;
            Some(Cow::Owned(out))
        }
        HubProtocol::BlazorPack => None,
    }
}

fn ready(
    own: Option<&Bytes>,
    other: Option<(HubProtocol, &Bytes)>,
    protocol: HubProtocol,
    keyed: bool,
) -> Option<Frame> {
    let mut messages = 1;
    let source = own.map(|framed| (protocol, framed)).or(other);
    let bytes_about = source.map_or(0, |(_, framed)| framed.len());
    let bytes = framed(protocol, bytes_about, |out| match own {
        Some(message) => {
            out.extend_from_slice(message);
            messages = count_sequenced(protocol, message);
            readable(protocol, message)
        }
        None => {
            let (source, framed) = other?;
            translate(source, framed, out)
        }
    })?;
    let class = match source {
        Some((protocol, framed)) if keyed => match one_invocation(protocol, framed) {
            Some(invocation) => coalescing_key(protocol, &invocation),
            None => Class::Required,
        },
        _ => Class::Droppable(0),
    };
    Some(Frame::new(bytes, class, messages))
}

fn one_invocation(protocol: HubProtocol, framed: &[u8]) -> Option<Invocation<'_>> {
    let (payload, used) = next_message(protocol, framed, framed.len()).ok()??;
    match parse(protocol, payload) {
        Ok(HubMessage::Invocation(invocation)) if used == framed.len() => Some(invocation),
        _ => None,
    }
}

/// Rejects a text frame that is not UTF-8, because the client would close the connection.
fn readable(protocol: HubProtocol, message: &[u8]) -> Option<()> {
    (protocol != HubProtocol::Json || std::str::from_utf8(message).is_ok()).then_some(())
}

/// Only an invocation is translated, because only invocations are sent to many clients.
fn translate(source: HubProtocol, framed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (payload, _) = next_message(source, framed, framed.len()).ok()??;
    let Ok(HubMessage::Invocation(invocation)) = parse(source, payload) else { return None };
    untranslatable(match source {
        HubProtocol::Json => invocation.encode_msgpack_from_json(out),
        HubProtocol::MessagePack => invocation.encode_json_from_msgpack(out),
        HubProtocol::BlazorPack => return None,
    })
}

/// The key by which a later invocation may replace a pending one: the method and its first argument.
fn coalescing_key(protocol: HubProtocol, invocation: &Invocation<'_>) -> Class {
    let mut hasher = DefaultHasher::new();
    hasher.write(invocation.target.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(invocation.first_argument(protocol).unwrap_or_default());
    Class::Droppable(hasher.finish())
}

fn untranslatable(result: Result<(), TranscodeError>) -> Option<()> {
    result
        .inspect_err(|error| tracing::warn!(%error, "a message cannot be encoded in a receiver's protocol"))
        .ok()
}

fn framed(
    protocol: HubProtocol,
    payload_bytes_about: usize,
    payload: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<Bytes> {
    let mut builder = FrameBuilder::with_capacity(payload_bytes_about);
    payload(builder.payload())?;
    Some(builder.finish(opcode(protocol)))
}

/// JSON is sent in text frames, the other protocols in binary frames.
pub(crate) fn opcode(protocol: HubProtocol) -> Opcode {
    match protocol {
        HubProtocol::Json => Opcode::Text,
        HubProtocol::MessagePack | HubProtocol::BlazorPack => Opcode::Binary,
    }
}
