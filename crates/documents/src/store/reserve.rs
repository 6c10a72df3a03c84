//! [`DiskReserve`]: disk space that is reserved for deletes.
//!
//! A delete writes before it frees space: the write-ahead log grows, and only a checkpoint frees space. On a full disk it would be rejected
//! like every write, and no space could be freed by deleting. So a file reserves some space; it is removed when a delete finds none. Until
//! the file can be created again, only writes that free or reuse space are stored.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the service tries to create the reserve again.
const TRY_EVERY: Duration = Duration::from_secs(30);

/// Size of one write, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The file that reserves the space.
pub(super) struct DiskReserve {
    path: PathBuf,
    bytes: u64,
    is_there: bool,
    /// It was released and has not been created again.
    is_released: bool,
    tried: Option<Instant>,
}

impl DiskReserve {
    /// Creates the file, or uses that of an earlier process. Zero bytes: no reserve.
    pub(super) fn new(path: PathBuf, bytes: u64) -> Self {
        let is_there = bytes == 0 || std::fs::metadata(&path).is_ok_and(|file| file.len() == bytes);
        let mut reserve = Self { path, bytes, is_there, is_released: false, tried: None };
        reserve.restore();
        reserve
    }

    /// Whether the space was released and is not reserved again.
    pub(super) fn is_low(&self) -> bool {
        self.is_released
    }

    /// Releases the space; returns whether there was any.
    pub(super) fn release(&mut self) -> bool {
        let released = self.is_there && self.bytes > 0 && std::fs::remove_file(&self.path).is_ok();
        if released {
            (self.is_there, self.is_released) = (false, true);
            self.tried = Some(Instant::now());
            tracing::warn!(file = %self.path.display(), "released the reserved disk space for deletes; the disk is full");
        }
        released
    }

    /// Reserves the space again if it was released and the disk has enough; tries at intervals.
    pub(super) fn restore(&mut self) {
        if self.tried.is_none_or(|tried| tried.elapsed() >= TRY_EVERY) {
            self.restore_now();
        }
    }

    /// Like [`Self::restore`], at once: before a write is rejected for lack of space.
    pub(super) fn restore_now(&mut self) {
        if self.is_there {
            return;
        }
        self.tried = Some(Instant::now());
        let beside = self.path.with_extension("reserve.new");
        let made = self.write(&beside).and_then(|()| std::fs::rename(&beside, &self.path));
        match made {
            Ok(()) => (self.is_there, self.is_released) = (true, false),
            Err(error) => {
                // An incomplete reserve would occupy space that is needed now.
                drop(std::fs::remove_file(&beside));
                tracing::debug!(%error, "no room yet for the reserve of deletes");
            }
        }
    }

    /// Data that cannot be compressed: some file systems allocate no space for zeros.
    fn write(&self, path: &PathBuf) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let mut number = 0x9e37_79b9_7f4a_7c15_u64;
        let mut piece = vec![0; PIECE_BYTES];
        // The same amount must remain free for the log of the next write.
        let mut left = usize::try_from(2 * self.bytes).unwrap_or(usize::MAX);
        while left > 0 {
            for eight in piece.chunks_exact_mut(8) {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                eight.copy_from_slice(&number.to_le_bytes());
            }
            let bytes = left.min(PIECE_BYTES);
            file.write_all(&piece[..bytes])?;
            left -= bytes;
        }
        file.set_len(self.bytes)?;
        file.sync_all()
    }
}
