//! Control of a peer (publish commands), from the process that runs the clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{GROUP, Peer};
use crate::fanout::control::ControlRequest;

/// Longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection for publish commands to a peer.
pub(crate) enum PeerControl {
    /// One of the programs in `bench/peers`, which use the control protocol of our own server.
    Program(TcpStream),
    Centrifugo(Api),
}

impl PeerControl {
    /// Connects; the frame size is the one with which the peer was started.
    pub(crate) fn open(peer: Peer, control: SocketAddr, frame_bytes: usize) -> anyhow::Result<Self> {
        let stream = connect(control)?;
        if peer == Peer::Centrifugo {
            return Ok(Self::Centrifugo(Api::new(stream, control, peer.text(frame_bytes)?)));
        }
        Ok(Self::Program(stream))
    }

    /// Publishes this many messages to all clients, without waiting.
    pub(crate) fn publish(&mut self, burst: u32) -> anyhow::Result<()> {
        match self {
            Self::Program(stream) => Ok(stream.write_all(&ControlRequest::Publish(burst).to_bytes())?),
            Self::Centrifugo(api) => api.publish(burst),
        }
    }

    /// Prepares for a sample: Centrifugo closes a connection without requests after a while.
    pub(crate) fn renew(&mut self) -> anyhow::Result<()> {
        let Self::Centrifugo(api) = self else { return Ok(()) };
        api.settle()?;
        api.stream = BufReader::new(connect(api.host)?);
        Ok(())
    }

    /// Clients that are in the group.
    pub(crate) fn joined(&mut self) -> anyhow::Result<u64> {
        match self {
            Self::Program(stream) => {
                stream.write_all(&ControlRequest::Join.to_bytes())?;
                let (mut joined, mut second) = ([0; 8], [0; 8]);
                stream.read_exact(&mut joined).context("the peer has gone")?;
                // Our own server responds with two numbers; here the second one is unused.
                stream.read_exact(&mut second).context("the peer has gone")?;
                Ok(u64::from_le_bytes(joined))
            }
            Self::Centrifugo(api) => api.joined(),
        }
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The HTTP API of Centrifugo, on one connection.
pub(crate) struct Api {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
    text: String,
    /// Whether the response to a publish was not read yet.
    owes_answer: bool,
    /// The request of the last burst, kept so that the clients' process need not build it again.
    request: (u32, Vec<u8>),
}

impl Api {
    fn new(stream: TcpStream, host: SocketAddr, text: String) -> Self {
        Self { stream: BufReader::new(stream), host, text, owes_answer: false, request: (0, Vec::new()) }
    }

    /// A burst is one request, as its documentation recommends.
    fn publish(&mut self, burst: u32) -> anyhow::Result<()> {
        self.settle()?;
        if self.request.0 != burst {
            let one = json!({ "channel": GROUP, "data": self.text });
            let request = if burst == 1 {
                self.request("publish", &one)
            } else {
                let commands = vec![json!({ "publish": one }); burst as usize];
                self.request("batch", &json!({ "commands": commands }))
            };
            self.request = (burst, request);
        }
        self.stream.get_mut().write_all(&self.request.1)?;
        self.owes_answer = true;
        Ok(())
    }

    fn joined(&mut self) -> anyhow::Result<u64> {
        self.settle()?;
        let request = self.request("channels", &json!({ "pattern": GROUP }));
        self.stream.get_mut().write_all(&request)?;
        let answer = self.answer()?;
        // A channel without clients is not in the list.
        Ok(answer["result"]["channels"][GROUP]["num_clients"].as_u64().unwrap_or(0))
    }

    fn request(&self, method: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let head = format!(
            "POST /api/{method} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }

    /// Reads the response to the previous publish: it was sent long ago, because the messages have arrived.
    fn settle(&mut self) -> anyhow::Result<()> {
        if self.owes_answer {
            self.answer()?;
            self.owes_answer = false;
        }
        Ok(())
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut head)? == 0 {
                bail!("Centrifugo closes the connection of its API");
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let mut body = vec![0; length.context("an answer of Centrifugo has no length")?.trim().parse()?];
        self.stream.read_exact(&mut body)?;
        let text = String::from_utf8_lossy(&body);
        if !head.starts_with("http/1.1 200") || text.contains("\"error\"") {
            bail!("Centrifugo refuses: {text}");
        }
        Ok(serde_json::from_slice(&body)?)
    }
}
