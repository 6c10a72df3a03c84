//! The writing thread: executes all waiting commands in order, commits them in one transaction, and only then replies.
//!
//! SessionKeys keys are staged beside the transaction and moved to memory after its commit, under the lock that readers take
//! too. So a batch takes effect completely or not at all, in both places, for every reader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checked_files::CheckedDatabase;
use state::Version;
use supervision::{TurnOutcome, Turns, Unit, Wait};

use super::command::{BatchFailed, RegistryCommand};
use super::session::Shared;
use super::tables::Counters;
use super::transaction::{Transaction, WriteBatch, WriterState};
use crate::error::WriteFailedBefore;
use crate::metrics::Metrics;
use crate::queue::{Popped, Queue};

/// How often the writer looks for expired keys, while there are keys that can expire.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

pub(super) struct RegistryWriter {
    database: CheckedDatabase,
    state: WriterState,
    shared: Arc<Shared>,
    /// A commit failed so that nobody can say what the device holds.
    has_failed: bool,
    metrics: Metrics,
}

/// A writer and the queue of its commands.
pub(super) struct RegistryWriterTurns {
    writer: RegistryWriter,
    queue: Arc<Queue<RegistryCommand>>,
    commands: Vec<RegistryCommand>,
    /// When expired keys were last removed.
    swept: Instant,
}

impl RegistryWriterTurns {
    pub(super) fn new(writer: RegistryWriter, queue: Arc<Queue<RegistryCommand>>) -> Self {
        Self { writer, queue, commands: Vec::new(), swept: Instant::now() }
    }
}

impl Turns for RegistryWriterTurns {
    /// Executes the waiting commands, and removes expired keys. Ends when the queue is closed and empty.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        let Self { writer, queue, commands, swept } = self;
        let expires = writer.state.has_expiring || !writer.state.session_expiry.is_empty();
        let popped = queue.pop_all(commands, wait.until(expires.then(|| *swept + SWEEP_EVERY)));
        if popped == Popped::Closed {
            writer.shared.close_watches();
            return TurnOutcome::Ended;
        }
        unit.fault_point();
        writer.execute(commands);
        if expires && swept.elapsed() >= SWEEP_EVERY {
            writer.sweep();
            *swept = Instant::now();
        }
        if popped == Popped::Items { TurnOutcome::Worked } else { TurnOutcome::Idle }
    }
}

impl RegistryWriter {
    pub(super) fn new(
        database: CheckedDatabase,
        counters: Counters,
        shared: Arc<Shared>,
        metrics: Metrics,
    ) -> Self {
        let next_version = counters.version_limit + 1;
        let state =
            WriterState { counters, next_version, session_expiry: BTreeSet::new(), has_expiring: true };
        Self { database, state, shared, has_failed: false, metrics }
    }

    /// Executes and commits `commands`, then replies to their callers.
    fn execute(&mut self, commands: &mut Vec<RegistryCommand>) {
        if commands.is_empty() {
            return;
        }
        let mut batch = WriteBatch::default();
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut failed = self.has_failed.then(|| BatchFailed(Arc::new(WriteFailedBefore)));
        if let Some(damage) = self.database.health.damage() {
            failed = Some(BatchFailed(Arc::new(damage.clone())));
        }
        for command in commands.drain(..) {
            if failed.is_some() {
                outcomes.push(command.not_executed());
                continue;
            }
            let (outcome, failure) = self.transaction(&mut batch).execute(command);
            failed = failure.map(|error| {
                self.note_damage(&error);
                BatchFailed(Arc::new(error))
            });
            outcomes.push(outcome);
        }
        let failed = match failed {
            Some(failed) => {
                self.roll_back(&batch);
                Some(failed)
            }
            None => self.commit(batch).err(),
        };
        for outcome in outcomes {
            outcome.send(failed.as_ref());
        }
    }

    fn transaction<'w>(&'w mut self, batch: &'w mut WriteBatch) -> Transaction<'w> {
        Transaction {
            connection: &self.database.connection,
            shared: &self.shared,
            state: &mut self.state,
            batch,
        }
    }

    /// Removes what has expired.
    fn sweep(&mut self) {
        if self.has_failed || self.database.health.damage().is_some() {
            return;
        }
        let mut batch = WriteBatch::default();
        match self.transaction(&mut batch).expire() {
            // `commit` notes and logs its failure; the next sweep tries again.
            Ok(()) => drop(self.commit(batch)),
            Err(error) => {
                self.note_damage(&error);
                tracing::warn!(%error, "cannot remove expired keys; they stay invisible");
                self.roll_back(&batch);
            }
        }
    }

    /// Makes the batch durable, then visible, then notifies the watchers.
    fn commit(&mut self, batch: WriteBatch) -> Result<(), BatchFailed> {
        {
            let shared = self.shared.clone();
            let mut session = shared.session_mut();
            if batch.is_durable
                && let Err(error) = self.commit_transaction()
            {
                drop(session);
                self.note_damage(&error);
                self.has_failed |= leaves_doubt(&error);
                self.roll_back(&batch);
                tracing::error!(%error, "cannot commit a transaction of the registry");
                return Err(BatchFailed(Arc::new(error)));
            }
            for (key, stored) in batch.staged {
                match stored {
                    Some(stored) => session.keys.insert(key, stored),
                    None => session.keys.remove(&key),
                };
            }
            session.applied = Version(self.state.next_version - 1);
        }
        let counters = &mut self.state.counters;
        counters.version_limit = batch.version_limit.unwrap_or(counters.version_limit);
        counters.fence = batch.fence.unwrap_or(counters.fence);
        let overflows = self.shared.publish(&batch.changes);
        self.metrics.registry_writes.inc_by(batch.changes.len() as u64 - batch.expired);
        self.metrics.registry_expired.inc_by(batch.expired);
        self.metrics.registry_watch_resets.inc_by(overflows);
        self.metrics.lease_acquisitions.inc_by(batch.acquisitions);
        Ok(())
    }

    fn commit_transaction(&mut self) -> rusqlite::Result<()> {
        let began = Instant::now();
        let connection = &self.database.connection;
        let sequence = CheckedDatabase::count_commit(connection)?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        self.database.acknowledge(sequence);
        self.metrics.registry_commits.inc();
        self.metrics.registry_commit_seconds.observe(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Damage that a write finds ends all writing: nobody knows what else is damaged.
    fn note_damage(&self, error: &rusqlite::Error) {
        self.database.health.note(self.database.path(), error);
    }

    fn roll_back(&self, batch: &WriteBatch) {
        // SQLite may have rolled back by itself; then there is nothing left to do.
        if batch.is_durable
            && !self.database.connection.is_autocommit()
            && let Err(error) = self.database.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "cannot roll back a transaction of the registry");
        }
    }
}

/// Whether a failed commit may have reached the device. A full device fails cleanly. After any other failed write or flush,
/// a second attempt would report success for pages that the system has dropped.
fn leaves_doubt(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::DatabaseBusy)
    )
}
