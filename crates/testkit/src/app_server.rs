//! [`ScriptedAppServer`]: an app server of Default mode that follows a script: the service protocol over a raw WebSocket.
//!
//! A test drives it step by step ([`ScriptedAppServer::accept`], [`ScriptedAppServer::call`], [`ScriptedAppServer::complete`], or
//! any message with [`ScriptedAppServer::send`] and [`ScriptedAppServer::until`]), or lets it respond by itself with the methods
//! of a small hub ([`ScriptedAppServer::serve`]).

mod hub;
mod sdk;
mod translate;
mod wire;

use std::collections::HashMap;

use anyhow::{Context, bail};
use serde_json::Value;
use signalr_protocol::service::{
    self, AckStatus, Extensions, Message, ServerConnectionType, ServiceHandshakeRequest,
};
use signalr_protocol::{HubProtocol, next_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use websocket::{Opcode, masked_frame};

use crate::PATIENCE;
pub use sdk::Served;
use translate::{from_array, hub_message};
use wire::Wire;

/// The handshake of an app server.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The hub.
    pub hub: String,
    /// The bearer token, for the audience `/server/?hub=<hub>`.
    pub token: String,
    /// The id of the app server.
    pub server: String,
    /// The type of the connection.
    pub connection_type: ServerConnectionType,
    /// The instance that requested the connection.
    pub target: Option<String>,
    /// Whether clients may migrate: 0 never, 1 at shutdown, 2 also on loss.
    pub migration_level: i32,
    /// Whether clients may reconnect statefully; `None` for an SDK without support for it.
    pub allow_stateful_reconnects: Option<bool>,
}

/// A connected app server, after its handshake.
#[derive(Debug)]
pub struct ScriptedAppServer {
    wire: Wire,
    server: String,
    clients: HashMap<String, Client>,
    acks: i32,
}

/// The app server's state of a client.
#[derive(Debug)]
struct Client {
    protocol: HubProtocol,
    bytes: Vec<u8>,
    is_introduced: bool,
    /// It migrated from another server, which has completed its handshake.
    has_moved: bool,
    uploads: HashMap<String, (String, f64)>,
}

impl Introduction {
    /// An app server with a current SDK.
    pub fn new(hub: &str, server: &str, token: String) -> Self {
        Self {
            hub: hub.to_owned(),
            token,
            server: server.to_owned(),
            connection_type: ServerConnectionType::Default,
            target: None,
            migration_level: 1,
            allow_stateful_reconnects: Some(true),
        }
    }
}

impl ScriptedAppServer {
    /// Connects to `authority` and completes the handshake.
    ///
    /// # Errors
    ///
    /// If the upgrade or the handshake is refused; the error has the reason.
    pub async fn connect(authority: &str, introduction: &Introduction) -> anyhow::Result<Self> {
        let mut server = Self::upgrade(authority, introduction).await?;
        let Introduction { connection_type, target, migration_level, allow_stateful_reconnects, .. } =
            introduction;
        server
            .send(&Message::HandshakeRequest(ServiceHandshakeRequest {
                version: service::VERSION,
                connection_type: *connection_type,
                target: Some(target.as_deref().unwrap_or_default()),
                migration_level: *migration_level,
                extensions: Extensions::default(),
                allow_stateful_reconnects: *allow_stateful_reconnects,
            }))
            .await?;
        let answer = server.next().await?.context("the connection closed instead of a handshake")?;
        match service::parse(&answer)? {
            Message::HandshakeResponse { error_message: None | Some(""), .. } => Ok(server),
            Message::HandshakeResponse { error_message: Some(why), .. } => bail!("{why}"),
            other => bail!("the handshake was answered {other:?}"),
        }
    }

