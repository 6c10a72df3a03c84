//! The group that is being composed: its number, its frames, and what it changes once it is durable. No file, no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::frame::{self, FrameKind, LogFrameHeader};
use super::super::index::{FrameRun, JournalState};

/// Numbers of groups. They rise, with gaps: the number of a group that was not written completely is not used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupNumbers {
    /// The last group that is durable.
    pub(super) durable: u64,
    /// The group that is being composed.
    next: u64,
}

impl GroupNumbers {
    /// After a restart: `durable` was found in the log. `gap` is random, so that the number of a torn group of an earlier
    /// process is not used again.
    pub(super) const fn new(durable: u64, gap: u64) -> Self {
        Self { durable, next: durable + 1 + gap }
    }

    /// The header of a frame of the group that is being composed.
    pub(super) const fn header(
        &self,
        kind: FrameKind,
        journal: u64,
        epoch: u64,
        offset: u64,
    ) -> LogFrameHeader {
        LogFrameHeader {
            kind,
            is_last: false,
            group: self.next,
            before: self.durable,
            journal,
            epoch,
            offset,
        }
    }

    /// The group is durable.
    pub(super) const fn commit(&mut self) {
        self.durable = self.next;
        self.next += 1;
    }

    /// The group was not written, or not completely.
    pub(super) const fn abandon(&mut self) {
        self.next += 1;
    }
}

/// The frames of the group that is being composed.
pub(super) struct FrameBuffer {
    store: u32,
    bytes: Vec<u8>,
    last_frame: usize,
}

impl FrameBuffer {
    pub(super) const fn new(store: u32) -> Self {
        Self { store, bytes: Vec::new(), last_frame: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a frame; `payload` writes its payload.
    pub(super) fn put(&mut self, header: &LogFrameHeader, payload: impl FnOnce(&mut Vec<u8>)) {
        self.last_frame = self.bytes.len();
        frame::put(&mut self.bytes, self.store, header, payload);
    }

    /// Appends a frame that declares a journal with records from `first` to before `next`.
    pub(super) fn put_journal(
        &mut self,
        numbers: &GroupNumbers,
        journal: &JournalState,
        first: u64,
        next: u64,
    ) {
        let (instance, name) = &journal.key;
        self.put(&numbers.header(FrameKind::Journal, journal.id, journal.stored_epoch.0, first), |payload| {
            frame::put_journal(payload, next, instance, name);
        });
    }

    /// The bytes to write, with the last frame marked as the end of the group.
    pub(super) fn finish(&mut self) -> &[u8] {
        frame::mark_last(&mut self.bytes, self.last_frame, self.store);
        &self.bytes
    }

    /// Frees the memory of an unusually large group.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.capacity() > bytes_max {
            self.bytes = Vec::new();
        }
    }
}

/// What a group changes once it is durable.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) created: Vec<Arc<JournalState>>,
    pub(super) removed: Vec<Arc<JournalState>>,
    /// By journal number.
    pub(super) changed: BTreeMap<u64, JournalChange>,
    pub(super) appends: u64,
}

/// What a group changes in one journal.
pub(super) struct JournalChange {
    pub(super) journal: Arc<JournalState>,
    pub(super) next: u64,
    pub(super) first: u64,
    pub(super) runs: Vec<FrameRun>,
}

impl Staged {
    pub(super) fn change(&mut self, journal: &Arc<JournalState>) -> &mut JournalChange {
        self.changed.entry(journal.id).or_insert_with(|| {
            let records = journal.records();
            JournalChange {
                journal: journal.clone(),
                next: records.next,
                first: records.first,
                runs: Vec::new(),
            }
        })
    }
}

impl JournalChange {
    /// Adds `records` records that lie between two positions of a segment.
    pub(super) fn add(&mut self, first: u64, records: u64, segment: u64, from: u64, to: u64) {
        self.next = first + records;
        if records > 0 {
            self.runs.push(FrameRun { first, records, segment, position: from, bytes: to - from });
        }
    }
}
