//! [`RawSocket`]: a client that can send anything, and returns exactly what it receives.

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use websocket::{Decoder, Event, MessageKind, Role};

use crate::PATIENCE;

/// A connection without a protocol of its own: requests and frames are sent byte by byte as given.
pub struct RawSocket {
    stream: TcpStream,
    decoder: Decoder,
    /// Bytes that were read and not decoded yet.
    ahead: Vec<u8>,
}

impl RawSocket {
    /// A new connection.
    pub async fn connect(authority: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, decoder: Decoder::new(Role::Client, 64 * 1024 * 1024), ahead: Vec::new() })
    }

    /// Requests a WebSocket at `path`, with additional header fields such as `"name: value\r\n"`. Also returns the head of the
    /// response.
    pub async fn upgrade(authority: &str, path: &str, fields: &str) -> anyhow::Result<(Self, String)> {
        let mut socket = Self::connect(authority).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
        );
        socket.send(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte =
                timeout(PATIENCE, socket.stream.read_u8()).await.context("no response to the upgrade")?;
            head.push(byte.context("the response to the upgrade is incomplete")?);
        }
        Ok((socket, String::from_utf8_lossy(&head).into_owned()))
    }

    /// Sends bytes unchanged.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.context("the peer does not read")??;
        Ok(())
    }

    /// Closes the sending side; received data can still be read.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// The next event of a WebSocket: `text ...`, `binary <digits>`, `ping`, `pong ...`, `close <code> <reason>`; `end` when the
    /// peer has closed the connection and `reset` when it was reset.
    pub async fn heard(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(said) = self.decode()? {
                return Ok(said);
            }
            let mut buffer = vec![0; 64 * 1024];
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await.context("the service is silent")? {
                Ok(0) => return Ok("end".to_owned()),
                Ok(length) => self.ahead = buffer[..length].to_vec(),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok("reset".to_owned());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// All events up to the close of the WebSocket, or the end of the connection, inclusive.
    pub async fn heard_to_close(&mut self) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        let began = Instant::now();
        loop {
            anyhow::ensure!(began.elapsed() < PATIENCE, "it does not end: {all:?}");
            let said = self.heard().await?;
            let last = said.starts_with("close") || said == "end" || said == "reset";
            all.push(said);
            if last {
                return Ok(all);
            }
        }
    }

    /// All text up to `end`, inclusive, for endless responses without a WebSocket.
    pub async fn text_until(&mut self, end: &str) -> anyhow::Result<String> {
        loop {
            let text = String::from_utf8_lossy(&self.ahead).into_owned();
            if let Some(at) = text.find(end) {
                let text = text[..at + end.len()].to_owned();
                self.ahead.drain(..text.len());
                return Ok(text);
            }
            let mut buffer = vec![0; 64 * 1024];
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await;
            let length = read.with_context(|| format!("there is no {end:?} in {text:?}"))??;
            anyhow::ensure!(length > 0, "it ends without {end:?}: {text:?}");
            self.ahead.extend_from_slice(&buffer[..length]);
        }
    }

    /// All bytes up to the end of the connection, as text, for responses without a WebSocket. A reset counts as an end.
    pub async fn text_to_end(&mut self) -> anyhow::Result<String> {
        let mut bytes = std::mem::take(&mut self.ahead);
        let mut buffer = vec![0; 64 * 1024];
        let end = Instant::now() + PATIENCE;
        loop {
            let read = timeout_at(end, self.stream.read(&mut buffer)).await;
            let read = read.with_context(|| format!("it does not end: {}", String::from_utf8_lossy(&bytes)));
            match read? {
                Ok(0) => break,
                Ok(length) => bytes.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn decode(&mut self) -> anyhow::Result<Option<String>> {
        let decoded = self.decoder.decode(&mut self.ahead).context("the service violates the protocol")?;
        let consumed = decoded.consumed;
        let said = decoded.event.map(|event| match event {
            Event::Message(MessageKind::Text, payload) => {
                format!("text {}", String::from_utf8_lossy(payload))
            }
            Event::Message(MessageKind::Binary, payload) => {
                format!("binary {}", payload.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            Event::Ping(_) => "ping".to_owned(),
            Event::Pong(payload) => format!("pong {}", String::from_utf8_lossy(payload)),
            Event::Close(close) => {
                let code = close.code.map_or_else(|| "-".to_owned(), |code| code.number().to_string());
                format!("close {code} {}", close.reason)
            }
        });
        // The decoder has unmasked or moved the consumed bytes, so it must not see them again.
        self.ahead.drain(..consumed);
        Ok(said)
    }
}
