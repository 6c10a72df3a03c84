//! Reading into memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::budget::{Budget, Pool, Room};
use crate::error::{BoxError, ReadError};
use crate::{Content, SMALL_BYTES};

/// How often a body that does not arrive is compared with the rate that it must keep while others wait.
const CONTENDED_CHECK: Duration = Duration::from_secs(1);

/// A body as it arrives.
pub(crate) struct Arriving<'a, B> {
    body: &'a mut B,
    /// The least rate while others wait.
    contended_bytes_per_second_min: u64,
    contended_grace: Duration,
    received_bytes: u64,
    /// How long we waited for the sender.
    awaited: Duration,
}

/// A body that was read, or the beginning of one that is larger than wanted.
pub(crate) enum Collected {
    Whole(Held),
    Beginning(BytesMut, Room),
}

/// A body in memory, which has room until this is dropped. Clones of its bytes may live on without: what they are kept for has
/// bounds of its own.
#[derive(Debug)]
pub struct Held {
    bytes: Bytes,
    room: Option<Room>,
}

/// Bytes that give their room back at their end.
struct Owned {
    bytes: Bytes,
    #[allow(dead_code, reason = "kept for its Drop, which gives the room back")]
    room: Room,
}

impl Budget {
    /// Reads a whole body of at most `bytes_max` bytes into memory.
    ///
    /// A body of declared length takes its room before anything of it is read; one without takes room for
    /// [`SMALL_BYTES`], and for `bytes_max` once it has more than that.
    ///
    /// The body is borrowed, so that a caller may discard the rest of one that is too large.
    pub async fn read<B>(&self, body: &mut B, bytes_max: usize) -> Result<Held, ReadError>
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
                return Ok(Held::empty());
            }
            match self.collect(&mut self.arriving(body), bytes_max).await? {
                Collected::Whole(held) => Ok(held),
                Collected::Beginning(..) => Err(ReadError::TooLarge { bytes_max }),
            }
        };
        read.await.inspect_err(|error| self.shared.metrics.rejected(error))
    }

    /// Reads a body to memory, or to a file if it is larger than [`crate::Options::spill_bytes_min`].
    pub async fn read_or_spill<B>(&self, body: &mut B, bytes_max: usize) -> Result<Content, ReadError>
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
                return Ok(Content::Memory(Bytes::new()));
            }
            let memory_bytes_max =
                bytes_max.min(self.shared.options.spill_bytes_min).min(self.shared.options.body_bytes_max());
            let mut arriving = self.arriving(body);
            if let Some(bytes) = hint.exact().filter(|bytes| *bytes > memory_bytes_max as u64) {
                return self.spill(&mut arriving, None, Some(bytes), bytes_max).await.map(Content::File);
            }
            match self.collect(&mut arriving, memory_bytes_max).await? {
                Collected::Whole(held) => Ok(Content::Memory(held.into_bytes())),
                Collected::Beginning(beginning, _) if beginning.len() > bytes_max => {
                    Err(ReadError::TooLarge { bytes_max })
                }
                Collected::Beginning(beginning, room) => {
                    let begun = Some((beginning, room));
                    self.spill(&mut arriving, begun, None, bytes_max).await.map(Content::File)
                }
            }
        };
        read.await.inspect_err(|error| self.shared.metrics.rejected(error))
    }

    fn arriving<'a, B>(&self, body: &'a mut B) -> Arriving<'a, B> {
        Arriving {
            body,
            contended_bytes_per_second_min: self.shared.options.contended_bytes_per_second_min.max(1),
            contended_grace: Duration::from_millis(self.shared.options.contended_grace_ms.max(10)),
            received_bytes: 0,
            awaited: Duration::ZERO,
        }
    }

    async fn collect<B>(
        &self,
        arriving: &mut Arriving<'_, B>,
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
        let mut room = pool.take(first_bytes).await?;
        let mut whole = BytesMut::new();
        while let Some(data) = arriving.next(&[pool]).await? {
            let bytes = whole.len() + data.len();
            if bytes as u64 > room.bytes() && bytes <= bytes_max {
                // All that it may become at once: who holds some and waits for more could block others that do the same.
                pool = &shared.large;
                room = pool.take(bytes_max as u64).await?;
            }
            if whole.is_empty() && bytes <= bytes_max && arriving.is_at_end() {
                room.shrink(bytes as u64);
                return Ok(Collected::Whole(Held::new(data, room)));
            }
            reserve(&mut whole, data.len(), declared, bytes_max);
            whole.extend_from_slice(&data);
            if bytes > bytes_max {
                return Ok(Collected::Beginning(whole, room));
            }
        }
        room.shrink(whole.capacity() as u64);
        Ok(Collected::Whole(Held::new(whole.freeze(), room)))
    }
}

/// Makes room for more: at once for all that was declared, otherwise by doubling, but not beyond what is accounted for.
fn reserve(whole: &mut BytesMut, more: usize, declared: Option<u64>, bytes_max: usize) {
    let needed = whole.len() + more;
    if needed <= whole.capacity() {
        return;
    }
    let declared = declared.and_then(|bytes| usize::try_from(bytes).ok());
    let wanted = declared.unwrap_or((2 * whole.capacity()).min(bytes_max)).max(needed);
    whole.reserve(wanted - whole.len());
}

impl Held {
    pub(crate) fn new(bytes: Bytes, room: Room) -> Self {
        Self { bytes, room: Some(room) }
    }

    fn empty() -> Self {
        Self { bytes: Bytes::new(), room: None }
    }

    /// The bytes, whose last clone or slice gives the room back.
    pub fn into_bytes(self) -> Bytes {
        match self.room {
            Some(room) if !self.bytes.is_empty() => Bytes::from_owner(Owned { bytes: self.bytes, room }),
            _ => self.bytes,
        }
    }
}

impl std::ops::Deref for Held {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<B> Arriving<'_, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The next bytes. Fails where they arrive slowly while others wait for room in one of the pools.
    pub(crate) async fn next(&mut self, pools: &[&Pool]) -> Result<Option<Bytes>, ReadError> {
        let mut since = Instant::now();
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = tokio::time::sleep(CONTENDED_CHECK.min(self.contended_grace)) => {
                    let now = Instant::now();
                    self.awaited += now - since;
                    since = now;
                    self.keep_up(pools)?;
                    continue;
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| ReadError::Broken(error.into()))?;
            let Ok(data) = frame.into_data() else { continue };
            self.awaited += since.elapsed();
            self.received_bytes += data.len() as u64;
            if !self.is_at_end() {
                self.keep_up(pools)?;
            }
            return Ok(Some(data));
        }
    }

    /// Whether it may go on: nobody waits, or it is fast enough.
    fn keep_up(&self, pools: &[&Pool]) -> Result<(), ReadError> {
        let Self { received_bytes, awaited, contended_bytes_per_second_min: rate, .. } = *self;
        let allowed =
            self.contended_grace + Duration::from_millis(received_bytes.saturating_mul(1000) / rate);
        if awaited > allowed && pools.iter().any(|pool| pool.is_contended()) {
            return Err(ReadError::Outpaced { received_bytes, awaited });
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.body.is_end_stream()
    }
}
