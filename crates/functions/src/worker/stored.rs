//! Bodies of requests that are stored in files, on their way to a worker.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_messages::FileBody;
use worker_protocol::{ReadStoredBytes, StoredBytes};

/// Size of the part of a stored body that is in memory while it is sent.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct InFile(FileBody);

impl ReadStoredBytes for InFile {
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes> {
        self.0.read_at(at, bytes_max)
    }
}

/// A body in a file as stored bytes of the worker protocol.
pub(crate) fn stored(body: FileBody) -> StoredBytes {
    StoredBytes::new(Arc::new(InFile(body)))
}

/// Reads the next part, on a thread that may block.
pub(super) async fn read_chunk(stored: &StoredBytes, at: usize) -> io::Result<Bytes> {
    let stored = stored.clone();
    let read = tokio::task::spawn_blocking(move || stored.read_at(at, CHUNK_BYTES)).await;
    read.map_err(io::Error::other)?
}

/// Whether all of it is UTF-8.
pub(super) async fn is_text(stored: &StoredBytes) -> io::Result<bool> {
    // A character may span two parts.
    let (mut at, mut pending) = (0, Vec::new());
    while at < stored.bytes() {
        let chunk = read_chunk(stored, at).await?;
        at += chunk.len();
        pending.extend_from_slice(&chunk);
        match std::str::from_utf8(&pending) {
            Ok(_) => pending.clear(),
            Err(error) if error.error_len().is_none() => {
                pending.drain(..error.valid_up_to());
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(pending.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn text_is_recognised_if_a_character_spans_two_parts() {
        let check = async |bytes: Vec<u8>| {
            is_text(&StoredBytes::new(Arc::new(InMemory(bytes.into())))).await.unwrap()
        };
        // The end of a part is at each of the four bytes of a character.
        for before in 0..4 {
            let text = format!("{}{}", "x".repeat(before), "\u{1f600}".repeat(CHUNK_BYTES / 2));
            assert!(check(text.clone().into_bytes()).await);
            let mut cut = text.into_bytes();
            cut.pop();
            assert!(!check(cut).await, "the last character is incomplete");
        }
        assert!(!check(vec![0xff; 10]).await);
        assert!(check(Vec::new()).await);
    }
}
