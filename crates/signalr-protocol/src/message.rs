//! The nine hub messages, borrowed from the bytes that they were parsed from.
//!
//! Arguments, items and results stay in the encoding of their message (raw JSON text or raw MessagePack), because the service
//! forwards them; `transcode.rs` converts between the encodings for clients with different protocols.

use std::borrow::Cow;

/// The headers of a message, in order.
pub type Headers<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A hub message.
#[derive(Debug, Clone, PartialEq)]
pub enum HubMessage<'a> {
    /// Type 1: invokes a method. Without an invocation id, the caller expects no completion.
    Invocation(Invocation<'a>),
    /// Type 2: an item of a stream.
    StreamItem(StreamItem<'a>),
    /// Type 3: the end of an invocation or of a stream.
    Completion(Completion<'a>),
    /// Type 4: invokes a method that returns a stream.
    StreamInvocation(Invocation<'a>),
    /// Type 5: the caller cancels the stream.
    CancelInvocation(CancelInvocation<'a>),
    /// Type 6: keeps the connection alive.
    Ping,
    /// Type 7: the sender closes the connection.
    Close(Close<'a>),
    /// Type 8: acknowledges all messages up to this sequence id.
    Ack(Sequenced),
    /// Type 9: the sequence id of the next message, after a stateful reconnect.
    Sequence(Sequenced),
    /// An unknown type; ignore it.
    Unknown(u64),
}

/// The invocation of a method on a hub or on a client: types 1 and 4.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Invocation<'a> {
    /// Headers, usually none.
    pub headers: Headers<'a>,
    /// Present if the caller expects a completion.
    pub invocation_id: Option<Cow<'a, str>>,
    /// The name of the method.
    pub target: Cow<'a, str>,
    /// The raw array of arguments, in the encoding of the message.
    pub arguments: Cow<'a, [u8]>,
    /// Ids of the streams that the caller uploads.
    pub stream_ids: Vec<Cow<'a, str>>,
}

/// An item of a stream: type 2.
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
    /// The id of the invocation.
    pub invocation_id: Cow<'a, str>,
    /// The result.
    pub result: CompletionResult<'a>,
}

/// The result of an invocation.
#[derive(Debug, Clone, PartialEq)]
pub enum CompletionResult<'a> {
    /// It failed.
    Error(Cow<'a, str>),
    /// It has no result.
    Void,
    /// The raw result, in the encoding of the message.
    Value(Cow<'a, [u8]>),
}

/// The cancellation of a stream: type 5.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelInvocation<'a> {
    /// Headers, usually none.
    pub headers: Headers<'a>,
    /// The id of the invocation.
    pub invocation_id: Cow<'a, str>,
}

/// The close message: type 7.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Close<'a> {
    /// The error, if the connection closes because of one.
    pub error: Option<Cow<'a, str>>,
    /// Whether a client with automatic reconnect may reconnect.
    pub allow_reconnect: bool,
}

/// The content of types 8 and 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequenced {
    /// The sequence id; begins with 1 on each connection.
    pub sequence_id: u64,
}

/// The type number of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HubMessageType {
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
    /// Any other; ignore it.
    Unknown(u64),
}

/// The parts of a message that routing needs; arguments are validated but not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The type of the message.
    pub kind: HubMessageType,
    /// Its invocation id, if it has one.
    pub invocation_id: Option<Cow<'a, str>>,
    /// The method that it invokes, if any.
    pub target: Option<Cow<'a, str>>,
}

impl From<u64> for HubMessageType {
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

impl<'a> HubMessage<'a> {
    pub(crate) fn into_peek(self) -> Peek<'a> {
        let peek = |kind, invocation_id, target| Peek { kind, invocation_id, target };
        match self {
            Self::Invocation(Invocation { invocation_id, target, .. }) => {
                peek(HubMessageType::Invocation, invocation_id, Some(target))
            }
            Self::StreamInvocation(Invocation { invocation_id, target, .. }) => {
                peek(HubMessageType::StreamInvocation, invocation_id, Some(target))
            }
            Self::StreamItem(item) => peek(HubMessageType::StreamItem, Some(item.invocation_id), None),
            Self::Completion(completion) => {
                peek(HubMessageType::Completion, Some(completion.invocation_id), None)
            }
            Self::CancelInvocation(cancel) => {
                peek(HubMessageType::CancelInvocation, Some(cancel.invocation_id), None)
            }
            Self::Ping => peek(HubMessageType::Ping, None, None),
            Self::Close(_) => peek(HubMessageType::Close, None, None),
            Self::Ack(_) => peek(HubMessageType::Ack, None, None),
            Self::Sequence(_) => peek(HubMessageType::Sequence, None, None),
            Self::Unknown(number) => peek(HubMessageType::Unknown(number), None, None),
        }
    }
}

impl Invocation<'_> {
    /// An invocation without an id, such as a broadcast; `arguments` as in [`Invocation::arguments`].
    pub fn new<'a>(target: &'a str, arguments: &'a [u8]) -> Invocation<'a> {
        Invocation {
            target: Cow::Borrowed(target),
            arguments: Cow::Borrowed(arguments),
            ..Invocation::default()
        }
    }
}

/// Whether parsing collects headers and stream ids. They are validated in both cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lists {
    #[default]
    Keep,
    /// For routing: uses no memory for headers and stream ids.
    Skip,
}
