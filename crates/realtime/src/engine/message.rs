//! [`OutgoingMessage`]: what is sent to clients, before it is encoded for their protocol.

use bytes::Bytes;
use signalr_protocol::{DEPTH_MAX, TranscodeError, check_json, json_depth};

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

/// Arguments that are not a JSON array, or that no client of MessagePack could be told.
#[derive(Debug, thiserror::Error)]
pub enum InvalidArguments {
    /// They are JSON, but not an array.
    #[error("the arguments of a message must be a JSON array")]
    NoArray,
    /// They are not JSON, or not such as MessagePack can say: numbers beyond a double, halves of surrogate pairs, deep nesting.
    #[error(transparent)]
    Value(TranscodeError),
}

/// A value that is not JSON, or that no client of MessagePack could be told.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidValue(TranscodeError);

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
        if !arguments.trim_start().starts_with('[') {
            return Err(InvalidArguments::NoArray);
        }
        sayable(arguments).map_err(InvalidArguments::Value)?;
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
    sayable(text).map_err(InvalidValue)?;
    Ok(text.trim().into())
}

/// Whether clients of both protocols could be told.
fn sayable(text: &str) -> Result<(), TranscodeError> {
    if json_depth(text.as_bytes()) > DEPTH_MAX {
        return Err(TranscodeError::Depth);
    }
    check_json(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::OutgoingMessage;

    #[test]
    fn what_some_clients_could_not_be_told_is_refused_for_all() {
        let check = |arguments: &str, expected: bool| {
            assert_eq!(OutgoingMessage::invocation("t", arguments).is_ok(), expected, "{arguments}");
        };
        check(" [1, {\"a\": \"\u{e4}\"}] ", true);
        check("{}", false);
        check("[1", false);
        check("[1] 2", false);
        check("[1e999]", false);
        check(r#"["\ud800"]"#, false);
        check(&format!("{}{}", "[".repeat(200), "]".repeat(200)), false);
        assert!(OutgoingMessage::completion("1", Some("1e999")).is_err());
        assert!(OutgoingMessage::stream_item("1", "null").is_ok());
    }
}
