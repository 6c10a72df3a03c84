//! [`OutgoingMessage`]: a message to clients, before it is encoded for their protocol.

use bytes::Bytes;
use serde_json::Value;
use signalr_protocol::{HubProtocol, TranscodeError, check_json};
use state::Record;

use super::{StreamPosition, Target, calls_reserved_method, is_reserved_method};

/// A hub message for clients. A shard encodes it at most once for each protocol of its receivers.
#[derive(Clone, Debug)]
pub struct OutgoingMessage(pub(crate) MessageContent);

#[derive(Clone, Debug)]
pub(crate) enum MessageContent {
    Invocation {
        invocation_id: Option<Box<str>>,
        target: Box<str>,
        arguments: Box<str>,
    },
    StreamItem {
        invocation_id: Box<str>,
        item: Box<str>,
    },
    Completion {
        invocation_id: Box<str>,
        outcome: CompletionOutcome,
    },
    Ready {
        json: Option<Bytes>,
        messagepack: Option<Bytes>,
        blazorpack: Option<Bytes>,
    },
    /// `messages` is the number of them that stateful reconnect counts.
    Raw {
        framed: Bytes,
        messages: u32,
    },
}

/// The result of an invocation of a client.
#[derive(Clone, Debug)]
pub(crate) enum CompletionOutcome {
    Error(Box<str>),
    Void,
    Value(Box<str>),
}

/// An invocation that is not sent: its method is reserved, or its arguments are not a JSON array, or cannot be encoded in MessagePack.
#[derive(Debug, thiserror::Error)]
pub enum InvalidArguments {
    /// Only the service itself invokes it.
    #[error(
        "the methods of clients that begin with 'chappe.' are called by the service only; choose another name"
    )]
    ReservedMethod,
    /// They are JSON, but not an array.
    #[error("the arguments of a message must be a JSON array")]
    NoArray,
    /// They are not JSON, or nest too deep.
    #[error(transparent)]
    Value(TranscodeError),
}

/// A value that is not JSON, or cannot be encoded in MessagePack.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InvalidValue(TranscodeError);

impl OutgoingMessage {
    /// Invokes the client's method `target`. `arguments` is the text of a JSON array.
    ///
    /// # Errors
    ///
    /// If the method is reserved for the service, or the arguments are not a JSON array.
    pub fn invocation(target: &str, arguments: &str) -> Result<Self, InvalidArguments> {
        Self::call(None, target, arguments)
    }

    /// As [`OutgoingMessage::invocation`], with the id under which the client's result is awaited.
    ///
    /// # Errors
    ///
    /// If the method is reserved for the service, or the arguments are not a JSON array.
    pub fn call(
        invocation_id: Option<&str>,
        target: &str,
        arguments: &str,
    ) -> Result<Self, InvalidArguments> {
        if is_reserved_method(target) {
            return Err(InvalidArguments::ReservedMethod);
        }
        // Checked here, once, so that encoding in a shard cannot fail.
        if !arguments.trim_start().starts_with('[') {
            return Err(InvalidArguments::NoArray);
        }
        check_encodable(arguments).map_err(InvalidArguments::Value)?;
        let invocation_id = invocation_id.map(Into::into);
        Ok(Self(MessageContent::Invocation {
            invocation_id,
            target: target.into(),
            arguments: arguments.trim().into(),
        }))
    }

    /// A hub message that its sender has encoded and framed for some of the protocols: JSON with its 0x1E, the others with their
    /// length. If only one of JSON and MessagePack is given, it is translated for clients that use the other; if that is
    /// impossible, such clients do not receive the message, and a metric counts it.
    pub fn ready(json: Option<Bytes>, messagepack: Option<Bytes>, blazorpack: Option<Bytes>) -> Self {
        Self(MessageContent::Ready { json, messagepack, blazorpack })
    }

    /// Complete hub messages for one client, framed in the client's protocol; they are passed on unchanged. `numbered` is how many of them
    /// stateful reconnect counts (types 1 to 5).
    pub fn raw(framed: Bytes, numbered: u32) -> Self {
        Self(MessageContent::Raw { framed, messages: numbered })
    }

    /// Completes a client's invocation with an error.
    pub fn completion_error(invocation_id: &str, error: &str) -> Self {
        let outcome = CompletionOutcome::Error(error.into());
        Self(MessageContent::Completion { invocation_id: invocation_id.into(), outcome })
    }

    /// Completes a client's invocation or stream, with a result (the text of a JSON value) or without.
    ///
    /// # Errors
    ///
    /// If the result is not a JSON value.
    pub fn completion(invocation_id: &str, result: Option<&str>) -> Result<Self, InvalidValue> {
        let outcome = match result {
            Some(result) => CompletionOutcome::Value(json(result)?),
            None => CompletionOutcome::Void,
        };
        Ok(Self(MessageContent::Completion { invocation_id: invocation_id.into(), outcome }))
    }

