//! The SignalR hub protocol: framing, handshake, the nine hub messages in JSON and MessagePack, the negotiate response, and the
//! multi-protocol payload of the service's REST interface. [`service`] is the service protocol, between app servers and the service.
//!
//! Not its concern: sockets, WebSocket frames, clocks, routing. It parses and encodes bytes.
//!
//! Know these first: [`HubProtocol`], [`HubMessage`], [`Splitter`], [`peek`].
//! Start reading at `message.rs`, then `codec.rs`; `json.rs` and `msgpack.rs` are the two encodings.

mod codec;
mod framing;
mod handshake;
mod hub_protocol;
mod json;
mod message;
mod msgpack;
mod negotiate;
mod parse_error;
mod payloads;
mod sequenced;
pub mod service;
mod transcode;

pub use codec::{parse, peek};
pub use framing::{
    FrameStart, FramingError, RECORD_SEPARATOR, Splitter, finish_frame, length_prefix, next_message,
    write_frame_start,
};
pub use handshake::{
    HANDSHAKE_SUCCESS, HANDSHAKE_VERSION_MAX, HandshakeError, HandshakeRequest, handshake_error,
};
pub use hub_protocol::{HubProtocol, TransferFormat};
pub use json::reader::{JsonError, JsonReader, JsonToken};
pub use json::text::JsonText;
pub use message::{
    CancelInvocation, Close, Completion, CompletionResult, Headers, HubMessage, HubMessageType, Invocation,
    Peek, Sequenced, StreamItem,
};
pub use negotiate::{
    NEGOTIATE_VERSION_MAX, NegotiateError, NegotiateResponse, TransportType, negotiate_version,
};
pub use parse_error::ParseError;
pub use payloads::{MessageError, PayloadsError, parse_framed, parse_message, parse_payloads};
pub use sequenced::{count_sequenced, is_sequenced, prefix_is_sequenced};
pub use transcode::{DEPTH_MAX, TranscodeError, check_json, json_to_msgpack, msgpack_to_json};
