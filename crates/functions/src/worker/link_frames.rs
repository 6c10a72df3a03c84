//! Our own road: a Unix socket in a private folder, or a loopback port where that is not possible.

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

use super::link::{Link, Outgoing, QUEUE_MESSAGES};
use super::stored::read_piece;

/// Where one worker connects.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: String,
    hello: StartStream,
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

/// How long a connection has to say who it is. A local process that connects and stays silent must not keep ours out.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Largest first frame.
const HELLO_BYTES_MAX: usize = 4096;

/// The address of a Unix socket has at most 108 bytes on Linux and 104 on macOS, its end included.
#[cfg(unix)]
const UNIX_PATH_BYTES_MAX: usize = 100;

/// Frames that wait together are written together up to this size.
const BATCH_BYTES: usize = 64 * 1024;

impl Listener {
    pub(super) async fn bind(frame_bytes_max: usize) -> io::Result<Self> {
        let (socket, address) = bind_socket().await?;
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let hello = StartStream { token, worker_id: Uuid::new_v4().to_string() };
        Ok(Self { socket, address, hello, frame_bytes_max })
    }

    pub(super) fn prepare(&self, command: &mut Command) {
        // By the environment, as arguments are visible to other users.
        command
            .env("CHAPPE_WORKER_ADDRESS", &self.address)
            .env("CHAPPE_WORKER_TOKEN", &self.hello.token)
            .env("CHAPPE_WORKER_ID", &self.hello.worker_id)
            .env("CHAPPE_WORKER_FRAME_BYTES_MAX", self.frame_bytes_max.to_string());
    }

    pub(super) async fn accept(self) -> io::Result<Link> {
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
            match tokio::time::timeout(HELLO_WAIT, read_hello(&mut stream)).await {
                Ok(Ok((hello, decoder))) if hello == self.hello => {
                    return Ok(link(stream, decoder, self.frame_bytes_max));
                }
                // Another version of our own worker would never get through, so say it at once.
                Ok(Err(error @ DecodeError::Version { .. })) => return Err(io::Error::other(error)),
                Ok(Ok(_)) => tracing::warn!("a process connected in a worker's place, with a wrong token"),
                Ok(Err(error)) => tracing::warn!(%error, "a process connected in a worker's place"),
                Err(_) => tracing::warn!("a process connected in a worker's place and said nothing"),
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

async fn read_hello(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(StartStream, FrameDecoder), DecodeError> {
    let mut decoder = FrameDecoder::new(HELLO_BYTES_MAX);
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok((StartStream::decode(&frame)?, decoder));
        }
        if !matches!(stream.read_buf(decoder.buffer()).await, Ok(1..)) {
            return Err(DecodeError::NotStart);
        }
    }
}

fn link(stream: Box<dyn Stream>, mut hello: FrameDecoder, frame_bytes_max: usize) -> Link {
    let mut decoder = FrameDecoder::new(frame_bytes_max);
    // What came behind the hello belongs to the connection.
    std::mem::swap(decoder.buffer(), hello.buffer());
    let (reader, writer) = tokio::io::split(stream);
    let (outgoing, to_write) = mpsc::channel(QUEUE_MESSAGES);
    let (to_handle, incoming) = mpsc::channel(QUEUE_MESSAGES);
    let mut tasks = JoinSet::new();
    tasks.spawn(write(writer, to_write));
    tasks.spawn(read(reader, decoder, to_handle));
    Link { outgoing, incoming, tasks }
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
                    tracing::error!(%error, cause, "a worker broke the protocol; its connection is closed");
                    return;
                }
            }
        }
        if !matches!(from.read_buf(decoder.buffer()).await, Ok(1..)) {
            return;
        }
    }
}

/// Writes frames, and knows which of them the system took as a whole.
struct FrameWriter<W> {
    to: W,
    /// Small pieces that are to be written together.
    batch: BytesMut,
    /// Bytes of whole and begun frames, those in `batch` included.
    bytes_taken: u64,
    /// Where frames end, counted as `bytes_taken`, and who asks whether they arrived.
    asked: VecDeque<(u64, oneshot::Sender<()>)>,
}

