//! [`Recovery`]: reads the log and compares it with the mark, the last acknowledged group. Changes nothing, except that with
//! `--accept-loss` an unreadable folder is renamed.

use std::path::{Path, PathBuf};

use checked_files::{LossPolicy, Mark, MarkError, StoreId};
use supervision::is_mutated;

use super::reader;
use super::recover::{self, Recovered};
use crate::error::OpenStoreError;
use crate::platform;

/// The name of the part in a data folder, for `--accept-loss`.
const PART: &str = "journal";

/// How to read the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoveryOptions {
    /// The store's own number.
    pub(crate) store: u32,
    /// Whether the log is new or of a version that wrote no mark.
    pub(crate) has_no_mark: bool,
    /// What to do if acknowledged records are missing.
    pub(crate) loss_policy: LossPolicy,
}

/// A log that was read and can be opened.
pub(crate) struct Recovery {
    pub(super) directory: PathBuf,
    pub(super) store: u32,
    pub(super) recovered: Recovered,
    /// `None` if a new one is to be created.
    pub(super) mark: Option<Mark>,
    /// By how much an accepted loss lowered the number of the last group. New groups get higher numbers than the lost ones: frames
    /// of those may still be in a file that is used again, and must not look like proof of damage.
    pub(super) lost_groups: u64,
    /// Whether acknowledged records may be missing: then positions that callers have are no longer valid.
    pub(crate) needs_new_epochs: bool,
}

impl Recovery {
    /// Reads the log in `directory`.
    ///
    /// # Errors
    ///
    /// If it is damaged, or if acknowledged records are missing.
    pub(crate) fn read(directory: &Path, options: RecoveryOptions) -> Result<Self, OpenStoreError> {
        let is_accepted = options.loss_policy == LossPolicy::Accept;
        let failed = |cause| OpenStoreError::from_io(directory, cause);
        if !directory.try_exists().map_err(failed)? {
            let marked = Mark::open(&mark_path(directory)).ok().filter(|mark| mark.sequence() > 0);
            if let Some(mark) = marked.filter(|_| !is_accepted) {
                let (directory, acknowledged) = (directory.to_owned(), mark.sequence());
                return Err(OpenStoreError::LostTail { directory, found: 0, acknowledged });
            }
            std::fs::create_dir_all(directory).map_err(failed)?;
            if let Some(parent) = directory.parent() {
                platform::sync_directory(parent).map_err(failed)?;
            }
        }
        let (recovered, was_set_aside) = match recover::recover(directory, options.store) {
            Err(error @ OpenStoreError::Corrupt { .. }) if is_accepted => {
                tracing::warn!("accepted: {error}");
                set_aside(directory)?;
                (recover::recover(directory, options.store)?, true)
            }
            recovered => (recovered?, false),
        };
        let mut lost_groups = 0;
        let (mark, is_lost) = match Mark::open(&mark_path(directory)) {
            Ok(mark) if mark.store() != store_id(options.store) && !is_accepted => {
                return Err(OpenStoreError::AnotherStore { file: mark_path(directory) });
            }
            Ok(mark)
                if mark.store() == store_id(options.store) && mark.sequence() <= recovered.last_group =>
            {
                // The mark is behind the log only after a power failure: then an incomplete group may have been acknowledged.
                let is_lost = recovered.is_torn && mark.sequence() < recovered.last_group;
                (Some(mark), is_lost)
            }
            Ok(mark) if is_accepted => {
                lost_groups = mark.sequence().saturating_sub(recovered.last_group);
                (None, true)
            }
            Ok(mark) => {
                return Err(OpenStoreError::LostTail {
                    directory: directory.to_owned(),
                    found: recovered.last_group,
                    acknowledged: mark.sequence(),
                });
            }
            Err(MarkError::Missing(_)) if options.has_no_mark => (None, recovered.is_torn),
            Err(MarkError::Missing(_) | MarkError::Damaged(_)) if is_accepted => (None, true),
            Err(cause) => {
                let (file, part) = (directory.to_owned(), PART);
                return Err(OpenStoreError::Part(checked_files::OpenDatabaseError::NoMark {
                    file,
                    part,
                    cause,
                }));
            }
        };
        let needs_new_epochs = (is_lost || was_set_aside) && !is_mutated("epoch-kept-after-loss");
        let (directory, store) = (directory.to_owned(), options.store);
        Ok(Self { directory, store, recovered, mark, lost_groups, needs_new_epochs })
    }

    /// Flushes what a killed process may have written without a flush. A record that was read must not be lost in a power
    /// failure, because its offset would be used again.
    pub(super) fn make_durable(&self) -> Result<(), OpenStoreError> {
        let Recovered { active, segments, .. } = &self.recovered;
        let flush = || {
            if let Some((file, _)) = active.as_ref().and_then(|active| segments.get(&active.number)) {
                platform::sync_data(file)?;
            }
            platform::sync_directory(&self.directory)?;
            self.directory.parent().map_or(Ok(()), platform::sync_directory)
        };
        flush().map_err(|cause| OpenStoreError::from_io(&self.directory, cause))
    }

    /// Reads every record. Returns a description of each journal's damage; empty if there is none.
    pub(crate) fn verify(&self) -> Vec<String> {
        let mut findings = Vec::new();
        for journal in &self.recovered.journals {
            for run in &journal.records.runs {
                let Some((file, _)) = self.recovered.segments.get(&run.segment) else { continue };
                let damaged = reader::damaged(file, run, journal.id, journal.epoch, self.store);
                findings.extend(damaged.map(|damaged| {
                    let (instance, name) = &journal.key;
                    format!("{}: journal {name} of {instance}: {damaged}", self.directory.display())
                }));
            }
        }
        findings
    }

    /// The mark; created if there is none.
    pub(super) fn open_mark(&mut self) -> Result<Mark, OpenStoreError> {
        if let Some(mut mark) = self.mark.take() {
            // A power failure may have left it behind. From now on it shows again whether the log loses its end.
            if mark.sequence() < self.recovered.last_group {
                let written = mark.write(self.recovered.last_group);
                written.map_err(|cause| OpenStoreError::from_io(&mark_path(&self.directory), cause))?;
            }
            return Ok(mark);
        }
        let path = mark_path(&self.directory);
        let created = Mark::create(&path, store_id(self.store), self.recovered.last_group);
        created.map_err(|cause| match cause {
            MarkError::Io(file, cause) => OpenStoreError::from_io(&file, cause),
            cause => OpenStoreError::Part(cause.into()),
        })
    }
}

fn mark_path(directory: &Path) -> PathBuf {
    directory.with_extension("mark")
}

fn store_id(store: u32) -> StoreId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&store.to_le_bytes());
    StoreId(id)
}

/// Renames the folder of a log that cannot be read, and creates an empty one in its place.
fn set_aside(directory: &Path) -> Result<(), OpenStoreError> {
    let failed = |cause| OpenStoreError::from_io(directory, cause);
    let name = |number: u32| directory.with_extension(format!("lost-{number}"));
    let aside = (1..).map(name).find(|path| !path.exists()).expect("there are more numbers than folders");
    std::fs::rename(directory, &aside).map_err(failed)?;
    tracing::warn!(folder = %aside.display(), "journal what is left of a damaged journal");
    std::fs::create_dir(directory).map_err(failed)
}
