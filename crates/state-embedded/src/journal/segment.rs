//! Segment files: their names, the spare that is created in advance, and the index file of each sealed segment.
//!
//! A segment is written with zeros and flushed before it is used. Writing over blocks that exist changes no metadata,
//! which makes the flush of a group cheap; in a file that grows, or that was only reserved, each flush costs a file-system
//! transaction. A thread keeps one spare ready. A segment without live records becomes the next spare without being
//! overwritten: an old frame is never mistaken for a new one (see `frame.rs`).

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use bytes::{Buf, BufMut};

use super::index::FrameRun;
use crate::platform;
use supervision::{Supervisor, Thread, TurnOutcome, Turns, Unit, Wait};

/// Zeros are written in chunks of this size, so that they do not fill the device's queue.
const ZEROS_BYTES: usize = 256 << 10;

const INDEX_MAGIC: u32 = u32::from_le_bytes(*b"CHX1");

/// The file of a segment.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.log"))
}

fn index_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.index"))
}

fn spare_path(directory: &Path) -> PathBuf {
    directory.join("spare")
}

/// The numbers of the segments in a directory, in order.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn open(directory: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path(directory, number))
}

/// Renames the spare to a segment, durably.
pub(super) fn install_spare(directory: &Path, number: u64) -> io::Result<()> {
    std::fs::rename(spare_path(directory), path(directory, number))?;
    platform::sync_directory(directory)
}

/// Removes a segment's files. What remains after a crash is removed at the next start.
pub(super) fn remove(directory: &Path, number: u64) {
    for path in [index_path(directory, number), path(directory, number)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %path.display(), "cannot remove a trimmed file of the journal");
            }
            _ => {}
        }
    }
}

/// The runs of a sealed segment, so that the next start need not read the segment.
pub(super) struct SegmentIndex {
    /// Number of the group that sealed it.
    pub(super) last_group: u64,
    /// Journal number and epoch, and a run of its records.
    pub(super) runs: Vec<(u64, u64, FrameRun)>,
}

impl SegmentIndex {
    /// Writes the file without a flush: if it is lost or torn, the segment is read instead.
    pub(super) fn write(&self, directory: &Path, number: u64, store: u32) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(40 + 48 * self.runs.len());
        bytes.put_u32_le(INDEX_MAGIC);
        bytes.put_u32_le(store);
        bytes.put_u64_le(number);
        bytes.put_u64_le(self.last_group);
        for (journal, epoch, run) in &self.runs {
            for part in [*journal, *epoch, run.first, run.records, run.position, run.bytes] {
                bytes.put_u64_le(part);
            }
        }
        bytes.put_u32_le(crc32fast::hash(&bytes));
        std::fs::write(index_path(directory, number), bytes)
    }

    /// Reads the file; `None` if it is missing, torn, or of another store or segment.
    pub(super) fn read(directory: &Path, number: u64, store: u32) -> Option<Self> {
        let bytes = std::fs::read(index_path(directory, number)).ok()?;
        let (mut content, mut checksum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32fast::hash(content) != checksum.get_u32_le() {
            return None;
        }
        let is_own = content.try_get_u32_le().ok()? == INDEX_MAGIC
            && content.try_get_u32_le().ok()? == store
            && content.try_get_u64_le().ok()? == number;
        let last_group = content.try_get_u64_le().ok()?;
        if !is_own || content.len() % 48 != 0 {
            return None;
        }
        let mut runs = Vec::with_capacity(content.len() / 48);
        while content.has_remaining() {
            let mut number_in = || content.get_u64_le();
            let (journal, epoch) = (number_in(), number_in());
            let run = FrameRun {
                first: number_in(),
                records: number_in(),
                segment: number,
                position: number_in(),
                bytes: number_in(),
            };
            runs.push((journal, epoch, run));
        }
        Some(Self { last_group, runs })
    }
}

/// The file of the next segment, created in advance by a thread.
pub(super) struct Spare {
    shared: Arc<SpareShared>,
    thread: Option<Thread>,
}

/// The work of the thread that creates segments.
struct SpareTurns(Arc<SpareShared>);

struct SpareShared {
    directory: PathBuf,
    state: Mutex<SpareState>,
    changed: Condvar,
}

enum SpareState {
    /// Neither ready nor requested.
    None,
    /// To be created with this size, in bytes.
    Requested(u64),
    /// The thread is creating it.
    Creating,
    /// The file and its size, in bytes.
    Ready(File, u64),
    /// Cannot be created; the writer tries again when it needs one, and gets the error.
    Failed,
    Closed,
}

