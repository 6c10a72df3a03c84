//! Reads the log at the start: which journals exist, where their records are, and where writing continues.
//!
//! The last segment holds everything except the positions of older records: it begins with a declaration of every journal,
//! followed by all changes. Older segments add their runs, from their index file or from the segment itself. In the end the
//! runs of each journal must be contiguous; otherwise a file is lost or damaged.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Buf;
use state::Epoch;

use super::frame::FrameKind;
use super::index::{FrameRun, JournalKey, RecordIndex, note_run};
use super::scan::{SegmentFrame, SegmentScan};
use super::segment::{self, SegmentIndex};
use crate::error::OpenStoreError;

/// The content of a log.
pub(super) struct Recovered {
    pub(super) journals: Vec<RecoveredJournal>,
    /// Open files of all segments, by number, with their size in bytes.
    pub(super) segments: BTreeMap<u64, (File, u64)>,
    /// The segment to continue in, if there is any.
    pub(super) active: Option<RecoveredSegment>,
    /// The last complete group.
    pub(super) last_group: u64,
    /// An incomplete group follows it.
    pub(super) is_torn: bool,
    /// Segments without a complete group; they can be removed once it is certain that nothing is missing.
    pub(super) unused: Vec<u64>,
}

/// The segment that is written to.
pub(super) struct RecoveredSegment {
    pub(super) number: u64,
    /// Where the next group is written.
    pub(super) position: u64,
    /// It is sealed: the next group begins a new segment.
    pub(super) is_sealed: bool,
    /// For its index file.
    pub(super) runs: Vec<(u64, u64, FrameRun)>,
}

/// A journal with its records.
pub(super) struct RecoveredJournal {
    pub(super) key: JournalKey,
    pub(super) id: u64,
    pub(super) epoch: Epoch,
    pub(super) records: RecordIndex,
}

/// The content of one segment.
struct SegmentContents {
    /// By journal number.
    journals: BTreeMap<u64, JournalSummary>,
    runs: Vec<(u64, u64, FrameRun)>,
    last_group: u64,
    end: u64,
    is_sealed: bool,
    is_torn: bool,
}

/// A journal as declared, with the changes since.
#[derive(Clone)]
struct JournalSummary {
    key: JournalKey,
    epoch: u64,
    first: u64,
    next: u64,
}

