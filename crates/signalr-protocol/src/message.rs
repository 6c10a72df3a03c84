//! The nine hub messages, borrowed from the bytes they were read from, and the functions that choose an encoding.
//!
//! Arguments, items and results stay in the encoding of the message that carried them (raw JSON text or raw MessagePack), because the
//! service passes them through; `transcode.rs` turns one into the other where two clients speak differently.

use std::borrow::Cow;

use crate::json::reader::JsonError;
use crate::{TranscodeError, json, msgpack};

/// The encoding of hub messages on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HubProtocol {
    /// `json`: text, each message ended by 0x1E.
    Json,
    /// `messagepack`: binary, each message behind its length.
    MessagePack,
    /// `blazorpack`: MessagePack with a narrower choice of types for arguments, spoken by Blazor clients to their app server. Our own
    /// messages are the same in it; what a user sends is never translated to it or from it.
    BlazorPack,
}

/// What kind of WebSocket frames, or of response bodies, a protocol needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferFormat {
    /// UTF-8 text.
    Text,
    /// Any bytes.
    Binary,
}

/// Headers of a message, in their order.
pub type Headers<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A hub message.
#[derive(Debug, Clone, PartialEq)]
pub enum HubMessage<'a> {
    /// Type 1: call a method. Without an invocation id, nobody waits for a completion.
    Invocation(Invocation<'a>),
    /// Type 2: one item of a stream.
    StreamItem(StreamItem<'a>),
    /// Type 3: the end of an invocation or of a stream.
    Completion(Completion<'a>),
    /// Type 4: call a method that answers with a stream.
    StreamInvocation(Invocation<'a>),
    /// Type 5: the caller no longer wants the stream.
    CancelInvocation(CancelInvocation<'a>),
    /// Type 6: the sender is alive.
    Ping,
    /// Type 7: the sender will close the connection.
    Close(Close<'a>),
    /// Type 8: everything up to this number has arrived.
    Ack(Sequenced),
    /// Type 9: the number of the next message, after a stateful reconnect.
    Sequence(Sequenced),
    /// A type that the specification does not know yet; to be ignored.
    Unknown(u64),
}

/// A call of a method on a hub or on a client: types 1 and 4.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Invocation<'a> {
    /// Headers, usually none.
    pub headers: Headers<'a>,
    /// Present where the caller waits for a completion.
    pub invocation_id: Option<Cow<'a, str>>,
    /// The method.
    pub target: Cow<'a, str>,
    /// The raw array of arguments, in the encoding of the message.
    pub arguments: Cow<'a, [u8]>,
    /// Streams that the caller will send.
    pub stream_ids: Vec<Cow<'a, str>>,
}

/// One item of a stream: type 2.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamItem<'a> {
    /// Headers, usually none.
    pub headers: Headers<'a>,
    /// The stream's invocation id, or the id of an upload stream.
    pub invocation_id: Cow<'a, str>,
    /// The raw item, in the encoding of the message.
    pub item: Cow<'a, [u8]>,
}

/// The end of an invocation or of a stream: type 3.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion<'a> {
    /// Headers, usually none.
    pub headers: Headers<'a>,
    /// Which invocation.
    pub invocation_id: Cow<'a, str>,
    /// How it ended.
    pub result: CompletionResult<'a>,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum CompletionResult<'a> {
    /// It failed.
    Error(Cow<'a, str>),
    /// It has no result.
    Void,
    /// The raw result, in the encoding of the message.
    Value(Cow<'a, [u8]>),
}

/// A stream is no longer wanted: type 5.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelInvocation<'a> {
    /// Headers, usually none.
    pub headers: Headers<'a>,
    /// Which invocation.
    pub invocation_id: Cow<'a, str>,
}

/// The connection is about to end: type 7.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Close<'a> {
    /// Why, when it is a mistake.
    pub error: Option<Cow<'a, str>>,
    /// Whether a client with automatic reconnect may come back.
    pub allow_reconnect: bool,
}

/// The number carried by types 8 and 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    /// Counted from 1 on each connection.
    pub sequence_id: u64,
}

/// The type number of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Type 1.
    Invocation,
    /// Type 2.
    StreamItem,
    /// Type 3.
    Completion,
    /// Type 4.
    StreamInvocation,
    /// Type 5.
    CancelInvocation,
    /// Type 6.
    Ping,
    /// Type 7.
    Close,
    /// Type 8.
    Ack,
    /// Type 9.
    Sequence,
    /// Any other; to be ignored.
    Unknown(u64),
}

/// What a router needs of a message: no argument was looked at more than to step over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    /// Which message it is.
    pub kind: MessageKind,
    /// Its invocation id, where it has one.
    pub invocation_id: Option<Cow<'a, str>>,
    /// The method it calls, where it calls one.
    pub target: Option<Cow<'a, str>>,
}

