//! The writing thread: combines all waiting commands into one group, writes and flushes the group once, and only then
//! replies and makes the records visible.
//!
//! After a failed flush nobody can say what the device holds, and flushing again would report success for pages that the
//! system has dropped. So the log accepts nothing more until it is opened again. A full device is noticed when the next
//! segment is created, before anything of the group is written; then only that group is rejected.

mod command;
mod group;
mod segments;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BufMut;
use checked_files::{Damage, Health, Mark};
use state::{Epoch, Offset, Position, Record};
use supervision::{TurnOutcome, Turns, Unit, Wait};

pub(super) use self::command::JournalCommand;
use self::command::{JournalOutcome, WriteFailure};
use self::group::{FrameBuffer, GroupNumbers, Staged};
use self::segments::Segments;
use super::frame::{self, FrameKind};
use super::index::{JournalKey, JournalState, RecordIndex, Shared};
use super::recover::{Recovered, live_runs};
use super::segment::Spare;
use crate::metrics::Metrics;
use crate::options::JournalOptions;
use crate::platform;
use crate::queue::{Popped, Queue};

/// Longest time that a group waits for the callers of the group before it.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// What a writer starts with.
pub(super) struct Dependencies {
    pub(super) directory: PathBuf,
    pub(super) store: u32,
    pub(super) options: JournalOptions,
    pub(super) shared: Arc<Shared>,
    pub(super) spare: Spare,
    pub(super) recovered: Recovered,
    pub(super) mark: Mark,
    pub(super) health: Health,
    /// Which epochs callers know, see `index.rs`.
    pub(super) generation: u64,
    /// Random; see [`GroupNumbers::new`].
    pub(super) group_gap: u64,
    pub(super) metrics: Metrics,
}

pub(super) struct JournalWriter {
    directory: PathBuf,
    options: JournalOptions,
    shared: Arc<Shared>,
    segments: Segments,
    numbers: GroupNumbers,
    next_journal: u64,
    has_failed: bool,
    /// Mean time of a write and flush, and callers in the last group: they decide how long the next group gathers.
    flush_mean: Duration,
    callers: usize,
    frames: FrameBuffer,
    /// Up to which group writes were acknowledged.
    mark: Mark,
    health: Health,
    generation: u64,
    metrics: Metrics,
}

/// A writer and the queue of its commands.
pub(super) struct JournalWriterTurns {
    writer: JournalWriter,
    queue: Arc<Queue<JournalCommand>>,
    commands: Vec<JournalCommand>,
}

impl JournalWriterTurns {
    pub(super) fn new(writer: JournalWriter, queue: Arc<Queue<JournalCommand>>) -> Self {
        Self { writer, queue, commands: Vec::new() }
    }
}

impl Turns for JournalWriterTurns {
    /// Executes the waiting commands. Ends when the queue is closed and empty.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        let Self { writer, queue, commands } = self;
        match queue.pop_all(commands, wait.until(None)) {
            Popped::Items => {}
            Popped::Deadline => return TurnOutcome::Idle,
            Popped::Closed => {
                writer.shared.end();
                return TurnOutcome::Ended;
            }
        }
        unit.fault_point();
        writer.gather(queue, commands);
        while !commands.is_empty() {
            let group = writer.split_group(commands);
            writer.commit(group);
        }
        TurnOutcome::Worked
    }
}

impl JournalWriter {
    pub(super) fn new(dependencies: Dependencies) -> Self {
        let Dependencies { directory, store, options, shared, spare, recovered, .. } = dependencies;
        let Dependencies { mark, health, generation, group_gap, metrics, .. } = dependencies;
        let live_runs = live_runs(&recovered.journals);
        let next_journal = recovered.journals.iter().map(|journal| journal.id + 1).max().unwrap_or(1);
        for journal in recovered.journals {
            shared.insert(Arc::new(JournalState::new(
                journal.key,
                journal.id,
                journal.epoch,
                generation,
                journal.records,
            )));
        }
        let segments = Segments::new(
            directory.clone(),
            store,
            &options,
            shared.clone(),
            spare,
            recovered.segments,
            recovered.active,
            &live_runs,
            metrics.clone(),
        );
        Self {
            directory,
            options,
            shared,
            segments,
            numbers: GroupNumbers::new(recovered.last_group, group_gap),
            next_journal,
            has_failed: false,
            flush_mean: Duration::ZERO,
            callers: 1,
            frames: FrameBuffer::new(store),
            mark,
            health,
            generation,
            metrics,
        }
    }

    /// Waits a moment for the callers of the last group: its end woke them, and they are about to call again. Without
    /// this, two halves of them take turns, and each half pays for a flush of its own.
    fn gather(&mut self, queue: &Queue<JournalCommand>, commands: &mut Vec<JournalCommand>) {
        let patience = (self.flush_mean / 4).min(GATHER_MAX);
        let began = Instant::now();
        while commands.len() < self.callers && began.elapsed() < patience {
            std::thread::yield_now();
            queue.pop_present(commands);
        }
        self.callers = commands.len();
    }

