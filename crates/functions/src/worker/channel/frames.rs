//! The channel of our own worker protocol: a Unix socket in a private folder, or a loopback port where that is not possible.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;
use worker_protocol::frames::{DecodeError, FrameDecoder, StartStream, decode_worker};
use worker_protocol::{Chunk, StoredBytes, WorkerMessage};

use super::{EncodedMessage, QUEUE_MESSAGES, WorkerChannel};
use crate::worker::stored::read_chunk;

/// Listens for the connection of one worker.
#[derive(Debug)]
pub(in crate::worker) struct FramesListener {
    socket: Socket,
    address: String,
    expected: StartStream,
    frame_bytes_max: usize,
}

#[derive(Debug)]
enum Socket {
    #[cfg(unix)]
    Unix(
        tokio::net::UnixListener,
        #[allow(dead_code, reason = "kept for its Drop, which removes the socket")] TempDir,
    ),
    Tcp(TcpListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// How long a connection may take for its first frame. Another local process that connects and stays silent must not keep our worker
/// out.
const START_WAIT: Duration = Duration::from_secs(5);

/// Largest first frame.
const START_BYTES_MAX: usize = 4096;

/// The address of a Unix socket has at most 108 bytes on Linux and 104 on macOS, its end included.
#[cfg(unix)]
const UNIX_PATH_BYTES_MAX: usize = 100;

/// Frames that wait together are written together up to this size.
const BATCH_BYTES: usize = 64 * 1024;

impl FramesListener {
    pub(in crate::worker) async fn bind(frame_bytes_max: usize) -> io::Result<Self> {
        let (socket, address) = bind_socket().await?;
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let expected = StartStream { token, worker_id: Uuid::new_v4().to_string() };
        Ok(Self { socket, address, expected, frame_bytes_max })
    }

    pub(in crate::worker) fn prepare(&self, command: &mut Command) {
        // In the environment, as arguments are visible to other users.
        command
            .env("CHAPPE_WORKER_ADDRESS", &self.address)
            .env("CHAPPE_WORKER_TOKEN", &self.expected.token)
            .env("CHAPPE_WORKER_ID", &self.expected.worker_id)
            .env("CHAPPE_WORKER_FRAME_BYTES_MAX", self.frame_bytes_max.to_string());
    }

    pub(in crate::worker) async fn accept(self) -> io::Result<WorkerChannel> {
        loop {
            let mut stream: Box<dyn Stream> = match &self.socket {
                #[cfg(unix)]
                Socket::Unix(listener, _) => Box::new(listener.accept().await?.0),
                Socket::Tcp(listener) => {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            };
            match tokio::time::timeout(START_WAIT, read_start(&mut stream)).await {
                Ok(Ok((start, decoder))) if start == self.expected => {
                    return Ok(open_channel(stream, decoder, self.frame_bytes_max));
                }
                // A worker of another version can never connect, so fail at once.
                Ok(Err(error @ DecodeError::Version { .. })) => return Err(io::Error::other(error)),
                Ok(Ok(_)) => tracing::warn!(
                    "a process connected to the address of a worker with a wrong token; its connection is closed"
                ),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a process connected to the address of a worker and sent something else; its connection is closed");
                }
                Err(_) => tracing::warn!(
                    "a process connected to the address of a worker and sent nothing; its connection is closed"
                ),
            }
        }
    }
}

#[cfg(unix)]
async fn bind_socket() -> io::Result<(Socket, String)> {
    let folder = tempfile::Builder::new().prefix("chappe-").tempdir()?;
    let path = folder.path().join("worker");
    let address = path.to_str().filter(|path| path.len() <= UNIX_PATH_BYTES_MAX).map(str::to_owned);
    let Some(address) = address else { return bind_port().await };
    let listener = tokio::net::UnixListener::bind(&path)?;
    Ok((Socket::Unix(listener, folder), address))
}

#[cfg(not(unix))]
async fn bind_socket() -> io::Result<(Socket, String)> {
    bind_port().await
}

async fn bind_port() -> io::Result<(Socket, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    Ok((Socket::Tcp(listener), address))
}

async fn read_start(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(StartStream, FrameDecoder), DecodeError> {
    let mut decoder = FrameDecoder::new(START_BYTES_MAX);
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok((StartStream::decode(&frame)?, decoder));
        }
        if !matches!(stream.read_buf(decoder.buffer()).await, Ok(1..)) {
            return Err(DecodeError::NotStart);
        }
    }
}

fn open_channel(stream: Box<dyn Stream>, mut start: FrameDecoder, frame_bytes_max: usize) -> WorkerChannel {
    let mut decoder = FrameDecoder::new(frame_bytes_max);
    // Bytes that follow the first frame belong to the channel.
    std::mem::swap(decoder.buffer(), start.buffer());
    let (reader, writer) = tokio::io::split(stream);
    let (outgoing, to_write) = mpsc::channel(QUEUE_MESSAGES);
    let (to_handle, incoming) = mpsc::channel(QUEUE_MESSAGES);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(writer, to_write));
    tasks.spawn(read(reader, decoder, to_handle));
    WorkerChannel { outgoing, incoming, tasks }
}

