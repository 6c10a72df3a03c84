//! The control connection between generator and server: fixed-size requests and responses.

use std::io::Write;

use anyhow::bail;

/// Size of a request.
pub(super) const REQUEST_BYTES: usize = 5;

/// A request of the generator to the server.
#[derive(Clone, Copy, Debug)]
pub(super) enum ControlRequest {
    /// Publish this number of messages in the current shape; without a response, because the clients receive them.
    Publish(u32),
    /// Size of the frames of later publishes, in bytes.
    FrameBytes(u32),
    /// [`Shape`](super::task::Shape) of later publishes.
    Shape(u32),
    /// Add every client to its groups; the response has their number.
    Join,
    /// The response has the number of writes to clients so far.
    Writes,
}

impl ControlRequest {
    pub(super) fn to_bytes(self) -> [u8; REQUEST_BYTES] {
        let (letter, number) = match self {
            Self::Publish(burst) => (b'P', burst),
            Self::FrameBytes(bytes) => (b'F', bytes),
            Self::Shape(shape) => (b'S', shape),
            Self::Join => (b'J', 0),
            Self::Writes => (b'W', 0),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [letter, a, b, c, d]
    }

    pub(super) fn parse([letter, a, b, c, d]: [u8; REQUEST_BYTES]) -> anyhow::Result<Self> {
        let number = u32::from_le_bytes([a, b, c, d]);
        Ok(match letter {
            b'P' => Self::Publish(number),
            b'F' => Self::FrameBytes(number),
            b'S' => Self::Shape(number),
            b'J' => Self::Join,
            b'W' => Self::Writes,
            other => bail!("an unknown request: {other}"),
        })
    }
}

/// Sends the response to a request: two numbers.
pub(super) fn respond(control: &mut impl Write, numbers: [u64; 2]) -> std::io::Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&numbers[0].to_le_bytes());
    bytes[8..].copy_from_slice(&numbers[1].to_le_bytes());
    control.write_all(&bytes)
}
