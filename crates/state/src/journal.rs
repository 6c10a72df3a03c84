//! [`Journal`]: append in order, read from a position, trim.
//!
//! # Guarantees
//!
//! 1. **Durable before acknowledged.** When [`Journal::append`] returns `Ok`, its records survive `kill -9` of the
//!    process and, as far as the device keeps its word on flushes, loss of power.
//! 2. **All or nothing.** The records of one append become readable together, with consecutive offsets, or not at all.
//! 3. **Order.** Offsets of one journal rise by one for each record, start at 0, and are never reused within an epoch.
//!    Appends by one caller that awaits each before the next keep their order.
//! 4. **Reads see only what is acknowledged or about to be.** A read returns whole records in offset order, without
//!    gaps, and never a record that a crash could still take back.
//! 5. **A position is offset and epoch.** A journal that is lost and made anew gets another epoch; reading it with an
//!    old position answers [`ReadError::EpochChanged`] and never silently something else's records.
//! 6. **Trim only forgets the front.** After `trim(n)` records below `n` may be gone (now or later); reading below the
//!    first one kept answers [`ReadError::Trimmed`] with the first position that is left.
//! 7. **Bounded.** A record has at most [`Record::BYTES_MAX`] bytes of body and headers together; reads return at most
//!    what was asked for, and at least one record where there is one.
//! 8. **Removed is forgotten.** After [`Journal::remove`] returned `Ok`, the journal and its records do not come back, also
//!    not after a crash, and other journals keep theirs. A journal that is made again under the name starts at offset 0 with
//!    another epoch, so that positions of before answer [`ReadError::EpochChanged`].

use bytes::Bytes;

use crate::{Instance, Name};

/// Number of a record in its journal, from 0. Not usable as a [`Position`] without its [`Epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// Identity of one life of a journal; drawn when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// Where to read on from: the offset of the next record wanted, in the life of the journal it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the journal.
    pub epoch: Epoch,
    /// The next record wanted.
    pub offset: Offset,
}

/// Names and values beside a record's body: trace context, origin, schema version.
///
/// Keys are short ASCII names in lower case. Order is kept.
pub type Headers = Vec<(String, Bytes)>;

/// What is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Small facts about the body.
    pub headers: Headers,
    /// The body; its meaning is the writer's.
    pub body: Bytes,
}

impl Record {
    /// Largest record, headers included, in bytes: 16 MiB.
    pub const BYTES_MAX: usize = 16 * 1024 * 1024;

    /// A record without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { headers: Headers::new(), body: body.into() }
    }

    /// Bytes that count against [`Record::BYTES_MAX`].
    pub fn len(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }

    /// Whether the record has neither headers nor body.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is read: a record with its offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The record's number.
    pub offset: Offset,
    /// The record.
    pub record: Record,
}

/// Where a journal begins and ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalInfo {
    /// The journal's present life.
    pub epoch: Epoch,
    /// First record that can still be read.
    pub first: Offset,
    /// The offset that the next appended record will get.
    pub next: Offset,
}

/// Why an append did not happen. Nothing of it will become readable later, except after [`AppendError::Unknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A record exceeds [`Record::BYTES_MAX`], or the records of one append together exceed the backend's own limit.
    #[error("an append of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Size of the offending record, or of the append.
        bytes: usize,
        /// The limit it broke.
        limit: usize,
    },
    /// The device has no room. Free some and try again; the journal stays usable.
    #[error("no space left for journal {journal}")]
    NoSpace {
        /// The journal.
        journal: Name,
    },
    /// The journal is closing or has failed before and must be opened anew.
    #[error("journal {journal} is closed")]
    Closed {
        /// The journal.
        journal: Name,
    },
    /// Writing failed in a way that leaves open whether the records are there: read the journal before retrying.
    #[error("append to journal {journal}")]
    Unknown {
        /// The journal.
        journal: Name,
        /// What the backend met.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The journal was lost and made anew since the position was taken.
    #[error("the journal was made anew since this position was taken; it now starts at {0:?}")]
    EpochChanged(Position),
    /// The records were trimmed away; reading can go on here, with a gap.
    #[error("the records at this position were trimmed; the first one left is {0:?}")]
    Trimmed(Position),
    /// The position lies beyond the journal's end.
    #[error("the position lies beyond the journal's end at {0:?}")]
    BeyondEnd(Position),
    /// The backend failed.
    #[error("read journal {journal}")]
    Backend {
        /// The journal.
        journal: Name,
        /// What the backend met.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a trim did not happen.
#[derive(Debug, thiserror::Error)]
#[error("trim journal {journal}")]
pub struct TrimError {
    /// The journal.
    pub journal: Name,
    /// What the backend met.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a removal did not happen, or may not have happened; it can be tried again.
#[derive(Debug, thiserror::Error)]
#[error("remove journal {journal}")]
pub struct RemoveError {
    /// The journal.
    pub journal: Name,
    /// What the backend met.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// An ordered, durable log for each name. See the module's guarantees.
///
/// A journal comes into being with its first append or `info`.
#[async_trait::async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends records together and answers the position of the first. An empty list answers the end.
    async fn append(
        &self,
        instance: &Instance,
        name: &Name,
        records: Vec<Record>,
    ) -> Result<Position, AppendError>;

    /// Reads up to `records_max` records or about `bytes_max` bytes from `from`; at the end, an empty list.
    async fn read(
        &self,
        instance: &Instance,
        name: &Name,
        from: Position,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError>;

    /// Waits until a record at `from` can be read, or an error is known. Cancel-safe.
    async fn wait(&self, instance: &Instance, name: &Name, from: Position) -> Result<(), ReadError>;

    /// Where the journal begins and ends.
    async fn info(&self, instance: &Instance, name: &Name) -> Result<JournalInfo, ReadError>;

    /// Forgets records below `below`.
    async fn trim(&self, instance: &Instance, name: &Name, below: Position) -> Result<(), TrimError>;

    /// Removes the journal with all its records and gives back what it takes of memory and storage. Does nothing where there
    /// is no such journal. An append under way at the same time comes before, and is removed too, or after, and makes the
    /// journal again.
    async fn remove(&self, instance: &Instance, name: &Name) -> Result<(), RemoveError>;
}
