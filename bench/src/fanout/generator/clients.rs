//! Clients that only listen, over WebSockets or event streams: most are read from time to time, a few are watched.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signalr_protocol::HubProtocol;

use super::args::{Args, PATIENCE, Transport};
use super::load::{Latencies, Load, since_ns};
use super::open::{Opener, RECEIVE_BUFFER_BYTES};
use super::publisher::Publisher;
use super::stream::{RECORD_EXTRA_BYTES, Stream, Unit, discard_all};
use crate::fanout::peers::Peer;
use crate::fanout::task::{Task, messagepack_bytes};

/// One client in this many is a probe.
const PROBE_EVERY: u32 = 80;

/// Bytes that may accumulate in a client before it is read; each client is read once in ten bursts, or more often if bursts are large.
const GATHERED_BYTES: usize = 128 * 1024;
const SWEEPS_MAX: usize = 10;

/// Messages that one TLS record may contain in any table.
const MESSAGES_A_RECORD: u64 = 16;

struct Client {
    stream: Stream,
    protocol: HubProtocol,
    /// Received since the last settlement; counted for probes only.
    received: u64,
}

pub(super) struct Clients<'a> {
    args: &'a Args,
    opener: Opener<'a>,
    unit: Unit,
    bulk: Vec<Client>,
    probes: Vec<Client>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    next_swept: usize,
    /// Received by the bulk since the last settlement.
    counted: u64,
    /// The current size of a frame, for clients that use JSON.
    frame_bytes: usize,
    /// Bursts that have arrived at every probe since the last settlement.
    arrived: u64,
    /// When the pending bursts were requested, the oldest first.
    under_way: VecDeque<Instant>,
}

impl<'a> Clients<'a> {
    pub(super) fn new(args: &'a Args) -> anyhow::Result<Self> {
        let is_exact = args.transport == Transport::WebSockets && args.peer != Some(Peer::Centrifugo);
        Ok(Self {
            args,
            opener: Opener::new(args)?,
            unit: if is_exact { Unit::Bytes } else { Unit::Marks },
            bulk: Vec::new(),
            probes: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(256),
            buffer: vec![0; RECEIVE_BUFFER_BYTES],
            next_swept: 0,
            counted: 0,
            frame_bytes: 0,
            arrived: 0,
            under_way: VecDeque::new(),
        })
    }

    /// The count of one message for a client of a protocol.
    fn size(&self, protocol: HubProtocol) -> u64 {
        match (self.unit, protocol) {
            (Unit::Marks, _) => 1,
            (Unit::Bytes, HubProtocol::Json) => self.frame_bytes as u64,
            (Unit::Bytes, _) => messagepack_bytes(self.frame_bytes) as u64,
        }
    }

    /// Reads the next few clients of the bulk.
    fn sweep(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.next_swept = (self.next_swept + 1) % self.bulk.len();
            let stream = &mut self.bulk[self.next_swept].stream;
            self.counted += match self.unit {
                Unit::Bytes => discard_all(stream.socket(), &mut self.buffer)?,
                Unit::Marks => stream.read_all(&mut self.buffer, Unit::Marks)?,
            };
        }
        Ok(())
    }

    /// Waits until the probes have the complete oldest pending burst.
    fn await_probes(&mut self, task: &Task, latencies: &mut Latencies) -> anyhow::Result<()> {
        let published = (self.arrived + self.under_way.len() as u64) * u64::from(task.burst);
        let asked = self.under_way.pop_front().context("a burst is under way")?;
        self.arrived += 1;
        let expected = self.arrived * u64::from(task.burst);
        let is_waiting = |probe: &&Client| probe.received < expected * self.size(probe.protocol);
        let mut waiting = self.probes.iter().filter(is_waiting).count();
        while waiting > 0 {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                bail!("{waiting} clients did not get {} messages within {PATIENCE:?}", task.burst);
            }
            for event in &self.events {
                let size = self.size(self.probes[event.token().0].protocol);
                let probe = &mut self.probes[event.token().0];
                let before = probe.received;
                probe.received += probe.stream.read_all(&mut self.buffer, self.unit)?;
                if probe.received > published * size {
                    bail!("a client got more than was published");
                }
                if before < expected * size && probe.received >= expected * size {
                    waiting -= 1;
                    latencies.probes.push(since_ns(asked));
                }
            }
        }
        latencies.last.push(since_ns(asked));
        Ok(())
    }

    /// What the bulk must have received, without the overhead of TLS.
    fn expected(&self, each: u64) -> u64 {
        self.bulk.iter().map(|client| each * self.size(client.protocol)).sum()
    }

    /// Whether this many additional bytes can be the overhead of TLS records: at most one record for each message, and at least one for the
    /// largest burst.
    fn is_of_tls(&self, extra: u64, each: u64) -> bool {
        let records = extra / RECORD_EXTRA_BYTES;
        let messages = each * self.bulk.len() as u64;
        extra.is_multiple_of(RECORD_EXTRA_BYTES)
            && (messages / MESSAGES_A_RECORD..=messages).contains(&records)
    }
}

