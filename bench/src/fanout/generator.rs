//! The clients: one thread that connects them all, asks the server for bursts, and counts every byte that comes.
//!
//! To measure the server, the generator must cost much less than it. Most clients are only read now and then, a tenth of them after
//! each burst, while the server works; a few are probes, watched by a poll: when the last probe has a burst, the next is asked
//! for. Every byte of every client is counted, so nothing can be lost unseen.

use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::process::{allow_files, cpu_ns, pin};
use super::server::Question;
use super::{FRAME_BYTES, Ready, Sample};

/// Flags of the hidden command `fanout-generator`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    control: SocketAddr,
    #[arg(long)]
    connections: u32,
}

/// One client in so many is a probe.
const PROBE_EVERY: usize = 80;

/// A client's turn to be read comes once in so many bursts.
const SWEEPS: usize = 10;

/// Room for all that may come between two turns, with the kernel's own overhead for small segments.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// Clients that are connected before memory is first looked at, so that what exists once is not counted for each.
const FIRST: u32 = 100;

const PATIENCE: Duration = Duration::from_secs(30);

struct Generator {
    control: TcpStream,
    bulk: Vec<TcpStream>,
    probes: Vec<TcpStream>,
    poll: Poll,
    buffer: Vec<u8>,
    next_swept: usize,
    bulk_bytes: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    pin(1)?;
    allow_files(u64::from(args.connections) + 100)?;
    let control = TcpStream::connect(args.control)?;
    control.set_nodelay(true)?;
    let mut generator = Generator {
        control,
        bulk: Vec::new(),
        probes: Vec::new(),
        poll: Poll::new()?,
        buffer: vec![0; RECEIVE_BUFFER_BYTES],
        next_swept: 0,
        bulk_bytes: 0,
    };
    let first = FIRST.min(args.connections / 2);
    generator.connect(args, 0..first)?;
    let before = generator.ask(&Question::Memory)?[0];
    generator.connect(args, first..args.connections)?;
    let after = generator.ask(&Question::Memory)?[0];
    let idle_bytes = (after as f64 - before as f64) / f64::from(args.connections - first);
    let joined = generator.ask(&Question::Join)?[0];
    if joined != u64::from(args.connections) {
        bail!("the server counts {joined} clients of {}", args.connections);
    }
    println!("{}", serde_json::to_string(&Ready { idle_bytes })?);
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (burst, sample_ms) = line.split_once(' ').context("burst and milliseconds are expected")?;
        let sample = generator.sample(burst.parse()?, Duration::from_millis(sample_ms.parse()?))?;
        println!("{}", serde_json::to_string(&sample)?);
    }
    Ok(())
}

impl Generator {
    fn connect(&mut self, args: &Args, numbers: std::ops::Range<u32>) -> anyhow::Result<()> {
        let last = args.connections - 1;
        for number in numbers {
            let mut stream = TcpStream::connect(args.address)?;
            stream.set_nodelay(true)?;
            shake_hands(&mut stream, args.address)?;
            stream.set_nonblocking(true)?;
            // The first and the last are probes: between them lies a whole broadcast.
            if (number as usize).is_multiple_of(PROBE_EVERY) || number == last {
                let token = Token(self.probes.len());
                self.poll.registry().register(
                    &mut SourceFd(&stream.as_raw_fd()),
                    token,
                    Interest::READABLE,
                )?;
                self.probes.push(stream);
            } else {
                rustix::net::sockopt::set_socket_recv_buffer_size(&stream, RECEIVE_BUFFER_BYTES)?;
                self.bulk.push(stream);
            }
        }
        Ok(())
    }

    fn ask(&mut self, question: &Question) -> anyhow::Result<[u64; 2]> {
        self.control.write_all(&question.to_bytes())?;
        let mut bytes = [0; 16];
        self.control.read_exact(&mut bytes).context("the server has gone")?;
        let (first, second) = bytes.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of sixteen is eight"));
        Ok([number(first), number(second)])
    }

