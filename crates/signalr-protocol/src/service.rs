//! The service protocol: what an app server and the service say to each other on one server connection, where many clients share
//! the way. Each message is a MessagePack array behind its length (the framing of [`HubProtocol::MessagePack`]): the type's
//! number, then the fields in the order in which [`Message`] lists them. The words are those of the public SDK.
//!
//! Both ends may be of any age, so reading is lenient: an unknown type is [`Message::Unknown`], items behind the known ones are stepped over,
//! and those that older senders left out take the value that these senders meant. Writing is complete: every known field, because some
//! readers ask for it.
//!
//! Know these first: [`Message`], [`parse`], [`Message::encode`], [`Extensions`].

mod answer;
mod beginning;
mod fields;
mod message;
mod numbers;
mod read;
mod write;
mod writer;

use crate::HubProtocol;

pub use answer::{GroupMembers, claims_payload, parse_claims_payload};
pub use beginning::{Beginning, beginning};
pub use message::{
    AckStatus, Claims, ConnectionKind, DataMessageType, Extensions, FlowOperation, HandshakeRequest, Headers,
    Message, OpenConnection, Payloads, ServerConnectionType, UnixTime,
};
pub use read::parse;

/// The version of the protocol that a handshake names.
pub const VERSION: i32 = 1;

/// The framing of service messages, for [`crate::next_message`] and [`crate::Splitter`].
pub const FRAMING: HubProtocol = HubProtocol::MessagePack;

/// Why a payload is no service message. The text names the field, so that whoever writes an app server sees what to correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is not an array that begins with the number of a type.
    #[error("it is not a MessagePack array that begins with the number of a message type: {0}")]
    Type(&'static str),
    /// A field that every version of the message has is missing.
    #[error("'{0}' is missing")]
    Missing(&'static str),
    /// A field is not what it should be.
    #[error("'{field}': {why}")]
    Field {
        /// The SDK's name of the field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The value of `key` in a ping: its messages are keys and values in turn. A key without a value counts as absent, as in the SDK.
pub fn ping_value<'a>(messages: &[&'a str], key: &str) -> Option<&'a str> {
    messages.chunks_exact(2).find(|pair| pair[0] == key).map(|pair| pair[1])
}

/// The message for a protocol among the payloads. Names are compared without case, as the SDK does.
pub fn payload_for<'a>(payloads: &[(&'a str, &'a [u8])], protocol: HubProtocol) -> Option<&'a [u8]> {
    payloads.iter().find(|(name, _)| protocol.name().eq_ignore_ascii_case(name)).map(|(_, payload)| *payload)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
