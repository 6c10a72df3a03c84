//! [`Mark`]: a small file with the number of the last acknowledged commit.
//!
//! It is written when a commit is on disk and before the commit is acknowledged, without a flush of its own. So it is never ahead
//! of the durable data: after a power failure it may be behind, after `kill -9` it is exact. A store whose last commit is below its
//! mark has lost acknowledged data.
//!
//! ```text
//! two slots of 512 bytes, written in turn, so that a torn write damages only one of them:
//!  0 magic     4 bytes  "CHM1"
//!  4 checksum  u32      CRC-32 of the following fields
//!  8 store     16 bytes the store that it belongs to
//! 24 sequence  u64      number of the last commit
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::folder::sync_folder_of;
use crate::store_id::StoreId;

const MAGIC: &[u8; 4] = b"CHM1";
const SLOT_BYTES: usize = 512;
const USED_BYTES: usize = 32;

/// The mark of one store.
#[derive(Debug)]
pub struct Mark {
    file: File,
    store: StoreId,
    sequence: u64,
    slot: u8,
}

/// Why a mark cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// There is no file.
    #[error("the file {} is missing", .0.display())]
    Missing(PathBuf),
    /// Both slots are damaged.
    #[error("the file {} is damaged", .0.display())]
    Damaged(PathBuf),
    /// The operating system returned an error.
    #[error("cannot read or write {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
}

impl Mark {
    /// Creates or replaces the file, durably.
    ///
    /// # Errors
    ///
    /// If the operating system returns an error.
    pub fn create(path: &Path, store: StoreId, sequence: u64) -> Result<Self, MarkError> {
        let failed = |cause| MarkError::Io(path.to_owned(), cause);
        let temporary = path.with_extension("mark.new");
        let mut file = File::create(&temporary).map_err(failed)?;
        let slot = slot(store, sequence);
        file.write_all(&slot).and_then(|()| file.write_all(&slot)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&temporary, path).map_err(failed)?;
        // Otherwise a power failure could restore the previous mark, which belongs to a store that has been replaced.
        sync_folder_of(path).map_err(failed)?;
        Self::open(path)
    }

    /// Opens the file.
    ///
    /// # Errors
    ///
    /// If it is missing or damaged.
    pub fn open(path: &Path) -> Result<Self, MarkError> {
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|cause| {
            if cause.kind() == io::ErrorKind::NotFound {
                return MarkError::Missing(path.to_owned());
            }
            MarkError::Io(path.to_owned(), cause)
        })?;
        let mut bytes = Vec::new();
        let read = (&mut file).take(2 * SLOT_BYTES as u64).read_to_end(&mut bytes);
        read.map_err(|cause| MarkError::Io(path.to_owned(), cause))?;
        let slots = bytes.chunks_exact(SLOT_BYTES).zip(0_u8..);
        let found = slots.filter_map(|(bytes, slot)| parse(bytes).map(|found| (found, slot)));
        let newest = found.max_by_key(|((_, sequence), _)| *sequence);
        let ((store, sequence), slot) = newest.ok_or_else(|| MarkError::Damaged(path.to_owned()))?;
        Ok(Self { file, store, sequence, slot })
    }

    /// The store that it belongs to.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// The last acknowledged commit.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Records a durable commit. Two system calls, no flush.
    ///
    /// # Errors
    ///
    /// If the operating system returns an error; then the mark is unchanged, or the written slot is damaged.
    pub fn write(&mut self, sequence: u64) -> io::Result<()> {
        let next = 1 - self.slot;
        self.file.seek(SeekFrom::Start(u64::from(next) * SLOT_BYTES as u64))?;
        self.file.write_all(&slot(self.store, sequence)[..USED_BYTES])?;
        (self.slot, self.sequence) = (next, sequence);
        Ok(())
    }
}

fn slot(store: StoreId, sequence: u64) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[8..24].copy_from_slice(&store.0);
    bytes[24..32].copy_from_slice(&sequence.to_le_bytes());
    let sum = crc32fast::hash(&bytes[8..USED_BYTES]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<(StoreId, u64)> {
    let is_intact = bytes.get(..4)? == MAGIC
        && bytes.get(4..8)? == crc32fast::hash(bytes.get(8..USED_BYTES)?).to_le_bytes();
    let store = StoreId(bytes.get(8..24)?.try_into().ok()?);
    let sequence = u64::from_le_bytes(bytes.get(24..32)?.try_into().ok()?);
    is_intact.then_some((store, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_reads_the_newest_intact_slot() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.mark");
        assert!(matches!(Mark::open(&path), Err(MarkError::Missing(_))));
        let store = StoreId([7; 16]);
        let mut mark = Mark::create(&path, store, 0).expect("the mark can be made");
        for sequence in 1..=5 {
            mark.write(sequence).expect("the mark can be written");
            let read = Mark::open(&path).expect("the mark can be read");
            assert_eq!((read.sequence(), read.store()), (sequence, store));
        }
        let intact = std::fs::read(&path).expect("the mark can be read");
        for byte in (0..USED_BYTES).chain(SLOT_BYTES..SLOT_BYTES + USED_BYTES) {
            let mut torn = intact.clone();
            torn[byte] ^= 4;
            std::fs::write(&path, torn).expect("the mark can be written");
            let sequence = Mark::open(&path).expect("one slot is left").sequence();
            assert!((4..=5).contains(&sequence), "byte {byte}: {sequence}");
        }
        std::fs::write(&path, [0; 2 * SLOT_BYTES]).expect("the mark can be written");
        assert!(matches!(Mark::open(&path), Err(MarkError::Damaged(_))));
        std::fs::write(&path, []).expect("the mark can be written");
        assert!(matches!(Mark::open(&path), Err(MarkError::Damaged(_))));
    }
}
