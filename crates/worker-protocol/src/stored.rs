//! Bytes that the host stores outside of memory, and the chunks of an encoded message that has such bytes.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// Gives access to stored bytes. This crate only asks for their number; the sender of a message reads them.
pub trait ReadStoredBytes: fmt::Debug + Send + Sync {
    /// Number of bytes.
    fn bytes(&self) -> usize;

    /// Reads at most `bytes_max` bytes from the offset `at` on; fewer only at the end. May block the thread for a disk access.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes>;
}

/// Bytes for a worker that are not in memory. Cheap to clone. The worker receives them as bytes.
#[derive(Clone, Debug)]
pub struct StoredBytes(Arc<dyn ReadStoredBytes>);

/// A chunk of an encoded message.
#[derive(Clone, Debug, PartialEq)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Stored bytes, to be read when they are sent.
    Stored(StoredBytes),
}

impl StoredBytes {
    /// Stored bytes with this access.
    pub fn new(from: Arc<dyn ReadStoredBytes>) -> Self {
        Self(from)
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// See [`ReadStoredBytes::read_at`].
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes> {
        self.0.read_at(at, bytes_max)
    }
}

/// Equal if both refer to the same stored bytes.
impl PartialEq for StoredBytes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Chunk {
    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Stored(stored) => stored.bytes(),
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// Stored bytes in memory; for tests.
#[cfg(test)]
pub(crate) fn in_memory(bytes: Bytes) -> StoredBytes {
    #[derive(Debug)]
    struct InMemory(Bytes);

    impl ReadStoredBytes for InMemory {
        fn bytes(&self) -> usize {
            self.0.len()
        }

        fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes> {
            Ok(self.0.slice(at..self.0.len().min(at + bytes_max)))
        }
    }

    StoredBytes::new(Arc::new(InMemory(bytes)))
}
