//! [`ReceivedHeader`]: the header of a frame from the peer (section 5.2).

use crate::frame::Opcode;
use crate::violation::Violation;

/// The role of this endpoint. Clients mask their frames, servers do not (section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Frames from the peer must be masked.
    Server,
    /// Frames from the peer must not be masked.
    Client,
}

/// The header of a frame from the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedHeader {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    /// The masking key.
    pub(crate) key: Option<[u8; 4]>,
    /// Payload length, in bytes.
    pub(crate) length: u64,
}

impl ReceivedHeader {
    /// Longest header, in bytes.
    pub(crate) const BYTES_MAX: usize = 14;

    /// Parses a header; returns it with its length in bytes, or `None` if bytes are missing. A violation is reported as soon as
    /// its bytes have arrived.
    pub(crate) fn parse(bytes: &[u8], role: Role) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBit);
        }
        let opcode = Opcode::from_number(first & 0x0f).ok_or(Violation::Opcode)?;
        let fin = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        match (role, masked) {
            (Role::Server, false) => return Err(Violation::Unmasked),
            (Role::Client, true) => return Err(Violation::Masked),
            (Role::Server, true) | (Role::Client, false) => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && (short > 125 || !fin) {
            return Err(Violation::Control);
        }
        let (length, rest) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        let shortest = match short {
            126 => length > 125,
            127 => length > 0xffff && length >> 63 == 0,
            _ => true,
        };
        if !shortest {
            return Err(Violation::Length);
        }
        let (key, rest) = if masked {
            let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (Some(*key), rest)
        } else {
            (None, rest)
        };
        Ok(Some((Self { opcode, fin, key, length }, bytes.len() - rest.len())))
    }
}
