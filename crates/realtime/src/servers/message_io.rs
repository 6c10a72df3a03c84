//! [`MessageReader`] and [`write_messages`]: service messages in WebSocket frames, read and written.

use std::io;
use std::time::Duration;

use signalr_protocol::FramingError;
use signalr_protocol::service::{self, Message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use websocket::{CloseCode, Decoder, FrameHeader, MessageKind, Opcode, Part, Role, Violation, frame};

use super::message_splitter::{MessageSplitter, SplitMessage};
use super::oversized::OversizedMessage;
use super::send_queue::SendQueue;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Bytes in one frame, so that a long batch arrives in steps.
const FRAME_BYTES: usize = 256 * 1024;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadEnd {
    /// The app server sent a close frame.
    #[error("the server closed the connection")]
    Closed,
    /// The socket ended without a close frame.
    #[error("the connection was lost")]
    Lost(#[source] Option<io::Error>),
    /// The read time-out passed.
    #[error("nothing was received for {} (servers.timeout_ms)", milliseconds(*.0))]
    Silent(Duration),
    /// The frames violate RFC 6455.
    #[error("the WebSocket protocol was violated: {0}")]
    Frame(#[from] Violation),
    /// A text message; the service protocol is binary.
    #[error("the service protocol needs binary WebSocket messages, not text")]
    Text,
    /// The bytes cannot be split into messages.
    #[error("the length prefix of a service message is invalid: {0}")]
    Framing(#[from] FramingError),
    /// A message cannot be read.
    #[error("a service message cannot be read: {0}")]
    Message(#[from] service::ServiceParseError),
}

impl ReadEnd {
    /// The close code to send.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self {
            Self::Closed | Self::Lost(_) => CloseCode::NORMAL,
            Self::Silent(_) => CloseCode::POLICY_VIOLATION,
            Self::Frame(violation) => violation.close_code(),
            Self::Text | Self::Framing(_) | Self::Message(_) => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// Whether the app server violated the protocol, and gets a ServiceError.
    pub(crate) fn is_violation(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Text | Self::Framing(_) | Self::Message(_))
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// Reads service messages.
#[derive(Debug)]
pub(crate) struct MessageReader<R> {
    read: R,
    decoder: Decoder,
    splitter: MessageSplitter,
    message_bytes_max: u32,
    buffer: Box<[u8]>,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    pub(crate) fn new(read: R, message_bytes_max: u32) -> Self {
        Self {
            read,
            // One WebSocket message may have several service messages, and parts of them. Its size does not matter, because its payload is
            // read in parts.
            decoder: Decoder::new(Role::Server, u32::MAX),
            splitter: MessageSplitter::new(message_bytes_max as usize),
            message_bytes_max,
            buffer: vec![0; READ_BYTES].into(),
        }
    }

    /// Reads once, for at most `read_timeout`, and calls `each` with every message that is complete then, and with the beginning of every
    /// message above the size limit.
    pub(crate) async fn read(
        &mut self,
        read_timeout: Duration,
        send_queue: &SendQueue,
        mut each: impl FnMut(Result<Message<'_>, OversizedMessage>),
    ) -> Result<(), ReadEnd> {
        let length = match timeout(read_timeout, self.read.read(&mut self.buffer)).await {
            Err(_) => return Err(ReadEnd::Silent(read_timeout)),
            Ok(Ok(0)) => return Err(ReadEnd::Lost(None)),
            Ok(Ok(length)) => length,
            Ok(Err(error)) => return Err(ReadEnd::Lost(Some(error))),
        };
        let mut input = &mut self.buffer[..length];
        loop {
            let decoded = self.decoder.decode_part(input)?;
            let consumed = decoded.consumed;
            match decoded.part {
                None => return Ok(()),
                Some(Part::Data { kind: MessageKind::Text, .. }) => return Err(ReadEnd::Text),
                Some(Part::Data { kind: MessageKind::Binary, payload, .. }) => {
                    let bytes_max = self.message_bytes_max;
                    self.splitter.feed(payload, |incoming| {
                        each(match incoming {
                            SplitMessage::Complete(payload) => Ok(service::parse(payload)?),
                            SplitMessage::Oversized { beginning, bytes } => {
                                Err(OversizedMessage::new(beginning, bytes, bytes_max))
                            }
                        });
                        Ok::<(), ReadEnd>(())
                    })?;
                }
                Some(Part::Ping(payload)) => send_queue.pong(frame(Opcode::Pong, payload)),
                Some(Part::Pong(_)) => {}
                Some(Part::Close(_)) => return Err(ReadEnd::Closed),
            }
            input = &mut input[consumed..];
        }
    }
}

/// Writes service messages; each frame must be written within `limit`.
pub(crate) async fn write_messages<W: AsyncWrite + Unpin>(
    write: &mut W,
    messages: &[u8],
    limit: Duration,
) -> io::Result<()> {
    for part in messages.chunks(FRAME_BYTES) {
        let header = FrameHeader::new(Opcode::Binary, part.len());
        write_within(write, header.as_bytes(), limit).await?;
        write_within(write, part, limit).await?;
    }
    timeout(limit, write.flush()).await.map_err(too_slow)?
}

/// Writes bytes within `limit`.
pub(crate) async fn write_within<W: AsyncWrite + Unpin>(
    write: &mut W,
    bytes: &[u8],
    limit: Duration,
) -> io::Result<()> {
    timeout(limit, write.write_all(bytes)).await.map_err(too_slow)?
}

fn too_slow(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the app server did not read within the time-out")
}
