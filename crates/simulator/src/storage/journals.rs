//! The required state of the journals: a model of each, in plain maps. Pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use state::{Entry, Epoch, JournalInfo, Position};

/// Identifies a record; its content is derived from it.
pub(super) type RecordId = u64;

/// What a restart may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The process was killed or closed: epochs and records are as before.
    Nothing,
    /// A power failure: everything that was acknowledged exists, possibly under other epochs.
    Epochs,
    /// The device lost flushed writes, and the operator accepted that: records may be missing, but then the epochs change.
    Records,
}

/// One journal.
#[derive(Debug, Default)]
pub(super) struct JournalModel {
    epoch: Option<Epoch>,
    /// What is known about each offset of the current epoch.
    known: BTreeMap<u64, RecordId>,
    /// Offsets whose append was acknowledged.
    acknowledged: BTreeSet<u64>,
    /// Records below this offset may be missing.
    trimmed_to: u64,
    /// Records whose append is pending or was interrupted: they may exist, all records of an append together.
    unsure: BTreeMap<RecordId, Vec<RecordId>>,
    /// Whether it may have been removed.
    may_be_removed: bool,
    /// Earlier epochs. Every access with one of them must be rejected.
    past_epochs: Vec<Epoch>,
}

impl JournalModel {
    /// A position that was returned in this or an earlier process.
    pub(super) fn positions(&self) -> (Option<Epoch>, &[Epoch], u64) {
        (self.epoch, &self.past_epochs, self.known.last_key_value().map_or(0, |(last, _)| last + 1))
    }

    pub(super) fn trimmed_to(&self) -> u64 {
        self.trimmed_to
    }

    /// An append was started: its records may exist from now on.
    pub(super) fn appending(&mut self, ids: &[RecordId]) {
        for id in ids {
            self.unsure.insert(*id, ids.to_vec());
        }
    }

    /// An append was rejected: its records must never exist.
    pub(super) fn refused(&mut self, ids: &[RecordId]) -> Result<()> {
        for id in ids {
            ensure!(self.unsure.remove(id).is_some(), "record {id} was read, and its append was refused");
        }
        Ok(())
    }

    /// An append was acknowledged.
    pub(super) fn appended(&mut self, ids: &[RecordId], at: Position) -> Result<()> {
        self.see_epoch(at.epoch)?;
        for (id, offset) in ids.iter().zip(at.offset.0..) {
            self.unsure.remove(id);
            self.see(offset, *id)?;
            self.acknowledged.insert(offset);
        }
        Ok(())
    }

    pub(super) fn trimming(&mut self, below: u64) {
        self.trimmed_to = self.trimmed_to.max(below);
    }

    /// A removal was started.
    pub(super) fn removing(&mut self) {
        self.may_be_removed = true;
    }

    /// A removal was acknowledged: the next epoch is different.
    pub(super) fn removed(&mut self) {
        self.past_epochs.extend(self.epoch);
        let past_epochs = std::mem::take(&mut self.past_epochs);
        *self = Self { past_epochs, ..Self::default() };
    }

    fn see_epoch(&mut self, epoch: Epoch) -> Result<()> {
        ensure!(!self.past_epochs.contains(&epoch), "epoch {epoch:?} of an earlier life is back");
        match self.epoch {
            None => self.epoch = Some(epoch),
            Some(known) => ensure!(known == epoch, "the epoch is {epoch:?} and was {known:?}"),
        }
        Ok(())
    }

    fn see(&mut self, offset: u64, id: RecordId) -> Result<()> {
        match self.known.insert(offset, id) {
            Some(before) if before != id => bail!("offset {offset} held record {before} and holds {id} now"),
            _ => Ok(()),
        }
    }

    /// The result of a read from `from`. `ids` are the names of the records, read from their contents.
    pub(super) fn read(&mut self, from: Position, entries: &[Entry], ids: &[Option<RecordId>]) -> Result<()> {
        self.see_epoch(from.epoch)?;
        for ((entry, id), offset) in entries.iter().zip(ids).zip(from.offset.0..) {
            ensure!(entry.offset.0 == offset, "offset {} came instead of {offset}", entry.offset.0);
            let Some(id) = *id else { bail!("the record at offset {offset} is not what anybody wrote") };
            if self.known.get(&offset) != Some(&id) {
                let Some(together) = self.unsure.remove(&id) else {
                    bail!("offset {offset} holds record {id}, which was never written there");
                };
                let place = together.iter().position(|other| *other == id).unwrap_or(0) as u64;
                for (other, offset) in together.iter().zip(offset - place..) {
                    // All records of one append exist together.
                    self.unsure.remove(other);
                    self.see(offset, *other)?;
                    self.acknowledged.insert(offset);
                }
            }
        }
        Ok(())
    }

    /// After a start: the actual content. `entries` are all records from the first one on.
    pub(super) fn audit(
        &mut self,
        info: JournalInfo,
        entries: &[Entry],
        ids: &[Option<RecordId>],
        loss: Loss,
    ) -> Result<()> {
        let JournalInfo { epoch, first, next } = info;
        let before = self.epoch;
        if self.epoch.is_some_and(|known| known != epoch) {
            if self.may_be_removed && next.0 == 0 {
                self.removed();
            } else {
                ensure!(loss != Loss::Nothing, "the epoch changed although nothing was lost");
                self.past_epochs.extend(self.epoch.replace(epoch));
            }
        }
        if loss == Loss::Records && before != Some(epoch) {
            // The current content is valid: trims and removals may be lost too.
            let past_epochs = std::mem::take(&mut self.past_epochs);
            *self = Self { past_epochs, trimmed_to: first.0, ..Self::default() };
            for (id, offset) in ids.iter().zip(first.0..) {
                let Some(id) = *id else { bail!("the record at offset {offset} is not what anybody wrote") };
                self.known.insert(offset, id);
                self.acknowledged.insert(offset);
            }
        }
        self.may_be_removed = false;
        ensure!(
            first.0 <= self.trimmed_to,
            "the journal begins at {}, although only records below {} were given up",
            first.0,
            self.trimmed_to
        );
        if let Some(missing) = self.acknowledged.range(next.0..).next() {
            bail!("record {} at offset {missing} was acknowledged and is gone", self.known[missing]);
        }
        self.read(Position { epoch, offset: first }, entries, ids)?;
        ensure!(
            first.0 + entries.len() as u64 == next.0,
            "{} records were read of those from {} to {}",
            entries.len(),
            first.0,
            next.0
        );
        // What did not survive must never appear.
        self.unsure.clear();
        self.known.retain(|offset, _| *offset < next.0);
        self.trimmed_to = self.trimmed_to.min(next.0);
        Ok(())
    }
}
