//! The app that sends: one thread with a few keep-alive connections, one request at a time on each. Requests and their tokens are prepared;
//! each request costs two system calls on its socket.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::clients::Clients;
use super::{FRAME_BYTES, GROUP, HUB, Kind, PATIENCE, Sample, To, authorization};
use crate::core_time::{CoreClock, processor};
use crate::fanout::process::{allow_files, pin};

/// Flags of the hidden command `rest-generator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kind: Kind,
    #[arg(long)]
    http: SocketAddr,
    #[arg(long)]
    clients: SocketAddr,
    #[arg(long)]
    control: SocketAddr,
    #[arg(long)]
    connections: u32,
}

/// Keep-alive connections of the app.
const CALLERS: usize = 32;

/// A client is read once after this many messages to each client.
const MESSAGES_UNREAD: usize = 64;

struct Generator {
    clock: CoreClock,
    /// The server ends when this is closed.
    _control: TcpStream,
    clients: Clients,
    callers: Vec<Caller>,
    poll: Poll,
    to_connection: Vec<Vec<u8>>,
    to_group: Vec<u8>,
    next_client: usize,
    latencies_ns: Vec<u64>,
}

/// One connection of the app.
struct Caller {
    stream: TcpStream,
    asked: Instant,
    answer: Vec<u8>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let clock = CoreClock::new(processor(0)?)?;
    pin(1)?;
    allow_files(u64::from(args.connections) + 100)?;
    let control = TcpStream::connect(args.control)?;
    let clients = Clients::connect(args.kind, args.http, args.clients, args.connections)?;
    let poll = Poll::new()?;
    let callers = callers(args.http, &poll)?;
    let to_connection = clients.names().iter().map(|name| request(args.http, &format!("connections/{name}")));
    let to_connection = to_connection.collect();
    let to_group = request(args.http, &format!("groups/{GROUP}"));
    let mut generator = Generator {
        clock,
        _control: control,
        clients,
        callers,
        poll,
        to_connection,
        to_group,
        next_client: 0,
        latencies_ns: Vec::new(),
    };
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (to, sample_ms) = line.split_once(' ').context("a target and milliseconds are expected")?;
        let to = <To as clap::ValueEnum>::from_str(to, false).map_err(anyhow::Error::msg)?;
        let sample = generator.sample(to, Duration::from_millis(sample_ms.parse()?))?;
        println!("{}", serde_json::to_string(&sample)?);
    }
    Ok(())
}

fn callers(http: SocketAddr, poll: &Poll) -> anyhow::Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for number in 0..CALLERS {
        let stream = TcpStream::connect(http)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut source = SourceFd(&stream.as_raw_fd());
        poll.registry().register(&mut source, Token(number), Interest::READABLE)?;
        callers.push(Caller { stream, asked: Instant::now(), answer: Vec::new() });
    }
    Ok(callers)
}

/// One request as a current SDK writes it, with its own token.
fn request(http: SocketAddr, receiver: &str) -> Vec<u8> {
    let path = format!("/api/hubs/{HUB}/{receiver}/:send?api-version=2024-12-01");
    // What surrounds the text, with the separator, in a frame with a head of four bytes.
    let around = b"{\"type\":1,\"target\":\"m\",\"arguments\":[\"\"]}\x1e".len();
    let text = "x".repeat(FRAME_BYTES - 4 - around);
    let body = format!("{{\"target\":\"m\",\"arguments\":[\"{text}\"]}}");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {http}\r\nauthorization: {}\r\ncontent-type: application/json; charset=utf-8\r\n\
         content-length: {}\r\n\r\n{body}",
        authorization(&path),
        body.len()
    );
    request.into_bytes()
}

impl Generator {
    fn sample(&mut self, to: To, length: Duration) -> anyhow::Result<Sample> {
        // One-time work, such as growing a buffer, belongs to no sample.
        self.send(to, length / 10)?;
        self.clients.settle()?;
        self.latencies_ns.clear();
        self.clock.start()?;
        self.send(to, length)?;
        if to == To::Group {
            // Most of the work comes after the response.
            self.clients.settle()?;
        }
        let core = self.clock.stop()?;
        self.clients.settle()?;
        self.latencies_ns.sort_unstable();
        let requests = self.latencies_ns.len();
        let at = |share: f64| self.latencies_ns[((requests - 1) as f64 * share) as usize];
        let receivers = if to == To::Group { self.clients.len() } else { 1 };
        Ok(Sample {
            requests: requests as u64,
            messages: (requests * receivers) as u64,
            core,
            latency_p50_ns: at(0.5),
            latency_p99_ns: at(0.99),
        })
    }

    /// Sends on every connection for a while, each time when the previous response has arrived.
    fn send(&mut self, to: To, length: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + length;
        for caller in 0..self.callers.len() {
            self.ask(to, caller)?;
        }
        let mut running = self.callers.len();
        let mut events = Events::with_capacity(CALLERS);
        let mut requests = 0usize;
        while running > 0 {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                bail!("{running} requests were not answered within {PATIENCE:?}");
            }
            for event in &events {
                let caller = event.token().0;
                let Some(latency) = self.callers[caller].answered()? else { continue };
                self.latencies_ns.push(u64::try_from(latency.as_nanos())?);
                requests += 1;
                match to {
                    To::Group => self.clients.sweep(self.clients.len() / MESSAGES_UNREAD)?,
                    To::Connection => {
                        self.clients.sweep(usize::from(requests.is_multiple_of(MESSAGES_UNREAD)))?;
                    }
                }
                if Instant::now() < until {
                    self.ask(to, caller)?;
                } else {
                    running -= 1;
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, to: To, caller: usize) -> anyhow::Result<()> {
        let request = match to {
            To::Connection => {
                self.next_client = (self.next_client + 1) % self.clients.len();
                self.clients.expect(self.next_client);
                &self.to_connection[self.next_client]
            }
            To::Group => {
                self.clients.expect_all();
                &self.to_group
            }
        };
        let caller = &mut self.callers[caller];
        caller.asked = Instant::now();
        if caller.stream.write(request)? != request.len() {
            bail!("the server does not read its requests");
        }
        Ok(())
    }
}

impl Caller {
    /// How long the response took, once it is complete.
    fn answered(&mut self) -> anyhow::Result<Option<Duration>> {
        let mut part = [0; 1024];
        let length = match self.stream.read(&mut part) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.answer.extend_from_slice(&part[..length]);
        // A successful response has only a head.
        if !self.answer.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        if !self.answer.starts_with(b"HTTP/1.1 202 ") {
            bail!("a request was answered {}", String::from_utf8_lossy(&self.answer));
        }
        self.answer.clear();
        Ok(Some(self.asked.elapsed()))
    }
}
