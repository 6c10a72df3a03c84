//! The index in memory: the journals, and where in the log their durable records are.
//!
//! The index holds runs, not records. A run is a sequence of adjacent frames of one journal in one segment, of at most
//! [`RUN_BYTES_MAX`] unless a single record is larger. So a busy journal needs little memory, and a read that starts in the
//! middle of a run skips little.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use state::{Epoch, Instance, JournalInfo, JournalReadError, Name, Offset, Position};
use tokio::sync::watch;

/// A run grows up to this size, in bytes.
const RUN_BYTES_MAX: u64 = 64 << 10;

/// A journal's instance and name.
pub(super) type JournalKey = (Instance, Name);

/// Adjacent frames of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameRun {
    /// Offset of its first record.
    pub(super) first: u64,
    pub(super) records: u64,
    /// Number of the segment.
    pub(super) segment: u64,
    /// Where in the segment, in bytes.
    pub(super) position: u64,
    pub(super) bytes: u64,
}

impl FrameRun {
    /// Offset after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + self.records
    }

    /// Appends `other` if it follows in the journal and in the file; returns whether it did.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        let follows = other.segment == self.segment
            && other.position == self.position + self.bytes
            && other.first == self.next()
            && self.bytes + other.bytes <= RUN_BYTES_MAX;
        if follows {
            self.records += other.records;
            self.bytes += other.bytes;
        }
        follows
    }
}

/// Adds a run to a segment's list of journal number, epoch and run.
pub(super) fn note_run(runs: &mut Vec<(u64, u64, FrameRun)>, journal: u64, epoch: u64, run: FrameRun) {
    // After a removal and a restart, a number may be used again, with another epoch.
    let last = runs.last_mut().filter(|(id, other, _)| (*id, *other) == (journal, epoch));
    if !last.is_some_and(|(_, _, last)| last.merge(&run)) {
        runs.push((journal, epoch, run));
    }
}

/// The epoch that callers know. All epochs of a store change with its generation: if acknowledged records may be missing at
/// the end of the log, a position that a caller has may belong to another record now.
fn epoch_of(stored: Epoch, generation: u64) -> Epoch {
    Epoch(stored.0 ^ generation.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A journal that exists, with its durable records.
pub(super) struct JournalState {
    pub(super) key: JournalKey,
    /// The journal's number in the log.
    pub(super) id: u64,
    /// The epoch that callers know.
    pub(super) epoch: Epoch,
    /// The epoch in the log's frames, drawn when the journal was created.
    pub(super) stored_epoch: Epoch,
    records: Mutex<RecordIndex>,
    /// Notifies of changed records and of the end of the log.
    changed: watch::Sender<()>,
    is_removed: AtomicBool,
}

/// The records of a journal, and where they are.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordIndex {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) runs: VecDeque<FrameRun>,
}

impl RecordIndex {
    /// Adds durable records at the end. Returns whether this began a new run.
    pub(super) fn extend(&mut self, run: FrameRun) -> bool {
        debug_assert_eq!(run.first, self.next);
        self.next = run.next();
        if self.runs.back_mut().is_some_and(|last| last.merge(&run)) {
            return false;
        }
        self.runs.push_back(run);
        true
    }

    /// Removes records below `first`. Returns the runs without records left.
    pub(super) fn trim(&mut self, first: u64) -> Vec<FrameRun> {
        self.first = self.first.max(first.min(self.next));
        let mut dead = Vec::new();
        while let Some(run) = self.runs.front().copied()
            && run.next() <= self.first
        {
            self.runs.pop_front();
            dead.push(run);
        }
        dead
    }
}

impl JournalState {
    pub(super) fn new(
        key: JournalKey,
        id: u64,
        stored_epoch: Epoch,
        generation: u64,
        records: RecordIndex,
    ) -> Self {
        let epoch = epoch_of(stored_epoch, generation);
        let (records, changed) = (Mutex::new(records), watch::Sender::new(()));
        Self { key, id, epoch, stored_epoch, records, changed, is_removed: AtomicBool::new(false) }
    }

    pub(super) fn records(&self) -> MutexGuard<'_, RecordIndex> {
        self.records.lock().expect("no thread panics with a record index's lock")
    }

    pub(super) fn announce(&self) {
        self.changed.send_replace(());
    }

    /// Whether the journal was removed. Nothing is appended to it any more.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn info(&self) -> JournalInfo {
        let records = self.records();
        JournalInfo { epoch: self.epoch, first: Offset(records.first), next: Offset(records.next) }
    }

    /// Whether the record at a position exists (true) or is the next one to be appended (false).
    ///
    /// # Errors
    ///
    /// If the position is trimmed, beyond the end, or of another epoch.
    pub(super) fn has_record_at(
        &self,
        records: &RecordIndex,
        from: Position,
    ) -> Result<bool, JournalReadError> {
        let at = |offset| Position { epoch: self.epoch, offset: Offset(offset) };
        if from.epoch != self.epoch {
            return Err(JournalReadError::EpochChanged(at(records.first)));
        }
        if from.offset.0 < records.first {
            return Err(JournalReadError::Trimmed(at(records.first)));
        }
        if from.offset.0 > records.next {
            return Err(JournalReadError::BeyondEnd(at(records.next)));
        }
        Ok(from.offset.0 < records.next)
    }
}

