//! [`WriterThread`]: the one thread that writes, and its group commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use checked_files::CheckedDatabase;
use rusqlite::TransactionBehavior;
use supervision::{Supervisor, Thread, TurnOutcome, Turns, Unit, Wait, is_mutated};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::reserve::DiskReserve;
use super::write_time::WriteTime;
use super::{ChangeRejection, ChangeResult, Clock, StoreChange, apply};
use crate::catalog::Catalog;
use crate::decide::Verb;
use crate::error::RequestFailure;
use crate::error_table;
use crate::hints::Hints;
use crate::metrics::Metrics;
use crate::{Error, Options};

type ResultSender = oneshot::Sender<Result<ChangeResult, ChangeRejection>>;

struct WriteJob {
    change: StoreChange,
    answer: ResultSender,
    /// The job's share of the queue's bytes, released when it is done.
    _bytes: OwnedSemaphorePermit,
}

/// The state of the writer thread.
pub(super) struct WriterContext {
    pub(super) database: CheckedDatabase,
    pub(super) account: String,
    pub(super) catalog: Catalog,
    pub(super) hints: Hints,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    /// Disk space for deletes on a full disk.
    pub(super) reserve: DiskReserve,
    /// When the full disk was last logged.
    pub(super) full_disk_logged: Option<Instant>,
}

/// How often a full disk is logged.
const FULL_DISK_EVERY: Duration = Duration::from_secs(60);

/// Free space, beyond the size of a group, that is required while there is no reserve.
const LOW_MARGIN_BYTES: u64 = 256 * 1024;

/// Size of a page of the file, in bytes.
const PAGE_BYTES: u64 = 4096;

/// The writer's queue and thread.
#[derive(Debug)]
pub(super) struct WriterThread {
    /// None once stopped.
    queue: Mutex<Option<SyncSender<WriteJob>>>,
    bytes: Arc<Semaphore>,
    thread: Mutex<Option<Thread>>,
    metrics: Metrics,
}

struct WriterLimits {
    group_max: usize,
    sweep_interval: Duration,
    sweep_items_max: usize,
}

impl WriterThread {
    pub(super) fn start(
        options: &Options,
        context: WriterContext,
        supervisor: &Supervisor,
    ) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(options.write_queue_requests_max);
        let limits = WriterLimits {
            group_max: options.write_group_requests_max,
            sweep_interval: Duration::from_millis(options.sweep_interval_ms),
            sweep_items_max: options.sweep_items_max,
        };
        let metrics = context.metrics.clone();
        let builder = thread::Builder::new().stack_size(super::stack::STACK_BYTES);
        let turns = move || WriterTurns {
            sweep_due: Instant::now() + limits.sweep_interval,
            context,
            jobs,
            limits,
            held_back: None,
        };
        let thread = supervisor.essential_turns(builder, "documents writer", turns).map_err(Error::Thread)?;
        let bytes = options.write_queue_bytes_max.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            bytes: Arc::new(Semaphore::new(bytes)),
            thread: Mutex::new(Some(thread)),
            metrics,
        })
    }

    pub(super) fn send(
        &self,
        change: StoreChange,
        bytes: usize,
        answer: ResultSender,
    ) -> Result<(), RequestFailure> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit =
            Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| RequestFailure::busy())?;
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = WriteJob { change, answer, _bytes: permit };
        let queue = queue.as_ref().ok_or_else(RequestFailure::closing)?;
        self.metrics.write_queue().inc();
        match queue.try_send(job) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.metrics.write_queue().dec();
                Err(match error {
                    TrySendError::Full(_) => RequestFailure::busy(),
                    TrySendError::Disconnected(_) => RequestFailure::closing(),
                })
            }
        }
    }

    /// Lets the thread finish what is queued, and waits for it.
    pub(super) fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the documents writer panicked; this is a defect");
        }
    }
}

/// The writer's work, in turns.
struct WriterTurns {
    context: WriterContext,
    jobs: Receiver<WriteJob>,
    limits: WriterLimits,
    sweep_due: Instant,
    /// Received, but not for the group that was written last.
    held_back: Option<WriteJob>,
}

impl Turns for WriterTurns {
    /// Writes one group. Ends when the queue is closed and empty.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        let turned = match self.next_job(wait) {
            Ok(first) => {
                unit.fault_point();
                let group = self.group(first);
                commit_group(&mut self.context, group);
                TurnOutcome::Worked
            }
            Err(RecvTimeoutError::Timeout) => TurnOutcome::Idle,
            Err(RecvTimeoutError::Disconnected) => return TurnOutcome::Ended,
        };
        if Instant::now() >= self.sweep_due {
            sweep(&self.context, self.limits.sweep_items_max);
            self.sweep_due = Instant::now() + self.limits.sweep_interval;
        }
        turned
    }
}

