//! RFC 6455 frames in and out: bytes become messages, messages become bytes.
//!
//! Not its concern: sockets, clocks, randomness (a client passes its mask keys in), what messages mean. Extensions are not
//! negotiated, so every reserved bit is a violation.
//!
//! Know these first: [`Decoder`], [`Event`], [`FrameBuilder`], [`accept_upgrade`]. Start reading at `decode.rs`.

mod close;
mod decode;
mod frame;
mod mask;
mod upgrade;

pub use close::{Close, CloseCode};
pub use decode::{Decoded, DecodedPart, Decoder, Event, MessageKind, Part, Role, Violation};
pub use frame::{FrameBuilder, FrameHeader, Opcode, close_frame, frame, masked_frame};
pub use upgrade::{UpgradeRefused, accept_key, accept_upgrade};