impl Load for Clients<'_> {
    fn connect(&mut self, number: u32) -> anyhow::Result<()> {
        let protocol =
            if self.args.mixed && number % 2 == 1 { HubProtocol::MessagePack } else { HubProtocol::Json };
        let stream = match self.args.transport {
            Transport::ServerSentEvents => self.opener.events(number)?,
            _ => self.opener.websocket(number, protocol)?,
        };
        stream.socket().set_nonblocking(true)?;
        // The first and the last client are probes: a complete broadcast lies between them. With two protocols, the probes cover both.
        let last = self.args.connections - 1;
        let is_second = self.args.mixed && number % PROBE_EVERY == 1;
        if number.is_multiple_of(PROBE_EVERY) || is_second || number == last {
            let token = Token(self.probes.len());
            let descriptor = stream.socket().as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
            self.probes.push(Client { stream, protocol, received: 0 });
        } else {
            rustix::net::sockopt::set_socket_recv_buffer_size(stream.socket(), RECEIVE_BUFFER_BYTES)?;
            self.bulk.push(Client { stream, protocol, received: 0 });
        }
        Ok(())
    }

    fn burst(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()> {
        self.frame_bytes = task.frame_bytes;
        self.under_way.push_back(Instant::now());
        publisher.publish(task)?;
        if !task.reads_after {
            let sweeps = GATHERED_BYTES / (task.burst as usize * task.frame_bytes);
            self.sweep(self.bulk.len() / sweeps.clamp(1, SWEEPS_MAX))?;
        }
        while self.under_way.len() >= task.in_flight as usize {
            self.await_probes(task, latencies)?;
        }
        publisher.finish()
    }

    fn finish(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()> {
        while !self.under_way.is_empty() {
            self.await_probes(task, latencies)?;
        }
        publisher.finish()
    }

    fn settle(&mut self, each: u64) -> anyhow::Result<()> {
        let expected = self.expected(each);
        let began = Instant::now();
        loop {
            self.sweep(self.bulk.len())?;
            let extra = self.counted.checked_sub(expected);
            let is_all = match (extra, self.args.authority.is_some()) {
                (Some(extra), true) => self.is_of_tls(extra, each),
                (Some(extra), false) => extra == 0,
                (None, _) => false,
            };
            if is_all {
                self.counted = 0;
                self.arrived = 0;
                self.probes.iter_mut().for_each(|probe| probe.received = 0);
                return Ok(());
            }
            let is_too_much = extra.is_some() && self.args.authority.is_none();
            if is_too_much || began.elapsed() > PATIENCE {
                bail!("{} bytes or messages came where {expected} were published", self.counted);
            }
        }
    }

    fn count(&self) -> u64 {
        (self.bulk.len() + self.probes.len()) as u64
    }
}