impl WriterTurns {
    fn next_job(&mut self, wait: Wait) -> Result<WriteJob, RecvTimeoutError> {
        if let Some(job) = self.held_back.take() {
            return Ok(job);
        }
        let until = wait.until(Some(self.sweep_due)).unwrap_or(self.sweep_due);
        self.jobs.recv_timeout(until.saturating_duration_since(Instant::now()))
    }

    /// The changes that are written together. A change of a definition is a group of its own, so that later items are validated by
    /// the new one.
    fn group(&mut self, first: WriteJob) -> Vec<WriteJob> {
        let mut group = vec![first];
        while group.len() < self.limits.group_max && group[0].change.is_of_items() {
            match self.jobs.try_recv() {
                Ok(job) if job.change.is_of_items() => group.push(job),
                Ok(job) => {
                    self.held_back = Some(job);
                    break;
                }
                Err(_) => break,
            }
        }
        group
    }
}

impl StoreChange {
    fn is_of_items(&self) -> bool {
        matches!(self, Self::Items { .. } | Self::DeletePartition { .. })
    }

    /// Whether it only deletes.
    fn frees_space(&self) -> bool {
        match self {
            Self::DeleteDatabase { .. } | Self::DeleteContainer { .. } | Self::DeletePartition { .. } => true,
            Self::Items { operations, .. } => {
                operations.iter().all(|operation| operation.verb == Verb::Delete)
            }
            _ => false,
        }
    }
}

/// Executes the jobs in one transaction, and sends their results when it is on disk.
fn commit_group(context: &mut WriterContext, group: Vec<WriteJob>) {
    let began = Instant::now();
    context.metrics.write_queue().dec_by(i64::try_from(group.len()).unwrap_or(i64::MAX));
    let definitions_change = group.iter().any(|job| !job.change.is_of_items());
    let (changes, answers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|job| (job.change, (job.answer, job._bytes))).unzip();
    let bytes = answers.iter().map(|(_, bytes)| bytes.num_permits()).sum();
    let applied = apply_with_reserve(context, changes, bytes);
    log_full_disk(context, &applied);
    let results = match applied {
        Ok(results) => results,
        Err(failure) => {
            // Nothing of the group was stored: all jobs get the same error.
            for (answer, _bytes) in answers {
                let _ = answer.send(Err(failure.clone().into()));
            }
            return;
        }
    };
    context.metrics.committed(results.len(), began.elapsed());
    if definitions_change {
        match apply::load_catalog(&context.database.connection, &context.account) {
            Ok(snapshot) => context.catalog.replace(snapshot),
            Err(error) => tracing::error!(%error, "cannot read databases and containers after a change"),
        }
    }
    for (path, lsn) in results.iter().filter_map(|result| result.as_ref().ok()?.1.as_ref()) {
        context.hints.publish(path, *lsn);
    }
    for ((answer, _bytes), result) in answers.into_iter().zip(results) {
        // The client may have disconnected; its change is executed anyway.
        let _ = answer.send(result.map(|(changed, _)| changed));
    }
}

fn log_full_disk(
    context: &mut WriterContext,
    applied: &Result<Vec<Result<Applied, ChangeRejection>>, RequestFailure>,
) {
    let is_full = |failure: &RequestFailure| *failure.error == error_table::INSUFFICIENT_STORAGE;
    let met = match applied {
        Ok(results) => {
            results.iter().filter_map(|result| result.as_ref().err()).any(|refusal| is_full(&refusal.failure))
        }
        Err(failure) => is_full(failure),
    };
    if met && context.full_disk_logged.is_none_or(|told| told.elapsed() >= FULL_DISK_EVERY) {
        context.full_disk_logged = Some(Instant::now());
        tracing::error!(
            file = %context.database.path().display(),
            "the disk that holds the documents is full; writes get 507 until there is space (logged once a minute)"
        );
    }
}

