//! HTTP clients: keep-alive connections with one request at a time on each, from one thread.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Clients of one server.
pub(super) struct Clients {
    poll: Poll,
    request: Vec<u8>,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    response: Vec<u8>,
}

impl Clients {
    /// Connects this many clients that request `path`.
    pub(super) fn connect(server: SocketAddr, path: &str, count: usize) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::new();
        for number in 0..count {
            let stream = TcpStream::connect(server).with_context(|| format!("connect to {server}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut source = SourceFd(&stream.as_raw_fd());
            poll.registry().register(&mut source, Token(number), Interest::READABLE)?;
            connections.push(Connection { stream, sent: Instant::now(), response: Vec::new() });
        }
        let request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\naccept: */*\r\n\r\n").into_bytes();
        Ok(Self { poll, request, connections })
    }

    /// Requests on every connection, again as soon as the response is complete, for a while; latencies in nanoseconds.
    pub(super) fn run(&mut self, length: Duration) -> anyhow::Result<Vec<u64>> {
        let until = Instant::now() + length;
        let mut latencies = Vec::new();
        for connection in &mut self.connections {
            connection.send(&self.request)?;
        }
        let mut running = self.connections.len();
        let mut events = Events::with_capacity(running);
        while running > 0 {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                bail!("{running} requests have no response after {PATIENCE:?}");
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if !connection.receive()? {
                    continue;
                }
                latencies.push(u64::try_from(connection.sent.elapsed().as_nanos())?);
                if Instant::now() < until {
                    connection.send(&self.request)?;
                } else {
                    running -= 1;
                }
            }
        }
        Ok(latencies)
    }
}

impl Connection {
    fn send(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.sent = Instant::now();
        if self.stream.write(request)? != request.len() {
            bail!("the server does not read its requests");
        }
        Ok(())
    }

    /// Reads what has arrived; whether the response is complete.
    fn receive(&mut self) -> anyhow::Result<bool> {
        let mut part = [0; 4096];
        match self.stream.read(&mut part) {
            Ok(0) => {
                bail!("the server closed a connection after {:?}", String::from_utf8_lossy(&self.response))
            }
            Ok(length) => self.response.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let Some(head) = memchr::memmem::find(&self.response, b"\r\n\r\n") else { return Ok(false) };
        let (text, body) = self.response.split_at(head + 4);
        let text = String::from_utf8_lossy(text).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            bail!("a request was answered {}", String::from_utf8_lossy(&self.response));
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let is_complete = match length {
            Some(length) => body.len() >= length.trim().parse::<usize>()?,
            None if text.contains("transfer-encoding: chunked") => body.ends_with(b"0\r\n\r\n"),
            None => bail!("a response has neither a length nor chunks: {text}"),
        };
        if is_complete {
            self.response.clear();
        }
        Ok(is_complete)
    }
}
