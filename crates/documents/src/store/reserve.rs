//! [`DiskReserve`]: room on the disk that is kept for deletes.
//!
//! Deleting writes before it frees: the write-ahead log grows, and only a checkpoint gives room back. On a disk without any room
//! it would be refused like every write, and nobody could make room by deleting. So a file holds some room, and goes when a delete
//! finds none. Until it could be made again, only what frees or reuses room is stored.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often the reserve is tried to be made again.
const TRY_EVERY: Duration = Duration::from_secs(30);

/// Written at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// The file that keeps the room.
pub(super) struct DiskReserve {
    path: PathBuf,
    bytes: u64,
    is_there: bool,
    /// It was given away, and could not be made again yet.
    is_released: bool,
    tried: Option<Instant>,
}

impl DiskReserve {
    /// Makes the file, or takes over that of an earlier process. Zero bytes: none.
    pub(super) fn new(path: PathBuf, bytes: u64) -> Self {
        let is_there = bytes == 0 || std::fs::metadata(&path).is_ok_and(|file| file.len() == bytes);
        let mut reserve = Self { path, bytes, is_there, is_released: false, tried: None };
        reserve.restore();
        reserve
    }

    /// Whether the room was given away and could not be taken back.
    pub(super) fn is_low(&self) -> bool {
        self.is_released
    }

    /// Gives the room away; says whether there was any.
    pub(super) fn release(&mut self) -> bool {
        let released = self.is_there && self.bytes > 0 && std::fs::remove_file(&self.path).is_ok();
        if released {
            (self.is_there, self.is_released) = (false, true);
            self.tried = Some(Instant::now());
            tracing::warn!(file = %self.path.display(), "gave the reserved room away so that deleting works on a full disk");
        }
        released
    }

    /// Takes the room back where it was given away and there is enough, at most now and then.
    pub(super) fn restore(&mut self) {
        if self.tried.is_none_or(|tried| tried.elapsed() >= TRY_EVERY) {
            self.restore_now();
        }
    }

    /// As [`Self::restore`], without waiting: before a write is refused for want of room.
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
                // Half a reserve would take the room that others need now.
                drop(std::fs::remove_file(&beside));
                tracing::debug!(%error, "no room yet for the reserve of deletes");
            }
        }
    }

    /// What cannot be compressed: some file systems give zeros no room.
    fn write(&self, path: &PathBuf) -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let mut number = 0x9e37_79b9_7f4a_7c15_u64;
        let mut piece = vec![0; PIECE_BYTES];
        // As much again must be free, or taking the room back would leave none for the log of the next write.
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
