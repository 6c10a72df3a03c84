//! The SignalR hub protocol in the words of its specification: framing, handshake, the nine hub messages in JSON and
//! MessagePack, the negotiate answer, and the multi-protocol payload of the service's REST interface. [`service`] is the other
//! protocol, between app servers and the service.
//!
//! Not its concern: sockets, WebSocket frames, clocks, who receives what. It reads bytes and writes bytes.
//!
//! Know these first: [`HubProtocol`], [`HubMessage`], [`Splitter`], [`peek`].
//! Start reading at `message.rs`; `json.rs` and `msgpack.rs` are the two encodings of it.

mod framing;
mod handshake;
mod json;
mod message;
mod msgpack;
mod negotiate;
mod numbered;
mod payloads;
pub mod service;
mod transcode;

pub use framing::{FrameStart, finish_frame};
pub use framing::{FramingError, RECORD_SEPARATOR, Splitter, length_prefix, next_message, write_frame_start};
pub use handshake::{
    HANDSHAKE_ACCEPTED, HANDSHAKE_VERSION_MAX, HandshakeError, HandshakeRequest, handshake_refused,
};
pub use json::reader::{JsonError, JsonReader, JsonToken};
pub use json::text::JsonText;
pub use message::{
    CancelInvocation, Close, Completion, CompletionResult, Headers, HubMessage, HubProtocol, Invocation,
    MessageKind, ParseError, Peek, Sequenced, StreamItem, TransferFormat, parse, peek,
};
pub use negotiate::{
    NEGOTIATE_VERSION_MAX, NegotiateAnswer, NegotiateError, Redirect, Transport, negotiate_version,
};
pub use numbered::{begins_numbered, count_numbered, is_numbered};
pub use payloads::{MessageError, PayloadsError, parse_framed, parse_message, parse_payloads};
pub use transcode::{DEPTH_MAX, TranscodeError, check_json, json_to_msgpack, msgpack_to_json};
