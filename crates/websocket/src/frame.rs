//! Encodes frames.

use bytes::Bytes;

use crate::close_code::CloseCode;
use crate::mask::apply_mask;

/// The opcode of a frame (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// Continues a fragmented message.
    Continuation,
    /// Begins a text message.
    Text,
    /// Begins a binary message.
    Binary,
    /// Ends the connection.
    Close,
    /// Requests a pong.
    Ping,
    /// The response to a ping.
    Pong,
}

/// The encoded header of an unmasked frame: 2, 4 or 10 bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameHeader {
    bytes: [u8; FrameHeader::BYTES_MAX],
    length: u8,
}

/// Builds a frame without moving its payload: space for the header is reserved before it.
#[derive(Debug)]
pub struct FrameBuilder(Vec<u8>);

impl Opcode {
    /// The number in the frame header.
    pub fn number(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong]
            .into_iter()
            .find(|opcode| opcode.number() == number)
    }

    /// Whether it is a control frame: short, unfragmented, and allowed between the fragments of a message (section 5.5).
    pub fn is_control(self) -> bool {
        self.number() & 0x8 != 0
    }
}

impl FrameHeader {
    /// Longest header of an unmasked frame, in bytes.
    pub const BYTES_MAX: usize = 10;

    /// The header of an unfragmented, unmasked message. The length is in its shortest form, as section 5.2 requires.
    pub fn new(opcode: Opcode, payload_bytes: usize) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[0] = 0x80 | opcode.number();
        let length = match payload_bytes {
            0..=125 => {
                bytes[1] = payload_bytes as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, length }
    }

    /// The header as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuilder {
    /// Begins a frame.
    pub fn new() -> Self {
        Self(vec![0; FrameHeader::BYTES_MAX])
    }

    /// Begins a frame with capacity for a payload of this size; a longer payload costs a copy.
    pub fn with_capacity(payload_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(FrameHeader::BYTES_MAX + payload_bytes);
        bytes.resize(FrameHeader::BYTES_MAX, 0);
        Self(bytes)
    }

    /// The buffer to append the payload to. Do not change the bytes that it already has.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Completes the frame: an unfragmented, unmasked message.
    pub fn finish(mut self, opcode: Opcode) -> Bytes {
        let header = FrameHeader::new(opcode, self.0.len() - FrameHeader::BYTES_MAX);
        let start = FrameHeader::BYTES_MAX - header.as_bytes().len();
        self.0[start..FrameHeader::BYTES_MAX].copy_from_slice(header.as_bytes());
        Bytes::from(self.0).slice(start..)
    }
}

/// An unfragmented, unmasked frame, as a server sends it.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let header = FrameHeader::new(opcode, payload.len());
    [header.as_bytes(), payload].concat().into()
}

/// An unfragmented, masked frame, as a client sends it. The masking key must be new and unpredictable for each frame (section
/// 5.3).
pub fn masked_frame(opcode: Opcode, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let header = FrameHeader::new(opcode, payload.len());
    let mut bytes = [header.as_bytes(), &key, payload].concat();
    bytes[1] |= 0x80;
    let start = bytes.len() - payload.len();
    apply_mask(&mut bytes[start..], key, 0);
    bytes
}

/// An unmasked close frame. The reason is truncated, between characters, to the 123 bytes that fit.
pub fn close_frame(code: CloseCode, reason: &str) -> Bytes {
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(123)];
    frame(Opcode::Close, &[&code.number().to_be_bytes(), reason].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_is_encoded_in_its_shortest_form() {
        for (length, expected) in [
            (0usize, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xffff, &[0x81, 126, 0xff, 0xff]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(FrameHeader::new(Opcode::Text, length).as_bytes(), expected, "{length}");
            let mut builder = FrameBuilder::new();
            builder.payload().resize(FrameHeader::BYTES_MAX + length, 7);
            assert_eq!(builder.finish(Opcode::Text), frame(Opcode::Text, &vec![7; length]));
        }
    }

    #[test]
    fn the_masked_hello_equals_the_specification() {
        // The example of section 5.7.
        let bytes = masked_frame(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(bytes, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn a_long_close_reason_is_truncated_between_characters() {
        let bytes = close_frame(CloseCode::NORMAL, &"é".repeat(100));
        assert_eq!(bytes.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&bytes[4..]).is_ok());
    }
}