    /// Removes as many commands from the front as fit into one group.
    fn split_group(&self, commands: &mut Vec<JournalCommand>) -> Vec<JournalCommand> {
        let mut bytes = 0;
        let fitting = commands
            .iter()
            .take_while(|command| {
                bytes += command.bytes();
                bytes <= self.options.group_bytes_max
            })
            .count();
        let rest = commands.split_off(fitting.max(1));
        std::mem::replace(commands, rest)
    }

    fn commit(&mut self, commands: Vec<JournalCommand>) {
        let bytes: usize = commands.iter().map(JournalCommand::bytes).sum();
        let begun = if self.has_failed || self.health.damage().is_some() {
            Err(WriteFailure::Closed)
        } else {
            self.begin_group(bytes as u64)
        };
        let position = match begun {
            Ok(position) => position,
            Err(failure) => {
                for command in commands {
                    command.reject(&failure);
                }
                return;
            }
        };
        let mut staged = Staged::default();
        let outcomes: Vec<_> =
            commands.into_iter().map(|command| self.stage(command, position, &mut staged)).collect();
        // A trim below the first record, for example, needs no frame.
        let written = if self.frames.is_empty() { Ok(()) } else { self.write_group(staged.appends) };
        if written.is_ok() {
            self.publish(staged);
        }
        self.metrics.journal_group_appends.observe(outcomes.len() as f64);
        for outcome in outcomes {
            outcome.send(written.as_ref().err());
        }
    }

    /// Makes sure that `bytes` fit into the active segment; if not, begins a new one. Returns where the group is written.
    fn begin_group(&mut self, bytes: u64) -> Result<u64, WriteFailure> {
        self.frames.clear();
        if let Some(active) = self.segments.begun_with_room(bytes) {
            return Ok(active.position);
        }
        let all = self.shared.all();
        let declarations: usize = all
            .iter()
            .map(|journal| frame::frame_bytes(frame::journal_payload_bytes(&journal.key.0, &journal.key.1)))
            .sum();
        let bytes = (frame::frame_bytes(8) + declarations) as u64 + bytes;
        if !self.segments.is_empty_with_room(bytes) {
            self.begin_segment(bytes)?;
        }
        let active = self.segments.active();
        let header = self.numbers.header(FrameKind::Segment, 0, 0, active.number);
        self.frames.put(&header, |payload| payload.put_u64_le(active.bytes));
        for journal in all {
            let info = journal.info();
            self.frames.put_journal(&self.numbers, &journal, info.first.0, info.next.0);
        }
        Ok(0)
    }

    /// Seals the active segment and begins the next one, of at least `bytes_min`.
    fn begin_segment(&mut self, bytes_min: u64) -> Result<(), WriteFailure> {
        let reserved = self.segments.reserve_next(bytes_min);
        let (file, bytes) = reserved.map_err(|error| self.failure(error))?;
        if let Err(error) = self.segments.seal(&mut self.numbers) {
            self.has_failed = true;
            return Err(self.failure(error));
        }
        let activated = self.segments.activate_next(file, bytes, self.numbers.durable);
        activated.map_err(|error| self.failure(error))
    }

    /// Puts a command's frames into the group.
    fn stage(&mut self, command: JournalCommand, position: u64, staged: &mut Staged) -> JournalOutcome {
        match command {
            JournalCommand::Append { key, records, reply, .. } => {
                let position = self.stage_append(&key, &records, position, staged);
                JournalOutcome::Append(key, reply, position)
            }
            JournalCommand::Create { key, reply } => {
                let journal = self.find_or_create(&key, staged);
                JournalOutcome::Create(key, reply, journal)
            }
            JournalCommand::Trim { journal, below, reply } => {
                // A journal that was removed in the meantime has no records to trim.
                if self.find(&journal.key, staged).is_some_and(|current| current.id == journal.id) {
                    self.stage_trim(&journal, below, staged);
                }
                JournalOutcome::Trim(journal.key.clone(), reply)
            }
            JournalCommand::Remove { key, reply } => {
                if let Some(journal) = self.find(&key, staged) {
                    let header =
                        self.numbers.header(FrameKind::Remove, journal.id, journal.stored_epoch.0, 0);
                    self.frames.put(&header, |_| {});
                    staged.removed.push(journal);
                }
                JournalOutcome::Remove(key, reply)
            }
        }
    }

