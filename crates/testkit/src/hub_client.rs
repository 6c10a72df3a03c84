//! [`HubClient`]: a SignalR client that follows a script, over a raw WebSocket.

use std::collections::VecDeque;

use anyhow::{Context, bail};
use serde_json::Value;
use signalr_protocol::{HubProtocol, next_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use websocket::{Decoder, Event, Opcode, Role, masked_frame};

use crate::PATIENCE;

/// A connected client, after the handshake.
pub struct HubClient {
    stream: TcpStream,
    decoder: Decoder,
    protocol: HubProtocol,
    received: VecDeque<Vec<u8>>,
    partial: Vec<u8>,
}

impl HubClient {
    /// Upgrades at `path` (with its query) on `authority`, and completes the handshake.
    pub async fn connect(authority: &str, path: &str, protocol: HubProtocol) -> anyhow::Result<Self> {
        Self::connect_as(authority, path, protocol, 1).await
    }

    /// As [`HubClient::connect`], with a version of the protocol: 2 is for clients with stateful reconnect.
    ///
    /// # Errors
    ///
    /// If the upgrade or the handshake is refused.
    pub async fn connect_as(
        authority: &str,
        path: &str,
        protocol: HubProtocol,
        version: u32,
    ) -> anyhow::Result<Self> {
        let mut client = Self::upgrade(authority, path, protocol).await?;
        let handshake = format!("{{\"protocol\":\"{}\",\"version\":{version}}}\u{1e}", protocol.name());
        client.send_frame(Opcode::Text, handshake.as_bytes()).await?;
        let answer = client.handshake_answer().await?;
        if answer != b"{}\x1e" {
            bail!("the handshake was answered {}", String::from_utf8_lossy(&answer));
        }
        Ok(client)
    }

    /// The response to a handshake request, which is always JSON.
    pub async fn handshake_answer(&mut self) -> anyhow::Result<Vec<u8>> {
        let answer = self.next_payload().await?.context("the connection closed instead of a handshake")?;
        let end = answer.iter().position(|byte| *byte == 0x1e).map_or(answer.len(), |end| end + 1);
        self.partial.extend_from_slice(&answer[end..]);
        Ok(answer[..end].to_vec())
    }

    /// Performs only the upgrade, for tests of the handshake itself.
    pub async fn upgrade(authority: &str, path: &str, protocol: HubProtocol) -> anyhow::Result<Self> {
        Self::upgrade_with(authority, path, protocol, &[]).await
    }

    /// As [`HubClient::upgrade`], with further headers.
    pub async fn upgrade_with(
        authority: &str,
        path: &str,
        protocol: HubProtocol,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(authority).await?;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, stream.read_u8()).await.context("no response to the upgrade")??;
            head.push(byte);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if !head.starts_with("HTTP/1.1 101") {
            bail!("the upgrade was answered {}", head.lines().next().unwrap_or_default());
        }
        let decoder = Decoder::new(Role::Client, 16 * 1024 * 1024);
        Ok(Self { stream, decoder, protocol, received: VecDeque::new(), partial: Vec::new() })
    }

    /// Sends a complete hub message, framed for the protocol.
    pub async fn send(&mut self, framed: &[u8]) -> anyhow::Result<()> {
        let opcode = if self.protocol == HubProtocol::Json { Opcode::Text } else { Opcode::Binary };
        self.send_frame(opcode, framed).await
    }

    /// Closes its sending side, as a client whose process has ended; received data can still be read.
    pub async fn end_writing(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// Sends one WebSocket frame.
    pub async fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(&masked_frame(opcode, payload, [1, 2, 3, 4])).await?)
    }

    /// Sends bytes unchanged, such as a part of a frame.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The next hub message without its framing; pings are skipped. `None` when the connection closed.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            while let Some((message, used)) = next_message(self.protocol, &self.partial, usize::MAX >> 1)? {
                let message = message.to_vec();
                self.partial.drain(..used);
                let ping = message == b"{\"type\":6}" || message == [0x91, 0x06];
                if !ping {
                    return Ok(Some(message));
                }
            }
            match self.next_payload().await? {
                Some(payload) => self.partial.extend(payload),
                None => return Ok(None),
            }
        }
    }

    /// The next hub message as JSON; the protocol must be JSON.
    pub async fn next_json(&mut self) -> anyhow::Result<Value> {
        let message = self.next().await?.context("the connection closed")?;
        serde_json::from_slice(&message).with_context(|| String::from_utf8_lossy(&message).into_owned())
    }

    /// Skips messages until one has this target; returns its arguments. The protocol must be JSON.
    pub async fn arguments_of(&mut self, target: &str) -> anyhow::Result<Value> {
        loop {
            let message = self.next_json().await?;
            if message["target"] == target {
                return Ok(message["arguments"].clone());
            }
        }
    }

    /// The payload of the next WebSocket message; `None` after a close.
    async fn next_payload(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(payload) = self.received.pop_front() {
                return Ok(Some(payload));
            }
            let count =
                timeout(PATIENCE, self.stream.read(&mut buffer)).await.context("the hub is silent")??;
            if count == 0 || self.decode(&mut buffer[..count])? {
                return Ok(self.received.pop_front());
            }
        }
    }

    /// Decodes messages from received bytes; returns whether the peer closed.
    fn decode(&mut self, mut input: &mut [u8]) -> anyhow::Result<bool> {
        while !input.is_empty() {
            let decoded = self.decoder.decode(input)?;
            match decoded.event {
                Some(Event::Message(_, payload)) => self.received.push_back(payload.to_vec()),
                Some(Event::Close(_)) => return Ok(true),
                Some(Event::Ping(_) | Event::Pong(_)) | None => {}
            }
            let consumed = decoded.consumed;
            input = &mut input[consumed..];
        }
        Ok(false)
    }
}
