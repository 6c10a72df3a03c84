//! FunctionRpc over gRPC: the protocol of the official language workers.
//!
//! One bidirectional stream of [`StreamingMessage`]s, which the *worker* opens, over plain HTTP/2 on the loopback
//! interface. [`messages`] is generated from `proto/FunctionRpc.proto`; [`encode_host`] and [`decode_worker`] translate between
//! it and this crate's types.
//!
//! Correlate responses by function id and invocation id, never by `request_id`: the Python worker responds with the id of its
//! own first message.

mod from_protocol;
pub mod messages;
mod placeholder;
mod to_protocol;

#[cfg(test)]
mod tests;

pub use from_protocol::{decode_host, decode_worker};
pub use messages::StreamingMessage;
pub use placeholder::Placeholder;
pub use to_protocol::{encode_host, encode_worker};

/// The gRPC method, as the path of an HTTP/2 request.
pub const EVENT_STREAM_PATH: &str = "/AzureFunctionsRpcMessages.FunctionRpc/EventStream";

/// Largest message in either direction, in bytes: the greatest 32-bit signed number.
pub const MESSAGE_BYTES_MAX: usize = 2_147_483_647;
