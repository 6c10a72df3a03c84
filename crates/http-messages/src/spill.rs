//! Bodies in files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body::Body;

use crate::budget::{Budget, Reservation};
use crate::buffered::BufferedBody;
use crate::error::ReadError;
use crate::incoming::IncomingBody;
use crate::message::BoxError;

/// A body that was read.
#[derive(Clone, Debug)]
pub enum StoredBody {
    /// It is in memory.
    Memory(Bytes),
    /// It is in a file.
    File(FileBody),
}

/// A body in a file without a name; cheap to clone. The last clone removes the file and releases its reservation.
#[derive(Clone, Debug)]
pub struct FileBody {
    shared: Arc<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: Mutex<File>,
    bytes: usize,
    #[allow(dead_code, reason = "kept for its Drop, which releases the reservation")]
    reservation: Reservation,
}

/// How many bytes are gathered before they are written.
const WRITE_BYTES: usize = 128 * 1024;

/// Memory that is reserved for a body on its way to a file: what is gathered, and what the connection delivers at once.
const BUFFER_BYTES: u64 = 4 * WRITE_BYTES as u64;

/// Disk space that is reserved at a time for a body without a declared length.
const DISK_STEP_BYTES: u64 = 8 << 20;

impl Budget {
    /// Reads the rest of a body to a file, behind what was read to memory.
    pub(crate) async fn spill<B>(
        &self,
        arriving: &mut IncomingBody<'_, B>,
        begun: Option<(BytesMut, Reservation)>,
        declared: Option<u64>,
        bytes_max: usize,
    ) -> Result<FileBody, ReadError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let shared = &self.shared;
        let mut reservation = shared.disk.reserve(declared.unwrap_or(DISK_STEP_BYTES)).await?;
        let (beginning, mut buffer_reservation) = match begun {
            Some(begun) => begun,
            None => (BytesMut::new(), shared.large.reserve(BUFFER_BYTES).await?),
        };
        let folder = shared.folder.clone();
        let mut file = blocking(move || tempfile::tempfile_in(folder)).await?;
        let mut bytes = beginning.len();
        let mut buffer = Vec::from(beginning);
        loop {
            let data = arriving.next(&[&shared.large, &shared.disk]).await?;
            if data.is_none() || buffer.len() >= WRITE_BYTES {
                while bytes as u64 > reservation.bytes() {
                    reservation.merge(shared.disk.reserve(DISK_STEP_BYTES).await?);
                }
                (file, buffer) = write(file, buffer).await?;
                buffer_reservation.shrink(BUFFER_BYTES);
            }
            let Some(data) = data else { break };
            bytes += data.len();
            if bytes > bytes_max {
                return Err(ReadError::TooLarge { bytes_max });
            }
            buffer.extend_from_slice(&data);
        }
        reservation.shrink(bytes as u64);
        shared.metrics.spilled.inc();
        shared.metrics.spilled_bytes.inc_by(bytes as u64);
        Ok(FileBody { shared: Arc::new(OpenFile { file: Mutex::new(file), bytes, reservation }) })
    }

    /// Reads a body from its file into memory, which is reserved for it.
    pub async fn load(&self, spilled: &FileBody) -> Result<Bytes, ReadError> {
        let bytes = spilled.bytes();
        let bytes_max = self.shared.options.body_bytes_max();
        let load = async {
            if bytes > bytes_max {
                return Err(ReadError::TooLarge { bytes_max });
            }
            let reservation = self.shared.large.reserve(bytes as u64).await?;
            let spilled = spilled.clone();
            let content = blocking(move || spilled.read_at(0, bytes)).await?;
            Ok(BufferedBody::new(content, reservation).into_bytes())
        };
        load.await.inspect_err(|error| self.shared.metrics.rejected(error))
    }
}

impl FileBody {
    /// Its size.
    pub fn bytes(&self) -> usize {
        self.shared.bytes
    }

    /// Reads a piece, which is shorter than asked for only at the end. Blocks the thread for the time of a disk access.
    pub fn read_at(&self, at: usize, bytes_max: usize) -> io::Result<Bytes> {
        let mut piece = vec![0; self.shared.bytes.saturating_sub(at).min(bytes_max)];
        // Readers share one position in the file.
        let mut file = self.shared.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at as u64))?;
        file.read_exact(&mut piece)?;
        Ok(piece.into())
    }
}

/// Writes a buffer and returns it empty.
async fn write(mut file: File, mut buffer: Vec<u8>) -> Result<(File, Vec<u8>), ReadError> {
    blocking(move || {
        file.write_all(&buffer)?;
        buffer.clear();
        buffer.shrink_to(2 * WRITE_BYTES);
        Ok((file, buffer))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ReadError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).and_then(|done| done).map_err(ReadError::File)
}