/// Why a segment could not be read.
enum SegmentFailure {
    Io(io::Error),
    Damage { position: u64, what: &'static str },
}

impl From<io::Error> for SegmentFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl SegmentFailure {
    fn in_file(self, file: PathBuf) -> OpenStoreError {
        match self {
            Self::Io(cause) => OpenStoreError::from_io(&file, cause),
            Self::Damage { position, what } => OpenStoreError::Corrupt { file, position, what },
        }
    }
}

/// Reads the log in `directory`.
pub(super) fn recover(directory: &Path, store: u32) -> Result<Recovered, OpenStoreError> {
    let failed = |cause| OpenStoreError::from_io(directory, cause);
    let mut numbers = segment::numbers(directory).map_err(failed)?;
    let mut segments = BTreeMap::new();
    for number in &numbers {
        let file = segment::open(directory, *number).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        segments.insert(*number, (file, bytes));
    }
    let mut runs: BTreeMap<u64, Vec<(u64, FrameRun)>> = BTreeMap::new();
    let mut unused = Vec::new();
    let Some(last) = read_active(directory, store, &mut numbers, &mut segments, &mut unused)? else {
        let journals = Vec::new();
        return Ok(Recovered { journals, segments, active: None, last_group: 0, is_torn: false, unused });
    };
    let active = numbers.pop().expect("the last segment has a number");
    for number in numbers {
        for (id, epoch, run) in read_sealed(directory, store, number, &segments)?.runs {
            runs.entry(id).or_default().push((epoch, run));
        }
    }
    for (id, epoch, run) in &last.runs {
        runs.entry(*id).or_default().push((*epoch, *run));
    }
    let journals = last
        .journals
        .into_iter()
        .map(|(id, journal)| {
            let runs = runs.remove(&id).unwrap_or_default();
            join_runs(id, journal, runs).map_err(|run| OpenStoreError::Corrupt {
                file: segment::path(directory, run.map_or(active, |run| run.segment)),
                position: run.map_or(0, |run| run.position),
                what: "records before these are missing",
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Recovered {
        journals,
        segments,
        active: Some(RecoveredSegment {
            number: active,
            position: last.end,
            is_sealed: last.is_sealed,
            runs: last.runs,
        }),
        last_group: last.last_group,
        is_torn: last.is_torn,
        unused,
    })
}

/// The contents of the active segment: the last one with a complete group. Later ones are added to `unused`.
fn read_active(
    directory: &Path,
    store: u32,
    numbers: &mut Vec<u64>,
    segments: &mut BTreeMap<u64, (File, u64)>,
    unused: &mut Vec<u64>,
) -> Result<Option<SegmentContents>, OpenStoreError> {
    while let Some(number) = numbers.last().copied() {
        let path = segment::path(directory, number);
        let (file, _) = &segments[&number];
        let contents = read_segment(file, number, store).map_err(|failure| failure.in_file(path.clone()))?;
        if contents.is_sealed {
            return Ok(Some(contents));
        }
        let began = contents.end > 0;
        let before = match numbers.len().checked_sub(2) {
            _ if began => contents.last_group,
            Some(previous) => read_sealed(directory, store, numbers[previous], segments)?.last_group,
            None => 0,
        };
        let (file, _) = &segments[&number];
        let is_damaged = SegmentScan::new(file, store).proves_damage(contents.end, before);
        if is_damaged.map_err(|cause| OpenStoreError::from_io(&path, cause))? {
            let what = "records that were durable cannot be read";
            return Err(OpenStoreError::Corrupt { file: path, position: contents.end, what });
        }
        if began {
            return Ok(Some(contents));
        }
        numbers.pop();
        segments.remove(&number);
        unused.push(number);
    }
    Ok(None)
}

/// The runs of a segment that others follow: from its index file; without one, from the segment, and the index file is
/// written for the next start.
fn read_sealed(
    directory: &Path,
    store: u32,
    number: u64,
    segments: &BTreeMap<u64, (File, u64)>,
) -> Result<SegmentIndex, OpenStoreError> {
    if let Some(index) = SegmentIndex::read(directory, number, store) {
        return Ok(index);
    }
    let path = segment::path(directory, number);
    let contents = read_segment(&segments[&number].0, number, store).and_then(|contents| {
        if contents.is_sealed {
            return Ok(contents);
        }
        Err(SegmentFailure::Damage { position: contents.end, what: "the segment has no end" })
    });
    let contents = contents.map_err(|failure| failure.in_file(path))?;
    let index = SegmentIndex { last_group: contents.last_group, runs: contents.runs };
    if let Err(error) = index.write(directory, number, store) {
        tracing::warn!(%error, "cannot write an index file of the journal; the next start reads the segment instead");
    }
    Ok(index)
}

/// Reads complete groups from the start of a segment up to its seal or to an incomplete group.
fn read_segment(file: &File, number: u64, store: u32) -> Result<SegmentContents, SegmentFailure> {
    let mut contents = SegmentContents {
        journals: BTreeMap::new(),
        runs: Vec::new(),
        last_group: 0,
        end: 0,
        is_sealed: false,
        is_torn: false,
    };
    let mut scan = SegmentScan::new(file, store);
    while !contents.is_sealed {
        let Some((effects, group, end)) = read_group(&mut scan, number, &contents)? else { break };
        for (position, effect) in effects {
            contents.apply(effect, number, position)?;
        }
        contents.last_group = group;
        contents.end = end;
    }
    if !contents.is_sealed && contents.end > 0 {
        contents.is_torn = scan.begins_group(contents.end, contents.last_group)?;
    }
    Ok(contents)
}

/// What a frame changes.
enum Effect {
    Begin,
    Journal(u64, JournalSummary),
    Record { journal: u64, epoch: u64, offset: u64, bytes: u64 },
    Trim { journal: u64, first: u64 },
    Remove { journal: u64, epoch: u64 },
    Seal,
}

/// The effects of a group with their positions, the number of the group, and where it ends.
type Group = (Vec<(u64, Effect)>, u64, u64);

/// Reads one complete group; `None` if there is none.
fn read_group(
    scan: &mut SegmentScan<'_>,
    number: u64,
    contents: &SegmentContents,
) -> Result<Option<Group>, SegmentFailure> {
    let mut effects = Vec::new();
    let mut position = contents.end;
    let mut group = None;
    loop {
        let Some(frame) = scan.frame(position)? else { return Ok(None) };
        let header = frame.header;
        let is_next = match group {
            Some(group) => header.group == group,
            // The first group of a segment names one of the segment before it.
            None => contents.end == 0 || header.before == contents.last_group && header.group > header.before,
        };
        let is_begin = header.kind == FrameKind::Segment && header.offset == number;
        if !is_next || (position == 0) != is_begin {
            return Ok(None);
        }
        group = Some(header.group);
        let Some(effect) = effect(&frame) else {
            return Err(SegmentFailure::Damage { position, what: "a frame says what it cannot say" });
        };
        let bytes = frame.bytes;
        effects.push((position, effect));
        position += bytes;
        if header.is_last {
            return Ok(Some((effects, header.group, position)));
        }
    }
}

fn effect(frame: &SegmentFrame<'_>) -> Option<Effect> {
    let header = frame.header;
    Some(match header.kind {
        FrameKind::Segment => Effect::Begin,
        FrameKind::Journal => {
            let (next, instance, name) = super::frame::journal(frame.payload)?;
            let journal =
                JournalSummary { key: (instance, name), epoch: header.epoch, first: header.offset, next };
            Effect::Journal(header.journal, journal)
        }
        FrameKind::Record => {
            // The reader checks the content; here only its presence matters.
            frame.payload.has_remaining().then_some(())?;
            Effect::Record {
                journal: header.journal,
                epoch: header.epoch,
                offset: header.offset,
                bytes: frame.bytes,
            }
        }
        FrameKind::Trim => Effect::Trim { journal: header.journal, first: header.offset },
        FrameKind::Remove => Effect::Remove { journal: header.journal, epoch: header.epoch },
        FrameKind::Seal => Effect::Seal,
    })
}

impl SegmentContents {
    fn apply(&mut self, effect: Effect, segment: u64, position: u64) -> Result<(), SegmentFailure> {
        let damage = |what| Err(SegmentFailure::Damage { position, what });
        match effect {
            Effect::Begin => {}
            Effect::Journal(id, journal) => {
                self.journals.insert(id, journal);
            }
            Effect::Record { journal: id, epoch, offset, bytes } => {
                let Some(journal) = self.journals.get_mut(&id) else {
                    return damage("a record of an unknown journal");
                };
                if journal.epoch != epoch || journal.next != offset {
                    return damage("a record that does not follow the one before it");
                }
                journal.next += 1;
                let run = FrameRun { first: offset, records: 1, segment, position, bytes };
                note_run(&mut self.runs, id, epoch, run);
            }
            Effect::Trim { journal, first } => {
                let Some(journal) = self.journals.get_mut(&journal) else {
                    return damage("a trim of an unknown journal");
                };
                journal.first = journal.first.max(first);
            }
            Effect::Remove { journal, epoch } => {
                // Its runs stay in the list but belong to no journal any more.
                if self.journals.remove(&journal).is_none_or(|journal| journal.epoch != epoch) {
                    return damage("a removal of an unknown journal");
                }
            }
            Effect::Seal => self.is_sealed = true,
        }
        Ok(())
    }
}

/// Sorts a journal's runs. The error is the run before which records are missing (`None`: at the end).
fn join_runs(
    id: u64,
    journal: JournalSummary,
    runs: Vec<(u64, FrameRun)>,
) -> Result<RecoveredJournal, Option<FrameRun>> {
    let mut runs: Vec<_> = runs
        .into_iter()
        .filter(|(epoch, run)| *epoch == journal.epoch && run.next() > journal.first)
        .map(|(_, run)| run)
        .collect();
    runs.sort_by_key(|run| run.first);
    let mut next = journal.first;
    for run in &runs {
        let begins_at = run.first.max(journal.first);
        if begins_at != next {
            return Err(Some(*run));
        }
        next = run.next();
    }
    if next != journal.next {
        return Err(None);
    }
    let records = RecordIndex { first: journal.first, next: journal.next, runs: runs.into() };
    Ok(RecoveredJournal { key: journal.key, id, epoch: Epoch(journal.epoch), records })
}

/// The number of the journals' runs in each segment; a segment without runs can be deleted.
pub(super) fn live_runs(journals: &[RecoveredJournal]) -> HashMap<u64, u64> {
    let mut live = HashMap::new();
    for run in journals.iter().flat_map(|journal| &journal.records.runs) {
        *live.entry(run.segment).or_default() += 1;
    }
    live
}
