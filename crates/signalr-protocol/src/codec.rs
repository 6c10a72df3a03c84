//! Parses and encodes hub messages in the encoding of a [`HubProtocol`].

use crate::hub_protocol::HubProtocol;
use crate::message::{HubMessage, Invocation, Lists, Peek};
use crate::parse_error::ParseError;
use crate::transcode::TranscodeError;
use crate::{json, msgpack};

/// Parses one payload, without framing.
///
/// # Errors
///
/// If it is not a hub message.
pub fn parse(protocol: HubProtocol, payload: &[u8]) -> Result<HubMessage<'_>, ParseError> {
    parse_with(protocol, payload, Lists::Keep)
}

fn parse_with(protocol: HubProtocol, payload: &[u8], lists: Lists) -> Result<HubMessage<'_>, ParseError> {
    match protocol {
        HubProtocol::Json => json::parse(payload, lists),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => msgpack::parse(payload, lists),
    }
}

/// Parses one payload; returns only the parts that routing needs.
///
/// # Errors
///
/// As [`parse`]: an invalid message must not be forwarded.
pub fn peek(protocol: HubProtocol, payload: &[u8]) -> Result<Peek<'_>, ParseError> {
    parse_with(protocol, payload, Lists::Skip).map(HubMessage::into_peek)
}

impl HubMessage<'_> {
    /// Appends the message with framing. Raw arguments, items and results must be in the encoding of `protocol`.
    /// [`HubMessage::Unknown`] appends nothing.
    pub fn encode(&self, protocol: HubProtocol, out: &mut Vec<u8>) {
        match protocol {
            HubProtocol::Json => json::encode(self, out),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => msgpack::encode(self, out),
        }
    }
}

impl Invocation<'_> {
    /// The first argument, raw; `None` if there is none. `protocol` is the encoding of the invocation.
    pub fn first_argument(&self, protocol: HubProtocol) -> Option<&[u8]> {
        match protocol {
            HubProtocol::Json => json::first_element(&self.arguments),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => msgpack::first_element(&self.arguments),
        }
    }

    /// Appends a type 1 message in JSON with framing; the arguments are raw JSON.
    pub fn encode_json(&self, out: &mut Vec<u8>) {
        json::encode_invocation(1, self, out);
    }

    /// Appends a type 1 message in MessagePack with framing; the arguments are raw MessagePack.
    pub fn encode_msgpack(&self, out: &mut Vec<u8>) {
        msgpack::encode_invocation(1, self, out);
    }

    /// Appends a type 1 message in MessagePack with framing; the arguments are raw JSON and are transcoded in one pass. After an
    /// error `out` is unchanged.
    pub fn encode_msgpack_from_json(&self, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        msgpack::encode_invocation_from_json(1, self, out)
    }

    /// Appends a type 1 message in JSON with framing; the arguments are raw MessagePack and are transcoded. After an error `out` is
    /// unchanged.
    pub fn encode_json_from_msgpack(&self, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        json::encode_invocation_from_msgpack(1, self, out)
    }
}

#[cfg(test)]
mod tests;
