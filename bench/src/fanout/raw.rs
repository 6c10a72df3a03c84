//! The yardstick: one thread, one poll, a prepared buffer, one send for each socket and burst. Nothing that serves clients
//! can do less, short of sending fewer times.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, bail};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::FRAME_BYTES;
use super::process::{anonymous_bytes, cpu_ns};
use super::server::{Question, REQUEST_BYTES, answer};

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
                Token(client) => loop_.greet(client)?,
            }
        }
    }
}

struct Loop {
    poll: Poll,
    listener: TcpListener,
    control: TcpStream,
    clients: Vec<TcpStream>,
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
            self.poll.registry().register(&mut client, Token(self.clients.len()), Interest::READABLE)?;
            self.clients.push(client);
        }
    }

    /// Answers a client's two handshakes with what the real server says to them, so that its connection has the same past:
    /// the kernel sends acknowledgements differently on a connection whose client never spoke.
    fn greet(&mut self, client: usize) -> anyhow::Result<()> {
        let mut said = [0; 1024];
        loop {
            let length = match self.clients[client].read(&mut said) {
                // The bench is over: the control connection says so too.
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

    /// Does what the generator asks until it asks for nothing more now. False when it has gone.
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
            match Question::parse(request).context("an unknown request")? {
                Question::Publish(burst) => self.publish(burst)?,
                Question::Join => answer(&mut self.control, [self.clients.len() as u64, 0])?,
                Question::Counts => answer(&mut self.control, [cpu_ns(), self.writes])?,
                Question::Memory => answer(&mut self.control, [anonymous_bytes()?, 0])?,
            }
        }
    }

    fn publish(&mut self, burst: u32) -> anyhow::Result<()> {
        let frame = websocket::frame(websocket::Opcode::Text, &[b'x'; FRAME_BYTES - 4]);
        let buffer = frame.repeat(burst as usize);
        for client in &mut self.clients {
            self.writes += 1;
            if client.write(&buffer)? != buffer.len() {
                bail!("a client's socket is full: the generator does not keep up");
            }
        }
        Ok(())
    }
}
