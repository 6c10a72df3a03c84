//! What is known in memory: which journals there are, and where in the log their durable records lie.
//!
//! The index names runs, not records: neighbouring frames of one journal in one segment, of at most [`RUN_BYTES_MAX`]
//! together unless a single record is larger. A busy journal costs little memory, and a read that starts in the middle
//! of a run skips little.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use state::{Epoch, Instance, JournalInfo, Name, Offset, Position, ReadError};
use tokio::sync::watch;

/// Longest run that is made longer still, in bytes.
const RUN_BYTES_MAX: u64 = 64 << 10;

/// A journal's instance and name.
pub(super) type Home = (Instance, Name);

/// Neighbouring frames of one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Offset of its first record.
    pub(super) first: u64,
    pub(super) records: u64,
    /// Number of the segment.
    pub(super) segment: u64,
    /// Where in the segment, in bytes.
    pub(super) position: u64,
    pub(super) bytes: u64,
}

impl Run {
    /// Offset after its last record.
    pub(super) fn next(&self) -> u64 {
        self.first + self.records
    }

    /// Takes `other` in, if it follows in the journal and in the file.
    pub(super) fn absorb(&mut self, other: &Self) -> bool {
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
pub(super) fn note(runs: &mut Vec<(u64, u64, Run)>, journal: u64, epoch: u64, run: Run) {
    // After a removal and a restart, a number may be given out again, with another epoch.
    let last = runs.last_mut().filter(|(id, other, _)| (*id, *other) == (journal, epoch));
    if !last.is_some_and(|(_, _, last)| last.absorb(&run)) {
        runs.push((journal, epoch, run));
    }
}

/// The epoch that callers know. All epochs of a store change together with its generation: when acknowledged records may be
/// missing at the end of the log, positions that were given out before mean other records than those that follow now.
fn epoch_of(stored: Epoch, generation: u64) -> Epoch {
    Epoch(stored.0 ^ generation.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A journal that exists, with its durable records.
pub(super) struct Kept {
    pub(super) home: Home,
    /// The journal's number in the log.
    pub(super) id: u64,
    /// As callers know it.
    pub(super) epoch: Epoch,
    /// As the log's frames have it: the one of the journal's making.
    pub(super) stored_epoch: Epoch,
    extent: Mutex<Extent>,
    /// Says that the extent changed, or that the log closed.
    changed: watch::Sender<()>,
    is_removed: AtomicBool,
}

/// Which records of a journal there are, and where.
#[derive(Clone, Debug, Default)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) runs: VecDeque<Run>,
}

impl Extent {
    /// Adds durable records at the end. Answers whether this began a new run.
    pub(super) fn extend(&mut self, run: Run) -> bool {
        debug_assert_eq!(run.first, self.next);
        self.next = run.next();
        if self.runs.back_mut().is_some_and(|last| last.absorb(&run)) {
            return false;
        }
        self.runs.push_back(run);
        true
    }

    /// Forgets records below `first`, and answers the runs that nothing is left of.
    pub(super) fn trim(&mut self, first: u64) -> Vec<Run> {
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

impl Kept {
    pub(super) fn new(home: Home, id: u64, stored_epoch: Epoch, generation: u64, extent: Extent) -> Self {
        let epoch = epoch_of(stored_epoch, generation);
        let (extent, changed) = (Mutex::new(extent), watch::Sender::new(()));
        Self { home, id, epoch, stored_epoch, extent, changed, is_removed: AtomicBool::new(false) }
    }

    pub(super) fn extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().expect("no thread panics with an extent's lock")
    }

    pub(super) fn announce(&self) {
        self.changed.send_replace(());
    }

    /// Whether the journal was removed, so that nothing will be appended to it any more.
    pub(super) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn info(&self) -> JournalInfo {
        let extent = self.extent();
        JournalInfo { epoch: self.epoch, first: Offset(extent.first), next: Offset(extent.next) }
    }

    /// Whether a position can be read from (true), or will be some day (false).
    pub(super) fn look(&self, extent: &Extent, from: Position) -> Result<bool, ReadError> {
        let at = |offset| Position { epoch: self.epoch, offset: Offset(offset) };
        if from.epoch != self.epoch {
            return Err(ReadError::EpochChanged(at(extent.first)));
        }
        if from.offset.0 < extent.first {
            return Err(ReadError::Trimmed(at(extent.first)));
        }
        if from.offset.0 > extent.next {
            return Err(ReadError::BeyondEnd(at(extent.next)));
        }
        Ok(from.offset.0 < extent.next)
    }
}

/// What the writer, the readers and the callers share. Lock order: `journals`, then an extent, then `segments`.
#[derive(Default)]
pub(super) struct Shared {
    journals: RwLock<HashMap<Home, Arc<Kept>>>,
    segments: RwLock<BTreeMap<u64, Arc<File>>>,
    /// Nothing is appended any more.
    ended: AtomicBool,
}

impl Shared {
    pub(super) fn find(&self, home: &Home) -> Option<Arc<Kept>> {
        self.journals.read().expect("no thread panics with the journals' lock").get(home).cloned()
    }

    pub(super) fn insert(&self, kept: Arc<Kept>) {
        let mut journals = self.journals.write().expect("no thread panics with the journals' lock");
        journals.insert(kept.home.clone(), kept);
    }

    /// Takes a removed journal away, and answers its runs. Those who wait for it are woken.
    pub(super) fn remove(&self, kept: &Kept) -> Vec<Run> {
        let mut journals = self.journals.write().expect("no thread panics with the journals' lock");
        // The name may belong to a journal that was made after it.
        if journals.get(&kept.home).is_some_and(|now| now.id == kept.id) {
            journals.remove(&kept.home);
        }
        drop(journals);
        let dead = kept.extent().trim(u64::MAX);
        kept.is_removed.store(true, Ordering::Release);
        kept.announce();
        dead
    }

    /// All journals, by number.
    pub(super) fn all(&self) -> Vec<Arc<Kept>> {
        let journals = self.journals.read().expect("no thread panics with the journals' lock");
        let mut all: Vec<_> = journals.values().cloned().collect();
        all.sort_by_key(|kept| kept.id);
        all
    }

    pub(super) fn segment(&self, number: u64) -> Option<Arc<File>> {
        self.segments.read().expect("no thread panics with the segments' lock").get(&number).cloned()
    }

    pub(super) fn add_segment(&self, number: u64, file: Arc<File>) {
        self.segments.write().expect("no thread panics with the segments' lock").insert(number, file);
    }

    /// Takes a segment away from the readers; its file, unless one of them still reads it.
    pub(super) fn remove_segment(&self, number: u64) -> Option<File> {
        let removed =
            self.segments.write().expect("no thread panics with the segments' lock").remove(&number)?;
        Arc::into_inner(removed)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Lets all who wait know that nothing will come.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        for kept in self.all() {
            kept.announce();
        }
    }
}
