//! [`OutgoingMessage`]: what is sent to clients, before it is encoded for their protocol.

use bytes::Bytes;
use serde_json::value::RawValue;
use signalr_protocol::{DEPTH_MAX, json_depth};

/// A hub message on its way to clients. A shard encodes it at most once for each protocol that a receiver speaks.
#[derive(Clone, Debug)]
pub struct OutgoingMessage(pub(crate) Content);

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Invocation { invocation_id: Option<Box<str>>, target: Box<str>, arguments: Box<str> },
    StreamItem { invocation_id: Box<str>, item: Box<str> },
    Completion { invocation_id: Box<str>, outcome: Outcome },
    Ready { json: Option<Bytes>, messagepack: Option<Bytes>, blazorpack: Option<Bytes> },
    Raw { framed: Bytes, messages: u32 },
}

/// How an invocation of a client ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Error(Box<str>),
    Void,
    Value(Box<str>),
}

/// Arguments that are not a JSON array.
#[derive(Debug, thiserror::Error)]
#[error("the arguments of a message must be a JSON array")]
pub struct InvalidArguments(#[source] serde_json::Error);

/// A value that is not JSON, or nests too deep to be said in MessagePack.
#[derive(Debug, thiserror::Error)]
pub enum InvalidValue {
    /// It is not one JSON value.
    #[error("the value is not JSON")]
    Json(#[source] serde_json::Error),
    /// It nests too deep.
    #[error("the value nests deeper than {DEPTH_MAX} levels")]
    Depth,
}

impl OutgoingMessage {
    /// Calls the client's method `target`. `arguments` is the text of a JSON array.
    ///
    /// # Errors
    ///
    /// If the arguments are no JSON array.
    pub fn invocation(target: &str, arguments: &str) -> Result<Self, InvalidArguments> {
        Self::call(None, target, arguments)
    }

    pub(crate) fn call(
        invocation_id: Option<&str>,
        target: &str,
        arguments: &str,
    ) -> Result<Self, InvalidArguments> {
        // Checked here, once, so that encoding in a shard cannot fail.
        serde_json::from_str::<Vec<&RawValue>>(arguments).map_err(InvalidArguments)?;
        let invocation_id = invocation_id.map(Into::into);
        Ok(Self(Content::Invocation {
            invocation_id,
            target: target.into(),
            arguments: arguments.trim().into(),
        }))
    }

    /// A hub message that its sender encoded and framed itself, in some of the protocols: JSON with its 0x1E, the others with
    /// their length. For clients of JSON or MessagePack where only the other is there, it is translated; a message that cannot
    /// be said in a client's protocol is left out for it, and counted.
    pub fn ready(json: Option<Bytes>, messagepack: Option<Bytes>, blazorpack: Option<Bytes>) -> Self {
        Self(Content::Ready { json, messagepack, blazorpack })
    }

    /// `messages` whole hub messages for one client, framed in the client's own protocol; they are passed on as they are.
    pub fn raw(framed: Bytes, messages: u32) -> Self {
        Self(Content::Raw { framed, messages })
    }

    /// Answers a client's invocation with an error.
    pub fn completion_error(invocation_id: &str, error: &str) -> Self {
        let outcome = Outcome::Error(error.into());
        Self(Content::Completion { invocation_id: invocation_id.into(), outcome })
    }

    /// Ends a client's invocation or stream, with a result (the text of a JSON value) or without.
    ///
    /// # Errors
    ///
    /// If the result is no JSON value.
    pub fn completion(invocation_id: &str, result: Option<&str>) -> Result<Self, InvalidValue> {
        let outcome = match result {
            Some(result) => Outcome::Value(json(result)?),
            None => Outcome::Void,
        };
        Ok(Self(Content::Completion { invocation_id: invocation_id.into(), outcome }))
    }

    /// One item, the text of a JSON value, of the stream that a client asked for by `invocation_id`.
    ///
    /// # Errors
    ///
    /// If the item is no JSON value.
    pub fn stream_item(invocation_id: &str, item: &str) -> Result<Self, InvalidValue> {
        Ok(Self(Content::StreamItem { invocation_id: invocation_id.into(), item: json(item)? }))
    }

    /// The client's method that it calls, where it is known without reading it.
    pub(crate) fn method(&self) -> Option<&str> {
        match &self.0 {
            Content::Invocation { target, .. } => Some(target),
            _ => None,
        }
    }
}

fn json(text: &str) -> Result<Box<str>, InvalidValue> {
    serde_json::from_str::<&RawValue>(text).map_err(InvalidValue::Json)?;
    if json_depth(text.as_bytes()) > DEPTH_MAX {
        return Err(InvalidValue::Depth);
    }
    Ok(text.trim().into())
}