    /// Returns the position of the first record. `group_position` is where the group is written in the segment.
    fn stage_append(
        &mut self,
        key: &JournalKey,
        records: &[Record],
        group_position: u64,
        staged: &mut Staged,
    ) -> Position {
        let journal = self.find_or_create(key, staged);
        let first = staged.change(&journal).next;
        let from = group_position + self.frames.len() as u64;
        for (record, offset) in records.iter().zip(first..) {
            let header = self.numbers.header(FrameKind::Record, journal.id, journal.stored_epoch.0, offset);
            self.frames.put(&header, |payload| frame::put_record(payload, record));
        }
        let to = group_position + self.frames.len() as u64;
        let segment = self.segments.active().number;
        staged.change(&journal).add(first, records.len() as u64, segment, from, to);
        staged.appends += 1;
        Position { epoch: journal.epoch, offset: Offset(first) }
    }

    fn stage_trim(&mut self, journal: &Arc<JournalState>, below: u64, staged: &mut Staged) {
        let change = staged.change(journal);
        let first = below.min(change.next);
        if first > change.first {
            change.first = first;
            let header = self.numbers.header(FrameKind::Trim, journal.id, journal.stored_epoch.0, first);
            self.frames.put(&header, |_| {});
        }
    }

    /// The journal with this key once the group, as composed so far, is durable.
    fn find(&self, key: &JournalKey, staged: &Staged) -> Option<Arc<JournalState>> {
        let exists =
            |journal: &Arc<JournalState>| staged.removed.iter().all(|removed| removed.id != journal.id);
        let created = staged.created.iter().find(|journal| journal.key == *key && exists(journal));
        created.cloned().or_else(|| self.shared.find(key).filter(exists))
    }

    fn find_or_create(&mut self, key: &JournalKey, staged: &mut Staged) -> Arc<JournalState> {
        if let Some(journal) = self.find(key, staged) {
            return journal;
        }
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        // A number is not used again, not even if the group fails: gaps do no harm.
        let journal = Arc::new(JournalState::new(
            key.clone(),
            self.next_journal,
            Epoch(high ^ low),
            self.generation,
            RecordIndex::default(),
        ));
        self.next_journal += 1;
        self.frames.put_journal(&self.numbers, &journal, 0, 0);
        staged.created.push(journal.clone());
        journal
    }

    /// Makes the group durable.
    fn write_group(&mut self, appends: u64) -> Result<(), WriteFailure> {
        let began = Instant::now();
        let active = self.segments.active();
        let bytes = self.frames.finish();
        if let Err(error) = platform::write_at(&active.file, bytes, active.position) {
            // The next group overwrites what was written of this one, under a number of its own.
            self.numbers.abandon();
            return Err(self.failure(error));
        }
        if let Err(error) = platform::sync_data(&active.file) {
            self.has_failed = true;
            return Err(self.failure(error));
        }
        self.segments.advance(bytes.len() as u64);
        self.numbers.commit();
        if let Err(error) = self.mark.write(self.numbers.durable) {
            // What was written is durable; but a later loss of it could not be detected.
            self.has_failed = true;
            let file = self.directory.with_extension("mark");
            self.health.set_damaged(Damage::Mark { file, what: error.to_string() });
        }
        let took = began.elapsed();
        self.flush_mean = if self.flush_mean.is_zero() { took } else { (self.flush_mean * 7 + took) / 8 };
        self.metrics.journal_flushes.inc();
        self.metrics.journal_flush_seconds.observe(took.as_secs_f64());
        self.metrics.journal_append_bytes.inc_by(self.frames.len() as u64);
        self.metrics.journal_appends.inc_by(appends);
        self.frames.shrink(2 * self.options.group_bytes_max);
        Ok(())
    }

    /// Makes a durable group visible to readers.
    fn publish(&mut self, staged: Staged) {
        for journal in staged.created {
            self.shared.insert(journal);
        }
        for change in staged.changed.into_values() {
            let journal = change.journal;
            let mut records = journal.records();
            for run in change.runs {
                let is_new = records.extend(run);
                self.segments.add_run(journal.id, journal.stored_epoch.0, run, is_new);
            }
            let dead = records.trim(change.first);
            drop(records);
            self.segments.release(&dead);
            journal.announce();
        }
        for journal in staged.removed {
            let dead = self.shared.remove(&journal);
            self.segments.release(&dead);
        }
        self.segments.delete_empty();
    }

    /// What a failed write means for its callers and for the log: on a full device only this group is rejected; any other
    /// error closes the log, because nobody can say what the device holds.
    fn failure(&mut self, error: io::Error) -> WriteFailure {
        if !self.has_failed && platform::is_no_space(&error) {
            tracing::warn!(%error, "no space left for the journal; it rejects appends until there is space");
            return WriteFailure::NoSpace(Arc::new(error));
        }
        self.has_failed = true;
        tracing::error!(%error, "cannot write the journal; it accepts nothing more until the next start");
        self.shared.end();
        WriteFailure::Unknown(Arc::new(error))
    }
}
