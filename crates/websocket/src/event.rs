//! [`Event`]: a complete message or control frame of the peer.

use crate::close::CloseBody;
use crate::frame::Opcode;
use crate::violation::Violation;

/// A complete message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message; a text message is valid UTF-8.
    Message(MessageKind, &'a [u8]),
    /// A ping: send a pong with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame; ignore everything that follows.
    Close(CloseBody<'a>),
}

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl MessageKind {
    /// The type of a message that begins with this opcode.
    pub(crate) fn of(opcode: Opcode) -> Option<Self> {
        match opcode {
            Opcode::Text => Some(Self::Text),
            Opcode::Binary => Some(Self::Binary),
            Opcode::Continuation | Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        }
    }
}

impl<'a> Event<'a> {
    /// The event of an unfragmented frame.
    pub(crate) fn of_frame(opcode: Opcode, payload: &'a [u8]) -> Result<Self, Violation> {
        Ok(match opcode {
            Opcode::Text => {
                // Only a complete message is validated: fragments may split a character (section 5.6).
                simdutf8::basic::from_utf8(payload).map_err(|_| Violation::Utf8)?;
                Self::Message(MessageKind::Text, payload)
            }
            Opcode::Binary | Opcode::Continuation => Self::Message(MessageKind::Binary, payload),
            Opcode::Ping => Self::Ping(payload),
            Opcode::Pong => Self::Pong(payload),
            Opcode::Close => Self::Close(CloseBody::parse(payload)?),
        })
    }
}
