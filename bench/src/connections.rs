//! Many connections to one process while messages flow and the process is killed, until all have disconnected.
//!
//! The built binary is one process, the clients are another. Every message is counted at every client: none may be missing, duplicated or
//! out of order while a client is connected; all clients reconnect after `kill -9`; and when all have disconnected, the process uses as
//! much memory as before. Any deviation is a failure.
//!
//! Start reading at [`run`]; `client.rs` is one client, `generator.rs` runs all clients, `service.rs` has the process under test.

mod client;
mod clock;
pub(crate) mod generator;
mod service;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use generator::{Order, Standing};
use service::{Memory, Publisher, Service, publish};

/// Flags of `bench connections`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The binary to load
    #[arg(long, default_value = "target/release/chappe")]
    binary: PathBuf,
    /// Clients
    #[arg(long, default_value_t = 15_000)]
    connections: u32,
    /// Duration of each period with messages, in seconds
    #[arg(long, default_value_t = 30)]
    flow_s: u64,
    /// Time between two messages to all clients, in milliseconds; each is followed by one message to each group
    #[arg(long, default_value_t = 500)]
    every_ms: u64,
    /// How often all clients connect and disconnect before the kills
    #[arg(long, default_value_t = 2)]
    waves: u32,
    /// How often the process is killed under load
    #[arg(long, default_value_t = 3)]
    kills: u32,
    /// Memory that may remain when all clients have disconnected, above the memory before they connected, in percent of what they used
    #[arg(long, default_value_t = 10)]
    left_percent_max: u64,
}

/// Memory that may always remain, in bytes: partly used pages of the allocator.
const LEFT_BYTES_MIN: u64 = 6 * 1024 * 1024;

/// Longest wait until every client has a message.
const ARRIVE_WITHIN: Duration = Duration::from_secs(20);

/// Longest wait until all clients are connected, and until all have reconnected.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);

/// Longest wait until the process uses as little memory as before.
///
/// State of negotiated clients is kept for 15 seconds and checked at the same interval; the allocator returns pages within 10 seconds.
const SHRINK_WITHIN: Duration = Duration::from_secs(45);

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (_kept, folder) = service::folder()?;
    let binary = args.binary.canonicalize().with_context(|| format!("find {}", args.binary.display()))?;
    let mut run = Run::start(args, Service::start(&binary, &folder, None)?)?;
    let outcome = run.all(&binary, &folder);
    if outcome.is_err() {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        eprintln!("the last lines of the log:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    outcome
}

/// The process under test and the clients.
struct Run<'a> {
    args: &'a Args,
    service: Service,
    generator: Generator,
    /// The newest number that was published.
    number: u64,
    grouped: u32,
}

impl<'a> Run<'a> {
    fn start(args: &'a Args, service: Service) -> anyhow::Result<Self> {
        let grouped = args.connections.min(1_000);
        let generator = Generator::start(args.connections, grouped, &service.realtime)?;
        Ok(Self { args, service, generator, number: 0, grouped })
    }

    fn all(&mut self, binary: &std::path::Path, folder: &std::path::Path) -> anyhow::Result<()> {
        let connections = self.args.connections;
        println!(
            "{connections} clients, a third of them in MessagePack, {} of them in groups\n",
            self.grouped
        );
        self.service.join_groups(self.grouped)?;
        // A few clients connect first, so that one-time allocations exist before memory is measured.
        self.connect(connections / 10)?;
        self.everybody_hears()?;
        self.leave()?;
        let before = self.service.memory()?;
        show("memory before", before);

        // Several times on one process: a leak of one round would add up.
        for wave in 1..=self.args.waves {
            self.connect(connections)?;
            let held = self.service.memory()?;
            let each = held.anonymous.saturating_sub(before.anonymous) / u64::from(connections);
            show(&format!("memory with all connected ({each} bytes each)"), held);
            self.flow(self.args.flow_s)?;
            self.leave()?;
            self.is_small_again(&format!("memory after wave {wave}"), before, held)?;
        }
        self.connect(connections)?;
        for kill in 1..=self.args.kills {
            self.kill_under_load(kill, binary, folder)?;
        }
        self.flow(self.args.flow_s)?;
        let loaded = self.service.memory()?;
        self.leave()?;
        self.is_small_again("memory after the kills", before, loaded)?;
        println!("\nall clients had all messages, once and in order, and came back each time");
        Ok(())
    }

    fn connect(&mut self, clients: u32) -> anyhow::Result<()> {
        let within_ms = CONNECT_WITHIN.as_millis() as u64;
        let standing = self.generator.ask(Order::Connect { clients, within_ms })?;
        if !standing.done {
            bail!(
                "{} of {clients} clients are connected after {CONNECT_WITHIN:?}: {standing:?}",
                standing.open
            );
        }
        println!("{clients} connected in {:.1} s", standing.took_ms as f64 / 1e3);
        let counted = self.service.connections()?;
        if counted != u64::from(clients) {
            bail!("the service counts {counted} connections of {clients}");
        }
        Ok(())
    }

    /// One more message, which all clients receive.
    fn everybody_hears(&mut self) -> anyhow::Result<Standing> {
        self.number += 1;
        publish(&self.service.realtime, self.number)?;
        self.all_have(self.number)
    }

