//! [`OutgoingMessage`]: what is sent to clients, before it is encoded for their protocol.

use bytes::Bytes;
use serde_json::value::RawValue;

/// A hub message on its way to clients. A shard encodes it at most once for each protocol that a receiver speaks.
#[derive(Clone, Debug)]
pub struct OutgoingMessage(pub(crate) Content);

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Invocation { target: Box<str>, arguments: Box<str> },
    Ready { json: Option<Bytes>, messagepack: Option<Bytes> },
    Completion { invocation_id: Box<str>, error: Box<str> },
}

/// Arguments that are not a JSON array.
#[derive(Debug, thiserror::Error)]
#[error("the arguments of a message must be a JSON array")]
pub struct InvalidArguments(#[source] serde_json::Error);

impl OutgoingMessage {
    /// Calls the client's method `target`. `arguments` is the text of a JSON array.
    pub fn invocation(target: &str, arguments: &str) -> Result<Self, InvalidArguments> {
        // Checked here, once, so that encoding in a shard cannot fail.
        serde_json::from_str::<Vec<&RawValue>>(arguments).map_err(InvalidArguments)?;
        Ok(Self(Content::Invocation { target: target.into(), arguments: arguments.trim().into() }))
    }

    /// A hub message that its sender encoded and framed itself, in one or both protocols: JSON with its 0x1E, MessagePack
    /// with its length. For clients of a protocol that is missing it is translated from the other; a message that cannot be
    /// is left out for them, and counted.
    pub fn ready(json: Option<Bytes>, messagepack: Option<Bytes>) -> Self {
        Self(Content::Ready { json, messagepack })
    }

    /// Answers a client's invocation with an error.
    pub fn completion_error(invocation_id: &str, error: &str) -> Self {
        Self(Content::Completion { invocation_id: invocation_id.into(), error: error.into() })
    }
}
