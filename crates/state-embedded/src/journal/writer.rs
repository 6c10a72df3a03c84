//! The writing thread: takes all commands that wait, puts them into one group, writes and flushes it once, and only then
//! lets anybody know.
//!
//! After a failed flush nobody can say what the device holds, and flushing again would report success for pages that the
//! system has dropped. So the log takes nothing more until it is opened anew. A full device is met when the next segment
//! is made, before anything of the group is written; then only that group is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BufMut;
use checked_files::{Damage, Health, Mark};
use state::{AppendError, Epoch, Offset, Position, Record, RemoveError, TrimError};
use supervision::Unit;
use tokio::sync::oneshot;

use super::frame::{self, Head, Kind};
use super::index::{Extent, Home, Kept, Run, Shared, note};
use super::recover::{Recovered, live_runs};
use super::segment::{self, Index, Spare};
use crate::error::WriteFailedBefore;
use crate::metrics::Metrics;
use crate::options::JournalOptions;
use crate::platform;
use crate::queue::{Queue, Taken};

/// Longest time that a group waits for callers that were in the last one.
const GATHER_MAX: Duration = Duration::from_millis(1);

/// What can be written.
pub(super) enum Command {
    /// Appends records, making the journal where there is none.
    Append {
        home: Home,
        records: Vec<Record>,
        bytes: usize,
        reply: oneshot::Sender<Result<Position, AppendError>>,
    },
    /// Makes the journal where there is none.
    Make { home: Home, reply: oneshot::Sender<Result<Arc<Kept>, AppendError>> },
    /// Forgets records below a position.
    Trim { kept: Arc<Kept>, below: u64, reply: oneshot::Sender<Result<(), TrimError>> },
    /// Removes the journal where there is one.
    Remove { home: Home, reply: oneshot::Sender<Result<(), RemoveError>> },
}

/// A command that is in the group, not yet told to its caller because it is not yet durable.
enum Outcome {
    Append(Home, oneshot::Sender<Result<Position, AppendError>>, Position),
    Make(Home, oneshot::Sender<Result<Arc<Kept>, AppendError>>, Arc<Kept>),
    Trim(Home, oneshot::Sender<Result<(), TrimError>>),
    Remove(Home, oneshot::Sender<Result<(), RemoveError>>),
}

/// Why a group was not written.
#[derive(Clone, Debug)]
enum Failure {
    NoSpace(Arc<io::Error>),
    Closed,
    Unknown(Arc<io::Error>),
}

pub(super) struct Writer {
    directory: PathBuf,
    store: u32,
    options: JournalOptions,
    shared: Arc<Shared>,
    spare: Spare,
    active: Option<Active>,
    /// Full segments: their size in bytes and how many runs of records are still wanted.
    sealed: BTreeMap<u64, Sealed>,
    /// The last group that is durable, and the number of the next.
    before: u64,
    group: u64,
    next_journal: u64,
    has_failed: bool,
    /// Mean time of a write and flush, and callers in the last group: by these the next group gathers.
    flush_mean: Duration,
    callers: usize,
    /// The group that is being made, and where its last frame begins.
    buffer: Vec<u8>,
    last_frame: usize,
    /// Up to which group writes were acknowledged.
    mark: Mark,
    health: Health,
    /// Which epochs callers know, see `index.rs`.
    generation: u64,
    metrics: Metrics,
}

/// The segment that is written to.
struct Active {
    number: u64,
    file: Arc<File>,
    bytes: u64,
    position: u64,
    is_sealed: bool,
    live_runs: u64,
    runs: Vec<(u64, u64, Run)>,
}

struct Sealed {
    bytes: u64,
    live_runs: u64,
}

/// What a group does once it is durable.
#[derive(Default)]
struct Staged {
    made: Vec<Arc<Kept>>,
    removed: Vec<Arc<Kept>>,
    changed: BTreeMap<u64, Change>,
    appends: u64,
}

/// What a group does to one journal.
struct Change {
    kept: Arc<Kept>,
    next: u64,
    first: u64,
    runs: Vec<Run>,
}