/// Why a payload is not a hub message. The connection is to be closed with this text, which is that of ASP.NET Core where it has one.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON.
    #[error("Error reading JSON.")]
    Json(#[from] JsonError),
    /// It is JSON, but no object.
    #[error("Unexpected JSON Token Type '{0}'. Expected a JSON Object.")]
    NoObject(&'static str),
    /// A property is something else than it must be.
    #[error("Expected '{name}' to be of type {expected}.")]
    Type {
        /// The property.
        name: &'static str,
        /// What it must be, in the words of ASP.NET Core.
        expected: &'static str,
    },
    /// A header is no text.
    #[error("Expected each header to be of type String.")]
    Header,
    /// It is not MessagePack, or not in the places where a hub message has its parts.
    #[error("the message is not a MessagePack hub message: {0}")]
    MessagePack(&'static str),
    /// A part in MessagePack cannot be read as what it must be.
    #[error("Reading {0} failed.")]
    Reading(&'static str),
    /// A part in MessagePack is there and says nothing.
    #[error("Null or empty {0}.")]
    Empty(&'static str),
    /// A completion in MessagePack says neither that it failed nor that it has a result or none.
    #[error("Invalid invocation result kind.")]
    ResultKind,
    /// A required part is missing.
    #[error("Missing required property '{0}'.")]
    Missing(&'static str),
    /// A completion has a result and an error at once.
    #[error("The 'error' and 'result' properties are mutually exclusive.")]
    ResultAndError,
}

impl HubProtocol {
    /// The name in handshakes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
            Self::BlazorPack => "blazorpack",
        }
    }

    /// The protocol of that name. Case does not matter, as in ASP.NET Core.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::MessagePack, Self::BlazorPack]
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    /// What the transport must carry.
    pub fn transfer_format(self) -> TransferFormat {
        match self {
            Self::Json => TransferFormat::Text,
            Self::MessagePack | Self::BlazorPack => TransferFormat::Binary,
        }
    }
}

impl From<u64> for MessageKind {
    fn from(number: u64) -> Self {
        match number {
            1 => Self::Invocation,
            2 => Self::StreamItem,
            3 => Self::Completion,
            4 => Self::StreamInvocation,
            5 => Self::CancelInvocation,
            6 => Self::Ping,
            7 => Self::Close,
            8 => Self::Ack,
            9 => Self::Sequence,
            other => Self::Unknown(other),
        }
    }
}

/// Reads one payload, as [`crate::next_message`] or [`crate::Splitter`] gives it.
pub fn parse(protocol: HubProtocol, payload: &[u8]) -> Result<HubMessage<'_>, ParseError> {
    read(protocol, payload, Keep::All)
}

/// What of a message is kept while it is read. Everything is checked in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    #[default]
    All,
    /// All but lists: what a router needs takes no memory for each header and stream.
    WithoutLists,
}

fn read(protocol: HubProtocol, payload: &[u8], keep: Keep) -> Result<HubMessage<'_>, ParseError> {
    match protocol {
        HubProtocol::Json => json::parse(payload, keep),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => msgpack::parse(payload, keep),
    }
}

