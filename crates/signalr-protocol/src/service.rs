//! The service protocol: the messages of a server connection, which carries many clients between an app server and the service.
//! Each message is a MessagePack array with the framing of [`HubProtocol::MessagePack`]: the number of its type, then the fields in
//! the order of [`Message`]. Names are those of the public SDK.
//!
//! Both ends may be of any version, so parsing is lenient: an unknown type is [`Message::Unknown`], elements after the known ones are
//! skipped, and fields that older senders omit get their default. Encoding writes every known field, because some peers require it.
//!
//! Know these first: [`Message`], [`parse`], [`Message::encode`], [`Extensions`].

mod ack_payload;
mod error;
mod fields;
mod message;
mod numbers;
mod prefix;
mod read;
mod write;
mod writer;

use crate::hub_protocol::HubProtocol;

pub use ack_payload::{GroupMembers, claims_payload, parse_claims_payload};
pub use error::ServiceParseError;
pub use message::{
    AckStatus, ClientHeaders, ConnectionKind, DataMessageType, Extensions, FlowOperation, Message,
    OpenConnection, Payloads, ServerConnectionType, ServiceClaims, ServiceHandshakeRequest, UnixTime,
};
pub use prefix::{MessagePrefix, parse_prefix};
pub use read::parse;

/// The version of the protocol in handshakes.
pub const VERSION: i32 = 1;

/// The framing of service messages, for [`crate::next_message`] and [`crate::Splitter`].
pub const FRAMING: HubProtocol = HubProtocol::MessagePack;

/// The value of `key` in a ping: its messages are alternating keys and values. A key without a value counts as absent, as in the SDK.
pub fn ping_value<'a>(messages: &[&'a str], key: &str) -> Option<&'a str> {
    messages.chunks_exact(2).find(|pair| pair[0] == key).map(|pair| pair[1])
}

/// The payload for a protocol; names are case-insensitive, as in the SDK.
pub fn payload_for<'a>(payloads: &[(&'a str, &'a [u8])], protocol: HubProtocol) -> Option<&'a [u8]> {
    payloads.iter().find(|(name, _)| protocol.name().eq_ignore_ascii_case(name)).map(|(_, payload)| *payload)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
