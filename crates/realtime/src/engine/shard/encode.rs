//! [`Encoded`]: a message in the form of each protocol, made when the first receiver needs it.

use std::borrow::Cow;

use bytes::Bytes;
use signalr_protocol::{
    Close, Completion, CompletionResult, HubMessage, HubProtocol, Invocation, next_message, parse,
};
use websocket::{FrameBuilder, Opcode};

use super::pending::Step;
use crate::engine::OutgoingMessage;
use crate::engine::message::Content;

/// A message on its way into the pending runs of one shard.
pub(crate) struct Encoded<'a> {
    message: &'a OutgoingMessage,
    json: Variant,
    messagepack: Variant,
    blazorpack: Variant,
}

enum Variant {
    NotYet,
    /// The message cannot be said in this protocol.
    Impossible,
    Ready(Step),
}

impl<'a> Encoded<'a> {
    pub(crate) fn new(message: &'a OutgoingMessage) -> Self {
        Self { message, json: Variant::NotYet, messagepack: Variant::NotYet, blazorpack: Variant::NotYet }
    }

    /// The step by which receivers of a protocol get the message; `None` where it cannot be said in that protocol.
    pub(crate) fn step(&mut self, protocol: HubProtocol) -> Option<&mut Step> {
        let variant = match protocol {
            HubProtocol::Json => &mut self.json,
            HubProtocol::MessagePack => &mut self.messagepack,
            HubProtocol::BlazorPack => &mut self.blazorpack,
        };
        if let Variant::NotYet = variant {
            *variant = match encode(&self.message.0, protocol) {
                Some(frame) => Variant::Ready(Step::new(frame)),
                None => Variant::Impossible,
            };
        }
        match variant {
            Variant::Ready(step) => Some(step),
            Variant::NotYet | Variant::Impossible => None,
        }
    }
}

/// A hub message of the engine's own, as a frame.
pub(crate) fn hub_frame(message: &HubMessage<'_>, protocol: HubProtocol) -> Bytes {
    framed(protocol, |out| {
        message.encode(protocol, out);
        Some(())
    })
    .expect("an encoding that has no failure gives a frame")
}

/// The Close message.
pub(crate) fn close_message(error: Option<&str>, allow_reconnect: bool) -> HubMessage<'_> {
    HubMessage::Close(Close { error: error.map(Cow::Borrowed), allow_reconnect })
}

fn encode(content: &Content, protocol: HubProtocol) -> Option<Bytes> {
    match content {
        Content::Invocation { target, arguments } => {
            let invocation = Invocation::new(target, arguments.as_bytes());
            framed(protocol, |out| match protocol {
                HubProtocol::Json => {
                    invocation.encode_json(out);
                    Some(())
                }
                HubProtocol::MessagePack => untranslatable(invocation.encode_msgpack_from_json(out)),
                HubProtocol::BlazorPack => None,
            })
        }
        Content::Ready { json, messagepack } => {
            let (own, other, source) = match protocol {
                HubProtocol::Json => (json, messagepack, HubProtocol::MessagePack),
                HubProtocol::MessagePack => (messagepack, json, HubProtocol::Json),
                HubProtocol::BlazorPack => return None,
            };
            framed(protocol, |out| {
                let start = out.len();
                match own {
                    Some(message) => out.extend_from_slice(message),
                    None => translate(source, other.as_deref()?, out)?,
                }
                // A text frame that is not UTF-8 would make the client close the connection.
                (protocol != HubProtocol::Json || std::str::from_utf8(&out[start..]).is_ok()).then_some(())
            })
        }
        Content::Completion { invocation_id, error } => {
            let completion = Completion {
                headers: Vec::new(),
                invocation_id: Cow::Borrowed(invocation_id),
                result: CompletionResult::Error(Cow::Borrowed(error)),
            };
            Some(hub_frame(&HubMessage::Completion(completion), protocol))
        }
    }
}

/// Only an invocation is translated: it is the one message that is sent to many.
fn translate(source: HubProtocol, framed: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (payload, _) = next_message(source, framed, framed.len()).ok()??;
    let Ok(HubMessage::Invocation(invocation)) = parse(source, payload) else { return None };
    untranslatable(match source {
        HubProtocol::Json => invocation.encode_msgpack_from_json(out),
        HubProtocol::MessagePack => invocation.encode_json_from_msgpack(out),
        HubProtocol::BlazorPack => return None,
    })
}

fn untranslatable(result: Result<(), signalr_protocol::TranscodeError>) -> Option<()> {
    result
        .inspect_err(|error| tracing::warn!(%error, "a message cannot be said in a receiver's protocol"))
        .ok()
}

fn framed(protocol: HubProtocol, payload: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<Bytes> {
    let mut builder = FrameBuilder::new();
    payload(builder.payload())?;
    Some(builder.finish(opcode(protocol)))
}

/// JSON travels in text frames, the others in binary ones.
pub(crate) fn opcode(protocol: HubProtocol) -> Opcode {
    match protocol {
        HubProtocol::Json => Opcode::Text,
        HubProtocol::MessagePack | HubProtocol::BlazorPack => Opcode::Binary,
    }
}
