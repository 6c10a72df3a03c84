//! One client while it connects: it negotiates on a separate connection, as a browser does, opens a WebSocket on another one, and completes
//! the handshake. The loop around it tracks the readiness of its sockets, and adds it to its group.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use identity::{AccessKey, Algorithm, Claims};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use signalr_protocol::HANDSHAKE_SUCCESS;

use super::kind::KEY;

/// The hub of all clients.
pub(super) const HUB: &str = "bench";

/// Clients that share a group.
const GROUP_CLIENTS: u32 = 50;

/// How long tokens last, in seconds.
const TOKEN_LIFETIME_S: u64 = 3_600;

/// The optional headers that a browser sends.
const BROWSER: &str = "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
    Safari/537.36\r\naccept-encoding: gzip, deflate, br, zstd\r\naccept-language: en-GB,en;q=0.9\r\norigin: http://app.example\r\n";

/// A connection of the generator.
pub(super) enum Stream {
    Plain(mio::net::TcpStream),
    Tls(Box<StreamOwned<ClientConnection, mio::net::TcpStream>>),
}

/// Opens connections to the server.
pub(super) struct PublishPath {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

/// A client that is connecting or connected.
pub(super) struct Client {
    pub(super) number: u32,
    token: String,
    /// Stays open, as a browser keeps the connection for minutes.
    pub(super) negotiating: Option<Stream>,
    pub(super) socket: Option<Stream>,
    pub(super) connection_id: String,
    answer: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Negotiating,
    Upgrading,
    Handshaking,
    Open,
}

/// What a client needs next to make progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// More bytes.
    Bytes,
    /// Its second connection.
    Socket,
    /// Its group.
    Group,
}

impl PublishPath {
    /// `authority` is the file of the certificate authority to trust, if TLS is used.
    pub(super) fn new(address: SocketAddr, authority: Option<&std::path::Path>) -> anyhow::Result<Self> {
        let Some(authority) = authority else { return Ok(Self { address, tls: None }) };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, tls: Some(Arc::new(tls)) })
    }

    /// On loopback the kernel connects at once, so that a non-blocking connect gains nothing.
    pub(super) fn open(&self) -> anyhow::Result<Stream> {
        let stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let stream = mio::net::TcpStream::from_std(stream);
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(stream)) };
        let name = ServerName::try_from("localhost")?;
        let session = ClientConnection::new(Arc::clone(tls), name)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, stream))))
    }
}

impl Stream {
    pub(super) fn source(&mut self) -> &mut mio::net::TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    /// Requests are small: one that does not fit into the socket is an error.
    pub(super) fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = match self {
            Self::Plain(stream) => stream.write(bytes)?,
            Self::Tls(stream) => {
                let written = stream.conn.writer().write(bytes)?;
                match stream.conn.complete_io(&mut stream.sock) {
                    Ok(_) => {}
                    // The handshake continues when the server has sent something.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
                written
            }
        };
        if written != bytes.len() {
            bail!("the server does not read");
        }
        Ok(())
    }

