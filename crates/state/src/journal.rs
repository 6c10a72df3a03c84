//! [`Journal`]: append in order, read from a position, trim.
//!
//! # Guarantees
//!
//! 1. **Durable before acknowledged.** When [`Journal::append`] returns `Ok`, its records survive `kill -9` of the
//!    process and, if the device honours flushes, a power failure.
//! 2. **Atomic.** The records of one append become readable together, with consecutive offsets, or not at all.
//! 3. **Order.** Offsets of one journal rise by one for each record, start at 0, and are never reused within an epoch.
//!    A caller that awaits each append keeps its order.
//! 4. **Only durable records are read.** A read returns complete records in offset order, without gaps, and never a record
//!    that a crash could remove.
//! 5. **A position is an offset and an epoch.** A journal that is lost and created again has another epoch; reading it at an old
//!    position returns [`JournalReadError::EpochChanged`] and never other records.
//! 6. **Trim removes only from the start.** After `trim(n)`, records below `n` are removed now or later; reading below the first
//!    remaining record returns [`JournalReadError::Trimmed`] with its position.
//! 7. **Bounded.** A record has at most [`Record::BYTES_MAX`] bytes of body and headers together; reads return at most
//!    the requested amount, and at least one record if there is one.
//! 8. **Removal is durable.** After [`Journal::remove`] returned `Ok`, the journal and its records do not reappear, even after a
//!    crash; other journals are unchanged. A journal created again under the name starts at offset 0 with another epoch, so that
//!    reading at an old position returns [`JournalReadError::EpochChanged`].

use bytes::Bytes;

use crate::{Instance, Name};

/// Number of a record in its journal, from 0. Not usable as a [`Position`] without its [`Epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// Identifies a journal from its creation to its removal or loss; drawn when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// Where to continue reading: the epoch of the journal and the offset of the next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The epoch of the journal.
    pub epoch: Epoch,
    /// The offset of the next record.
    pub offset: Offset,
}

/// RecordHeaders of a record, such as trace context, origin, schema version.
///
/// Names are short ASCII text in lower case. The order is preserved.
pub type RecordHeaders = Vec<(String, Bytes)>;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Metadata of the body.
    pub headers: RecordHeaders,
    /// The body; the contract does not interpret it.
    pub body: Bytes,
}

impl Record {
    /// Largest record, headers included, in bytes: 16 MiB.
    pub const BYTES_MAX: usize = 16 * 1024 * 1024;

    /// A record without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: RecordHeaders::new(), body: body.into() }
    }

    /// Bytes that count against [`Record::BYTES_MAX`].
    pub fn len(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }

    /// Whether headers and body are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A record with its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record's offset.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}

/// The start and the end of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalInfo {
    /// The journal's epoch.
    pub epoch: Epoch,
    /// The first record that can be read.
    pub first: Offset,
    /// The offset of the next appended record.
    pub next: Offset,
}

/// Why an append failed. None of its records become readable later, except after [`AppendError::Unknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A record exceeds [`Record::BYTES_MAX`], or the records of one append together exceed the backend's own limit.
    #[error("an append of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Size of the record or of the append.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The device is full. The append can be retried when there is space.
    #[error("no space left for journal {journal}")]
    NoSpace {
        /// The journal.
        journal: Name,
    },
    /// The journal is closed, or an earlier write failed; it accepts nothing until the next start.
    #[error("journal {journal} is closed")]
    Closed {
        /// The journal.
        journal: Name,
    },
    /// It is unknown whether the records were written: read the journal before retrying.
    #[error("cannot append to journal {journal}")]
    Unknown {
        /// The journal.
        journal: Name,
        /// The error of the backend.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalReadError {
    /// The journal was lost or removed, and created again, since the position was obtained.
    #[error("the journal was created again since this position was obtained; it now starts at {0:?}")]
    EpochChanged(Position),
    /// The records were trimmed; reading can continue at this position, with a gap.
    #[error("the records at this position were trimmed; the first remaining position is {0:?}")]
    Trimmed(Position),
    /// The position is beyond the end of the journal.
    #[error("the position is beyond the end of the journal at {0:?}")]
    BeyondEnd(Position),
    /// The backend failed.
    #[error("cannot read journal {journal}")]
    Backend {
        /// The journal.
        journal: Name,
        /// The error of the backend.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a trim failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot trim journal {journal}")]
pub struct TrimError {
    /// The journal.
    pub journal: Name,
    /// The error of the backend.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a removal failed, or may have failed; it can be retried.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove journal {journal}")]
pub struct RemoveError {
    /// The journal.
    pub journal: Name,
    /// The error of the backend.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// An ordered, durable log for each name. See the module's guarantees.
///
/// A journal is created by its first append, read, wait or `info`.
#[async_trait::async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends records together; returns the position of the first. For an empty list, returns the end.
    async fn append(
        &self,
        instance: &Instance,
        name: &Name,
        records: Vec<Record>,
    ) -> Result<Position, AppendError>;

    /// Reads up to `records_max` records or about `bytes_max` bytes from `from`; returns an empty list at the end.
    async fn read(
        &self,
        instance: &Instance,
        name: &Name,
        from: Position,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, JournalReadError>;

    /// Waits until a record at `from` can be read, or reading it fails. Cancel-safe.
    async fn wait(&self, instance: &Instance, name: &Name, from: Position) -> Result<(), JournalReadError>;

    /// The start and the end of the journal.
    async fn info(&self, instance: &Instance, name: &Name) -> Result<JournalInfo, JournalReadError>;

    /// Removes records below `below`.
    async fn trim(&self, instance: &Instance, name: &Name, below: Position) -> Result<(), TrimError>;

    /// Removes the journal with all its records, and frees its memory and storage. Does nothing if it does not exist. A concurrent
    /// append takes effect before the removal (and is removed too), or after it (and creates the journal again).
    async fn remove(&self, instance: &Instance, name: &Name) -> Result<(), RemoveError>;
}
