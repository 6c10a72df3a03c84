//! The baseline: one thread, one poll, a prepared buffer, one send for each socket and burst. A server cannot do less work, except by
//! sending fewer times.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::bail;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::control::{ControlRequest, REQUEST_BYTES, respond};
use super::task::MARK;

const LISTENER: Token = Token(usize::MAX);
const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const CONTROL: Token = Token(usize::MAX - 1);

pub(super) fn run(listener: std::net::TcpListener, control: std::net::TcpStream) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    control.set_nonblocking(true)?;
    let mut loop_ = Loop {
        poll: Poll::new()?,
        listener: TcpListener::from_std(listener),
        control: TcpStream::from_std(control),
        clients: Vec::new(),
        unwritten: HashMap::new(),
        frame_bytes: 0,
        writes: 0,
    };
    let registry = loop_.poll.registry();
    registry.register(&mut loop_.listener, LISTENER, Interest::READABLE)?;
    registry.register(&mut loop_.control, CONTROL, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    loop {
        loop_.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => loop_.accept()?,
                CONTROL => {
                    let goes_on = loop_.obey()?;
                    if !goes_on {
                        return Ok(());
                    }
                }
                Token(client) => {
                    if event.is_writable() {
                        loop_.go_on(client)?;
                    }
                    loop_.greet(client)?;
                }
            }
        }
    }
}

/// Buffers that wait, and how many bytes of the first were sent.
type Unwritten = (VecDeque<Arc<[u8]>>, usize);

struct Loop {
    poll: Poll,
    listener: TcpListener,
    control: TcpStream,
    clients: Vec<TcpStream>,
    /// What full sockets did not accept.
    unwritten: HashMap<usize, Unwritten>,
    frame_bytes: usize,
    writes: u64,
}

impl Loop {
    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            let (mut client, _from): (TcpStream, SocketAddr) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            client.set_nodelay(true)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut client, Token(self.clients.len()), interest)?;
            self.clients.push(client);
        }
    }

    /// Responds to a client's two handshakes as the real server does, so that its connection has the same history: the kernel sends
    /// acknowledgements differently on a connection whose client never sent anything.
    fn greet(&mut self, client: usize) -> anyhow::Result<()> {
        let mut said = [0; 1024];
        loop {
            let length = match self.clients[client].read(&mut said) {
                // The bench is over: the control connection reports that too.
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let answer: &[u8] =
                if said[..length].starts_with(b"GET ") { UPGRADED } else { b"\x81\x03{}\x1e" };
            self.clients[client].write_all(answer)?;
        }
    }

    /// Handles the pending requests of the generator. False if the generator has disconnected.
    fn obey(&mut self) -> anyhow::Result<bool> {
        loop {
            let mut request = [0; REQUEST_BYTES];
            match self.control.read(&mut request) {
                Ok(0) => return Ok(false),
                Ok(REQUEST_BYTES) => {}
                Ok(_part) => bail!("a request came in pieces"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error.into()),
            }
            match ControlRequest::parse(request)? {
                ControlRequest::Publish(burst) => self.publish(burst)?,
                ControlRequest::FrameBytes(bytes) => self.frame_bytes = bytes as usize,
                // A bare loop does the same work for every kind of receiver.
                ControlRequest::Shape(_) => {}
                ControlRequest::Join => respond(&mut self.control, [self.clients.len() as u64, 0])?,
                ControlRequest::Writes => respond(&mut self.control, [self.writes, 0])?,
            }
        }
    }

    fn publish(&mut self, burst: u32) -> anyhow::Result<()> {
        let head = if self.frame_bytes < 128 { 2 } else { 4 };
        let mut payload = vec![b'x'; self.frame_bytes - head];
        payload[0] = MARK;
        let frame = websocket::frame(websocket::Opcode::Text, &payload);
        let buffer = frame.repeat(burst as usize);
        for client in 0..self.clients.len() {
            if let Some((waiting, _)) = self.unwritten.get_mut(&client) {
                waiting.push_back(buffer.as_slice().into());
                continue;
            }
            let written = self.write(client, &buffer)?;
            if written < buffer.len() {
                let waiting = VecDeque::from([Arc::from(buffer.as_slice())]);
                self.unwritten.insert(client, (waiting, written));
            }
        }
        Ok(())
    }

    fn write(&mut self, client: usize, bytes: &[u8]) -> anyhow::Result<usize> {
        self.writes += 1;
        match self.clients[client].write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes as much as a previously full socket accepts now.
    fn go_on(&mut self, client: usize) -> anyhow::Result<()> {
        while let Some((mut waiting, taken)) = self.unwritten.remove(&client) {
            let buffer = Arc::clone(&waiting[0]);
            let written = self.write(client, &buffer[taken..])?;
            let is_whole = taken + written == buffer.len();
            if is_whole {
                waiting.pop_front();
            }
            if !waiting.is_empty() {
                let taken = if is_whole { 0 } else { taken + written };
                self.unwritten.insert(client, (waiting, taken));
            }
            if !is_whole {
                break;
            }
        }
        Ok(())
    }
}