    /// Performs only the upgrade, for tests of the handshake itself.
    ///
    /// # Errors
    ///
    /// If the upgrade is refused.
    pub async fn upgrade(authority: &str, introduction: &Introduction) -> anyhow::Result<Self> {
        let Introduction { hub, token, server, .. } = introduction;
        let mut stream = TcpStream::connect(authority).await?;
        let request = format!(
            "GET /server/?hub={hub}&cid=c-{server} HTTP/1.1\r\nhost: {authority}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             authorization: Bearer {token}\r\nx-asrs-server-id: {server}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.context("no response to the upgrade")??);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if !head.starts_with("HTTP/1.1 101") {
            bail!("the upgrade was answered {}", head.lines().next().unwrap_or_default());
        }
        let wire = Wire::new(stream);
        Ok(Self { wire, server: server.clone(), clients: HashMap::new(), acks: 0 })
    }

    /// The id of the app server.
    pub fn name(&self) -> &str {
        &self.server
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub async fn send(&mut self, message: &Message<'_>) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_frame(Opcode::Binary, &bytes).await
    }

    /// Sends one WebSocket frame with any content.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub async fn send_frame(&mut self, opcode: Opcode, payload: &[u8]) -> anyhow::Result<()> {
        Ok(self.wire.stream.write_all(&masked_frame(opcode, payload, [9, 8, 7, 6])).await?)
    }

