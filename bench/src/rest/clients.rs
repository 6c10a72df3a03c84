//! The connected clients, which only listen: every byte that arrives at each is counted.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, bail};
use identity::{AccessKey, Algorithm, Claims};
use serde_json::Value;
use signalr_protocol::HubProtocol;

use super::{FRAME_BYTES, GROUP, HUB, KEY, Kind, PATIENCE, authorization, unix_now};
use crate::fanout::generator::{discard_all, shake_hands};
use crate::latency::peer::Http;

/// Buffer for everything that can arrive before a client is read.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

pub(super) struct Clients {
    sockets: Vec<TcpStream>,
    /// The name of each client in the paths of requests.
    names: Vec<String>,
    expected_bytes: Vec<u64>,
    received_bytes: Vec<u64>,
    next_swept: usize,
    buffer: Vec<u8>,
}

impl Clients {
    /// Connects the requested number of clients, and adds them to the group.
    pub(super) fn connect(
        kind: Kind,
        http: SocketAddr,
        address: SocketAddr,
        count: u32,
    ) -> anyhow::Result<Self> {
        let mut clients = Self {
            sockets: Vec::new(),
            names: Vec::new(),
            expected_bytes: vec![0; count as usize],
            received_bytes: vec![0; count as usize],
            next_swept: 0,
            buffer: vec![0; RECEIVE_BUFFER_BYTES],
        };
        let token = client_token();
        let mut http = Http::connect(&http.to_string())?;
        for number in 0..count {
            let (name, path) = match kind {
                // As long as a connection id, so that all requests have the same length.
                Kind::Bare => (format!("{number:027}"), "/".to_owned()),
                Kind::Chappe => negotiate(&mut http, &token)?,
            };
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            shake_hands(&mut socket, address, &path, HubProtocol::Json)?;
            if kind == Kind::Chappe {
                join(&mut http, &name)?;
            }
            socket.set_nonblocking(true)?;
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
            clients.sockets.push(socket);
            clients.names.push(name);
        }
        Ok(clients)
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Counts a message that was sent to one client.
    pub(super) fn expect(&mut self, number: usize) {
        self.expected_bytes[number] += FRAME_BYTES as u64;
    }

    /// Counts a message that was sent to all clients.
    pub(super) fn expect_all(&mut self) {
        for bytes in &mut self.expected_bytes {
            *bytes += FRAME_BYTES as u64;
        }
    }

    /// Reads the next few clients, so that no receive buffer is full.
    pub(super) fn sweep(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.next_swept = (self.next_swept + 1) % self.sockets.len();
            self.read(self.next_swept)?;
        }
        Ok(())
    }

    fn read(&mut self, number: usize) -> anyhow::Result<()> {
        self.received_bytes[number] += discard_all(&self.sockets[number], &mut self.buffer)?;
        if self.received_bytes[number] > self.expected_bytes[number] {
            bail!("client {number} got more than was sent to it");
        }
        Ok(())
    }

    /// Reads until each client has received exactly what was sent to it.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut missing = 0;
            for number in 0..self.sockets.len() {
                self.read(number)?;
                missing += self.expected_bytes[number] - self.received_bytes[number];
            }
            if missing == 0 {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                bail!("{missing} bytes did not come within {PATIENCE:?}");
            }
        }
    }
}

fn client_token() -> String {
    let key = AccessKey::new(KEY).expect("the constant is not empty");
    let now = unix_now();
    let audience = format!("http://localhost/client/?hub={HUB}");
    identity::sign(&Claims::new(), &audience, now, now + 3600, &key, Algorithm::Hs256)
}

/// A connection's name, and the path with which its client connects.
fn negotiate(http: &mut Http, token: &str) -> anyhow::Result<(String, String)> {
    let path = format!("/client/negotiate?hub={HUB}&negotiateVersion=1");
    let authorization = format!("Bearer {token}");
    let (status, body) = http.request("POST", &path, &[("authorization", &authorization)], b"")?;
    let answer: Value = serde_json::from_slice(&body).with_context(|| format!("negotiate: {status}"))?;
    let text =
        |name: &str| answer[name].as_str().map(str::to_owned).with_context(|| format!("negotiate: {answer}"));
    let path = format!("/client/?hub={HUB}&id={}&access_token={token}", text("connectionToken")?);
    Ok((text("connectionId")?, path))
}

fn join(http: &mut Http, name: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/hubs/{HUB}/groups/{GROUP}/connections/{name}");
    let (status, body) = http.request("PUT", &path, &[("authorization", &authorization(&path))], b"")?;
    if status != 200 {
        bail!("{path} was answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}
