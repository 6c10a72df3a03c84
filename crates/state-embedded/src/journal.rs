//! The [`state::Journal`] as one segment log for all journals of the store, with group commit.
//!
//! Concurrent appends, to any journals, share one write and one flush. `docs/decisions/0003-journal.md` gives the reasons,
//! `journal/frame.rs` the bytes.
//!
//! Know these first: [`JournalHandle`] (the handle), `writer.rs` (the writing thread), `index.rs` (the index in memory),
//! `recover.rs` (reading the log at the start). Start reading at `writer.rs`.

mod backup;
mod frame;
mod index;
mod reader;
mod recover;
mod recovery;
mod scan;
mod segment;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

use checked_files::Health;
use state::{
    AppendError, Entry, Instance, JournalInfo, JournalReadError, Name, Position, Record, RemoveError,
    TrimError,
};
use supervision::{Supervisor, Thread};
use tokio::sync::oneshot;

pub(crate) use self::backup::backup;
use self::index::{JournalKey, JournalState, Shared};
use self::reader::{JournalRead, JournalReader};
pub(crate) use self::recovery::{Recovery, RecoveryOptions};
use self::writer::{JournalCommand, JournalWriter};
use crate::error::{OpenStoreError, StoreClosed};
use crate::metrics::Metrics;
use crate::options::JournalOptions;
use crate::queue::Queue;

/// A handle to the log's threads; clones share them.
#[derive(Clone)]
pub(crate) struct JournalHandle {
    writes: Arc<Queue<JournalCommand>>,
    /// One queue for each reading thread, used in turn.
    reads: Arc<[Queue<JournalRead>]>,
    next_reader: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    append_bytes_max: usize,
    health: Health,
    metrics: Metrics,
}

/// The threads; the store joins them when it closes.
pub(crate) struct JournalThreads(Vec<Thread>);

impl JournalHandle {
    /// Opens a log that was read, and starts the threads. `generation` is the store's, see `index.rs`.
    pub(crate) fn open(
        mut recovery: Recovery,
        generation: u64,
        options: &JournalOptions,
        metrics: Metrics,
        supervisor: &Supervisor,
    ) -> Result<(Self, JournalThreads), OpenStoreError> {
        recovery.make_durable()?;
        let mark = recovery.open_mark()?;
        let Recovery { directory, store, recovered, lost_groups, .. } = recovery;
        let failed = |cause| OpenStoreError::from_io(&directory, cause);
        for number in &recovered.unused {
            segment::remove(&directory, *number);
        }
        let spare = segment::Spare::open(&directory, supervisor).map_err(failed)?;
        let health = Health::default();
        let shared = Arc::new(Shared::default());
        let readers = options.reader_threads.max(1);
        let reads_max = options.reads_max.div_ceil(readers);
        let journal = Self {
            writes: Arc::new(Queue::new(options.queue_bytes_max)),
            reads: (0..readers).map(|_| Queue::new(reads_max)).collect(),
            next_reader: Arc::default(),
            shared: shared.clone(),
            append_bytes_max: options.append_bytes_max.max(Record::BYTES_MAX),
            health: health.clone(),
            metrics: metrics.clone(),
        };
        let group_gap = lost_groups + u64::from(uuid::Uuid::new_v4().as_fields().0);
        let writer = JournalWriter::new(writer::Dependencies {
            directory: directory.clone(),
            store,
            options: options.clone(),
            shared,
            spare,
            recovered,
            mark,
            health,
            generation,
            group_gap,
            metrics,
        });
        let threads = journal.start(store, writer, supervisor).map_err(failed)?;
        Ok((journal, threads))
    }

    fn start(
        &self,
        store: u32,
        writer: JournalWriter,
        supervisor: &Supervisor,
    ) -> std::io::Result<JournalThreads> {
        let writes = self.writes.clone();
        let turns = move || writer::JournalWriterTurns::new(writer, writes);
        let mut threads = vec![supervisor.essential_turns(Builder::new(), "journal writer", turns)?];
        for number in 0..self.reads.len() {
            let (shared, health) = (self.shared.clone(), self.health.clone());
            let reader = JournalReader { store, shared, health, metrics: self.metrics.clone() };
            let turns = reader::JournalReaderTurns { reader, queues: self.reads.clone(), number };
            let name = format!("journal reader {number}");
            threads.push(supervisor.restarting_turns(Builder::new(), &name, turns)?);
        }
        Ok(JournalThreads(threads))
    }

    /// Whether the journal may be written.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// Rejects further calls; accepted commands are still executed.
    pub(crate) fn close(&self) {
        self.writes.close();
        for reads in &*self.reads {
            reads.close();
        }
    }

    /// Sends the writer a command and waits for its reply.
    async fn command<T>(
        &self,
        bytes: usize,
        make: impl FnOnce(oneshot::Sender<T>) -> JournalCommand,
    ) -> Result<T, StoreClosed> {
        let (reply, replied) = oneshot::channel();
        self.metrics.journal_queue.inc();
        let pushed = self.writes.push(make(reply), bytes).await;
        let result = match pushed {
            Ok(()) => replied.await.map_err(|_| StoreClosed),
            Err(_) => Err(StoreClosed),
        };
        self.metrics.journal_queue.dec();
        result
    }

