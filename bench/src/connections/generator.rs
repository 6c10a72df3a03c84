//! The process that runs the clients: one thread, one poll, one timer queue. It executes the commands on its input, and responds to each
//! with a line.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::client::{Client, Loss, Progress, Stage};
use crate::fanout::allow_files;

/// Flags of the hidden command `connections-generator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    clients: u32,
    /// This many clients, from the first one on, are in groups
    #[arg(long)]
    grouped: u32,
    /// New connections per second in normal operation
    #[arg(long, default_value_t = 1500)]
    arrivals: u32,
}

/// The commands of the generator. Each is answered when it is complete, or when its time limit is reached.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// Clients 0 up to this number are to be connected; answered when they are.
    Connect { clients: u32, within_ms: u64 },
    /// All clients that are to be connected have received the message with this number to all or to their group.
    Received { to_groups: bool, number: u64, within_ms: u64 },
    /// Waits until no client is connected, because the service was killed.
    AllLost { within_ms: u64 },
    /// All clients disconnect, half of them without a close; answered when no socket is open.
    Leave,
}

/// The state when a command is answered.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Whether the command's condition is met.
    pub(super) done: bool,
    pub(super) took_ms: u64,
    pub(super) open: u32,
    /// How many of the expected receivers have the message.
    pub(super) have: u32,
    pub(super) received: u64,
    pub(super) out_of_order: u64,
    /// How often clients were disconnected or rejected, by reason.
    pub(super) losses: BTreeMap<String, u64>,
}

/// Addresses that clients connect from: one address has too few ports, because many remain in TIME_WAIT after a crash.
const SOURCES: u32 = 8;

const TICK: Duration = Duration::from_millis(20);

/// The value that the SDKs use.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Longest time from the first packet to the handshake response.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

const ORDERS: Token = Token(usize::MAX);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Connect,
    OpenBy,
    Ping,
}

struct Generator<'a> {
    args: &'a Args,
    poll: Poll,
    clients: Vec<Client>,
    wanted: u32,
    alarms: BinaryHeap<Reverse<(Instant, u32, u32, Alarm)>>,
    losses: BTreeMap<Loss, u64>,
    buffer: Vec<u8>,
}

struct Pending {
    order: Order,
    began: Instant,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    allow_files(u64::from(args.clients) + 100)?;
    let poll = Poll::new()?;
    let orders = orders(&poll)?;
    let clients = (0..args.clients).map(Client::new).collect();
    let mut generator = Generator {
        args,
        poll,
        clients,
        wanted: 0,
        alarms: BinaryHeap::new(),
        losses: BTreeMap::new(),
        buffer: vec![0; 64 * 1024],
    };
    let mut events = Events::with_capacity(4096);
    let mut pending: Option<Pending> = None;
    loop {
        generator.poll.poll(&mut events, Some(TICK))?;
        for event in &events {
            if event.token() != ORDERS {
                generator.ready(event.token().0)?;
            }
        }
        generator.ring(Instant::now())?;
        if pending.is_none() {
            pending = match orders.try_recv() {
                Ok(order) => {
                    generator.obey(order);
                    Some(Pending { order, began: Instant::now() })
                }
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return Ok(()),
            };
        }
        if let Some(standing) = pending.as_ref().and_then(|pending| generator.judge(pending)) {
            pending = None;
            println!("{}", serde_json::to_string(&standing)?);
            io::stdout().flush()?;
        }
    }
}

/// Reads commands on a separate thread and wakes the poll. Ends when the input closes.
fn orders(poll: &Poll) -> anyhow::Result<Receiver<Order>> {
    let (sender, orders) = channel();
    let waker = Waker::new(poll.registry(), ORDERS)?;
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(order) =
                line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str(&line)?))
            else {
                return;
            };
            if sender.send(order).is_err() || waker.wake().is_err() {
                return;
            }
        }
    });
    Ok(orders)
}

