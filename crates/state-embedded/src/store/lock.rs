//! [`Lock`]: prevents two processes from opening one data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::OpenStoreError;

/// Longest text read from a lock file, in bytes.
const OWNER_BYTES_MAX: u64 = 100;

/// Locked until it is dropped; the operating system releases it when the process ends.
pub(super) struct Lock {
    _file: File,
}

/// How long a locked file is tried again: a child process that the owner has just started has the owner's files for a moment.
const PATIENCE: Duration = Duration::from_millis(200);

fn try_lock(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            tried => return tried,
        }
    }
}

impl Lock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, OpenStoreError> {
        let failed = |cause| OpenStoreError::from_io(directory, cause);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(directory.join("lock"))
            .map_err(failed)?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Only for the message: an unreadable lock file is still locked.
                let read = (&file).take(OWNER_BYTES_MAX).read_to_string(&mut owner);
                let is_known = read.is_ok() && !owner.trim().is_empty();
                let owner = if is_known { owner.trim().to_owned() } else { "another process".to_owned() };
                return Err(OpenStoreError::InUse { directory: directory.to_owned(), owner });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "process {}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
