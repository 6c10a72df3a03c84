//! [`JournalCommand`]: what callers ask the writer to do, and how each of them gets its result.

use std::io;
use std::sync::Arc;

use state::{AppendError, Position, Record, RemoveError, TrimError};
use tokio::sync::oneshot;

use super::super::frame;
use super::super::index::{JournalKey, JournalState};
use crate::error::WriteFailedBefore;

/// A request of a caller.
pub(in super::super) enum JournalCommand {
    /// Appends records; creates the journal if it does not exist.
    Append {
        key: JournalKey,
        records: Vec<Record>,
        bytes: usize,
        reply: oneshot::Sender<Result<Position, AppendError>>,
    },
    /// Creates the journal if it does not exist.
    Create { key: JournalKey, reply: oneshot::Sender<Result<Arc<JournalState>, AppendError>> },
    /// Removes the records below a position.
    Trim { journal: Arc<JournalState>, below: u64, reply: oneshot::Sender<Result<(), TrimError>> },
    /// Removes the journal if it exists.
    Remove { key: JournalKey, reply: oneshot::Sender<Result<(), RemoveError>> },
}

/// The result of a command whose frames are in the group; sent to the caller once the group is durable.
pub(super) enum JournalOutcome {
    Append(JournalKey, oneshot::Sender<Result<Position, AppendError>>, Position),
    Create(JournalKey, oneshot::Sender<Result<Arc<JournalState>, AppendError>>, Arc<JournalState>),
    Trim(JournalKey, oneshot::Sender<Result<(), TrimError>>),
    Remove(JournalKey, oneshot::Sender<Result<(), RemoveError>>),
}

/// Why a group was not written.
#[derive(Clone, Debug)]
pub(super) enum WriteFailure {
    /// The device is full; nothing was written.
    NoSpace(Arc<io::Error>),
    /// An earlier write failed; nothing was written.
    Closed,
    /// Nobody can say how much of the group the device has.
    Unknown(Arc<io::Error>),
}

impl JournalCommand {
    /// An upper bound of its size in the log, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let journal = |key: &JournalKey| frame::frame_bytes(frame::journal_payload_bytes(&key.0, &key.1));
        match self {
            Self::Append { key, bytes, .. } => journal(key) + bytes,
            Self::Create { key, .. } => journal(key),
            Self::Trim { .. } | Self::Remove { .. } => frame::frame_bytes(0),
        }
    }

    /// Sends the caller a failure; nothing was done. The caller may no longer wait for it.
    pub(super) fn reject(self, failure: &WriteFailure) {
        match self {
            Self::Append { key, reply, .. } => drop(reply.send(Err(failure.of_append(key)))),
            Self::Create { key, reply } => drop(reply.send(Err(failure.of_append(key)))),
            Self::Trim { journal, reply, .. } => drop(reply.send(Err(failure.of_trim(journal.key.clone())))),
            Self::Remove { key, reply } => drop(reply.send(Err(failure.of_remove(key)))),
        }
    }
}

impl JournalOutcome {
    /// Sends the caller its result. The caller may no longer wait for it.
    pub(super) fn send(self, failed: Option<&WriteFailure>) {
        match self {
            Self::Append(key, reply, position) => {
                drop(reply.send(failed.map_or(Ok(position), |failure| Err(failure.of_append(key)))));
            }
            Self::Create(key, reply, journal) => {
                drop(reply.send(failed.map_or_else(|| Ok(journal), |failure| Err(failure.of_append(key)))));
            }
            Self::Trim(key, reply) => {
                drop(reply.send(failed.map_or(Ok(()), |failure| Err(failure.of_trim(key)))));
            }
            Self::Remove(key, reply) => {
                drop(reply.send(failed.map_or(Ok(()), |failure| Err(failure.of_remove(key)))));
            }
        }
    }
}

impl WriteFailure {
    fn of_append(&self, (_, journal): JournalKey) -> AppendError {
        match self {
            Self::NoSpace(_) => AppendError::NoSpace { journal },
            Self::Closed => AppendError::Closed { journal },
            Self::Unknown(cause) => AppendError::Unknown { journal, cause: Box::new(cause.clone()) },
        }
    }

    fn of_trim(&self, (_, journal): JournalKey) -> TrimError {
        TrimError { journal, cause: self.cause() }
    }

    fn of_remove(&self, (_, journal): JournalKey) -> RemoveError {
        RemoveError { journal, cause: self.cause() }
    }

    fn cause(&self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::NoSpace(cause) | Self::Unknown(cause) => Box::new(cause.clone()),
            Self::Closed => Box::new(WriteFailedBefore),
        }
    }
}
