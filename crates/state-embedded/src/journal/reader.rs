//! The reading threads: read runs from the segment files, check every frame, and return the requested records.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use checked_files::{Damage, Health};
use state::{Entry, Epoch, JournalReadError, Offset, Position};
use supervision::{TurnOutcome, Turns, Unit, Wait};
use tokio::sync::oneshot;

use super::frame::{self, FrameKind, HEADER_BYTES};
use super::index::{FrameRun, JournalState, Shared};
use crate::metrics::Metrics;
use crate::platform;
use crate::queue::{Popped, Queue};

/// Most bytes that one read returns, even if the caller allows more.
const READ_BYTES_MAX: usize = 64 << 20;

/// A request of a caller.
pub(super) struct JournalRead {
    pub(super) journal: Arc<JournalState>,
    pub(super) from: Position,
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
    pub(super) reply: oneshot::Sender<Result<Vec<Entry>, JournalReadError>>,
}

pub(super) struct JournalReader {
    pub(super) store: u32,
    pub(super) shared: Arc<Shared>,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

fn segment_file(segment: u64) -> PathBuf {
    PathBuf::from(format!("journal/{segment:016x}.log"))
}

/// Durable bytes that are not what was written.
#[derive(Debug, thiserror::Error)]
#[error("the record at offset {offset} is damaged in segment {segment:016x}.log at byte {position}")]
struct Damaged {
    offset: u64,
    segment: u64,
    position: u64,
}

/// A reader and the queue of its requests.
pub(super) struct JournalReaderTurns {
    pub(super) reader: JournalReader,
    pub(super) queues: Arc<[Queue<JournalRead>]>,
    /// Which of the queues is this reader's.
    pub(super) number: usize,
}

impl Turns for JournalReaderTurns {
    /// Answers the waiting requests. Ends when the queue is closed and empty.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        // Dropped by a panic, so that the callers learn of it.
        let mut reads = Vec::new();
        match self.queues[self.number].pop_all(&mut reads, wait.until(None)) {
            Popped::Items => {}
            Popped::Deadline => return TurnOutcome::Idle,
            Popped::Closed => return TurnOutcome::Ended,
        }
        unit.fault_point();
        for read in reads {
            self.reader.metrics.journal_reads.inc();
            let entries = self.reader.read(&read);
            // The caller may no longer wait for it.
            drop(read.reply.send(entries));
        }
        TurnOutcome::Worked
    }
}

impl JournalReader {
    fn read(&self, read: &JournalRead) -> Result<Vec<Entry>, JournalReadError> {
        let journal = &read.journal;
        let bytes_max = read.bytes_max.min(READ_BYTES_MAX);
        let Some(runs) = requested_runs(read, bytes_max)? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        let mut bytes_left = bytes_max;
        for run in runs {
            match self.read_run(read, run, &mut bytes_left, &mut entries) {
                Ok(true) => {}
                Ok(false) => break,
                Err(cause) => {
                    // The records may have been trimmed away, and their file with them, since the runs were looked up.
                    journal.has_record_at(&journal.records(), read.from)?;
                    if let Some(damaged) = cause.downcast_ref::<Damaged>() {
                        let file = segment_file(damaged.segment);
                        self.health.set_damaged(Damage::File { file, what: damaged.to_string() });
                    }
                    tracing::error!(%cause, instance = %journal.key.0, journal = %journal.key.1, "cannot read a journal");
                    return Err(JournalReadError::Backend { journal: journal.key.1.clone(), cause });
                }
            }
        }
        Ok(entries)
    }

    /// Adds the requested records of a run. Returns whether more records fit.
    fn read_run(
        &self,
        read: &JournalRead,
        run: FrameRun,
        bytes_left: &mut usize,
        entries: &mut Vec<Entry>,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let damaged =
            |offset, at: usize| Damaged { offset, segment: run.segment, position: run.position + at as u64 };
        let file = self.shared.segment(run.segment).ok_or_else(|| damaged(run.first, 0))?;
        let mut buffer = vec![0; usize::try_from(run.bytes)?];
        let filled = platform::read_at(&file, &mut buffer, run.position)?;
        buffer.truncate(filled);
        let buffer = Bytes::from(buffer);
        let mut at = 0;
        for offset in run.first..run.next() {
            let frame = buffer.slice(at.min(buffer.len())..);
            let found = frame::header(&frame).filter(|found| frame::is_intact(found, &frame, self.store));
            let found = found.ok_or_else(|| damaged(offset, at))?;
            let header = found.header;
            let is_expected = header.kind == FrameKind::Record
                && (header.journal, header.epoch, header.offset)
                    == (read.journal.id, read.journal.stored_epoch.0, offset);
            let record = frame::record(frame.slice(HEADER_BYTES..HEADER_BYTES + found.payload_bytes));
            let record = record.filter(|_| is_expected).ok_or_else(|| damaged(offset, at))?;
            at += found.frame_bytes();
            if offset < read.from.offset.0 {
                continue;
            }
            let bytes = record.len();
            if !entries.is_empty() && (bytes > *bytes_left || entries.len() >= read.records_max) {
                return Ok(false);
            }
            *bytes_left = bytes_left.saturating_sub(bytes);
            entries.push(Entry { offset: Offset(offset), record });
        }
        Ok(true)
    }
}

/// A description of the first unreadable record of a run, if there is one.
pub(super) fn damaged(file: &File, run: &FrameRun, journal: u64, epoch: Epoch, store: u32) -> Option<String> {
    let at_start =
        |at: usize| Damaged { offset: run.first, segment: run.segment, position: run.position + at as u64 };
    let mut buffer = vec![0; usize::try_from(run.bytes).ok()?];
    let filled = match platform::read_at(file, &mut buffer, run.position) {
        Ok(filled) => filled,
        Err(error) => return Some(format!("{}: {error}", at_start(0))),
    };
    buffer.truncate(filled);
    let mut at = 0;
    for offset in run.first..run.next() {
        let frame = &buffer[at.min(buffer.len())..];
        let found = frame::header(frame).filter(|found| frame::is_intact(found, frame, store));
        let found = found.filter(|found| {
            let header = found.header;
            header.kind == FrameKind::Record
                && (header.journal, header.epoch, header.offset) == (journal, epoch.0, offset)
        });
        let Some(found) = found else { return Some(Damaged { offset, ..at_start(at) }.to_string()) };
        at += found.frame_bytes();
    }
    None
}

/// The runs from the one with the first requested record to the one that reaches a limit; `None` if there is nothing to
/// read.
fn requested_runs(read: &JournalRead, bytes_max: usize) -> Result<Option<Vec<FrameRun>>, JournalReadError> {
    let records = read.journal.records();
    if !read.journal.has_record_at(&records, read.from)? || read.records_max == 0 {
        return Ok(None);
    }
    let from = read.from.offset.0;
    let start = records.runs.partition_point(|run| run.next() <= from);
    let (mut count, mut bytes) = (0_u64, 0_u64);
    let requested = records.runs.range(start..).take_while(|run| {
        let is_requested = count == 0 || count < read.records_max as u64 && bytes < bytes_max as u64;
        // A read may begin in the middle of the first run; the bytes before do not count.
        let part = run.next() - from.max(run.first);
        count += part;
        bytes += run.bytes * part / run.records;
        is_requested
    });
    Ok(Some(requested.copied().collect()))
}
