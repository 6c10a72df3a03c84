//! [`ReadError`]: why a body was not read.

use std::io;
use std::time::Duration;

/// An error of whatever kind a body has.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The sender's fault: it is larger than allowed.
    #[error("the body has more than the {bytes_max} bytes allowed")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// It broke off, or its framing is wrong.
    #[error("the body broke off before its end")]
    Broken(#[source] BoxError),
    /// There was no room for it within the time that a body waits. Nothing of it was read, or what was read is dropped.
    #[error("no room for the body within {} seconds: other bodies hold the {pool} that bodies may take", waited.as_secs_f32())]
    NoRoom {
        /// What was full: `memory` or `disk space`.
        pool: &'static str,
        /// How long it waited.
        waited: Duration,
    },
    /// It arrived slowly while others waited for the room that it held.
    #[error("the body arrives slowly ({received_bytes} bytes after {} seconds) while others wait for room", awaited.as_secs())]
    Outpaced {
        /// What there was of it.
        received_bytes: u64,
        /// How long it was awaited.
        awaited: Duration,
    },
    /// The file for it could not be written or read.
    #[error("the body cannot be kept in a file of the data folder")]
    File(#[source] io::Error),
}

/// When a sender that found no room should come back.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl ReadError {
    /// When the sender may try again; `None` where that would not help. Goes into `Retry-After` of a 503.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoRoom { .. } | Self::Outpaced { .. } | Self::File(_) => Some(RETRY_AFTER),
            Self::TooLarge { .. } | Self::Broken(_) => None,
        }
    }
}