    fn sample(&mut self, burst: u32, length: Duration) -> anyhow::Result<Sample> {
        // What happens once, such as growing a buffer, belongs to no sample.
        for _ in 0..3 {
            self.burst(burst, &mut Vec::new())?;
        }
        self.sweep_until(3 * u64::from(burst))?;
        let mut latencies = Vec::new();
        let [cpu_before, writes_before] = self.ask(&Question::Counts)?;
        let (own_before, began) = (cpu_ns(), Instant::now());
        let mut bursts = 0u64;
        while began.elapsed() < length {
            self.burst(burst, &mut latencies)?;
            bursts += 1;
        }
        let (wall, own_after) = (began.elapsed(), cpu_ns());
        let [cpu_after, writes_after] = self.ask(&Question::Counts)?;
        let each = bursts * u64::from(burst);
        self.sweep_until(each)?;
        latencies.sort_unstable();
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
        Ok(Sample {
            messages: each * (self.bulk.len() + self.probes.len()) as u64,
            wall_ns: u64::try_from(wall.as_nanos())?,
            server_cpu_ns: cpu_after - cpu_before,
            generator_cpu_ns: own_after - own_before,
            writes: writes_after - writes_before,
            latency_p50_ns: at(0.5),
            latency_p99_ns: at(0.99),
        })
    }

    /// Asks for one burst and waits until every probe has all of it.
    fn burst(&mut self, burst: u32, latencies: &mut Vec<u64>) -> anyhow::Result<()> {
        let expected = burst as usize * FRAME_BYTES;
        let asked = Instant::now();
        self.control.write_all(&Question::Publish(burst).to_bytes())?;
        self.sweep(self.bulk.len() / SWEEPS)?;
        let mut missing: Vec<usize> = vec![expected; self.probes.len()];
        let mut waiting = self.probes.len();
        let mut events = Events::with_capacity(256);
        while waiting > 0 {
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                bail!("{waiting} clients did not get {expected} bytes within {PATIENCE:?}");
            }
            for event in &events {
                let probe = event.token().0;
                let length = read_all(&mut self.probes[probe], &mut self.buffer)?;
                if length > missing[probe] {
                    bail!("a client got more than was published");
                }
                if length > 0 && length == missing[probe] {
                    waiting -= 1;
                    latencies.push(u64::try_from(asked.elapsed().as_nanos())?);
                }
                missing[probe] -= length;
            }
        }
        Ok(())
    }

    /// Reads the next few of the bulk.
    fn sweep(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.next_swept = (self.next_swept + 1) % self.bulk.len();
            self.bulk_bytes += read_all(&mut self.bulk[self.next_swept], &mut self.buffer)? as u64;
        }
        Ok(())
    }

    /// Reads the bulk until each of it has had so many messages, and proves that no byte is missing or too many.
    fn sweep_until(&mut self, each: u64) -> anyhow::Result<()> {
        let expected = each * FRAME_BYTES as u64 * self.bulk.len() as u64;
        let began = Instant::now();
        while self.bulk_bytes < expected {
            self.sweep(self.bulk.len())?;
            if began.elapsed() > PATIENCE {
                bail!("{} of {expected} bytes came", self.bulk_bytes);
            }
        }
        if self.bulk_bytes != expected {
            bail!("{} bytes came where {expected} were published", self.bulk_bytes);
        }
        self.bulk_bytes = 0;
        Ok(())
    }
}

/// Reads what is there.
fn read_all(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<usize> {
    let mut total = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => bail!("the server closed a connection"),
            Ok(length) => {
                total += length;
                if length < buffer.len() {
                    return Ok(total);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a WebSocket and does the handshake of the hub protocol.
fn shake_hands(stream: &mut TcpStream, address: SocketAddr) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    // In one piece, for the yardstick reads no further than it must.
    let request = format!(
        "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        bail!("the server does not open a WebSocket: {}", String::from_utf8_lossy(&head));
    }
    let record = b"{\"protocol\":\"json\",\"version\":1}\x1e";
    stream.write_all(&websocket::masked_frame(websocket::Opcode::Text, record, [1, 2, 3, 4]))?;
    let mut accepted = [0; 5];
    stream.read_exact(&mut accepted)?;
    if accepted[2..] != *signalr_protocol::HANDSHAKE_ACCEPTED {
        bail!("the server refuses the handshake");
    }
    Ok(())
}
