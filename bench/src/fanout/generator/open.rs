//! How a client connects: by a WebSocket handshake, or by negotiation and an event stream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, bail};
use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use signalr_protocol::HubProtocol;
use websocket::Opcode;

use super::args::{Args, PATIENCE};
use super::stream::{Stream, secure, tls};
use crate::fanout::peers;
use crate::fanout::server::HUB;
use crate::latency::peer::Http;

/// Buffer for everything that can arrive between two reads of a client.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Messages of 100 KB that overfill a socket.
const SLOW_READER_MESSAGES: usize = 80;

/// A token that is valid for the whole bench.
pub(super) fn token(audience: &str, claims: &[(&str, String)]) -> anyhow::Result<String> {
    let key = AccessKey::new(DEVELOPMENT_SIGNALR_KEY).context("the constant is not empty")?;
    let mut all = Claims::new();
    for (name, value) in claims {
        all.push(*name, value.clone());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    Ok(identity::sign(&all, audience, now, now + 24 * 3_600, &key, Algorithm::Hs256))
}

pub(super) fn client_token(number: u32) -> anyhow::Result<String> {
    token(&format!("http://localhost/client/?hub={HUB}"), &[("asrs.s.uid", format!("u{number}"))])
}

/// How WebSocket clients are opened.
pub(super) struct Opener<'a> {
    args: &'a Args,
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
}

impl<'a> Opener<'a> {
    pub(super) fn new(args: &'a Args) -> anyhow::Result<Self> {
        let tls = args.authority.as_deref().map(tls).transpose()?;
        Ok(Self { args, tls })
    }

    /// A WebSocket after the handshake of the hub protocol, or of a peer's equivalent.
    pub(super) fn websocket(&self, number: u32, protocol: HubProtocol) -> anyhow::Result<Stream> {
        let mut socket = TcpStream::connect(self.args.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        if let Some(peer) = self.args.peer {
            peers::open(peer, &mut socket, &self.args.address.to_string())?;
            return Ok(Stream::Plain(socket));
        }
        let mut stream = match &self.tls {
            Some(config) => secure(socket, config)?,
            None => Stream::Plain(socket),
        };
        let path = format!("/client/?hub={HUB}&access_token={}", client_token(number)?);
        shake_hands(&mut stream, self.args.address, &path, protocol)?;
        Ok(stream)
    }

    /// An event stream after the handshake of the hub protocol. Only the handshake record was read from it.
    pub(super) fn events(&self, number: u32) -> anyhow::Result<Stream> {
        let begun = Negotiated::begin(self.args, number)?;
        let mut stream = TcpStream::connect(self.args.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(begun.request("text/event-stream").as_bytes())?;
        let head = read_head(&mut stream)?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("the server opens no stream of events: {head}");
        }
        begun.shake_hands()?;
        // The record arrives as a separate event, in a separate chunk.
        let mut read = Vec::new();
        while !read.ends_with(b"{}\x1e\r\n\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            read.push(byte[0]);
        }
        Ok(Stream::Plain(stream))
    }
}

/// Opens a WebSocket, and completes the handshake of the hub protocol on it. Reads no byte beyond that.
pub(crate) fn shake_hands(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    path: &str,
    protocol: HubProtocol,
) -> anyhow::Result<()> {
    // In one write, because the baseline reads no more than it must.
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let head = read_head(stream)?;
    if !head.starts_with("HTTP/1.1 101") {
        bail!("the server does not open a WebSocket: {head}");
    }
    let record = format!("{{\"protocol\":\"{}\",\"version\":1}}\u{1e}", protocol.name());
    stream.write_all(&websocket::masked_frame(Opcode::Text, record.as_bytes(), [1, 2, 3, 4]))?;
    let mut accepted = [0; 5];
    stream.read_exact(&mut accepted)?;
    if accepted[2..] != *signalr_protocol::HANDSHAKE_SUCCESS {
        bail!("the server refuses the handshake");
    }
    Ok(())
}

/// A client that has negotiated, for the transports that need it.
pub(super) struct Negotiated {
    host: String,
    path: String,
    token: String,
}

impl Negotiated {
    pub(super) fn begin(args: &Args, number: u32) -> anyhow::Result<Self> {
        let (host, token) = (args.address.to_string(), client_token(number)?);
        let authorization = format!("Bearer {token}");
        let path = format!("/client/negotiate?hub={HUB}&negotiateVersion=1");
        let (status, body) =
            Http::connect(&host)?.request("POST", &path, &[("authorization", &authorization)], b"")?;
        let answer: serde_json::Value = serde_json::from_slice(&body).with_context(|| status.to_string())?;
        let id = answer["connectionToken"].as_str().with_context(|| answer.to_string())?;
        Ok(Self { path: format!("/client/?hub={HUB}&id={id}"), host, token })
    }

    /// A GET request of the client.
    pub(super) fn request(&self, accept: &str) -> String {
        format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\naccept: {accept}\r\nauthorization: Bearer {}\r\n\r\n",
            self.path, self.host, self.token
        )
    }

    /// Sends the handshake of the hub protocol.
    pub(super) fn shake_hands(&self) -> anyhow::Result<()> {
        let authorization = format!("Bearer {}", self.token);
        let record = b"{\"protocol\":\"json\",\"version\":1}\x1e";
        let (status, body) = Http::connect(&self.host)?.request(
            "POST",
            &self.path,
            &[("authorization", &authorization)],
            record,
        )?;
        if status != 200 {
            bail!("the handshake was answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }
}

/// A member that never reads, with a small receive buffer.
pub(super) fn slow_reader(args: &Args) -> anyhow::Result<Stream> {
    let slow_reader = Opener::new(args)?.websocket(args.connections, HubProtocol::Json)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(slow_reader.socket(), 4096)?;
    Ok(slow_reader)
}

/// Fills the socket of the client that never reads, and the server's buffer for it, with messages to that client only.
pub(super) fn fill(args: &Args) -> anyhow::Result<()> {
    let path = format!("/api/v1/hubs/{HUB}/users/u{}", args.connections);
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), &[])?);
    let body = format!("{{\"target\":\"m\",\"arguments\":[\"{}\"]}}", "x".repeat(100_000));
    let mut http = Http::connect(&args.address.to_string())?;
    for _ in 0..SLOW_READER_MESSAGES {
        let headers = [("authorization", authorization.as_str())];
        let (status, _) = http.request("POST", &path, &headers, body.as_bytes())?;
        if status != 202 {
            bail!("a message to the one that never reads was answered {status}");
        }
    }
    Ok(())
}

/// The head of a response, and no byte more.
pub(super) fn read_head(stream: &mut impl Read) -> anyhow::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head)?)
}
