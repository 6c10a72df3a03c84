//! Splits a stream of bytes into frames, and builds frames. No IO.

use bytes::{Buf, Bytes, BytesMut};

use crate::Chunk;

/// The version of the frames that this crate implements.
pub const VERSION: u32 = 1;

/// A frame to be sent, in chunks, so that bodies are not copied.
#[derive(Clone, Debug)]
pub struct OutgoingFrame {
    /// The chunks in order; the first has both lengths and the JSON.
    pub chunks: Vec<Chunk>,
}

impl OutgoingFrame {
    /// Size of the whole frame in bytes.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Chunk::bytes).sum()
    }
}

/// A message cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The message is larger than a frame may be.
    #[error("message of {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// A peer sent something malformed. The rest of its stream cannot be read either.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A frame is too large.
    #[error("frame of {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The lengths of a frame contradict each other.
    #[error("a header of {header_bytes} bytes in a frame of {bytes} bytes")]
    Lengths {
        /// The length of the header, as the frame says.
        header_bytes: usize,
        /// The length of the frame.
        bytes: usize,
    },
    /// The header is not JSON, or not of the expected form.
    #[error("cannot read the header of a frame")]
    Header(#[from] serde_json::Error),
    /// The header refers to bytes beyond the end of the body.
    #[error("bytes {at} to {end} of a body of {bytes} bytes")]
    OutOfBody {
        /// Where the range begins.
        at: usize,
        /// Where it ends.
        end: usize,
        /// The body's size.
        bytes: usize,
    },
    /// A text in the body is not UTF-8.
    #[error("a text that is not UTF-8")]
    NotText,
    /// The peer uses another version.
    #[error("the worker uses version {found} of the frame format; this host supports only version {VERSION}")]
    Version {
        /// The version of the peer.
        found: u32,
    },
    /// The first frame is not `start`.
    #[error("the first frame is not 'start'")]
    NotStart,
}

/// The first message of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartStream {
    /// The secret that the host gave to the process.
    pub token: String,
    /// The id that the host gave to the process.
    pub worker_id: String,
}

/// A frame as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// JSON.
    pub header: Bytes,
    /// The bytes behind it.
    pub body: Bytes,
}

/// Splits a stream into frames. Fill [`FrameDecoder::buffer`] as bytes arrive, then call [`FrameDecoder::next_frame`] until it gives
/// `None`.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

const LENGTH_BYTES: usize = 4;

impl FrameDecoder {
    /// A decoder that rejects frames of more than `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max }
    }

    /// The buffer for received bytes. It never has more than the largest frame and one read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, if it is complete.
    pub fn next_frame(&mut self) -> Result<Option<ReceivedFrame>, DecodeError> {
        let Some(bytes) = read_length(&self.buffer) else { return Ok(None) };
        if bytes > self.frame_bytes_max {
            return Err(DecodeError::TooLarge { bytes, bytes_max: self.frame_bytes_max });
        }
        if self.buffer.len() < LENGTH_BYTES + bytes {
            // Capacity for the complete frame at once: growing by doubling would copy a large body several times.
            self.buffer.reserve(LENGTH_BYTES + bytes - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let mut frame = self.buffer.split_to(bytes).freeze();
        let header_bytes = read_length(&frame).unwrap_or(usize::MAX);
        if header_bytes > bytes.saturating_sub(LENGTH_BYTES) {
            return Err(DecodeError::Lengths { header_bytes, bytes });
        }
        frame.advance(LENGTH_BYTES);
        let header = frame.split_to(header_bytes);
        Ok(Some(ReceivedFrame { header, body: frame }))
    }
}

fn read_length(buffer: &[u8]) -> Option<usize> {
    let bytes: [u8; LENGTH_BYTES] = buffer.get(..LENGTH_BYTES)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// The chunks of a body while its frame is built.
#[derive(Debug, Default)]
pub(super) struct FrameBody {
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl FrameBody {
    /// Appends a chunk and gives its range in the body.
    pub(super) fn push(&mut self, chunk: impl Into<Chunk>) -> (usize, usize) {
        let chunk = chunk.into();
        let range = (self.bytes, chunk.bytes());
        self.bytes += chunk.bytes();
        if chunk.bytes() > 0 {
            self.chunks.push(chunk);
        }
        range
    }

    /// Joins a header and this body to a frame.
    pub(super) fn into_frame(
        self,
        header: &impl serde::Serialize,
        frame_bytes_max: usize,
    ) -> Result<OutgoingFrame, EncodeError> {
        let mut first = vec![0; 2 * LENGTH_BYTES];
        serde_json::to_writer(&mut first, header)
            .expect("our messages have text keys, and a vector takes all bytes");
        let header_bytes = first.len() - 2 * LENGTH_BYTES;
        let bytes = LENGTH_BYTES + header_bytes + self.bytes;
        let too_large = EncodeError::TooLarge { bytes, bytes_max: frame_bytes_max };
        if bytes > frame_bytes_max {
            return Err(too_large);
        }
        let Ok(frame_length) = u32::try_from(bytes) else { return Err(too_large) };
        let header_length =
            u32::try_from(header_bytes).expect("a part of a frame is not larger than the frame");
        first[..LENGTH_BYTES].copy_from_slice(&frame_length.to_be_bytes());
        first[LENGTH_BYTES..2 * LENGTH_BYTES].copy_from_slice(&header_length.to_be_bytes());
        let mut chunks = self.chunks;
        chunks.insert(0, Bytes::from(first).into());
        Ok(OutgoingFrame { chunks })
    }
}