impl Generator<'_> {
    fn obey(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Connect { clients, .. } => {
                // One after the other, as in normal operation and not as after a crash.
                let first = self.wanted;
                self.wanted = clients;
                for number in first..clients {
                    let after = Duration::from_secs(1) * (number - first) / self.args.arrivals;
                    self.alarm(now + after, number, Alarm::Connect);
                }
            }
            Order::Received { .. } | Order::AllLost { .. } => {}
            Order::Leave => {
                self.wanted = 0;
                for (number, client) in self.clients.iter_mut().enumerate() {
                    if number % 2 == 0 && client.stage == Stage::Open {
                        client.leave();
                    } else {
                        client.gone();
                    }
                }
            }
        }
    }

    /// Answers a command that is complete or whose time limit is reached.
    fn judge(&self, pending: &Pending) -> Option<Standing> {
        let open = self.clients.iter().filter(|client| client.stage == Stage::Open).count();
        let mut have = 0;
        let (done, within_ms) = match pending.order {
            Order::Connect { clients, within_ms } => (open == clients as usize, within_ms),
            Order::Received { to_groups, number, within_ms } => {
                let should = if to_groups { self.args.grouped.min(self.wanted) } else { self.wanted };
                let has = |client: &&Client| client.newest[usize::from(to_groups)] >= Some(number);
                have = self.clients[..should as usize].iter().filter(has).count();
                (have == should as usize, within_ms)
            }
            Order::AllLost { within_ms } => (open == 0, within_ms),
            Order::Leave => (self.clients.iter().all(|client| client.stream.is_none()), 60_000),
        };
        let took = pending.began.elapsed();
        if !done && took < Duration::from_millis(within_ms) {
            return None;
        }
        Some(Standing {
            done,
            took_ms: took.as_millis() as u64,
            open: open as u32,
            have: have as u32,
            received: self.clients.iter().map(|client| client.received).sum(),
            out_of_order: self.clients.iter().map(|client| client.out_of_order).sum(),
            losses: self.losses.iter().map(|(loss, count)| (format!("{loss:?}"), *count)).collect(),
        })
    }

    fn ready(&mut self, number: usize) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        if client.stream.is_none() {
            return Ok(());
        }
        let progress = client.ready(&mut self.buffer).with_context(|| format!("client {number}"))?;
        let number = number as u32;
        match progress {
            Progress::Goes => {}
            Progress::Opened => {
                let first = PING_EVERY.mul_f64(self.clients[number as usize].share());
                self.alarm(Instant::now() + first, number, Alarm::Ping);
            }
            Progress::Lost(loss) => self.lose(number, loss),
        }
        Ok(())
    }

    fn lose(&mut self, number: u32, loss: Loss) {
        let client = &mut self.clients[number as usize];
        client.gone();
        if number < self.wanted {
            let delay = client.delay();
            *self.losses.entry(loss).or_default() += 1;
            self.alarm(Instant::now() + delay, number, Alarm::Connect);
        }
    }

    fn alarm(&mut self, at: Instant, number: u32, alarm: Alarm) {
        let generation = self.clients[number as usize].generation;
        self.alarms.push(Reverse((at, number, generation, alarm)));
    }

    /// Runs the timers that are due.
    fn ring(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(Reverse((at, number, generation, alarm))) = self.alarms.peek().copied() {
            if at > now {
                break;
            }
            self.alarms.pop();
            let client = &mut self.clients[number as usize];
            if client.generation != generation || number >= self.wanted {
                continue;
            }
            match alarm {
                Alarm::Connect if client.stage == Stage::Away => self.connect(number)?,
                Alarm::OpenBy if client.stage != Stage::Open => self.lose(number, Loss::Silent),
                Alarm::Ping => {
                    client.ping()?;
                    self.alarm(now + PING_EVERY, number, Alarm::Ping);
                }
                Alarm::Connect | Alarm::OpenBy => {}
            }
        }
        Ok(())
    }

    fn connect(&mut self, number: u32) -> anyhow::Result<()> {
        let last = 2 + u8::try_from(number % SOURCES).expect("a small number");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
        match socket.connect(&self.args.address.into()) {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
            Err(_) => {
                self.lose(number, Loss::Refused);
                return Ok(());
            }
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number as usize), both)?;
        self.clients[number as usize].connecting(stream);
        self.alarm(Instant::now() + OPEN_WITHIN, number, Alarm::OpenBy);
        Ok(())
    }
}
