//! Our own road: frames on a Unix or loopback socket, which the worker opens.
//!
//! # The form, version 1
//!
//! ```text
//! frame = length  u32, big-endian: how many bytes follow, at most the limit both sides are configured with
//!         head    u32, big-endian: how many bytes of JSON follow
//!         JSON    an object with one key, the message's name
//!         body    the rest: raw bytes that the JSON points into
//! ```
//!
//! The worker's first frame is `{"start":{"version":1,"token":"…","workerId":"…"}}`; the host closes the connection when the
//! token is not the one it gave to the process, or when it does not speak the version. Everything after it has the
//! meaning of the FunctionRpc message of the same name:
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
//! `none`); there are no `nullable*` twins and no `rawBody`; absent keys have FunctionRpc's default.
//!
//! A value is `null` or an object with one key that names its kind: `{"json":"[1]"}`. Bytes are `[at, length]` in the body;
//! so may be texts (`string`, `json`), which then are UTF-8, so that a large one is neither escaped nor copied. Whole
//! numbers that a 64-bit float cannot hold are texts, as are `NaN`, `Infinity` and `-Infinity`.
//!
//! Messages and keys that a reader does not know are skipped, so that a later version may add some.

mod codec;
mod from_protocol;
mod messages;
mod to_protocol;

#[cfg(test)]
mod tests;

pub use codec::{DecodeError, Decoder, EncodeError, Frame, Hello, RawFrame};
pub use from_protocol::{decode_host, decode_worker};
pub use to_protocol::{encode_host, encode_worker};

/// The version that this crate speaks.
pub const VERSION: u32 = 1;