    /// One item, the text of a JSON value, of the stream that a client invoked with `invocation_id`.
    ///
    /// # Errors
    ///
    /// If the item is not a JSON value.
    pub fn stream_item(invocation_id: &str, item: &str) -> Result<Self, InvalidValue> {
        Ok(Self(MessageContent::StreamItem { invocation_id: invocation_id.into(), item: json(item)? }))
    }

    /// Its approximate size in bytes.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        match &self.0 {
            MessageContent::Invocation { target, arguments, .. } => target.len() + arguments.len(),
            MessageContent::StreamItem { item, .. } => item.len(),
            MessageContent::Completion {
                outcome: CompletionOutcome::Error(text) | CompletionOutcome::Value(text),
                ..
            } => text.len(),
            MessageContent::Completion { outcome: CompletionOutcome::Void, .. } => 0,
            MessageContent::Ready { json, messagepack, blazorpack } => {
                length(json) + length(messagepack) + length(blazorpack)
            }
            MessageContent::Raw { framed, .. } => framed.len(),
        }
    }

    /// The invocation of `chappe.position`, with which a follower of a history receives its position.
    pub fn position(target: &Target, next: StreamPosition) -> Self {
        let group = match target {
            Target::Group(group) => Value::from(group.as_str()),
            Target::All | Target::User(_) | Target::Connection(_) => Value::Null,
        };
        let arguments = serde_json::json!([group, next.to_string()]).to_string();
        let target = "chappe.position".into();
        Self(MessageContent::Invocation { invocation_id: None, target, arguments: arguments.into() })
    }

    /// The message as a record of the history; `None` if it is not an invocation.
    pub fn to_record(&self) -> Option<Record> {
        match &self.0 {
            MessageContent::Invocation { invocation_id: None, target, arguments } => {
                let headers = vec![("target".to_owned(), Bytes::copy_from_slice(target.as_bytes()))];
                Some(Record { headers, body: Bytes::copy_from_slice(arguments.as_bytes()) })
            }
            MessageContent::Ready { json, messagepack, blazorpack } => {
                let forms = [("json", json), ("messagepack", messagepack), ("blazorpack", blazorpack)];
                let part = |(name, bytes): (&str, &Option<Bytes>)| Some((name.to_owned(), bytes.clone()?));
                Some(Record { headers: forms.into_iter().filter_map(part).collect(), body: Bytes::new() })
            }
            _ => None,
        }
    }

    /// Parses a record of [`OutgoingMessage::to_record`]; `None` if it has another format, or invokes a reserved method, which an
    /// earlier version recorded from any sender.
    pub fn from_record(record: &Record) -> Option<Self> {
        let header = |name: &str| {
            record.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
        };
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Box::from);
        match header("target") {
            Some(target) => {
                let (target, arguments) = (text(&target)?, text(&record.body)?);
                (!is_reserved_method(&target)).then_some(())?;
                Some(Self(MessageContent::Invocation { invocation_id: None, target, arguments }))
            }
            None => {
                let [json, messagepack, blazorpack] = ["json", "messagepack", "blazorpack"].map(header);
                let forms = [
                    (HubProtocol::Json, &json),
                    (HubProtocol::MessagePack, &messagepack),
                    (HubProtocol::BlazorPack, &blazorpack),
                ];
                let is_reserved = |(protocol, framed): &(HubProtocol, &Option<Bytes>)| {
                    framed.as_ref().is_some_and(|framed| calls_reserved_method(*protocol, framed))
                };
                (!forms.iter().any(is_reserved)).then(|| Self::ready(json, messagepack, blazorpack))
            }
        }
    }

    /// The client method that it invokes, if that is known without parsing the message.
    pub(crate) fn method(&self) -> Option<&str> {
        match &self.0 {
            MessageContent::Invocation { target, .. } => Some(target),
            _ => None,
        }
    }
}

fn json(text: &str) -> Result<Box<str>, InvalidValue> {
    check_encodable(text).map_err(InvalidValue)?;
    Ok(text.trim().into())
}

/// Checks that the JSON can be encoded in both protocols.
fn check_encodable(text: &str) -> Result<(), TranscodeError> {
    check_json(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::OutgoingMessage;

    #[test]
    fn arguments_that_one_protocol_cannot_encode_are_refused() {
        let check = |arguments: &str, expected: bool| {
            assert_eq!(OutgoingMessage::invocation("t", arguments).is_ok(), expected, "{arguments}");
        };
        check(" [1, {\"a\": \"\u{e4}\"}] ", true);
        check("{}", false);
        check("[1", false);
        check("[1] 2", false);
        check("[1e999]", true);
        check(r#"["\ud800"]"#, true);
        check(&format!("{}{}", "[".repeat(200), "]".repeat(200)), false);
        assert!(OutgoingMessage::completion("1", Some("1e999")).is_ok());
        assert!(OutgoingMessage::completion("1", Some("1e")).is_err());
        assert!(OutgoingMessage::stream_item("1", r#""\udc00""#).is_ok());
    }
}
