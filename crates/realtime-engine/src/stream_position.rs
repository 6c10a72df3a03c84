//! [`StreamPosition`]: the position of a message in a history.

/// Where a kept message stands among those to the same hub or group; as a position that clients know, the next one wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The life of the log.
    pub epoch: u64,
    /// The number of the message in it.
    pub offset: u64,
}

impl std::fmt::Display for StreamPosition {
    /// The form in which clients keep it and show it again: the epoch in hexadecimal digits, and the number.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.offset)
    }
}

impl StreamPosition {
    /// Reads the form that clients show.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.split_once('-')?;
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? })
    }
}
