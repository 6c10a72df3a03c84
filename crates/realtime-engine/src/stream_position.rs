//! [`StreamPosition`]: the position of a message in a history.

/// The position of a recorded message in the history of its hub or group. A position that a client sends is that of the next
/// message it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The epoch of the history.
    pub epoch: u64,
    /// The offset in it.
    pub offset: u64,
}

impl std::fmt::Display for StreamPosition {
    /// The text that clients store and send back: the epoch in hexadecimal digits, and the offset.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.offset)
    }
}

impl StreamPosition {
    /// Parses the text that clients send.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.split_once('-')?;
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? })
    }
}
