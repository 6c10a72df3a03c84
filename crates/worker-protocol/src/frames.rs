//! Our own worker protocol: frames on a Unix or loopback socket that the worker opens.
//!
//! # The format, version 1
//!
//! ```text
//! frame = length  u32, big-endian: number of bytes that follow, at most the limit that both sides are configured with
//!         header  u32, big-endian: number of bytes of JSON that follow
//!         JSON    an object with one key, the name of the message
//!         body    the rest: raw bytes, to which the JSON refers
//! ```
//!
//! The worker's first frame is `{"start":{"version":1,"token":"…","workerId":"…"}}`; the host closes the connection when the
//! token is not the one that it gave to the process, or when it does not implement the version. All further frames have the
//! meaning of the FunctionRpc message of that name:
//!
//! | host | worker |
//! |---|---|
//! | `init` | `init` |
//! | `metadata` | `metadata` |
//! | `load` | `load` |
//! | `invoke`, `cancel` | `invoked` |
//! | `status` | `status` |
//! | `terminate` (`graceMs`) | |
//! | | `log` |
//!
//! Keys are those of FunctionRpc in lower camel case, with these differences: durations and times are numbers whose key
//! ends in `Ms`; enumerations are their names in lower camel case (a cookie's `sameSite` is `unset`, `lax`, `strict` or
//! `none`); there are no `nullable*` maps and no `rawBody`; an absent key has FunctionRpc's default.
//!
//! A value is `null` or an object with one key that names its kind: `{"json":"[1]"}`. Bytes are `[offset, length]` in the body.
//! Texts (`string`, `json`) may lie in the body too, as UTF-8, so that a large one is neither escaped nor copied. An integer that
//! a 64-bit float cannot represent is a text, as are `NaN`, `Infinity` and `-Infinity`.
//!
//! A reader skips messages and keys that it does not know, so that a later version may add some.

mod codec;
mod from_protocol;
mod messages;
mod to_protocol;

#[cfg(test)]
mod tests;

pub use codec::{DecodeError, EncodeError, FrameDecoder, OutgoingFrame, ReceivedFrame, StartStream, VERSION};
pub use from_protocol::{decode_host, decode_worker};
pub use to_protocol::{encode_host, encode_invocation, encode_worker};
