//! Opening the log: which journals there are, where their records lie, and where writing goes on.
//!
//! The last segment tells everything but the places of older records: it begins with all journals that there are, and
//! holds what was done since. Older segments add their runs, from the index file beside them or by being read. In the end
//! each journal's runs must follow one another without a gap, so that a lost or damaged file is noticed.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Buf;
use state::Epoch;

use super::frame::Kind;
use super::index::{Extent, Home, Run, note};
use super::scan::{Frame, Scan};
use super::segment::{self, Index};
use crate::error::OpenError;

/// The log as it was found.
pub(super) struct Recovered {
    pub(super) journals: Vec<Journal>,
    /// Open files of all segments, by number, with their size in bytes.
    pub(super) segments: BTreeMap<u64, (File, u64)>,
    /// The segment to write on in, if there is any.
    pub(super) active: Option<Active>,
    /// The last group that is there.
    pub(super) last_group: u64,
    /// A group was begun after it, and is not whole.
    pub(super) is_torn: bool,
    /// Segments that were begun and hold nothing; they can be removed once it is known that nothing is missing.
    pub(super) unused: Vec<u64>,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) number: u64,
    /// Where the next group goes.
    pub(super) position: u64,
    /// Its last group sealed it: the next group begins a new segment.
    pub(super) is_sealed: bool,
    /// For its index file.
    pub(super) runs: Vec<(u64, u64, Run)>,
}

/// A journal as it was found.
pub(super) struct Journal {
    pub(super) home: Home,
    pub(super) id: u64,
    pub(super) epoch: Epoch,
    pub(super) extent: Extent,
}

/// What one segment says.
struct Contents {
    /// By journal number: home, epoch, first, next.
    journals: BTreeMap<u64, Known>,
    runs: Vec<(u64, u64, Run)>,
    last_group: u64,
    end: u64,
    is_sealed: bool,
    is_torn: bool,
}

#[derive(Clone)]
struct Known {
    home: Home,
    epoch: u64,
    first: u64,
    next: u64,
}