    fn all_have(&mut self, number: u64) -> anyhow::Result<Standing> {
        let within_ms = ARRIVE_WITHIN.as_millis() as u64;
        let mut standing = Standing::default();
        for to_groups in [false, true] {
            standing = self.generator.ask(Order::Received { to_groups, number, within_ms })?;
            if !standing.done {
                bail!(
                    "message {number} is with {} clients after {ARRIVE_WITHIN:?}: {standing:?}",
                    standing.have
                );
            }
            if standing.out_of_order > 0 {
                bail!("messages are missing or came twice: {standing:?}");
            }
        }
        Ok(standing)
    }

    /// Sends messages for a while; every client must receive all of them.
    fn flow(&mut self, seconds: u64) -> anyhow::Result<()> {
        let before = self.everybody_hears()?.received;
        let publisher = self.publisher();
        let began = Instant::now();
        let mut arrivals = Vec::new();
        while began.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_millis(50));
            let number = publisher.taken();
            let asked = Instant::now();
            self.all_have(number)?;
            arrivals.push(asked.elapsed());
        }
        let first = self.number;
        self.number = publisher.stop()?;
        let standing = self.all_have(self.number)?;
        let sent = self.number - first;
        let expected = sent * u64::from(self.args.connections + self.grouped);
        let received = standing.received - before;
        if received != expected {
            bail!("{received} messages came of {expected}");
        }
        arrivals.sort_unstable();
        println!(
            "{sent} messages to everybody and to each group in {seconds} s: {received} received, none missing; \
             everywhere at most {:.0} ms after the last was taken",
            arrivals.last().map_or(0.0, Duration::as_secs_f64) * 1e3
        );
        Ok(())
    }

    fn publisher(&self) -> Publisher {
        let every = Duration::from_millis(self.args.every_ms);
        Publisher::start(&self.service.realtime, self.number + 1, every)
    }

    /// Kills the process while messages flow, starts it again, and waits until all clients have reconnected and receive everything.
    fn kill_under_load(
        &mut self,
        kill: u32,
        binary: &std::path::Path,
        folder: &std::path::Path,
    ) -> anyhow::Result<()> {
        let losses = self.everybody_hears()?.losses;
        let publisher = self.publisher();
        std::thread::sleep(Duration::from_secs(2));
        self.service.kill()?;
        let killed = Instant::now();
        let lost = self.generator.ask(Order::AllLost { within_ms: ARRIVE_WITHIN.as_millis() as u64 })?;
        if !lost.done {
            bail!("{} clients have not noticed that the service is gone: {lost:?}", lost.open);
        }
        self.service = Service::start(binary, folder, Some(&self.service))?;
        let (clients, within_ms) = (self.args.connections, CONNECT_WITHIN.as_millis() as u64);
        let standing = self.generator.ask(Order::Connect { clients, within_ms })?;
        if !standing.done {
            bail!("{} of {clients} clients are back after {CONNECT_WITHIN:?}: {standing:?}", standing.open);
        }
        let back = killed.elapsed();
        self.number = publisher.stop()?;
        self.everybody_hears()?;
        let turned_away: Vec<String> = standing
            .losses
            .iter()
            .map(|(why, count)| (why, count - losses.get(why).copied().unwrap_or(0)))
            .filter(|(_, count)| *count > 0)
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        println!(
            "kill {kill}: listens again {:.2} s after its start, all {clients} are back {:.1} s after the kill \
             ({})",
            self.service.ready.as_secs_f64(),
            back.as_secs_f64(),
            turned_away.join(", ")
        );
        Ok(())
    }

    fn leave(&mut self) -> anyhow::Result<()> {
        let standing = self.generator.ask(Order::Leave)?;
        if !standing.done {
            bail!("sockets are left: {standing:?}");
        }
        let began = Instant::now();
        loop {
            match self.service.connections()? {
                0 => return Ok(()),
                left if began.elapsed() > SHRINK_WITHIN => {
                    bail!("the service still counts {left} connections")
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn is_small_again(&self, what: &str, before: Memory, most: Memory) -> anyhow::Result<()> {
        let taken = most.anonymous.saturating_sub(before.anonymous);
        let allowed = before.anonymous + (taken * self.args.left_percent_max / 100).max(LEFT_BYTES_MIN);
        let began = Instant::now();
        loop {
            let now = self.service.memory()?;
            if now.anonymous <= allowed {
                show(what, now);
                return Ok(());
            }
            if began.elapsed() > SHRINK_WITHIN {
                show(what, now);
                bail!("{what}: {} bytes are more than {allowed}", now.anonymous);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// The process that runs the clients.
struct Generator {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Generator {
    fn start(clients: u32, grouped: u32, realtime: &str) -> anyhow::Result<Self> {
        let port = realtime.rsplit(':').next().context("the address has a port")?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["connections-generator", "--address", &format!("127.0.0.1:{port}")])
            .args(["--clients", &clients.to_string(), "--grouped", &grouped.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the generator")?;
        let orders = child.stdin.take().expect("the input is piped");
        let answers = BufReader::new(child.stdout.take().expect("the output is piped"));
        Ok(Self { child, orders, answers })
    }

    fn ask(&mut self, order: Order) -> anyhow::Result<Standing> {
        writeln!(self.orders, "{}", serde_json::to_string(&order)?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).context("the generator ended; what it said is above")
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It also ends when its input closes, but after a failed sample there is no need to wait for that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn show(what: &str, memory: Memory) {
    let megabytes = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    println!(
        "{what}: {:.1} MB anonymous, {:.1} MB resident",
        megabytes(memory.anonymous),
        megabytes(memory.resident)
    );
}
