//! The WebSocket protocol (RFC 6455): reads and writes frames, checks the opening handshake.
//!
//! Not its concern: sockets, clocks, randomness (a client passes its masking keys), the meaning of messages. Extensions are not
//! negotiated, so every reserved bit is a violation. Sections in comments are those of RFC 6455.
//!
//! Know these first: [`Decoder`], [`Event`], [`FrameBuilder`], [`accept_upgrade`]. Start reading at `decoder.rs`.

mod close;
mod close_code;
mod decoder;
mod event;
mod frame;
mod header;
mod mask;
mod upgrade;
mod utf8;
mod violation;

pub use close::CloseBody;
pub use close_code::CloseCode;
pub use decoder::Decoder;
pub use decoder::message::Decoded;
pub use decoder::part::{DecodedPart, Part};
pub use event::{Event, MessageKind};
pub use frame::{FrameBuilder, FrameHeader, Opcode, close_frame, frame, masked_frame};
pub use header::Role;
pub use upgrade::{UpgradeRefused, accept_key, accept_upgrade};
pub use violation::Violation;
