//! The segments of the log as the writer sees them: the active one, which is written to, and the sealed ones before it.
//!
//! Each counts its live runs: runs of records that no trim and no removal has deleted. A sealed segment without live runs
//! is deleted, or becomes the spare.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::frame::{self, FrameKind, LogFrameHeader};
use super::super::index::{FrameRun, Shared, note_run};
use super::super::recover;
use super::super::segment::{self, SegmentIndex, Spare};
use super::group::GroupNumbers;
use crate::metrics::Metrics;
use crate::options::JournalOptions;
use crate::platform;

/// Smallest segment, in bytes.
const BYTES_MIN: u64 = 64 << 10;

pub(super) struct Segments {
    directory: PathBuf,
    store: u32,
    bytes_first: u64,
    bytes_max: u64,
    shared: Arc<Shared>,
    spare: Spare,
    active: Option<ActiveSegment>,
    sealed: BTreeMap<u64, Sealed>,
    metrics: Metrics,
}

/// The segment that is written to.
pub(super) struct ActiveSegment {
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    /// Size of the file.
    pub(super) bytes: u64,
    /// Where the next group is written.
    pub(super) position: u64,
    is_sealed: bool,
    live_runs: u64,
    runs: Vec<(u64, u64, FrameRun)>,
}

struct Sealed {
    bytes: u64,
    live_runs: u64,
}

impl ActiveSegment {
    /// Whether a group of so many bytes fits, and the seal after it.
    const fn has_room(&self, bytes: u64) -> bool {
        self.position + bytes + frame::frame_bytes(0) as u64 <= self.bytes
    }
}

impl Segments {
    /// The segments that were found; `live_runs` by segment number.
    #[expect(clippy::too_many_arguments, reason = "called once, by the opening that made all of these")]
    pub(super) fn new(
        directory: PathBuf,
        store: u32,
        options: &JournalOptions,
        shared: Arc<Shared>,
        spare: Spare,
        found: BTreeMap<u64, (File, u64)>,
        active: Option<recover::RecoveredSegment>,
        live_runs: &HashMap<u64, u64>,
        metrics: Metrics,
    ) -> Self {
        let live_of = |number: &u64| live_runs.get(number).copied().unwrap_or(0);
        let mut segments = Self {
            directory,
            store,
            bytes_first: options.segment_bytes_first,
            bytes_max: options.segment_bytes.max(BYTES_MIN),
            shared,
            spare,
            active: None,
            sealed: BTreeMap::new(),
            metrics,
        };
        let mut active = active;
        for (number, (file, bytes)) in found {
            let file = Arc::new(file);
            segments.shared.add_segment(number, file.clone());
            let live_runs = live_of(&number);
            match active.take_if(|active| active.number == number) {
                Some(recover::RecoveredSegment { position, is_sealed, runs, .. }) => {
                    segments.active =
                        Some(ActiveSegment { number, file, bytes, position, is_sealed, live_runs, runs });
                }
                None => drop(segments.sealed.insert(number, Sealed { bytes, live_runs })),
            }
        }
        segments.delete_empty();
        segments
    }

    /// The active segment, if it has groups and `bytes` more fit.
    pub(super) fn begun_with_room(&self, bytes: u64) -> Option<&ActiveSegment> {
        self.active
            .as_ref()
            .filter(|active| active.has_room(bytes) && !active.is_sealed && active.position > 0)
    }

