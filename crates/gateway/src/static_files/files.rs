//! [`Files`]: reads files in chunks, with a limit on descriptors and on the threads that a slow disk can block.
//!
//! A response is sent as fast as its reader reads, and a reader may stop. So a response owns no descriptor: it names a file, and
//! requests the next chunk. While there are few, a handle stays open between two chunks; the least recently used one is closed
//! first, and its response opens the file again when its reader continues.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Semaphore;

/// Most operations on files at a time. Each uses a thread and at most one descriptor, also while a network file system hangs.
const OPERATIONS_MAX: usize = 16;

/// Most handles that stay open between two chunks.
const IDLE_MAX: usize = 16;

/// Longest time that a request waits for one of the [`OPERATIONS_MAX`].
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The first chunk of a response, in bytes. Each next one is twice as large: many readers that stop after the head use little
/// memory.
const FIRST_CHUNK_BYTES: usize = 8 * 1024;

/// The largest chunk, in bytes.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Access to files for all responses of the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    operations: Arc<Semaphore>,
    /// Handles that no operation uses now, by the number of their response, the least recently used first.
    idle: Mutex<VecDeque<(u64, File)>>,
    answers: AtomicU64,
}

/// Distinguishes a file from another one that replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
    created: Option<SystemTime>,
}

/// The content of one file that is being sent.
#[derive(Debug)]
pub(super) struct Content {
    files: Files,
    number: u64,
    path: PathBuf,
    identity: Identity,
    offset: u64,
    chunk_bytes: usize,
    /// Tells a running operation whether the handle is still needed.
    wanted: Arc<()>,
}

impl Identity {
    /// `None` if it is not a regular file.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        metadata.is_file().then(|| Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            created: metadata.created().ok(),
        })
    }
}

impl Files {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner {
            operations: Arc::new(Semaphore::new(OPERATIONS_MAX)),
            idle: Mutex::default(),
            answers: AtomicU64::new(0),
        }))
    }

    /// Runs `operation`, which may block, on a blocking thread.
    ///
    /// # Errors
    ///
    /// Those of the operation, and `TimedOut` if the earlier operations do not end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let waiting = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.0.operations).acquire_owned());
        let permit = waiting.await.map_err(|_late| {
            let text = format!("{OPERATIONS_MAX} other operations on files have not ended for {WAIT_MAX:?}");
            io::Error::new(io::ErrorKind::TimedOut, text)
        })?;
        let permit = permit.expect("the semaphore is never closed");
        let running = tokio::task::spawn_blocking(move || {
            // Owned by the thread and not by the request, which may end long before a blocked thread does.
            let _permit = permit;
            operation()
        });
        running.await.map_err(io::Error::other)?
    }

    /// The content of the regular file at `path`, which must still be `identity` when it is read. Opens no file yet.
    pub(super) fn content(&self, path: PathBuf, identity: Identity) -> Content {
        let number = self.0.answers.fetch_add(1, Ordering::Relaxed);
        Content {
            files: self.clone(),
            number,
            path,
            identity,
            offset: 0,
            chunk_bytes: FIRST_CHUNK_BYTES,
            wanted: Arc::default(),
        }
    }

    fn take(&self, number: u64) -> Option<File> {
        let mut idle = self.idle();
        let position = idle.iter().position(|(other, _)| *other == number)?;
        idle.remove(position).map(|(_, file)| file)
    }

    fn keep(&self, number: u64, file: File) {
        let mut idle = self.idle();
        let evicted = if idle.len() < IDLE_MAX { None } else { idle.pop_front() };
        idle.push_back((number, file));
        drop(idle);
        // Closed after the lock is released: closing may wait for the disk.
        drop(evicted);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(u64, File)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// The next chunk, `None` at the end. If the file was replaced or truncated, the response ends with an error: its length was
    /// announced, and parts of two files must not be mixed.
    pub(super) async fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let (offset, left) = (self.offset, self.identity.bytes - self.offset);
        if left == 0 {
            return Ok(None);
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk_bytes);
        let (files, number) = (self.files.clone(), self.number);
        let (path, identity) = (self.path.clone(), self.identity.clone());
        let last = length as u64 == left;
        let wanted = Arc::downgrade(&self.wanted);
        let chunk = self.files.run(move || {
            let mut file = match files.take(number) {
                Some(file) => file,
                None => open(&path, &identity)?,
            };
            let mut chunk = vec![0; length];
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut chunk)?;
            if !last && wanted.strong_count() > 0 {
                files.keep(number, file);
            }
            Ok(chunk)
        });
        let chunk = chunk.await?;
        self.offset += length as u64;
        self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        Ok(Some(chunk.into()))
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        drop(self.files.take(self.number));
    }
}

/// Opens a file that was checked before.
fn open(path: &PathBuf, identity: &Identity) -> io::Result<File> {
    let same = |metadata: &Metadata| Identity::of(metadata).as_ref() == Some(identity);
    // Checked before it is opened, because opening a named pipe waits for its writer.
    if same(&fs::metadata(path)?) {
        let file = File::open(path)?;
        if same(&file.metadata()?) {
            return Ok(file);
        }
    }
    Err(io::Error::other("the file was changed while it was being sent"))
}