/// Reads one payload whole, and gives what a router needs of it.
///
/// # Errors
///
/// If it is not a hub message: nothing that [`parse`] would refuse is to be handed on.
pub fn peek(protocol: HubProtocol, payload: &[u8]) -> Result<Peek<'_>, ParseError> {
    read(protocol, payload, Keep::WithoutLists).map(HubMessage::into_peek)
}

impl<'a> HubMessage<'a> {
    fn into_peek(self) -> Peek<'a> {
        let peek = |kind, invocation_id, target| Peek { kind, invocation_id, target };
        match self {
            Self::Invocation(Invocation { invocation_id, target, .. }) => {
                peek(MessageKind::Invocation, invocation_id, Some(target))
            }
            Self::StreamInvocation(Invocation { invocation_id, target, .. }) => {
                peek(MessageKind::StreamInvocation, invocation_id, Some(target))
            }
            Self::StreamItem(item) => peek(MessageKind::StreamItem, Some(item.invocation_id), None),
            Self::Completion(completion) => {
                peek(MessageKind::Completion, Some(completion.invocation_id), None)
            }
            Self::CancelInvocation(cancel) => {
                peek(MessageKind::CancelInvocation, Some(cancel.invocation_id), None)
            }
            Self::Ping => peek(MessageKind::Ping, None, None),
            Self::Close(_) => peek(MessageKind::Close, None, None),
            Self::Ack(_) => peek(MessageKind::Ack, None, None),
            Self::Sequence(_) => peek(MessageKind::Sequence, None, None),
            Self::Unknown(number) => peek(MessageKind::Unknown(number), None, None),
        }
    }
}

impl HubMessage<'_> {
    /// Appends the message, framed. Raw parts must already be in the encoding of `protocol`.
    /// An [`HubMessage::Unknown`] has nothing to encode and appends nothing.
    pub fn encode(&self, protocol: HubProtocol, out: &mut Vec<u8>) {
        match protocol {
            HubProtocol::Json => json::encode(self, out),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => msgpack::encode(self, out),
        }
    }
}

impl Invocation<'_> {
    /// An invocation without an id, as every broadcast is; `arguments` as in [`Invocation::arguments`].
    pub fn new<'a>(target: &'a str, arguments: &'a [u8]) -> Invocation<'a> {
        Invocation {
            target: Cow::Borrowed(target),
            arguments: Cow::Borrowed(arguments),
            ..Invocation::default()
        }
    }

    /// The first argument, raw, of an invocation in the encoding of `protocol`; `None` where there is none.
    pub fn first_argument(&self, protocol: HubProtocol) -> Option<&[u8]> {
        match protocol {
            HubProtocol::Json => json::first_element(&self.arguments),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => msgpack::first_element(&self.arguments),
        }
    }

    /// Appends the framed JSON form of a type 1 message; the arguments are raw JSON.
    pub fn encode_json(&self, out: &mut Vec<u8>) {
        json::encode_invocation(1, self, out);
    }

    /// Appends the framed MessagePack form of a type 1 message; the arguments are raw MessagePack.
    pub fn encode_msgpack(&self, out: &mut Vec<u8>) {
        msgpack::encode_invocation(1, self, out);
    }

    /// Appends the framed MessagePack form where the arguments are raw JSON: they are translated on the way, in one pass. On
    /// an error `out` is as it was.
    pub fn encode_msgpack_from_json(&self, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        msgpack::encode_invocation_from_json(1, self, out)
    }

    /// Appends the framed JSON form where the arguments are raw MessagePack. On an error `out` is as it was.
    pub fn encode_json_from_msgpack(&self, out: &mut Vec<u8>) -> Result<(), TranscodeError> {
        json::encode_invocation_from_msgpack(1, self, out)
    }
}

#[cfg(test)]
mod tests;
