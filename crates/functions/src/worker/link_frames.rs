//! Our own road: a Unix socket in a private folder, or a loopback port where that is not possible.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;
use worker_protocol::WorkerMessage;
use worker_protocol::frames::{DecodeError, Decoder, Hello, decode_worker};

use super::link::{Link, QUEUE_MESSAGES};

/// Where one worker connects.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    address: String,
    hello: Hello,
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
        let hello = Hello { token, worker_id: Uuid::new_v4().to_string() };
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

async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Hello, Decoder), DecodeError> {
    let mut decoder = Decoder::new(HELLO_BYTES_MAX);
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok((Hello::decode(&frame)?, decoder));
        }
        if !matches!(stream.read_buf(decoder.buffer()).await, Ok(1..)) {
            return Err(DecodeError::NotStart);
        }
    }
}

fn link(stream: Box<dyn Stream>, mut hello: Decoder, frame_bytes_max: usize) -> Link {
    let mut decoder = Decoder::new(frame_bytes_max);
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

async fn read(mut from: impl AsyncRead + Unpin, mut decoder: Decoder, to: mpsc::Sender<WorkerMessage>) {
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

async fn write(mut to: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Vec<Bytes>>) {
    let mut batch = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if write_frame(&mut to, &mut batch, frame).await.is_err() {
                return;
            }
            next = frames.try_recv().ok();
        }
        if to.write_all_buf(&mut batch).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Small pieces are gathered, large ones written as they are.
async fn write_frame(
    to: &mut (impl AsyncWrite + Unpin),
    batch: &mut BytesMut,
    frame: Vec<Bytes>,
) -> io::Result<()> {
    for piece in frame {
        if batch.len() + piece.len() > BATCH_BYTES {
            to.write_all_buf(batch).await?;
        }
        if piece.len() > BATCH_BYTES {
            to.write_all(&piece).await?;
        } else {
            batch.extend_from_slice(&piece);
        }
    }
    Ok(())
}