/// Applies a group. On a full disk, only changes that free space are applied, with the reserved space.
fn apply_with_reserve(
    context: &mut WriterContext,
    changes: Vec<StoreChange>,
    bytes: usize,
) -> Result<Vec<Result<Applied, ChangeRejection>>, RequestFailure> {
    let freeing: Vec<_> = changes.iter().map(|change| change.frees_space().then(|| change.clone())).collect();
    context.reserve.restore();
    let was_low = context.reserve.is_low();
    let mut has_space = !was_low || has_free_pages(context, bytes);
    if !has_space {
        context.reserve.restore_now();
        has_space = !context.reserve.is_low();
    }
    let mut applied =
        if has_space { apply_caught(context, changes) } else { Err(RequestFailure::disk_full()) };
    let is_full = applied.as_ref().is_err_and(|failure| *failure.error == error_table::INSUFFICIENT_STORAGE);
    if is_full && freeing.iter().any(Option::is_some) && (context.reserve.release() || was_low) {
        let is_freeing: Vec<bool> = freeing.iter().map(Option::is_some).collect();
        applied = apply_caught(context, freeing.into_iter().flatten().collect()).map(|freed| {
            let mut freed = freed.into_iter();
            let refused = || Err(RequestFailure::disk_full().into());
            is_freeing
                .into_iter()
                .map(|is| if is { freed.next() } else { None }.unwrap_or_else(refused))
                .collect()
        });
    }
    if context.reserve.is_low() {
        truncate_log(&context.database.connection);
    }
    applied
}

/// Whether the file has enough free pages for a group of this size, so that it need not grow.
fn has_free_pages(context: &WriterContext, bytes: usize) -> bool {
    let connection = &context.database.connection;
    let free = connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    // Pages are not filled completely, and indexes grow too.
    let wanted = 2 * bytes as u64 + LOW_MARGIN_BYTES;
    free.is_ok_and(|pages| u64::try_from(pages).unwrap_or(0) * PAGE_BYTES >= wanted)
}

/// Moves the write-ahead log into the file and truncates it, without a long wait for readers.
fn truncate_log(connection: &rusqlite::Connection) {
    let cut = || {
        connection.busy_timeout(Duration::from_millis(50))?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    if let Err(error) = cut() {
        tracing::debug!(%error, "cannot truncate the write-ahead log yet");
    }
    // An open connection accepts any timeout.
    let _ = connection.busy_timeout(Duration::from_secs(5));
}

/// A panic in one group rolls that group back, and must not end the writer.
fn apply_caught(
    context: &mut WriterContext,
    changes: Vec<StoreChange>,
) -> Result<Vec<Result<Applied, ChangeRejection>>, RequestFailure> {
    catch_unwind(AssertUnwindSafe(|| apply_group(context, changes))).unwrap_or_else(|_| {
        tracing::error!("a write of documents panicked; nothing of its group was stored; this is a defect");
        Err(RequestFailure::new(
            &error_table::UNAVAILABLE,
            "The write failed because of a defect of the service and was not stored. The log has the details.",
        ))
    })
}

/// The result of a change, and the changed container with its new LSN.
type Applied = (ChangeResult, Option<(String, u64)>);

fn apply_group(
    context: &mut WriterContext,
    changes: Vec<StoreChange>,
) -> Result<Vec<Result<Applied, ChangeRejection>>, RequestFailure> {
    if context.database.health.damage().is_some() {
        return Err(RequestFailure::read_only());
    }
    let catalog = context.catalog.now();
    let now = WriteTime { ts: context.clock.seconds(), ns: context.clock.nanoseconds() };
    let mut transaction =
        context.database.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(changes.len());
    let changes_items = changes.iter().any(StoreChange::is_of_items);
    for change in changes {
        let savepoint = transaction.savepoint()?;
        let result = apply::apply(&savepoint, &catalog, &context.account, change, now);
        if savepoint.is_autocommit() {
            // On a full disk SQLite rolls back the whole transaction, including the earlier changes.
            let full = result.err().map_or_else(RequestFailure::closing, |refusal| refusal.failure);
            return Err(full);
        }
        match result {
            Ok(_) => savepoint.commit()?,
            Err(_) => drop(savepoint),
        }
        results.push(result);
    }
    let sequence = CheckedDatabase::count_commit(&transaction)?;
    if is_mutated("write-not-committed") && changes_items {
        return Ok(results);
    }
    transaction.commit()?;
    context.database.acknowledge(sequence);
    Ok(results)
}

/// Removes a limited number of expired items.
fn sweep(context: &WriterContext, items_max: usize) {
    if context.database.health.damage().is_some() {
        return;
    }
    match apply::sweep(&context.database.connection, context.clock.seconds(), items_max) {
        Ok(0) => {}
        Ok(removed) => tracing::debug!(removed, "removed expired items"),
        Err(error) => tracing::warn!(%error, "cannot remove expired items; the next sweep tries again"),
    }
    if let Ok(file) = std::fs::metadata(context.database.path()) {
        context.metrics.database_bytes(file.len());
    }
}