    /// Reads what has arrived; returns zero if there is nothing.
    pub(super) fn hear(&mut self, buffer: &mut [u8]) -> anyhow::Result<usize> {
        let heard = match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        };
        match heard {
            Ok(0) => bail!("the server closed a connection"),
            Ok(length) => Ok(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Resets the connection, so that its port is free again at once.
    pub(super) fn cut(mut self) -> anyhow::Result<()> {
        let socket = socket2::SockRef::from(&*self.source());
        Ok(socket.set_linger(Some(std::time::Duration::ZERO))?)
    }
}

impl Client {
    pub(super) fn new(number: u32) -> Self {
        let token = token(number);
        Self {
            number,
            token,
            negotiating: None,
            socket: None,
            connection_id: String::new(),
            answer: Vec::new(),
            stage: Stage::Negotiating,
        }
    }

    /// Sends the negotiate request.
    pub(super) fn negotiate(&mut self, stream: Stream) -> anyhow::Result<()> {
        let stream = self.negotiating.insert(stream);
        let token = &self.token;
        let request = format!(
            "POST /client/negotiate?hub={HUB}&negotiateVersion=1 HTTP/1.1\r\nhost: localhost:8888\r\nconnection: keep-alive\r\n\
             content-length: 0\r\nauthorization: Bearer {token}\r\nx-requested-with: XMLHttpRequest\r\n\
             x-signalr-user-agent: Microsoft SignalR/8.0 (8.0.7; Unknown OS; Browser; Unknown Runtime Version)\r\n\
             content-type: text/plain;charset=UTF-8\r\naccept: */*\r\n{BROWSER}\r\n"
        );
        stream.say(request.as_bytes())
    }

    /// Opens the WebSocket.
    pub(super) fn upgrade(&mut self, stream: Stream) -> anyhow::Result<()> {
        self.stage = Stage::Upgrading;
        let secret = quoted(&self.answer, "connectionToken")?;
        let request = format!(
            "GET /client/?hub={HUB}&id={secret}&access_token={} HTTP/1.1\r\nhost: localhost:8888\r\nconnection: Upgrade\r\n\
             pragma: no-cache\r\ncache-control: no-cache\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n{BROWSER}\r\n",
            self.token
        );
        self.answer = Vec::new();
        self.token = String::new();
        self.socket.insert(stream).say(request.as_bytes())
    }

    /// Reads what has arrived.
    pub(super) fn ready(&mut self, buffer: &mut [u8]) -> anyhow::Result<Next> {
        loop {
            let stream = match self.stage {
                Stage::Negotiating => &mut self.negotiating,
                Stage::Upgrading | Stage::Handshaking => &mut self.socket,
                // What an open client receives (pings) stays in its socket.
                Stage::Open => return Ok(Next::Bytes),
            };
            let stream = stream.as_mut().context("a client reads from what it has opened")?;
            let length = stream.hear(buffer)?;
            if length == 0 {
                return Ok(Next::Bytes);
            }
            self.answer.extend_from_slice(&buffer[..length]);
            let next = self.take()?;
            if next != Next::Bytes {
                return Ok(next);
            }
        }
    }

    fn take(&mut self) -> anyhow::Result<Next> {
        match self.stage {
            Stage::Negotiating => {
                let Some(status) = answered(&self.answer)? else { return Ok(Next::Bytes) };
                if status != 200 {
                    bail!("negotiate was answered {}", String::from_utf8_lossy(&self.answer));
                }
                self.connection_id = quoted(&self.answer, "connectionId")?.to_owned();
                Ok(Next::Socket)
            }
            Stage::Upgrading => {
                let Some(status) = answered(&self.answer)? else { return Ok(Next::Bytes) };
                if status != 101 {
                    bail!("the WebSocket was answered {}", String::from_utf8_lossy(&self.answer));
                }
                self.answer = Vec::new();
                self.stage = Stage::Handshaking;
                let record = b"{\"protocol\":\"json\",\"version\":1}\x1e";
                let frame = websocket::masked_frame(websocket::Opcode::Text, record, [1, 2, 3, 4]);
                self.socket.as_mut().context("there is a socket")?.say(&frame)?;
                Ok(Next::Bytes)
            }
            Stage::Handshaking => {
                let expected = websocket::frame(websocket::Opcode::Text, HANDSHAKE_SUCCESS);
                if self.answer.len() < expected.len() {
                    return Ok(Next::Bytes);
                }
                if self.answer != expected {
                    bail!("the handshake was answered {}", String::from_utf8_lossy(&self.answer));
                }
                self.answer = Vec::new();
                self.stage = Stage::Open;
                Ok(Next::Group)
            }
            Stage::Open => Ok(Next::Bytes),
        }
    }

    /// The request with which an app adds the client to its group.
    pub(super) fn join(&self) -> String {
        let path = format!(
            "/api/v1/hubs/{HUB}/groups/g{}/connections/{}",
            self.number / GROUP_CLIENTS,
            self.connection_id
        );
        let token = signed(&Claims::new(), &format!("http://localhost{path}"));
        format!(
            "PUT {path} HTTP/1.1\r\nhost: localhost:8888\r\nauthorization: Bearer {token}\r\n\
             user-agent: app/1.0\r\ncontent-length: 0\r\n\r\n"
        )
    }
}

/// The status of a complete response; `None` while it is incomplete.
pub(super) fn answered(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.get(9..12).and_then(|status| status.parse().ok()).context("a status")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    Ok((answer.len() >= end + 4 + length.trim().parse::<usize>()?).then_some(status))
}

/// The text of a member of a JSON object that has no escapes.
fn quoted<'a>(json: &'a [u8], name: &str) -> anyhow::Result<&'a str> {
    let text = std::str::from_utf8(json)?;
    let (_, rest) = text.split_once(&format!("\"{name}\":\"")).with_context(|| text.to_owned())?;
    Ok(rest.split_once('"').context("a closing quote")?.0)
}

/// 300 bytes: five claims beside those of the token itself.
fn token(number: u32) -> String {
    let mut claims = Claims::new();
    claims.push("asrs.s.uid", format!("user-{number:05}"));
    for (kind, value) in [("name", "Client"), ("tenant", "t1"), ("role", "reader"), ("plan", "a")] {
        claims.push(kind, value);
    }
    signed(&claims, &format!("http://localhost/client/?hub={HUB}"))
}

fn signed(claims: &Claims, audience: &str) -> String {
    let key = AccessKey::new(KEY).expect("the constant is not empty");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    identity::sign(claims, audience, now, now + TOKEN_LIFETIME_S, &key, Algorithm::Hs256)
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn a_token_has_about_300_bytes() {
        assert!((295..=305).contains(&token(4_711).len()), "{}", token(4_711).len());
    }
}
