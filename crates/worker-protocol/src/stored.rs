//! Bytes that the host keeps outside of memory, and the pieces of a message that has some.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// Where stored bytes are. This crate only asks for their number; whoever sends a message reads them.
pub trait ReadStored: fmt::Debug + Send + Sync {
    /// How many there are.
    fn bytes(&self) -> usize;

    /// Reads at most `bytes_max` of them from a place on; fewer only at the end. May block the thread for a disk access.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes>;
}

/// Bytes on their way to a worker that are not in memory; cheap to clone. On the wire the same as bytes.
#[derive(Clone, Debug)]
pub struct Stored(Arc<dyn ReadStored>);

/// A piece of an encoded message.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// All of these bytes, to be read when they are sent.
    Stored(Stored),
}

impl Stored {
    /// Bytes that are kept elsewhere.
    pub fn new(from: Arc<dyn ReadStored>) -> Self {
        Self(from)
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// See [`ReadStored::read_at`].
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes> {
        self.0.read_at(at, bytes_max)
    }
}

/// The same bytes in the same place.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Piece {
    /// Its size.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Stored(stored) => stored.bytes(),
        }
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// Stored bytes that are in memory after all, for tests.
#[cfg(test)]
pub(crate) fn in_memory(bytes: Bytes) -> Stored {
    #[derive(Debug)]
    struct InMemory(Bytes);

    impl ReadStored for InMemory {
        fn bytes(&self) -> usize {
            self.0.len()
        }

        fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes> {
            Ok(self.0.slice(at..self.0.len().min(at + bytes_max)))
        }
    }

    Stored::new(Arc::new(InMemory(bytes)))
}