    /// Whether the active segment is empty and `bytes` fit: the first group in it failed.
    pub(super) fn is_empty_with_room(&self, bytes: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.position == 0 && active.has_room(bytes))
    }

    /// The active segment.
    pub(super) fn active(&self) -> &ActiveSegment {
        self.active.as_ref().expect("a group begins in an active segment")
    }

    /// A file for the next segment, of at least `bytes_min`, with its size. An error leaves everything as it was.
    pub(super) fn reserve_next(&self, bytes_min: u64) -> io::Result<(File, u64)> {
        self.spare.claim(bytes_min.saturating_add(frame::frame_bytes(0) as u64), self.next_bytes())
    }

    /// Writes the last frame of the active segment, which tells a later opening that the log continues in the next one.
    pub(super) fn seal(&mut self, numbers: &mut GroupNumbers) -> io::Result<()> {
        let Some(active) = self.active.as_mut().filter(|active| !active.is_sealed && active.position > 0)
        else {
            return Ok(());
        };
        let header = LogFrameHeader { is_last: true, ..numbers.header(FrameKind::Seal, 0, 0, 0) };
        let mut buffer = Vec::new();
        frame::put(&mut buffer, self.store, &header, |_| {});
        platform::write_at(&active.file, &buffer, active.position)?;
        platform::sync_data(&active.file)?;
        active.is_sealed = true;
        numbers.commit();
        Ok(())
    }

    /// Makes the file of [`Self::reserve_next`] the active segment. `last_group` sealed the one before it.
    pub(super) fn activate_next(&mut self, file: File, bytes: u64, last_group: u64) -> io::Result<()> {
        let number = self.active.as_ref().map_or(1, |active| active.number + 1);
        segment::install_spare(&self.directory, number)?;
        let file = Arc::new(file);
        self.shared.add_segment(number, file.clone());
        if let Some(unused) = self.active.take_if(|active| active.position == 0) {
            // Too small for its first group; nothing of it was ever durable.
            drop(self.shared.remove_segment(unused.number));
            segment::remove(&self.directory, unused.number);
        }
        if let Some(full) = self.active.take() {
            let index = SegmentIndex { last_group, runs: full.runs };
            if let Err(error) = index.write(&self.directory, full.number, self.store) {
                tracing::warn!(%error, "cannot write an index file of the journal; the next start reads the segment instead");
            }
            self.sealed.insert(full.number, Sealed { bytes: full.bytes, live_runs: full.live_runs });
        }
        self.active = Some(ActiveSegment {
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

    /// The group in the active segment is durable up to `bytes` further. Orders the next segment when this one is half full.
    pub(super) fn advance(&mut self, bytes: u64) {
        let active = self.active.as_mut().expect("a group begins in an active segment");
        active.position += bytes;
        if active.position >= active.bytes / 2 {
            self.spare.request(self.next_bytes());
        }
    }

    /// Notes a durable run of the active segment. `is_new`: it does not lengthen the run before it.
    pub(super) fn add_run(&mut self, journal: u64, epoch: u64, run: FrameRun, is_new: bool) {
        let active = self.active.as_mut().expect("a group begins in an active segment");
        active.live_runs += u64::from(is_new);
        note_run(&mut active.runs, journal, epoch, run);
    }

    /// Subtracts runs whose records are all deleted.
    pub(super) fn release(&mut self, dead: &[FrameRun]) {
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

    /// Deletes sealed segments without live runs; one of them may become the next spare.
    pub(super) fn delete_empty(&mut self) {
        let empty: Vec<_> = self.sealed.extract_if(.., |_, sealed| sealed.live_runs == 0).collect();
        for (number, sealed) in empty {
            let file = self.shared.remove_segment(number);
            let is_large_enough = sealed.bytes >= self.next_bytes();
            let is_spare = file
                .filter(|_| is_large_enough)
                .is_some_and(|file| self.spare.offer(number, file, sealed.bytes));
            if !is_spare {
                segment::remove(&self.directory, number);
            }
        }
        self.metrics
            .journal_segments
            .set(i64::try_from(self.sealed.len()).unwrap_or(i64::MAX) + i64::from(self.active.is_some()));
    }

    fn next_bytes(&self) -> u64 {
        let next = match &self.active {
            Some(active) => active.bytes.saturating_mul(2),
            None => self.bytes_first,
        };
        next.clamp(BYTES_MIN, self.bytes_max)
    }
}