/// Why a segment could not be read.
enum Failure {
    Io(io::Error),
    Damage { position: u64, what: &'static str },
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    fn in_file(self, file: PathBuf) -> OpenError {
        match self {
            Self::Io(cause) => OpenError::from_io(&file, cause),
            Self::Damage { position, what } => OpenError::Corrupt { file, position, what },
        }
    }
}

/// Reads the log in `directory`.
pub(super) fn recover(directory: &Path, store: u32) -> Result<Recovered, OpenError> {
    let failed = |cause| OpenError::from_io(directory, cause);
    let mut numbers = segment::numbers(directory).map_err(failed)?;
    let mut segments = BTreeMap::new();
    for number in &numbers {
        let file = segment::open(directory, *number).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        segments.insert(*number, (file, bytes));
    }
    let mut runs: BTreeMap<u64, Vec<(u64, Run)>> = BTreeMap::new();
    let mut unused = Vec::new();
    let Some(last) = last(directory, store, &mut numbers, &mut segments, &mut unused)? else {
        let journals = Vec::new();
        return Ok(Recovered { journals, segments, active: None, last_group: 0, is_torn: false, unused });
    };
    let active = numbers.pop().expect("the last segment has a number");
    for number in numbers {
        for (id, epoch, run) in older(directory, store, number, &segments)?.runs {
            runs.entry(id).or_default().push((epoch, run));
        }
    }
    for (id, epoch, run) in &last.runs {
        runs.entry(*id).or_default().push((*epoch, *run));
    }
    let journals = last
        .journals
        .into_iter()
        .map(|(id, known)| {
            let runs = runs.remove(&id).unwrap_or_default();
            join(id, known, runs).map_err(|run| OpenError::Corrupt {
                file: segment::path(directory, run.map_or(active, |run| run.segment)),
                position: run.map_or(0, |run| run.position),
                what: "records before these are missing",
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Recovered {
        journals,
        segments,
        active: Some(Active {
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

/// The contents of the last segment that was begun; one whose first group was never durable is put on the list of unused ones.
fn last(
    directory: &Path,
    store: u32,
    numbers: &mut Vec<u64>,
    segments: &mut BTreeMap<u64, (File, u64)>,
    unused: &mut Vec<u64>,
) -> Result<Option<Contents>, OpenError> {
    while let Some(number) = numbers.last().copied() {
        let path = segment::path(directory, number);
        let (file, _) = &segments[&number];
        let contents = read(file, number, store).map_err(|failure| failure.in_file(path.clone()))?;
        if contents.is_sealed {
            return Ok(Some(contents));
        }
        let began = contents.end > 0;
        let before = match numbers.len().checked_sub(2) {
            _ if began => contents.last_group,
            Some(previous) => older(directory, store, numbers[previous], segments)?.last_group,
            None => 0,
        };
        let (file, _) = &segments[&number];
        let is_damaged = Scan::new(file, store).proves_damage(contents.end, before);
        if is_damaged.map_err(|cause| OpenError::from_io(&path, cause))? {
            let what = "records that were durable cannot be read";
            return Err(OpenError::Corrupt { file: path, position: contents.end, what });
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

/// The runs of a segment that others follow: from its index file, or read and noted for the next time.
fn older(
    directory: &Path,
    store: u32,
    number: u64,
    segments: &BTreeMap<u64, (File, u64)>,
) -> Result<Index, OpenError> {
    if let Some(index) = Index::read(directory, number, store) {
        return Ok(index);
    }
    let path = segment::path(directory, number);
    let contents = read(&segments[&number].0, number, store).and_then(|contents| {
        if contents.is_sealed {
            return Ok(contents);
        }
        Err(Failure::Damage { position: contents.end, what: "the segment has no end" })
    });
    let contents = contents.map_err(|failure| failure.in_file(path))?;
    let index = Index { last_group: contents.last_group, runs: contents.runs };
    if let Err(error) = index.write(directory, number, store) {
        tracing::warn!(%error, "an index of the journal could not be written; the next start reads more");
    }
    Ok(index)
}

/// Reads whole groups from a segment's begin, up to its seal or to what is no group.
fn read(file: &File, number: u64, store: u32) -> Result<Contents, Failure> {
    let mut contents = Contents {
        journals: BTreeMap::new(),
        runs: Vec::new(),
        last_group: 0,
        end: 0,
        is_sealed: false,
        is_torn: false,
    };
    let mut scan = Scan::new(file, store);
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

/// What a frame does to what is known.
enum Effect {
    Begin,
    Journal(u64, Known),
    Record { journal: u64, epoch: u64, offset: u64, bytes: u64 },
    Trim { journal: u64, first: u64 },
    Remove { journal: u64, epoch: u64 },
    Seal,
}

/// A group's effects with their places, its number, and where it ends.
type Group = (Vec<(u64, Effect)>, u64, u64);

/// Reads one whole group; `None` where there is none.
fn read_group(scan: &mut Scan<'_>, number: u64, contents: &Contents) -> Result<Option<Group>, Failure> {
    let mut effects = Vec::new();
    let mut position = contents.end;
    let mut group = None;
    loop {
        let Some(frame) = scan.frame(position)? else { return Ok(None) };
        let head = frame.head;
        let is_next = match group {
            Some(group) => head.group == group,
            // The first group of a segment names one of the segment before it.
            None => contents.end == 0 || head.before == contents.last_group && head.group > head.before,
        };
        let is_begin = head.kind == Kind::Segment && head.offset == number;
        if !is_next || (position == 0) != is_begin {
            return Ok(None);
        }
        group = Some(head.group);
        let Some(effect) = effect(&frame) else {
            return Err(Failure::Damage { position, what: "a frame says what it cannot say" });
        };
        let bytes = frame.bytes;
        effects.push((position, effect));
        position += bytes;
        if head.is_last {
            return Ok(Some((effects, head.group, position)));
        }
    }
}

fn effect(frame: &Frame<'_>) -> Option<Effect> {
    let head = frame.head;
    Some(match head.kind {
        Kind::Segment => Effect::Begin,
        Kind::Journal => {
            let (next, instance, name) = super::frame::journal(frame.payload)?;
            let known = Known { home: (instance, name), epoch: head.epoch, first: head.offset, next };
            Effect::Journal(head.journal, known)
        }
        Kind::Record => {
            // The content is checked by whoever reads it; here it must only be there.
            frame.payload.has_remaining().then_some(())?;
            Effect::Record {
                journal: head.journal,
                epoch: head.epoch,
                offset: head.offset,
                bytes: frame.bytes,
            }
        }
        Kind::Trim => Effect::Trim { journal: head.journal, first: head.offset },
        Kind::Remove => Effect::Remove { journal: head.journal, epoch: head.epoch },
        Kind::Seal => Effect::Seal,
    })
}

impl Contents {
    fn apply(&mut self, effect: Effect, segment: u64, position: u64) -> Result<(), Failure> {
        let damage = |what| Err(Failure::Damage { position, what });
        match effect {
            Effect::Begin => {}
            Effect::Journal(id, known) => {
                self.journals.insert(id, known);
            }
            Effect::Record { journal, epoch, offset, bytes } => {
                let Some(known) = self.journals.get_mut(&journal) else {
                    return damage("a record of an unknown journal");
                };
                if known.epoch != epoch || known.next != offset {
                    return damage("a record that does not follow the one before it");
                }
                known.next += 1;
                let run = Run { first: offset, records: 1, segment, position, bytes };
                note(&mut self.runs, journal, epoch, run);
            }
            Effect::Trim { journal, first } => {
                let Some(known) = self.journals.get_mut(&journal) else {
                    return damage("a trim of an unknown journal");
                };
                known.first = known.first.max(first);
            }
            Effect::Remove { journal, epoch } => {
                // Its runs stay on the list, and belong to no journal any more.
                if self.journals.remove(&journal).is_none_or(|known| known.epoch != epoch) {
                    return damage("a removal of an unknown journal");
                }
            }
            Effect::Seal => self.is_sealed = true,
        }
        Ok(())
    }
}

/// Puts a journal's runs in order. Answers the run before which records are missing (`None`: after all of them).
fn join(id: u64, known: Known, runs: Vec<(u64, Run)>) -> Result<Journal, Option<Run>> {
    let mut runs: Vec<_> = runs
        .into_iter()
        .filter(|(epoch, run)| *epoch == known.epoch && run.next() > known.first)
        .map(|(_, run)| run)
        .collect();
    runs.sort_by_key(|run| run.first);
    let mut next = known.first;
    for run in &runs {
        let begins_at = run.first.max(known.first);
        if begins_at != next {
            return Err(Some(*run));
        }
        next = run.next();
    }
    if next != known.next {
        return Err(None);
    }
    let extent = Extent { first: known.first, next: known.next, runs: runs.into() };
    Ok(Journal { home: known.home, id, epoch: Epoch(known.epoch), extent })
}

/// How many runs of the journals lie in each segment; segments without any can go.
pub(super) fn live_runs(journals: &[Journal]) -> HashMap<u64, u64> {
    let mut live = HashMap::new();
    for run in journals.iter().flat_map(|journal| &journal.extent.runs) {
        *live.entry(run.segment).or_default() += 1;
    }
    live
}
