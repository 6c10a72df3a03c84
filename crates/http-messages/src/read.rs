//! Reading into memory.

use bytes::{Bytes, BytesMut};
use http_body::Body;

use crate::SMALL_BYTES;
use crate::budget::{Budget, Reservation};
use crate::buffered::BufferedBody;
use crate::error::ReadError;
use crate::incoming::IncomingBody;
use crate::message::BoxError;
use crate::spill::StoredBody;

/// A body that was read, or the beginning of one that is larger than wanted.
pub(crate) enum Collected {
    Complete(BufferedBody),
    Partial(BytesMut, Reservation),
}

impl Budget {
    /// Reads a body body of at most `bytes_max` bytes into memory.
    ///
    /// For a body of declared length, the body length is reserved before anything is read; for any other, [`SMALL_BYTES`] are
    /// reserved, and `bytes_max` once it has more than that.
    ///
    /// The body is borrowed, so that a caller may discard the rest of one that is too large.
    pub async fn read<B>(&self, body: &mut B, bytes_max: usize) -> Result<BufferedBody, ReadError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let read = async {
            let bytes_max = bytes_max.min(self.shared.options.body_bytes_max());
            // A declared length that is too large is refused before anything is read.
            if body.size_hint().lower() > bytes_max as u64 {
                return Err(ReadError::TooLarge { bytes_max });
            }
            if body.is_end_stream() {
                return Ok(BufferedBody::empty());
            }
            match self.collect(&mut IncomingBody::new(body, &self.shared.options), bytes_max).await? {
                Collected::Complete(body) => Ok(body),
                Collected::Partial(..) => Err(ReadError::TooLarge { bytes_max }),
            }
        };
        read.await.inspect_err(|error| self.shared.metrics.rejected(error))
    }

    /// Reads a body to memory, or to a file if it is larger than [`crate::Options::spill_bytes_min`].
    pub async fn read_or_spill<B>(&self, body: &mut B, bytes_max: usize) -> Result<StoredBody, ReadError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let read = async {
            let hint = body.size_hint();
            if hint.lower() > bytes_max as u64 {
                return Err(ReadError::TooLarge { bytes_max });
            }
            if body.is_end_stream() {
                return Ok(StoredBody::Memory(Bytes::new()));
            }
            let memory_bytes_max =
                bytes_max.min(self.shared.options.spill_bytes_min).min(self.shared.options.body_bytes_max());
            let mut arriving = IncomingBody::new(body, &self.shared.options);
            if let Some(bytes) = hint.exact().filter(|bytes| *bytes > memory_bytes_max as u64) {
                return self.spill(&mut arriving, None, Some(bytes), bytes_max).await.map(StoredBody::File);
            }
            match self.collect(&mut arriving, memory_bytes_max).await? {
                Collected::Complete(body) => Ok(StoredBody::Memory(body.into_bytes())),
                Collected::Partial(beginning, _) if beginning.len() > bytes_max => {
                    Err(ReadError::TooLarge { bytes_max })
                }
                Collected::Partial(beginning, reservation) => {
                    let begun = Some((beginning, reservation));
                    self.spill(&mut arriving, begun, None, bytes_max).await.map(StoredBody::File)
                }
            }
        };
        read.await.inspect_err(|error| self.shared.metrics.rejected(error))
    }

    async fn collect<B>(
        &self,
        arriving: &mut IncomingBody<'_, B>,
        bytes_max: usize,
    ) -> Result<Collected, ReadError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let shared = &self.shared;
        let declared = arriving.body.size_hint().exact();
        let first_bytes = declared.unwrap_or_else(|| bytes_max.min(SMALL_BYTES) as u64);
        let mut pool = if first_bytes <= SMALL_BYTES as u64 { &shared.small } else { &shared.large };
        let mut reservation = pool.reserve(first_bytes).await?;
        let mut body = BytesMut::new();
        while let Some(data) = arriving.next(&[pool]).await? {
            let bytes = body.len() + data.len();
            if bytes as u64 > reservation.bytes() && bytes <= bytes_max {
                // The body limit at once: bodies that hold a part and wait for more could block each other.
                pool = &shared.large;
                reservation = pool.reserve(bytes_max as u64).await?;
            }
            if body.is_empty() && bytes <= bytes_max && arriving.is_at_end() {
                reservation.shrink(bytes as u64);
                return Ok(Collected::Complete(BufferedBody::new(data, reservation)));
            }
            reserve(&mut body, data.len(), declared, bytes_max);
            body.extend_from_slice(&data);
            if bytes > bytes_max {
                return Ok(Collected::Partial(body, reservation));
            }
        }
        reservation.shrink(body.capacity() as u64);
        Ok(Collected::Complete(BufferedBody::new(body.freeze(), reservation)))
    }
}

/// Grows the buffer: to the declared length at once, otherwise by doubling, but not beyond what is reserved.
fn reserve(body: &mut BytesMut, more: usize, declared: Option<u64>, bytes_max: usize) {
    let needed = body.len() + more;
    if needed <= body.capacity() {
        return;
    }
    let declared = declared.and_then(|bytes| usize::try_from(bytes).ok());
    let wanted = declared.unwrap_or((2 * body.capacity()).min(bytes_max)).max(needed);
    body.reserve(wanted - body.len());
}
