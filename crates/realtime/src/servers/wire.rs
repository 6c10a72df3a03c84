//! [`Wire`]: the reading half of a server connection, from bytes through WebSocket frames to service messages. [`write_messages`]: the way
//! back.

use std::io;
use std::time::Duration;

use signalr_protocol::FramingError;
use signalr_protocol::service::{self, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use websocket::{CloseCode, Decoder, FrameHeader, MessageKind, Opcode, Part, Role, Violation, frame};

use super::inflow::{Incoming, Inflow};
use super::outbox::Outbox;
use super::too_long::TooLong;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Bytes in one frame: the other end sees progress while a long batch is written.
const FRAME_BYTES: usize = 256 * 1024;

/// Why nothing more is read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The server said goodbye.
    #[error("the server closed the connection")]
    Closed,
    /// The socket ended without a goodbye.
    #[error("the connection was lost")]
    Lost(#[source] Option<io::Error>),
    /// Nothing came for too long.
    #[error("nothing came for {}", humanly(*.0))]
    Silent(Duration),
    /// A rule of WebSocket was broken.
    #[error("the WebSocket protocol was violated: {0}")]
    Frame(#[from] Violation),
    /// Text came, and the protocol is binary.
    #[error("the service protocol is sent in binary messages, not in text")]
    Text,
    /// The bytes cannot be cut into messages.
    #[error("the service messages cannot be told apart: {0}")]
    Framing(#[from] FramingError),
    /// A message cannot be read.
    #[error("a service message cannot be read: {0}")]
    Message(#[from] service::ServiceParseError),
}

impl Ended {
    /// The code to close the WebSocket with, where it is this side that ends it.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::Closed | Self::Lost(_) => CloseCode::NORMAL,
            Self::Silent(_) => CloseCode::POLICY_VIOLATION,
            Self::Frame(violation) => violation.close_code(),
            Self::Text | Self::Framing(_) | Self::Message(_) => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// Whether the other end did something wrong, and is to be told.
    pub(crate) fn is_violation(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Text | Self::Framing(_) | Self::Message(_))
    }
}

fn humanly(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// Reads service messages.
#[derive(Debug)]
pub(crate) struct Wire<R> {
    read: R,
    decoder: Decoder,
    inflow: Inflow,
    message_bytes_max: u32,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> Wire<R> {
    pub(crate) fn new(read: R, message_bytes_max: u32) -> Self {
        Self {
            read,
            // A WebSocket message may hold several service messages, which need not end with it: the SDK sends what has gathered
            // meanwhile. It is taken as it comes, so that its own size does not matter.
            decoder: Decoder::new(Role::Server, u32::MAX),
            inflow: Inflow::new(message_bytes_max as usize),
            message_bytes_max,
            buffer: vec![0; READ_BYTES].into(),
        }
    }

    /// Waits for bytes, at most for `silence`, and calls `each` with every message that they complete, or with what is known of one that
    /// is too long to be taken.
    pub(crate) async fn read(
        &mut self,
        silence: Duration,
        outbox: &Outbox,
        mut each: impl FnMut(Result<Message<'_>, TooLong>),
    ) -> Result<(), Ended> {
        let length = match timeout(silence, self.read.read(&mut self.buffer)).await {
            Err(_) => return Err(Ended::Silent(silence)),
            Ok(Ok(0)) => return Err(Ended::Lost(None)),
            Ok(Ok(length)) => length,
            Ok(Err(error)) => return Err(Ended::Lost(Some(error))),
        };
        let mut input = &mut self.buffer[..length];
        loop {
            let decoded = self.decoder.decode_part(input)?;
            let consumed = decoded.consumed;
            match decoded.part {
                None => return Ok(()),
                Some(Part::Data { kind: MessageKind::Text, .. }) => return Err(Ended::Text),
                Some(Part::Data { kind: MessageKind::Binary, payload, .. }) => {
                    let bytes_max = self.message_bytes_max;
                    self.inflow.feed(payload, |incoming| {
                        each(match incoming {
                            Incoming::Whole(payload) => Ok(service::parse(payload)?),
                            Incoming::TooLong { beginning, bytes } => {
                                Err(TooLong::new(beginning, bytes, bytes_max))
                            }
                        });
                        Ok::<(), Ended>(())
                    })?;
                }
                Some(Part::Ping(payload)) => outbox.pong(frame(Opcode::Pong, payload)),
                Some(Part::Pong(_)) => {}
                Some(Part::Close(_)) => return Err(Ended::Closed),
            }
            input = &mut input[consumed..];
        }
    }
}

/// Writes service messages, each piece within `patience`.
pub(crate) async fn write_messages<W: AsyncWrite + Unpin>(
    write: &mut W,
    messages: &[u8],
    patience: Duration,
) -> io::Result<()> {
    for piece in messages.chunks(FRAME_BYTES) {
        let header = FrameHeader::new(Opcode::Binary, piece.len());
        write_within(write, header.as_bytes(), patience).await?;
        write_within(write, piece, patience).await?;
    }
    timeout(patience, write.flush()).await.map_err(too_slow)?
}

/// Writes bytes, or gives up where they are not taken in time.
pub(crate) async fn write_within<W: AsyncWrite + Unpin>(
    write: &mut W,
    bytes: &[u8],
    patience: Duration,
) -> io::Result<()> {
    timeout(patience, write.write_all(bytes)).await.map_err(too_slow)?
}

fn too_slow(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server takes nothing")
}
