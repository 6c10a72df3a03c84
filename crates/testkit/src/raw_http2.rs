//! [`RawHttp2`]: an HTTP/2 client that limits how much it reads.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::PATIENCE;

/// Length of a frame's header.
const HEAD_BYTES: usize = 9;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Types of frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The setting with the initial window of each stream.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A connection that responds by itself only to settings and pings.
pub struct RawHttp2 {
    stream: TcpStream,
    authority: String,
    next_stream: u32,
    /// Bytes that were read and not returned yet.
    ahead: Vec<u8>,
}

struct Frame {
    kind: u8,
    flags: u8,
    id: u32,
    payload: Vec<u8>,
}

/// A frame of the server about a stream, or about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The headers of a response; `true` if nothing follows.
    Head(u32, bool),
    /// A part of a response; `true` at its end.
    Data(u32, Vec<u8>, bool),
    /// The stream was reset, with this error code.
    Reset(u32, u32),
    /// The server accepts no more streams, with this error code.
    GoAway(u32),
    /// The connection has ended.
    End,
}

impl RawHttp2 {
    /// The error code of a cancelled stream (RFC 9113 section 7).
    pub const CANCEL: u32 = 8;

    /// Connects without TLS; each response may send `window` bytes before it waits for [`RawHttp2::grant`].
    pub async fn connect(authority: &str, window: u32) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, authority: authority.to_owned(), next_stream: 1, ahead: Vec::new() };
        client.stream.write_all(PREFACE).await?;
        let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
        client.frame(SETTINGS, 0, 0, &setting).await?;
        // The window of the connection must not be the limit.
        client.grant(0, 0x7000_0000).await?;
        Ok(client)
    }

    /// Requests `path`; returns the number of the stream.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<u32> {
        let id = self.next_stream;
        self.next_stream += 2;
        // `:method: GET` and `:scheme: http` of the static table, then two literals without Huffman coding (RFC 7541).
        let mut head = vec![0x82, 0x86];
        for (name_index, value) in [(0x04, path), (0x01, self.authority.as_str())] {
            let length = u8::try_from(value.len()).ok().filter(|length| *length < 127);
            head.extend_from_slice(&[name_index, length.context("a short value")?]);
            head.extend_from_slice(value.as_bytes());
        }
        self.frame(HEADERS, END_STREAM | END_HEADERS, id, &head).await?;
        Ok(id)
    }

    /// Allows the server to send more on a stream; 0 is the connection.
    pub async fn grant(&mut self, stream: u32, bytes: u32) -> anyhow::Result<()> {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes()).await
    }

    /// The next frame of the server. Settings and pings are acknowledged and skipped.
    pub async fn heard(&mut self) -> anyhow::Result<Heard> {
        loop {
            let Some(Frame { kind, flags, id, payload }) = self.next_frame().await? else {
                return Ok(Heard::End);
            };
            let code = |at: usize| -> anyhow::Result<u32> {
                let bytes = payload.get(at..at + 4).context("a frame without its error code")?;
                Ok(u32::from_be_bytes(bytes.try_into()?))
            };
            match kind {
                DATA => return Ok(Heard::Data(id, payload, flags & END_STREAM != 0)),
                HEADERS => return Ok(Heard::Head(id, flags & END_STREAM != 0)),
                RST_STREAM => return Ok(Heard::Reset(id, code(0)?)),
                GOAWAY => return Ok(Heard::GoAway(code(4)?)),
                SETTINGS if flags & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]).await?,
                PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &payload).await?,
                _ => {}
            }
        }
    }

    /// Cancel-safe, so that a test can wait for other events at the same time.
    async fn next_frame(&mut self) -> anyhow::Result<Option<Frame>> {
        loop {
            if let [a, b, c, kind, flags, id @ ..] = &self.ahead[..]
                && let Some((id, rest)) = id.split_first_chunk()
            {
                let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                if let Some(payload) = rest.get(..length) {
                    // The first bit is reserved.
                    let id = u32::from_be_bytes(*id) & 0x7fff_ffff;
                    let frame = Frame { kind: *kind, flags: *flags, id, payload: payload.to_vec() };
                    self.ahead.drain(..HEAD_BYTES + length);
                    return Ok(Some(frame));
                }
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.ahead)).await;
            match read.context("the service is silent")? {
                Ok(1..) => {}
                // Closed or reset.
                Ok(0) | Err(_) => return Ok(None),
            }
        }
    }

    /// The whole body of a response, for which the window must be large enough. Frames of other streams are skipped.
    pub async fn text(&mut self, stream: u32) -> anyhow::Result<String> {
        let mut text = Vec::new();
        loop {
            match self.heard().await? {
                Heard::Data(id, data, end) if id == stream => {
                    text.extend_from_slice(&data);
                    if end {
                        return Ok(String::from_utf8(text)?);
                    }
                }
                Heard::Head(id, true) if id == stream => return Ok(String::new()),
                Heard::Reset(id, code) if id == stream => {
                    anyhow::bail!("reset with {code} after {} bytes", text.len())
                }
                gone @ (Heard::End | Heard::GoAway(_)) => {
                    anyhow::bail!("{gone:?} after {} bytes", text.len())
                }
                Heard::Data(..) | Heard::Head(..) | Heard::Reset(..) => {}
            }
        }
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.extend_from_slice(payload);
        timeout(PATIENCE, self.stream.write_all(&bytes)).await.context("the peer does not read")??;
        Ok(())
    }
}
