//! [`Violation`]: how a peer violated the protocol, and the status code of the close frame for it.

use crate::close_code::CloseCode;

/// A violation of the protocol. Close the connection with [`Violation::close_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Section 5.2: a reserved bit without an extension.
    #[error("a reserved bit is set, but no extension was negotiated")]
    ReservedBit,
    /// Section 5.2: an unknown opcode.
    #[error("the opcode is reserved")]
    Opcode,
    /// Section 5.1: a client must mask.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// Section 5.1: a server must not mask.
    #[error("a server's frame is masked")]
    Masked,
    /// Section 5.2: the length has a shorter form, or its highest bit is set.
    #[error("the length of a frame is not in its shortest form")]
    Length,
    /// Section 5.5: control frames have at most 125 bytes and are not fragmented.
    #[error("a control frame is longer than 125 bytes or fragmented")]
    Control,
    /// Section 5.4: a continuation frame without a message, or a new message within a fragmented one.
    #[error("a fragment does not belong to a message")]
    Fragment,
    /// Section 5.5.1: a body of one byte, or with a code that must not be sent.
    #[error("a close frame has an invalid body")]
    CloseBody,
    /// Section 8.1.
    #[error("text is not valid UTF-8")]
    Utf8,
    /// The message is larger than this endpoint allows.
    #[error("a message is larger than the allowed {bytes_max} bytes")]
    TooBig {
        /// The limit.
        bytes_max: u32,
    },
}

impl Violation {
    /// The status code to close the connection with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 => CloseCode::INVALID_PAYLOAD,
            Self::TooBig { .. } => CloseCode::TOO_BIG,
            Self::ReservedBit
            | Self::Opcode
            | Self::Unmasked
            | Self::Masked
            | Self::Length
            | Self::Control
            | Self::Fragment
            | Self::CloseBody => CloseCode::PROTOCOL_ERROR,
        }
    }
}
