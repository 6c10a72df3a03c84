//! [`ReadError`]: why a body was not read.

use std::io;
use std::time::Duration;

use crate::message::BoxError;

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
    /// The body ended early, or its framing is wrong.
    #[error("the body broke off before its end")]
    Broken(#[source] BoxError),
    /// The budget had no capacity within [`crate::Options::wait_ms`]. Nothing of the body was read, or what was read is dropped.
    #[error("the body waited {} seconds for {pool}: other bodies use all that is allowed (the limits are under [bodies])", waited.as_secs_f32())]
    OverBudget {
        /// What was full: `memory` or `disk space`.
        pool: &'static str,
        /// How long it waited.
        waited: Duration,
    },
    /// It arrived slowly while others waited for the capacity that was reserved for it.
    #[error("the body arrives slowly ({received_bytes} bytes after {} seconds) while others wait", awaited.as_secs())]
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

/// After how long a sender should try again when there was no capacity.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl ReadError {
    /// When the sender may try again; `None` where that would not help. Goes into `Retry-After` of a 503.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::OverBudget { .. } | Self::Outpaced { .. } | Self::File(_) => Some(RETRY_AFTER),
            Self::TooLarge { .. } | Self::Broken(_) => None,
        }
    }
}