async fn write(to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Outgoing>) {
    let mut writer = FrameWriter { to, batch: BytesMut::new(), bytes_taken: 0, asked: VecDeque::new() };
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if writer.take(frame).await.is_err() {
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
    /// Small pieces are gathered, large ones written as they are.
    async fn take(&mut self, frame: Outgoing) -> io::Result<()> {
        for piece in frame.pieces {
            let bytes = piece.bytes();
            if self.batch.len() + bytes > BATCH_BYTES {
                self.write_batch().await?;
            }
            match piece {
                Chunk::Bytes(piece) if bytes > BATCH_BYTES => self.to.write_all(&piece).await?,
                Chunk::Bytes(piece) => self.batch.extend_from_slice(&piece),
                Chunk::Stored(stored) => {
                    self.write_batch().await?;
                    self.write_stored(&stored).await?;
                }
            }
            self.bytes_taken += bytes as u64;
        }
        self.asked.extend(frame.arrived.map(|arrived| (self.bytes_taken, arrived)));
        Ok(())
    }

    /// One part of it is in memory at a time. If it cannot be read, the frame has no end, and the connection is closed.
    async fn write_stored(&mut self, stored: &StoredBytes) -> io::Result<()> {
        let mut at = 0;
        while at < stored.bytes() {
            let read = read_piece(stored, at).await.inspect_err(|error| {
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

    /// Writes what was gathered. A worker that dies half-way may have had the first frames of it, but never one whose end was
    /// not written.
    async fn write_batch(&mut self) -> io::Result<()> {
        let written = self.to.write_all_buf(&mut self.batch).await;
        let end = self.bytes_taken - self.batch.len() as u64;
        while self.asked.front().is_some_and(|(frame_end, _)| *frame_end <= end) {
            if let Some((_, arrived)) = self.asked.pop_front() {
                let _ = arrived.send(());
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn frame(bytes: usize) -> (Outgoing, oneshot::Receiver<()>) {
        let (arrived, told) = oneshot::channel();
        let pieces = [Bytes::from(vec![1; 3]), Bytes::from(vec![2; bytes - 3])];
        let pieces = pieces.into_iter().map(Chunk::Bytes).collect();
        (Outgoing { pieces, arrived: Some(arrived) }, told)
    }

    /// Sends frames of these sizes to a peer that takes so many bytes and goes; tells which may have arrived.
    async fn check(sizes: &[usize], bytes_read: usize, expected: &[bool]) {
        let (ours, mut peer) = tokio::io::duplex(1);
        let (sender, frames) = mpsc::channel(sizes.len());
        let (all, told): (Vec<_>, Vec<_>) = sizes.iter().map(|bytes| frame(*bytes)).unzip();
        for frame in all {
            sender.try_send(frame).expect("there is room");
        }
        let writes = tokio::spawn(write(ours, frames));
        peer.read_exact(&mut vec![0; bytes_read]).await.expect("that much is sent");
        drop(peer);
        writes.await.expect("no panic");
        let mut arrived = Vec::new();
        for told in told {
            arrived.push(told.await.is_ok());
        }
        assert_eq!(arrived, expected, "{sizes:?}, {bytes_read} read");
    }

    #[tokio::test]
    async fn a_frame_that_was_not_written_to_its_end_did_not_arrive() {
        // The pipe holds one byte beyond what was read.
        check(&[10, 10, 10], 8, &[false, false, false]).await;
        check(&[10, 10, 10], 10, &[true, false, false]).await;
        check(&[10, 10, 10], 28, &[true, true, false]).await;
        let large = 2 * BATCH_BYTES;
        check(&[10, large, 10], 10, &[true, false, false]).await;
        check(&[10, large, 10], 10 + large - 2, &[true, false, false]).await;
        check(&[10, large, 10], 10 + large, &[true, true, false]).await;
    }
}