    /// The journal; created durably if it does not exist.
    async fn find_or_create(&self, key: JournalKey) -> Result<Arc<JournalState>, JournalReadError> {
        if let Some(journal) = self.shared.find(&key) {
            return Ok(journal);
        }
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| JournalReadError::Backend {
            journal: key.1.clone(),
            cause,
        };
        let created = self.command(256, |reply| JournalCommand::Create { key: key.clone(), reply }).await;
        created.map_err(|closed| failed(closed.into()))?.map_err(|error| failed(error.into()))
    }
}

impl JournalThreads {
    /// Waits for the threads to end, after [`JournalHandle::close`]. Blocks.
    pub(crate) fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal panicked");
            }
        }
    }
}

/// Size of the records in the log, in bytes; an error if that is too much for one append.
fn validate(records: &[Record], append_bytes_max: usize) -> Result<usize, AppendError> {
    let largest = records.iter().map(Record::len).max().unwrap_or(0);
    if largest > Record::BYTES_MAX {
        return Err(AppendError::TooLarge { bytes: largest, limit: Record::BYTES_MAX });
    }
    let bytes: usize = records.iter().map(Record::len).sum();
    if bytes > append_bytes_max {
        return Err(AppendError::TooLarge { bytes, limit: append_bytes_max });
    }
    let payload_bytes = records.iter().map(frame::record_payload_bytes);
    if let Some(bytes) = payload_bytes.clone().find(|bytes| *bytes > frame::PAYLOAD_BYTES_MAX) {
        // So many small headers that their length fields exceed the limit.
        return Err(AppendError::TooLarge { bytes, limit: frame::PAYLOAD_BYTES_MAX });
    }
    Ok(payload_bytes.map(frame::frame_bytes).sum())
}

#[async_trait::async_trait]
impl state::Journal for JournalHandle {
    async fn append(
        &self,
        instance: &Instance,
        name: &Name,
        records: Vec<Record>,
    ) -> Result<Position, AppendError> {
        let key = (instance.clone(), name.clone());
        let bytes = validate(&records, self.append_bytes_max)?;
        self.command(bytes + 256, |reply| JournalCommand::Append { key, records, bytes, reply })
            .await
            .map_err(|_| AppendError::Closed { journal: name.clone() })?
    }

    async fn read(
        &self,
        instance: &Instance,
        name: &Name,
        from: Position,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, JournalReadError> {
        let journal = self.find_or_create((instance.clone(), name.clone())).await?;
        let exists = journal.has_record_at(&journal.records(), from)?;
        if !exists {
            return Ok(Vec::new());
        }
        let closed = || JournalReadError::Backend { journal: name.clone(), cause: Box::new(StoreClosed) };
        let (reply, replied) = oneshot::channel();
        let reader = self.next_reader.fetch_add(1, Ordering::Relaxed) % self.reads.len();
        let read = JournalRead { journal, from, records_max, bytes_max, reply };
        self.reads[reader].push(read, 1).await.map_err(|_| closed())?;
        replied.await.map_err(|_| closed())?
    }

    async fn wait(&self, instance: &Instance, name: &Name, from: Position) -> Result<(), JournalReadError> {
        let key = (instance.clone(), name.clone());
        let mut journal = self.find_or_create(key.clone()).await?;
        let mut changed = journal.subscribe();
        loop {
            if journal.is_removed() {
                // The journal was created again: waiting at an old position is an error that says where the new one begins.
                journal = self.find_or_create(key.clone()).await?;
                changed = journal.subscribe();
            }
            let exists = journal.has_record_at(&journal.records(), from)?;
            if exists {
                return Ok(());
            }
            let ended = self.shared.has_ended() || changed.changed().await.is_err();
            if ended {
                return Err(JournalReadError::Backend {
                    journal: name.clone(),
                    cause: Box::new(StoreClosed),
                });
            }
        }
    }

    async fn info(&self, instance: &Instance, name: &Name) -> Result<JournalInfo, JournalReadError> {
        Ok(self.find_or_create((instance.clone(), name.clone())).await?.info())
    }

    async fn trim(&self, instance: &Instance, name: &Name, below: Position) -> Result<(), TrimError> {
        let failed =
            |cause: Box<dyn std::error::Error + Send + Sync>| TrimError { journal: name.clone(), cause };
        let key = (instance.clone(), name.clone());
        let journal = self.find_or_create(key).await.map_err(|error| failed(error.into()))?;
        if below.epoch != journal.epoch {
            let now = Position { epoch: journal.epoch, offset: journal.info().first };
            return Err(failed(JournalReadError::EpochChanged(now).into()));
        }
        let below = below.offset.0;
        self.command(256, |reply| JournalCommand::Trim { journal, below, reply })
            .await
            .map_err(|closed| failed(closed.into()))?
    }

    async fn remove(&self, instance: &Instance, name: &Name) -> Result<(), RemoveError> {
        let key = (instance.clone(), name.clone());
        self.command(256, |reply| JournalCommand::Remove { key, reply })
            .await
            .map_err(|closed| RemoveError { journal: name.clone(), cause: closed.into() })?
    }
}