async fn read(mut from: impl AsyncRead + Unpin, mut decoder: FrameDecoder, to: mpsc::Sender<WorkerMessage>) {
    loop {
        loop {
            let message = match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => decode_worker(&frame),
                Err(error) => Err(error),
            };
            match message {
                Ok(message) => {
                    if to.send(message).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "a worker violated the protocol; its connection is closed");
                    return;
                }
            }
        }
        if !matches!(from.read_buf(decoder.buffer()).await, Ok(1..)) {
            return;
        }
    }
}

/// Writes frames, and knows which of them were written completely.
struct FrameWriter<W> {
    to: W,
    /// Small chunks, to be written together.
    batch: BytesMut,
    /// Bytes of all frames until now, including those in `batch`.
    bytes_accepted: u64,
    /// The ends of frames, counted like `bytes_accepted`, with the receivers of their delivery.
    undelivered: VecDeque<(u64, oneshot::Sender<()>)>,
}

async fn write(to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<EncodedMessage>) {
    let mut writer =
        FrameWriter { to, batch: BytesMut::new(), bytes_accepted: 0, undelivered: VecDeque::new() };
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if writer.push(frame).await.is_err() {
                return;
            }
            next = frames.try_recv().ok();
        }
        if writer.flush().await.is_err() {
            return;
        }
    }
    let _ = writer.to.shutdown().await;
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Adds a frame. Small chunks are batched, large ones written at once.
    async fn push(&mut self, frame: EncodedMessage) -> io::Result<()> {
        for chunk in frame.chunks {
            let bytes = chunk.bytes();
            if self.batch.len() + bytes > BATCH_BYTES {
                self.write_batch().await?;
            }
            match chunk {
                Chunk::Bytes(chunk) if bytes > BATCH_BYTES => self.to.write_all(&chunk).await?,
                Chunk::Bytes(chunk) => self.batch.extend_from_slice(&chunk),
                Chunk::Stored(stored) => {
                    self.write_batch().await?;
                    self.write_stored(&stored).await?;
                }
            }
            self.bytes_accepted += bytes as u64;
        }
        self.undelivered.extend(frame.delivered.map(|delivered| (self.bytes_accepted, delivered)));
        Ok(())
    }

    /// Reads and writes stored bytes in parts, with one part in memory at a time. If they cannot be read, the frame stays incomplete and the
    /// connection is closed.
    async fn write_stored(&mut self, stored: &StoredBytes) -> io::Result<()> {
        let mut at = 0;
        while at < stored.bytes() {
            let read = read_chunk(stored, at).await.inspect_err(|error| {
                tracing::error!(%error, "the body of a request cannot be read from its file");
            })?;
            self.to.write_all(&read).await?;
            at += read.len();
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.write_batch().await?;
        self.to.flush().await
    }

    /// Writes the batch. If the worker dies meanwhile, it may have received the first frames of the batch, but none whose end was not
    /// written.
    async fn write_batch(&mut self) -> io::Result<()> {
        let written = self.to.write_all_buf(&mut self.batch).await;
        let end = self.bytes_accepted - self.batch.len() as u64;
        while self.undelivered.front().is_some_and(|(frame_end, _)| *frame_end <= end) {
            if let Some((_, delivered)) = self.undelivered.pop_front() {
                let _ = delivered.send(());
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(bytes: usize) -> (EncodedMessage, oneshot::Receiver<()>) {
        let (delivered, receiver) = oneshot::channel();
        let chunks = [Bytes::from(vec![1; 3]), Bytes::from(vec![2; bytes - 3])];
        let chunks = chunks.into_iter().map(Chunk::Bytes).collect();
        (EncodedMessage { chunks, delivered: Some(delivered) }, receiver)
    }

    /// Sends frames of these sizes to a peer that reads `bytes_read` bytes and closes; checks which may have been delivered.
    async fn check(sizes: &[usize], bytes_read: usize, expected: &[bool]) {
        let (ours, mut peer) = tokio::io::duplex(1);
        let (sender, frames) = mpsc::channel(sizes.len());
        let (all, receivers): (Vec<_>, Vec<_>) = sizes.iter().map(|bytes| frame(*bytes)).unzip();
        for frame in all {
            sender.try_send(frame).expect("there is room");
        }
        let writes = tokio::spawn(write(ours, frames));
        peer.read_exact(&mut vec![0; bytes_read]).await.expect("that much is sent");
        drop(peer);
        writes.await.expect("no panic");
        let mut delivered = Vec::new();
        for receiver in receivers {
            delivered.push(receiver.await.is_ok());
        }
        assert_eq!(delivered, expected, "{sizes:?}, {bytes_read} read");
    }

    #[tokio::test]
    async fn only_completely_written_frames_count_as_delivered() {
        // The pipe buffers one byte more than was read.
        check(&[10, 10, 10], 8, &[false, false, false]).await;
        check(&[10, 10, 10], 10, &[true, false, false]).await;
        check(&[10, 10, 10], 28, &[true, true, false]).await;
        let large = 2 * BATCH_BYTES;
        check(&[10, large, 10], 10, &[true, false, false]).await;
        check(&[10, large, 10], 10 + large - 2, &[true, false, false]).await;
        check(&[10, large, 10], 10 + large, &[true, true, false]).await;
    }
}
