//! Cutting a stream of bytes into frames and making frames, without any IO.

use bytes::{Buf, Bytes, BytesMut};

use super::VERSION;
use crate::Piece;

/// A frame to be sent: its pieces, in order, so that bodies need not be copied.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The pieces; the first holds both lengths and the JSON.
    pub chunks: Vec<Piece>,
}

impl Frame {
    /// Size of the whole frame in bytes.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(Piece::bytes).sum()
    }
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It is too large.
    #[error("message of {bytes} bytes; at most {bytes_max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// Why what a peer sent cannot be read. There is no way to go on reading after it.
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
    #[error("a head of {head_bytes} bytes in a frame of {bytes} bytes")]
    Lengths {
        /// What the head is said to have.
        head_bytes: usize,
        /// What the frame has.
        bytes: usize,
    },
    /// The head is no JSON of the expected form.
    #[error("read the head of a frame")]
    Head(#[from] serde_json::Error),
    /// The head points behind the end of the body.
    #[error("bytes {at} to {end} of a body of {bytes} bytes")]
    OutOfBody {
        /// Where the piece begins.
        at: usize,
        /// Where it ends.
        end: usize,
        /// The body's size.
        bytes: usize,
    },
    /// A text in the body is no UTF-8.
    #[error("a text that is not UTF-8")]
    NotText,
    /// The peer speaks another version.
    #[error("version {found} of the frames; this host speaks {VERSION}")]
    Version {
        /// What the peer speaks.
        found: u32,
    },
    /// The first frame is not `start`.
    #[error("the first frame is not 'start'")]
    NotStart,
}

/// What a worker says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The secret that the host gave to the process.
    pub token: String,
    /// The id that the host gave to the process.
    pub worker_id: String,
}

/// One frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// The JSON.
    pub head: Bytes,
    /// The bytes behind it.
    pub body: Bytes,
}

/// Cuts a stream into frames. Give it bytes as they come, then take frames until there are none.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

const LENGTH_BYTES: usize = 4;

impl Decoder {
    /// A decoder that refuses frames of more than `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max }
    }

    /// Where to put bytes that came. What it holds is bounded by the largest frame plus one read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, if it is complete.
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, DecodeError> {
        let Some(bytes) = read_length(&self.buffer) else { return Ok(None) };
        if bytes > self.frame_bytes_max {
            return Err(DecodeError::TooLarge { bytes, bytes_max: self.frame_bytes_max });
        }
        if self.buffer.len() < LENGTH_BYTES + bytes {
            // Room for the whole frame at once: growing by doubling would copy a large body several times.
            self.buffer.reserve(LENGTH_BYTES + bytes - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let mut frame = self.buffer.split_to(bytes).freeze();
        let head_bytes = read_length(&frame).unwrap_or(usize::MAX);
        if head_bytes > bytes.saturating_sub(LENGTH_BYTES) {
            return Err(DecodeError::Lengths { head_bytes, bytes });
        }
        frame.advance(LENGTH_BYTES);
        let head = frame.split_to(head_bytes);
        Ok(Some(RawFrame { head, body: frame }))
    }
}

fn read_length(buffer: &[u8]) -> Option<usize> {
    let bytes: [u8; LENGTH_BYTES] = buffer.get(..LENGTH_BYTES)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// The pieces of a body while a message is made.
#[derive(Debug, Default)]
pub(super) struct Body {
    chunks: Vec<Piece>,
    bytes: usize,
}

impl Body {
    /// Adds bytes and says where they are.
    pub(super) fn push(&mut self, chunk: impl Into<Piece>) -> (usize, usize) {
        let chunk = chunk.into();
        let place = (self.bytes, chunk.bytes());
        self.bytes += chunk.bytes();
        if chunk.bytes() > 0 {
            self.chunks.push(chunk);
        }
        place
    }

    /// Joins a head and this body to a frame.
    pub(super) fn into_frame(
        self,
        head: &impl serde::Serialize,
        frame_bytes_max: usize,
    ) -> Result<Frame, EncodeError> {
        let mut first = vec![0; 2 * LENGTH_BYTES];
        serde_json::to_writer(&mut first, head)
            .expect("our messages have text keys, and a vector takes all bytes");
        let head_bytes = first.len() - 2 * LENGTH_BYTES;
        let bytes = LENGTH_BYTES + head_bytes + self.bytes;
        let too_large = EncodeError::TooLarge { bytes, bytes_max: frame_bytes_max };
        if bytes > frame_bytes_max {
            return Err(too_large);
        }
        let Ok(frame_length) = u32::try_from(bytes) else { return Err(too_large) };
        let head_length = u32::try_from(head_bytes).expect("a part of a frame is not larger than the frame");
        first[..LENGTH_BYTES].copy_from_slice(&frame_length.to_be_bytes());
        first[LENGTH_BYTES..2 * LENGTH_BYTES].copy_from_slice(&head_length.to_be_bytes());
        let mut chunks = self.chunks;
        chunks.insert(0, Bytes::from(first).into());
        Ok(Frame { chunks })
    }
}