impl Spare {
    /// Starts the thread; uses the spare of an earlier process if there is one.
    pub(super) fn open(directory: &Path, supervisor: &Supervisor) -> io::Result<Self> {
        let found = OpenOptions::new().read(true).write(true).open(spare_path(directory));
        let state = match found {
            Ok(file) => {
                let bytes = file.metadata()?.len();
                SpareState::Ready(file, bytes)
            }
            Err(_) => SpareState::None,
        };
        let shared = Arc::new(SpareShared {
            directory: directory.to_owned(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let turns = SpareTurns(shared.clone());
        // Essential: the writer may wait for this thread.
        let builder = std::thread::Builder::new();
        let thread = supervisor.essential_turns(builder, "journal segments", move || turns)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Requests a spare if there is none.
    pub(super) fn request(&self, bytes: u64) {
        let mut state = self.shared.lock();
        if matches!(*state, SpareState::None) {
            *state = SpareState::Requested(bytes);
            self.shared.changed.notify_all();
        }
    }

    /// Offers the file of a segment without live records. Returns whether it became the spare.
    pub(super) fn offer(&self, number: u64, file: File, bytes: u64) -> bool {
        let directory = &self.shared.directory;
        let mut state = self.shared.lock();
        let is_needed = matches!(*state, SpareState::None | SpareState::Failed);
        // The index file is removed first: a crash must not leave one without its segment.
        let accepted = is_needed
            && std::fs::remove_file(index_path(directory, number)).is_ok()
            && std::fs::rename(path(directory, number), spare_path(directory)).is_ok();
        if accepted {
            *state = SpareState::Ready(file, bytes);
        }
        accepted
    }

    /// Claims a spare of at least `bytes_min`; creates one of `bytes` if none is ready. Its file keeps the name of a spare
    /// until [`install_spare`].
    pub(super) fn claim(&self, bytes_min: u64, bytes: u64) -> io::Result<(File, u64)> {
        let mut state = self.shared.lock();
        loop {
            match std::mem::replace(&mut *state, SpareState::None) {
                SpareState::Ready(file, has) if has >= bytes_min => return Ok((file, has)),
                SpareState::Creating => {
                    *state = SpareState::Creating;
                    state = self.shared.changed.wait(state).expect("no thread panics with the spare's lock");
                }
                // The thread has not begun to create the requested one, so it would not be ready sooner.
                SpareState::Ready(..) | SpareState::None | SpareState::Requested(_) | SpareState::Failed => {
                    return create(&self.shared.directory, bytes.max(bytes_min));
                }
                SpareState::Closed => {
                    *state = SpareState::Closed;
                    return Err(io::Error::other("the journal is closed"));
                }
            }
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        *self.shared.lock() = SpareState::Closed;
        self.shared.changed.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that creates segments panicked");
        }
    }
}

impl SpareShared {
    fn lock(&self) -> std::sync::MutexGuard<'_, SpareState> {
        self.state.lock().expect("no thread panics with the spare's lock")
    }
}

impl Turns for SpareTurns {
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        unit.fault_point();
        let shared = &self.0;
        let mut state = shared.lock();
        let bytes = loop {
            match *state {
                SpareState::Closed => {
                    unit.release();
                    return TurnOutcome::Ended;
                }
                SpareState::Requested(bytes) => break bytes,
                _ if wait == Wait::Never => return TurnOutcome::Idle,
                _ => state = shared.changed.wait(state).expect("no thread panics with the spare's lock"),
            }
        };
        *state = SpareState::Creating;
        drop(state);
        let created = create(&shared.directory, bytes);
        state = shared.lock();
        // If the log was closed meanwhile, the next start finds the file.
        if matches!(*state, SpareState::Creating) {
            *state = match created {
                Ok((file, bytes)) => SpareState::Ready(file, bytes),
                Err(error) => {
                    tracing::warn!(%error, "cannot create the journal's next segment in advance");
                    SpareState::Failed
                }
            };
        }
        shared.changed.notify_all();
        TurnOutcome::Worked
    }
}

/// Creates a spare: reserves the space, writes zeros, flushes.
fn create(directory: &Path, bytes: u64) -> io::Result<(File, u64)> {
    let temporary = directory.join("spare.new");
    let created = (|| {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        platform::reserve(&file, bytes)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut position = 0;
        while position < bytes {
            let chunk = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            platform::write_at(&file, &zeros[..chunk], position)?;
            platform::sync_data(&file)?;
            position += chunk as u64;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, spare_path(directory))?;
        Ok((file, bytes))
    })();
    if created.is_err() {
        // An incomplete spare would occupy space that is needed now.
        drop(std::fs::remove_file(&temporary));
    }
    created
}
