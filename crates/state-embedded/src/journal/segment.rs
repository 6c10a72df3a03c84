//! Segment files: their names, making them ahead of need, and the index file beside each that is full.
//!
//! A segment is written with zeros and flushed before it is used. Writing over blocks that exist changes no metadata,
//! which makes the flush of a group cheap; a file that grows, or that was only reserved, pays a file-system transaction
//! for it. One spare is kept ready by a thread of its own; a segment that was trimmed empty is taken as the next spare
//! as it is, because old frames never pass for new ones (see `frame.rs`).

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use bytes::{Buf, BufMut};

use super::index::Run;
use crate::platform;
use supervision::{Supervisor, Unit};

/// Zeros are written in pieces of this size, so that they do not fill the device's queue.
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

/// Gives the spare its number; it is a segment when this returns.
pub(super) fn install_spare(directory: &Path, number: u64) -> io::Result<()> {
    std::fs::rename(spare_path(directory), path(directory, number))?;
    platform::sync_directory(directory)
}

/// Removes a segment's files. Whatever a crash leaves of them is removed at the next opening.
pub(super) fn remove(directory: &Path, number: u64) {
    for path in [index_path(directory, number), path(directory, number)] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %path.display(), "a trimmed file could not be removed");
            }
            _ => {}
        }
    }
}

/// What a full segment holds, so that opening the log need not read it.
pub(super) struct Index {
    /// Number of the group that sealed it.
    pub(super) last_group: u64,
    /// Journal number and epoch, and a run of its records.
    pub(super) runs: Vec<(u64, u64, Run)>,
}

impl Index {
    /// Writes the file. It is not flushed: where it is lost or torn, the segment is read instead.
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

    /// Reads the file; `None` where it is missing, torn, or another's.
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
            let run = Run {
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

/// The next segment's file, made ahead of need by a thread of its own.
pub(super) struct Spare {
    shared: Arc<SpareShared>,
    thread: Option<JoinHandle<()>>,
}

struct SpareShared {
    directory: PathBuf,
    state: Mutex<SpareState>,
    changed: Condvar,
}

enum SpareState {
    /// Neither there nor asked for.
    None,
    /// To be made, with this many bytes.
    Wanted(u64),
    Making,
    Ready(File, u64),
    /// Could not be made; whoever needs one tries again and gets the error.
    Failed,
    Closed,
}

impl Spare {
    /// Starts the thread, taking over what an earlier life left ready.
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
        let run = {
            let shared = shared.clone();
            move |unit: &Unit| shared.run(unit)
        };
        // The writer may wait for the segment that it makes.
        let thread = supervisor.essential_thread(std::thread::Builder::new(), "journal segments", run)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for a spare, if there is none.
    pub(super) fn want(&self, bytes: u64) {
        let mut state = self.shared.lock();
        if matches!(*state, SpareState::None) {
            *state = SpareState::Wanted(bytes);
            self.shared.changed.notify_all();
        }
    }

    /// Offers the file of a segment that is empty now. Answers whether it was taken.
    pub(super) fn offer(&self, number: u64, file: File, bytes: u64) -> bool {
        let directory = &self.shared.directory;
        let mut state = self.shared.lock();
        let is_welcome = matches!(*state, SpareState::None | SpareState::Failed);
        // The index goes first, or a crash might leave one that belongs to nothing.
        let taken = is_welcome
            && std::fs::remove_file(index_path(directory, number)).is_ok()
            && std::fs::rename(path(directory, number), spare_path(directory)).is_ok();
        if taken {
            *state = SpareState::Ready(file, bytes);
        }
        taken
    }

    /// Takes a spare of at least `bytes_min`, making one of `bytes` where none is ready. Its name stays until
    /// [`install_spare`].
    pub(super) fn take(&self, bytes_min: u64, bytes: u64) -> io::Result<(File, u64)> {
        let mut state = self.shared.lock();
        loop {
            match std::mem::replace(&mut *state, SpareState::None) {
                SpareState::Ready(file, has) if has >= bytes_min => return Ok((file, has)),
                waiting @ (SpareState::Wanted(_) | SpareState::Making) => {
                    *state = waiting;
                    state = self.shared.changed.wait(state).expect("no thread panics with the spare's lock");
                }
                SpareState::Ready(..) | SpareState::None | SpareState::Failed => {
                    return make(&self.shared.directory, bytes.max(bytes_min));
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
            tracing::error!("the thread that makes segments panicked");
        }
    }
}

impl SpareShared {
    fn lock(&self) -> std::sync::MutexGuard<'_, SpareState> {
        self.state.lock().expect("no thread panics with the spare's lock")
    }

    fn run(&self, unit: &Unit) {
        unit.fault_point();
        let mut state = self.lock();
        loop {
            match *state {
                SpareState::Closed => return unit.release(),
                SpareState::Wanted(bytes) => {
                    *state = SpareState::Making;
                    drop(state);
                    let made = make(&self.directory, bytes);
                    state = self.lock();
                    // It may have been closed meanwhile; then the file is found at the next opening.
                    if matches!(*state, SpareState::Making) {
                        *state = match made {
                            Ok((file, bytes)) => SpareState::Ready(file, bytes),
                            Err(error) => {
                                tracing::warn!(%error, "the journal's next segment cannot be made ahead of need");
                                SpareState::Failed
                            }
                        };
                    }
                    self.changed.notify_all();
                }
                _ => state = self.changed.wait(state).expect("no thread panics with the spare's lock"),
            }
        }
    }
}

/// Makes a spare: reserved, written with zeros, flushed.
fn make(directory: &Path, bytes: u64) -> io::Result<(File, u64)> {
    let beside = directory.join("spare.new");
    let made = (|| {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&beside)?;
        platform::reserve(&file, bytes)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut position = 0;
        while position < bytes {
            let piece = usize::try_from(bytes - position).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            platform::write_at(&file, &zeros[..piece], position)?;
            platform::sync_data(&file)?;
            position += piece as u64;
        }
        file.sync_all()?;
        std::fs::rename(&beside, spare_path(directory))?;
        Ok((file, bytes))
    })();
    if made.is_err() {
        // Half a spare would keep the space that others need now.
        drop(std::fs::remove_file(&beside));
    }
    made
}