impl Writer {
    #[allow(clippy::too_many_arguments)] // Called once, by the opening that has just made all of these.
    pub(super) fn new(
        directory: PathBuf,
        store: u32,
        options: JournalOptions,
        shared: Arc<Shared>,
        spare: Spare,
        recovered: Recovered,
        mark: Mark,
        health: Health,
        generation: u64,
        group_gap: u64,
        metrics: Metrics,
    ) -> Self {
        let live = live_runs(&recovered.journals);
        let live_of = |number: &u64| live.get(number).copied().unwrap_or(0);
        let next_journal = recovered.journals.iter().map(|journal| journal.id + 1).max().unwrap_or(1);
        for journal in recovered.journals {
            shared.insert(Arc::new(Kept::new(
                journal.home,
                journal.id,
                journal.epoch,
                generation,
                journal.extent,
            )));
        }
        let mut sealed = BTreeMap::new();
        let mut active = None;
        for (number, (file, bytes)) in recovered.segments {
            let file = Arc::new(file);
            shared.add_segment(number, file.clone());
            match &recovered.active {
                Some(found) if found.number == number => {
                    active = Some(Active {
                        number,
                        file,
                        bytes,
                        position: found.position,
                        is_sealed: found.is_sealed,
                        live_runs: live_of(&number),
                        runs: found.runs.clone(),
                    });
                }
                _ => drop(sealed.insert(number, Sealed { bytes, live_runs: live_of(&number) })),
            }
        }
        let mut writer = Self {
            directory,
            store,
            options,
            shared,
            spare,
            active,
            sealed,
            before: recovered.last_group,
            // Numbers of torn groups of earlier lives must not come again.
            group: recovered.last_group + 1 + group_gap,
            next_journal,
            has_failed: false,
            flush_mean: Duration::ZERO,
            callers: 1,
            buffer: Vec::new(),
            last_frame: 0,
            mark,
            health,
            generation,
            metrics,
        };
        writer.drop_empty_segments();
        writer
    }

    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue<Command>, unit: &Unit) {
        let mut commands = Vec::new();
        while queue.take(&mut commands, None) == Taken::Items {
            unit.fault_point();
            self.gather(queue, &mut commands);
            while !commands.is_empty() {
                let group = self.cut_group(&mut commands);
                self.carry_out(group);
            }
        }
        self.shared.end();
    }

    /// Waits a moment for callers of the last group: they were woken by its end and are about to come again. Without
    /// this, two halves of them take turns, and each pays for two flushes.
    fn gather(&mut self, queue: &Queue<Command>, commands: &mut Vec<Command>) {
        let patience = (self.flush_mean / 4).min(GATHER_MAX);
        let began = Instant::now();
        while commands.len() < self.callers && began.elapsed() < patience {
            std::thread::yield_now();
            queue.take_present(commands);
        }
        self.callers = commands.len();
    }

    /// Takes as many commands as one group may hold from the front.
    fn cut_group(&self, commands: &mut Vec<Command>) -> Vec<Command> {
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

    fn carry_out(&mut self, commands: Vec<Command>) {
        if self.has_failed || self.health.damage().is_some() {
            for command in commands {
                command.refuse(&Failure::Closed);
            }
            return;
        }
        let bytes: usize = commands.iter().map(Command::bytes).sum();
        let position = match self.begin_group(bytes as u64) {
            Ok(position) => position,
            Err(failure) => {
                for command in commands {
                    command.refuse(&failure);
                }
                return;
            }
        };
        let mut staged = Staged::default();
        let outcomes: Vec<_> =
            commands.into_iter().map(|command| self.stage(command, position, &mut staged)).collect();
        // Nothing to write is what a trim below the first record comes to.
        let written = if self.buffer.is_empty() { Ok(()) } else { self.write_group(staged.appends) };
        if written.is_ok() {
            self.publish(staged);
        }
        self.metrics.journal_group_appends.observe(outcomes.len() as f64);
        for outcome in outcomes {
            outcome.send(written.as_ref().err());
        }
    }

    /// Makes sure that the active segment has room, beginning a new one where it has not. Answers where the group goes.
    fn begin_group(&mut self, bytes: u64) -> Result<u64, Failure> {
        self.buffer.clear();
        let seal = frame::frame_bytes(0) as u64;
        let has_room = |active: &&Active, bytes| active.position + bytes + seal <= active.bytes;
        if let Some(active) = self.active.as_ref().filter(|active| has_room(active, bytes))
            && !active.is_sealed
            && active.position > 0
        {
            return Ok(active.position);
        }
        let all = self.shared.all();
        let catalogue: usize = all
            .iter()
            .map(|kept| frame::frame_bytes(frame::journal_payload_bytes(&kept.home.0, &kept.home.1)))
            .sum();
        let bytes = (frame::frame_bytes(8) + catalogue) as u64 + bytes;
        // A segment whose first group failed is empty and can be used yet.
        let is_empty =
            self.active.as_ref().is_some_and(|active| active.position == 0 && has_room(&active, bytes));
        if !is_empty {
            self.roll(bytes + seal).map_err(|error| self.failure(error))?;
        }
        let active = self.active.as_ref().expect("rolling makes an active segment");
        let (number, bytes) = (active.number, active.bytes);
        self.put(self.head(Kind::Segment, 0, 0, number), |payload| payload.put_u64_le(bytes));
        for kept in all {
            let info = kept.info();
            self.put_journal(&kept, info.first.0, info.next.0);
        }
        Ok(0)
    }

    /// Ends the active segment and begins the next one, of at least `bytes_min`.
    fn roll(&mut self, bytes_min: u64) -> io::Result<()> {
        let bytes = self.next_segment_bytes();
        let (file, bytes) = self.spare.take(bytes_min, bytes)?;
        let number = self.active.as_ref().map_or(1, |active| active.number + 1);
        self.seal()?;
        segment::install_spare(&self.directory, number)?;
        let file = Arc::new(file);
        self.shared.add_segment(number, file.clone());
        if let Some(unused) = self.active.take_if(|active| active.position == 0) {
            // Too small for its first group; nothing of it was ever durable.
            drop(self.shared.remove_segment(unused.number));
            segment::remove(&self.directory, unused.number);
        }
        if let Some(full) = self.active.take() {
            let index = Index { last_group: self.before, runs: full.runs };
            if let Err(error) = index.write(&self.directory, full.number, self.store) {
                tracing::warn!(%error, "an index of the journal could not be written; the next start reads more");
            }
            self.sealed.insert(full.number, Sealed { bytes: full.bytes, live_runs: full.live_runs });
        }
        self.active = Some(Active {
            number,
            file,
            bytes,
            position: 0,
            is_sealed: false,
            live_runs: 0,
            runs: Vec::new(),
        });
        Ok(())
    }

    /// Writes the last frame of the active segment, so that a later opening knows that the log goes on elsewhere.
    fn seal(&mut self) -> io::Result<()> {
        let head = Head { is_last: true, ..self.head(Kind::Seal, 0, 0, 0) };
        let Some(active) = self.active.as_mut().filter(|active| !active.is_sealed && active.position > 0)
        else {
            return Ok(());
        };
        let mut buffer = Vec::new();
        frame::put(&mut buffer, self.store, &head, |_| {});
        let written = platform::write_at(&active.file, &buffer, active.position)
            .and_then(|()| platform::sync_data(&active.file));
        if let Err(error) = written {
            self.has_failed = true;
            return Err(error);
        }
        active.is_sealed = true;
        self.before = self.group;
        self.group += 1;
        Ok(())
    }

    fn next_segment_bytes(&self) -> u64 {
        const SMALLEST: u64 = 64 << 10;
        let largest = self.options.segment_bytes.max(SMALLEST);
        let next = match &self.active {
            Some(active) => active.bytes.saturating_mul(2),
            None => self.options.segment_bytes_first,
        };
        next.clamp(SMALLEST, largest)
    }

    const fn head(&self, kind: Kind, journal: u64, epoch: u64, offset: u64) -> Head {
        Head { kind, is_last: false, group: self.group, before: self.before, journal, epoch, offset }
    }

    /// Adds a frame to the group.
    fn put(&mut self, head: Head, payload: impl FnOnce(&mut Vec<u8>)) {
        self.last_frame = self.buffer.len();
        frame::put(&mut self.buffer, self.store, &head, payload);
    }

    fn put_journal(&mut self, kept: &Kept, first: u64, next: u64) {
        let (instance, name) = &kept.home;
        self.put(self.head(Kind::Journal, kept.id, kept.stored_epoch.0, first), |payload| {
            frame::put_journal(payload, next, instance, name);
        });
    }

    /// Puts a command's frames into the group.
    fn stage(&mut self, command: Command, position: u64, staged: &mut Staged) -> Outcome {
        match command {
            Command::Append { home, records, reply, .. } => {
                let kept = self.find_or_make(&home, staged);
                let first = staged.change(&kept).next;
                let at = position + self.buffer.len() as u64;
                for (record, offset) in records.iter().zip(first..) {
                    let head = self.head(Kind::Record, kept.id, kept.stored_epoch.0, offset);
                    self.put(head, |payload| frame::put_record(payload, record));
                }
                let number = self.active.as_ref().expect("a group has a segment").number;
                let to = position + self.buffer.len() as u64;
                staged.change(&kept).add(first, records.len() as u64, number, at, to);
                staged.appends += 1;
                Outcome::Append(home, reply, Position { epoch: kept.epoch, offset: Offset(first) })
            }
            Command::Make { home, reply } => {
                let kept = self.find_or_make(&home, staged);
                Outcome::Make(home, reply, kept)
            }
            Command::Trim { kept, below, reply } => {
                if self.find(&kept.home, staged).is_none_or(|now| now.id != kept.id) {
                    // It was removed meanwhile, and its records with it.
                    return Outcome::Trim(kept.home.clone(), reply);
                }
                let change = staged.change(&kept);
                let first = below.min(change.next);
                if first > change.first {
                    change.first = first;
                    self.put(self.head(Kind::Trim, kept.id, kept.stored_epoch.0, first), |_| {});
                }
                Outcome::Trim(kept.home.clone(), reply)
            }
            Command::Remove { home, reply } => {
                if let Some(kept) = self.find(&home, staged) {
                    self.put(self.head(Kind::Remove, kept.id, kept.stored_epoch.0, 0), |_| {});
                    staged.removed.push(kept);
                }
                Outcome::Remove(home, reply)
            }
        }
    }

    /// The journal of that name that there is once the group is durable as far as it is made.
    fn find(&self, home: &Home, staged: &Staged) -> Option<Arc<Kept>> {
        let is_there = |kept: &Arc<Kept>| staged.removed.iter().all(|removed| removed.id != kept.id);
        let made = staged.made.iter().find(|kept| kept.home == *home && is_there(kept));
        made.cloned().or_else(|| self.shared.find(home).filter(is_there))
    }

    fn find_or_make(&mut self, home: &Home, staged: &mut Staged) -> Arc<Kept> {
        if let Some(kept) = self.find(home, staged) {
            return kept;
        }
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        // Numbers are not given out again, also where the group fails: gaps do no harm.
        let kept = Arc::new(Kept::new(
            home.clone(),
            self.next_journal,
            Epoch(high ^ low),
            self.generation,
            Extent::default(),
        ));
        self.next_journal += 1;
        self.put_journal(&kept, 0, 0);
        staged.made.push(kept.clone());
        kept
    }

    /// Makes the group durable.
    fn write_group(&mut self, appends: u64) -> Result<(), Failure> {
        let began = Instant::now();
        let active = self.active.as_mut().expect("a group has a segment");
        frame::mark_last(&mut self.buffer, self.last_frame, self.store);
        if let Err(error) = platform::write_at(&active.file, &self.buffer, active.position) {
            // What was written of it has a number of its own and is written over.
            self.group += 1;
            return Err(self.failure(error));
        }
        if let Err(error) = platform::sync_data(&active.file) {
            self.has_failed = true;
            return Err(self.failure(error));
        }
        active.position += self.buffer.len() as u64;
        let is_half_full = active.position >= active.bytes / 2;
        self.before = self.group;
        self.group += 1;
        if let Err(error) = self.mark.write(self.before) {
            // What was written is durable; but a later loss of it could not be seen.
            self.has_failed = true;
            let file = self.directory.with_extension("mark");
            self.health.set_damaged(Damage::Mark { file, what: error.to_string() });
        }
        let took = began.elapsed();
        self.flush_mean = if self.flush_mean.is_zero() { took } else { (self.flush_mean * 7 + took) / 8 };
        self.metrics.journal_flushes.inc();
        self.metrics.journal_flush_seconds.observe(took.as_secs_f64());
        self.metrics.journal_append_bytes.inc_by(self.buffer.len() as u64);
        self.metrics.journal_appends.inc_by(appends);
        if is_half_full {
            self.spare.want(self.next_segment_bytes());
        }
        // One huge group should not keep its memory for ever.
        if self.buffer.capacity() > 2 * self.options.group_bytes_max {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Lets readers see what is durable.
    fn publish(&mut self, staged: Staged) {
        for kept in staged.made {
            self.shared.insert(kept);
        }
        for change in staged.changed.into_values() {
            let active = self.active.as_mut().expect("a group has a segment");
            let mut extent = change.kept.extent();
            for run in change.runs {
                active.live_runs += u64::from(extent.extend(run));
                note(&mut active.runs, change.kept.id, change.kept.stored_epoch.0, run);
            }
            let dead = extent.trim(change.first);
            drop(extent);
            self.release(&dead);
            change.kept.announce();
        }
        for kept in staged.removed {
            let dead = self.shared.remove(&kept);
            self.release(&dead);
        }
        self.drop_empty_segments();
    }

    /// Counts runs of which no record is wanted any more.
    fn release(&mut self, dead: &[Run]) {
        for run in dead {
            match &mut self.active {
                Some(active) if active.number == run.segment => active.live_runs -= 1,
                _ => {
                    if let Some(sealed) = self.sealed.get_mut(&run.segment) {
                        sealed.live_runs -= 1;
                    }
                }
            }
        }
    }

    /// Removes full segments of which nothing is wanted any more, or keeps one as the next spare.
    fn drop_empty_segments(&mut self) {
        let empty: Vec<_> = self.sealed.extract_if(.., |_, sealed| sealed.live_runs == 0).collect();
        for (number, sealed) in empty {
            let file = self.shared.remove_segment(number);
            let is_large_enough = sealed.bytes >= self.next_segment_bytes();
            let kept = file
                .filter(|_| is_large_enough)
                .is_some_and(|file| self.spare.offer(number, file, sealed.bytes));
            if !kept {
                segment::remove(&self.directory, number);
            }
        }
        self.metrics
            .journal_segments
            .set(i64::try_from(self.sealed.len()).unwrap_or(i64::MAX) + i64::from(self.active.is_some()));
    }

    /// What a failed write means for its callers and for the log: a full device refuses cleanly, and whatever else failed
    /// closes the log, because nobody can say what the device holds.
    fn failure(&mut self, error: io::Error) -> Failure {
        if !self.has_failed && platform::is_no_space(&error) {
            tracing::warn!(%error, "no space left for the journal; appends are refused until there is");
            return Failure::NoSpace(Arc::new(error));
        }
        self.has_failed = true;
        tracing::error!(%error, "the journal cannot be written; it is closed until opened anew");
        self.shared.end();
        Failure::Unknown(Arc::new(error))
    }
}

impl Staged {
    fn change(&mut self, kept: &Arc<Kept>) -> &mut Change {
        self.changed.entry(kept.id).or_insert_with(|| {
            let extent = kept.extent();
            Change { kept: kept.clone(), next: extent.next, first: extent.first, runs: Vec::new() }
        })
    }
}

impl Change {
    /// Adds `records` records that lie between two places of a segment.
    fn add(&mut self, first: u64, records: u64, segment: u64, from: u64, to: u64) {
        self.next = first + records;
        if records > 0 {
            self.runs.push(Run { first, records, segment, position: from, bytes: to - from });
        }
    }
}

impl Command {
    /// At most so many bytes in the log.
    fn bytes(&self) -> usize {
        let journal = |home: &Home| frame::frame_bytes(frame::journal_payload_bytes(&home.0, &home.1));
        match self {
            Self::Append { home, bytes, .. } => journal(home) + bytes,
            Self::Make { home, .. } => journal(home),
            Self::Trim { .. } | Self::Remove { .. } => frame::frame_bytes(0),
        }
    }

    /// Answers without having done anything. Whoever asked may be gone.
    fn refuse(self, failure: &Failure) {
        match self {
            Self::Append { home, reply, .. } => drop(reply.send(Err(failure.of_append(home)))),
            Self::Make { home, reply } => drop(reply.send(Err(failure.of_append(home)))),
            Self::Trim { kept, reply, .. } => drop(reply.send(Err(failure.of_trim(kept.home.clone())))),
            Self::Remove { home, reply } => drop(reply.send(Err(failure.of_remove(home)))),
        }
    }
}

impl Outcome {
    /// Answers the caller; whoever asked may be gone.
    fn send(self, failed: Option<&Failure>) {
        match self {
            Self::Append(home, reply, position) => {
                drop(reply.send(failed.map_or(Ok(position), |failure| Err(failure.of_append(home)))));
            }
            Self::Make(home, reply, kept) => {
                drop(reply.send(failed.map_or_else(|| Ok(kept), |failure| Err(failure.of_append(home)))));
            }
            Self::Trim(home, reply) => {
                drop(reply.send(failed.map_or(Ok(()), |failure| Err(failure.of_trim(home)))));
            }
            Self::Remove(home, reply) => {
                drop(reply.send(failed.map_or(Ok(()), |failure| Err(failure.of_remove(home)))));
            }
        }
    }
}

impl Failure {
    fn of_append(&self, (_, journal): Home) -> AppendError {
        match self {
            Self::NoSpace(_) => AppendError::NoSpace { journal },
            Self::Closed => AppendError::Closed { journal },
            Self::Unknown(cause) => AppendError::Unknown { journal, cause: Box::new(cause.clone()) },
        }
    }

    fn of_trim(&self, (_, journal): Home) -> TrimError {
        TrimError { journal, cause: self.cause() }
    }

    fn of_remove(&self, (_, journal): Home) -> RemoveError {
        RemoveError { journal, cause: self.cause() }
    }

    fn cause(&self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::NoSpace(cause) | Self::Unknown(cause) => Box::new(cause.clone()),
            Self::Closed => Box::new(WriteFailedBefore),
        }
    }
}