/// What the writer, the readers and the callers share. Lock order: `journals`, then a record index, then `segments`.
#[derive(Default)]
pub(super) struct Shared {
    journals: RwLock<HashMap<JournalKey, Arc<JournalState>>>,
    segments: RwLock<BTreeMap<u64, Arc<File>>>,
    /// Nothing is appended any more.
    has_ended: AtomicBool,
}

impl Shared {
    pub(super) fn find(&self, key: &JournalKey) -> Option<Arc<JournalState>> {
        self.journals.read().expect("no thread panics with the journals' lock").get(key).cloned()
    }

    pub(super) fn insert(&self, journal: Arc<JournalState>) {
        let mut journals = self.journals.write().expect("no thread panics with the journals' lock");
        journals.insert(journal.key.clone(), journal);
    }

    /// Removes a journal and wakes those who wait for it. Returns its runs.
    pub(super) fn remove(&self, journal: &JournalState) -> Vec<FrameRun> {
        let mut journals = self.journals.write().expect("no thread panics with the journals' lock");
        // The key may belong to a journal that was created after it.
        if journals.get(&journal.key).is_some_and(|current| current.id == journal.id) {
            journals.remove(&journal.key);
        }
        drop(journals);
        let dead = journal.records().trim(u64::MAX);
        journal.is_removed.store(true, Ordering::Release);
        journal.announce();
        dead
    }

    /// All journals, by number.
    pub(super) fn all(&self) -> Vec<Arc<JournalState>> {
        let journals = self.journals.read().expect("no thread panics with the journals' lock");
        let mut all: Vec<_> = journals.values().cloned().collect();
        all.sort_by_key(|journal| journal.id);
        all
    }

    pub(super) fn segment(&self, number: u64) -> Option<Arc<File>> {
        self.segments.read().expect("no thread panics with the segments' lock").get(&number).cloned()
    }

    pub(super) fn add_segment(&self, number: u64, file: Arc<File>) {
        self.segments.write().expect("no thread panics with the segments' lock").insert(number, file);
    }

    /// Hides a segment from the readers. Returns its file unless one of them still reads it.
    pub(super) fn remove_segment(&self, number: u64) -> Option<File> {
        let removed =
            self.segments.write().expect("no thread panics with the segments' lock").remove(&number)?;
        Arc::into_inner(removed)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Marks the log as ended and wakes all who wait.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        for journal in self.all() {
            journal.announce();
        }
    }
}