    /// The next message, for [`service::parse`]; `None` when the connection has closed.
    ///
    /// # Errors
    ///
    /// If nothing is received for too long.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        self.wire.next().await
    }

    /// Skips messages until `wanted` returns a value for one. Clients that open and close meanwhile are recorded.
    ///
    /// # Errors
    ///
    /// If the connection closes before, or nothing is received for too long.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(&Message<'_>) -> Option<T>) -> anyhow::Result<T> {
        loop {
            let payload = self.next().await?.context("the connection closed")?;
            let message = service::parse(&payload)?;
            self.note(&message);
            if let Some(found) = wanted(&message) {
                return Ok(found);
            }
        }
    }

    /// Waits until the service has closed the connection; returns the code and the reason of its close frame, if there was one.
    ///
    /// # Errors
    ///
    /// If it does not close for too long.
    pub async fn closed(&mut self) -> anyhow::Result<Option<(u16, String)>> {
        while self.next().await?.is_some() {}
        Ok(self.wire.closed.clone())
    }

    /// Waits for a new client, accepts its handshake, and returns its connection id.
    ///
    /// # Errors
    ///
    /// If no client connects, or its first bytes are not a handshake.
    pub async fn accept(&mut self) -> anyhow::Result<String> {
        let (id, record) = self.introduced().await?;
        if !record.ends_with(b"\x1e") {
            bail!("the client's first bytes are not a handshake: {}", String::from_utf8_lossy(&record));
        }
        self.data(&id, b"{}\x1e").await?;
        Ok(id)
    }

    /// Waits for a new client and its handshake, without a response.
    ///
    /// # Errors
    ///
    /// If no client connects.
    pub async fn introduced(&mut self) -> anyhow::Result<(String, Vec<u8>)> {
        self.until(|message| match message {
            Message::ConnectionData { connection_id, payload, .. } => {
                Some(((*connection_id).to_owned(), payload.to_vec()))
            }
            _ => None,
        })
        .await
    }

    /// Sends bytes to one client.
    ///
    /// # Errors
    ///
    /// If the connection is lost.
    pub async fn data(&mut self, client: &str, payload: &[u8]) -> anyhow::Result<()> {
        let extensions = Extensions::default();
        self.send(&Message::ConnectionData { connection_id: client, payload, extensions }).await
    }

    /// The next hub message of any client, as JSON for every protocol; pings are skipped.
    ///
    /// # Errors
    ///
    /// If no message is received.
    pub async fn call(&mut self) -> anyhow::Result<(String, Value)> {
        loop {
            if let Some(found) = self.whole_message()? {
                return Ok(found);
            }
            let payload = self.next().await?.context("the connection closed")?;
            self.note(&service::parse(&payload)?);
        }
    }

    /// Completes a client's invocation with a JSON value, for every protocol.
    ///
    /// # Errors
    ///
    /// If the client is unknown, or the connection is lost.
    pub async fn complete(
        &mut self,
        client: &str,
        invocation_id: &str,
        result: &Value,
    ) -> anyhow::Result<()> {
        let message = serde_json::json!({ "type": 3, "invocationId": invocation_id, "result": result });
        self.tell(client, &message).await
    }

    /// Sends a hub message, given as JSON, to a client in its protocol.
    ///
    /// # Errors
    ///
    /// If the client is unknown, or the connection is lost.
    pub async fn tell(&mut self, client: &str, message: &Value) -> anyhow::Result<()> {
        let protocol = self.clients.get(client).context("no such client")?.protocol;
        let payload = hub_message(protocol, message)?;
        self.data(client, &payload).await
    }

    /// Sends a message that requests an ack, made for the given ack id, and waits for the ack's status and text.
    ///
    /// # Errors
    ///
    /// If no ack comes.
    pub async fn ask<'a>(
        &mut self,
        message: impl FnOnce(i32) -> Message<'a>,
    ) -> anyhow::Result<(AckStatus, String)> {
        let (status, text, _) = self.ask_for(message).await?;
        Ok((status, text))
    }

    /// As [`ScriptedAppServer::ask`], with the ack's payload.
    ///
    /// # Errors
    ///
    /// If no ack comes.
    pub async fn ask_for<'a>(
        &mut self,
        message: impl FnOnce(i32) -> Message<'a>,
    ) -> anyhow::Result<(AckStatus, String, Option<Vec<u8>>)> {
        self.acks += 1;
        let id = self.acks;
        self.send(&message(id)).await?;
        self.until(|answer| match answer {
            Message::Ack { ack_id, status, message, payload, .. } if *ack_id == id => {
                Some((*status, message.unwrap_or_default().to_owned(), payload.map(<[u8]>::to_vec)))
            }
            _ => None,
        })
        .await
    }

    /// Closes the connection without a close frame.
    pub fn die(self) {
        // The socket is closed when it is dropped.
        drop(self);
    }

    /// Records the clients, and the bytes that they sent.
    fn note(&mut self, message: &Message<'_>) {
        match message {
            Message::OpenConnection(open) => {
                let protocol = open.extensions.protocol.and_then(HubProtocol::from_name);
                let has_moved = open.headers.iter().any(|(name, _)| *name == "Asrs-Migrate-From");
                let client = Client {
                    protocol: protocol.unwrap_or(HubProtocol::Json),
                    bytes: Vec::new(),
                    is_introduced: false,
                    has_moved,
                    uploads: HashMap::new(),
                };
                self.clients.insert(open.connection_id.to_owned(), client);
            }
            Message::CloseConnection { connection_id, .. } => {
                self.clients.remove(*connection_id);
            }
            Message::ConnectionData { connection_id, payload, .. } => {
                if let Some(client) = self.clients.get_mut(*connection_id) {
                    client.bytes.extend_from_slice(payload);
                    client.skip_handshake();
                }
            }
            _ => {}
        }
    }

    /// The first complete hub message that some client has sent.
    fn whole_message(&mut self) -> anyhow::Result<Option<(String, Value)>> {
        for (id, client) in &mut self.clients {
            while let Some(message) = client.take()? {
                if message["type"] != 6 {
                    return Ok(Some((id.clone(), message)));
                }
            }
        }
        Ok(None)
    }
}

impl Client {
    fn skip_handshake(&mut self) {
        if self.is_introduced {
            return;
        }
        if let Some(end) = self.bytes.iter().position(|byte| *byte == 0x1e) {
            self.bytes.drain(..=end);
            self.is_introduced = true;
        }
    }

    fn take(&mut self) -> anyhow::Result<Option<Value>> {
        if !self.is_introduced {
            return Ok(None);
        }
        let Some((message, used)) = next_message(self.protocol, &self.bytes, usize::MAX >> 1)? else {
            return Ok(None);
        };
        let message = match self.protocol {
            HubProtocol::Json => serde_json::from_slice(message)?,
            HubProtocol::MessagePack | HubProtocol::BlazorPack => from_array(message)?,
        };
        self.bytes.drain(..used);
        Ok(Some(message))
    }
}
