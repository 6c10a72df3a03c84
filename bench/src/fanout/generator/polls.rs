//! Clients of long polling: each polls again as soon as it has the response, so all of them are watched.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::args::{Args, PATIENCE};
use super::load::{Latencies, Load, since_ns};
use super::open::{Negotiated, read_head};
use super::publisher::Publisher;
use crate::fanout::task::{MARK, Task};

struct Client {
    stream: TcpStream,
    /// The request that it sends repeatedly.
    request: String,
    /// The state of the current response.
    answer: Vec<u8>,
    /// Messages since the last settlement.
    messages: u64,
    missing: u64,
}

pub(super) struct Polls<'a> {
    args: &'a Args,
    clients: Vec<Client>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
}

impl<'a> Polls<'a> {
    pub(super) fn new(args: &'a Args) -> anyhow::Result<Self> {
        let events = Events::with_capacity(1024);
        Ok(Self { args, clients: Vec::new(), poll: Poll::new()?, events, buffer: vec![0; 64 * 1024] })
    }
}

impl Client {
    /// Reads what has arrived, polls again after each complete response, and returns how many messages arrived.
    fn ready(&mut self, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let mut messages = 0;
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(length) => self.answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(messages),
                Err(error) => return Err(error.into()),
            }
            while let Some(length) = whole_answer(&self.answer)? {
                messages += memchr::memchr_iter(MARK, &self.answer[..length]).count() as u64;
                self.answer.drain(..length);
                self.stream.write_all(self.request.as_bytes())?;
            }
        }
    }
}

/// The length of the first response, if it is complete.
fn whole_answer(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end])?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        bail!("a poll was answered {head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("the answer to a poll has a length")?.trim().parse()?;
    let whole = end + 4 + length;
    Ok((bytes.len() >= whole).then_some(whole))
}

impl Load for Polls<'_> {
    fn connect(&mut self, number: u32) -> anyhow::Result<()> {
        let begun = Negotiated::begin(self.args, number)?;
        let mut stream = TcpStream::connect(self.args.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = begun.request("*/*");
        // The first poll is answered at once, the second with the handshake response.
        stream.write_all(request.as_bytes())?;
        read_head(&mut stream)?;
        begun.shake_hands()?;
        stream.write_all(request.as_bytes())?;
        read_head(&mut stream)?;
        stream.read_exact(&mut [0; 3])?;
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        let descriptor = stream.as_raw_fd();
        let token = Token(self.clients.len());
        self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        self.clients.push(Client { stream, request, answer: Vec::new(), messages: 0, missing: 0 });
        Ok(())
    }

    fn burst(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()> {
        if task.in_flight > 1 || task.reads_after {
            bail!("clients of long polling are measured with one burst under way");
        }
        let asked = Instant::now();
        publisher.publish(task)?;
        for client in &mut self.clients {
            client.missing = u64::from(task.burst);
        }
        let mut waiting = self.clients.len();
        while waiting > 0 {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                bail!("{waiting} clients did not get {} messages within {PATIENCE:?}", task.burst);
            }
            for event in &self.events {
                let client = &mut self.clients[event.token().0];
                let messages = client.ready(&mut self.buffer)?;
                client.messages += messages;
                client.missing = client.missing.checked_sub(messages).context("no more than published")?;
                if messages > 0 && client.missing == 0 {
                    waiting -= 1;
                    latencies.probes.push(since_ns(asked));
                }
            }
        }
        latencies.last.push(since_ns(asked));
        publisher.finish()
    }

    fn finish(
        &mut self,
        _publisher: &mut Publisher,
        _task: &Task,
        _latencies: &mut Latencies,
    ) -> anyhow::Result<()> {
        // `burst` has waited for all responses.
        Ok(())
    }

    fn settle(&mut self, each: u64) -> anyhow::Result<()> {
        for client in &mut self.clients {
            if std::mem::take(&mut client.messages) != each {
                bail!("a client did not get each message once");
            }
        }
        Ok(())
    }

    fn count(&self) -> u64 {
        self.clients.len() as u64
    }
}
