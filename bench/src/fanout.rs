//! Fan-out: what a delivered message costs the server, beside a bare loop that sends the same bytes.
//!
//! One server process on core 0 and one generator process on core 1 for each kind of server; only one pair works at a time, and
//! the kinds take turns within each round. The metric is the server's processor time for each message that the
//! generator counted as received; its ratio to the bare loop of the same round carries over to other machines.
//!
//! Start reading at [`run`]; `server.rs` and `raw.rs` are what is measured, `generator.rs` measures.

pub(crate) mod generator;
pub(crate) mod peers;
mod process;
mod raw;
pub(crate) mod server;

pub(crate) use process::allow_files;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::report::{Better, Goal, Section, Spread};

/// Frames of one burst: one message at a time, and enough that coalescing shows.
const BURSTS: [u32; 2] = [1, 16];

/// Size of a frame, head included, in bytes.
const FRAME_BYTES: usize = 130;

/// A server that held less of its core was disturbed by something else.
const SERVER_SHARE_MIN: f64 = 0.88;

/// A generator that used more of its core may have kept the server waiting.
const GENERATOR_SHARE_MAX: f64 = 0.95;

/// How often a disturbed sample is taken again before it is left out.
const ATTEMPTS_MAX: usize = 4;

/// The goals of the first part; the limit of the plan is lower.
const RATIO_MAX: f64 = 1.4;
const SENDS_PER_MESSAGE_MAX: f64 = 0.1;
const IDLE_BYTES_MAX: f64 = 3.0 * 1024.0;

/// Flags of `bench fanout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connected clients, all in one group
    #[arg(long, default_value_t = 5000)]
    connections: u32,
    /// Rounds; each measures every kind of server at every burst
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one sample in milliseconds
    #[arg(long, default_value_t = 2000)]
    sample_ms: u64,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
    /// Also write the result as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The yardstick: a bare loop that sends a prepared buffer to each socket.
    Raw,
    /// A real listener, a real upgrade, and the engine of `realtime`.
    Chappe,
}

/// One measured stretch of bursts, as the generator reports it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Messages that arrived, in all clients together.
    pub(crate) messages: u64,
    pub(crate) wall_ns: u64,
    pub(crate) server_cpu_ns: u64,
    pub(crate) generator_cpu_ns: u64,
    /// Writes to sockets that the server made.
    pub(crate) writes: u64,
    /// From the command to publish until the message is in a probing client, in nanoseconds.
    pub(crate) latency_p50_ns: u64,
    pub(crate) latency_p99_ns: u64,
}

/// What the generator says once all clients are connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Anonymous memory of the server for each idle client.
    pub(crate) idle_bytes: f64,
}

/// A server and its generator.
struct Pair {
    kind: Kind,
    server: Child,
    generator: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    ready: Ready,
}

/// Samples of one kind and burst, round by round; `None` where every attempt was disturbed.
#[derive(Serialize)]
struct Series {
    kind: Kind,
    burst: u32,
    samples: Vec<Option<Sample>>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("not run: server and generator need a processor each, and there is only one");
    }
    let mut pairs = [Pair::start(Kind::Raw, args)?, Pair::start(Kind::Chappe, args)?];
    let mut series: Vec<Series> = Vec::new();
    for burst in BURSTS {
        for kind in [Kind::Raw, Kind::Chappe] {
            series.push(Series { kind, burst, samples: Vec::new() });
        }
    }
    let mut disturbed = 0;
    for round in 0..args.rounds {
        for burst in BURSTS {
            // Who goes first changes, so that a drift of the machine does not always favour the same one.
            for turn in 0..pairs.len() {
                let pair = &mut pairs[(turn + round) % 2];
                let sample = pair.sample(burst, args.sample_ms, &mut disturbed)?;
                let own = |series: &&mut Series| series.kind == pair.kind && series.burst == burst;
                series.iter_mut().find(own).expect("there is a series for each").samples.push(sample);
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    let idle_bytes: Vec<f64> = pairs.iter().map(|pair| pair.ready.idle_bytes).collect();
    for pair in pairs {
        pair.stop()?;
    }
    report(args, &series, &idle_bytes, disturbed)
}

impl Pair {
    fn start(kind: Kind, args: &Args) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let name = clap::ValueEnum::to_possible_value(&kind).expect("every kind has a name");
        let mut server = Command::new(&program)
            .args(["fanout-server", "--kind", name.get_name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let mut addresses = String::new();
        BufReader::new(server.stdout.take().expect("the output is piped")).read_line(&mut addresses)?;
        let (address, control) = addresses.trim().split_once(' ').context("the server did not start")?;
        let mut generator = Command::new(&program)
            .args(["fanout-generator", "--address", address, "--control", control])
            .args(["--connections", &args.connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the generator")?;
        let commands = generator.stdin.take().expect("the input is piped");
        let mut answers = BufReader::new(generator.stdout.take().expect("the output is piped"));
        let ready = answer(&mut answers).context("connect the clients")?;
        Ok(Self { kind, server, generator, commands, answers, ready })
    }

    /// Measures, again if something disturbed it.
    fn sample(
        &mut self,
        burst: u32,
        sample_ms: u64,
        disturbed: &mut usize,
    ) -> anyhow::Result<Option<Sample>> {
        for _ in 0..ATTEMPTS_MAX {
            writeln!(self.commands, "{burst} {sample_ms}")?;
            let sample: Sample = answer(&mut self.answers)?;
            let share = |cpu_ns: u64| cpu_ns as f64 / sample.wall_ns as f64;
            let (server, generator) = (share(sample.server_cpu_ns), share(sample.generator_cpu_ns));
            if server >= SERVER_SHARE_MIN && generator <= GENERATOR_SHARE_MAX {
                return Ok(Some(sample));
            }
            let kind = self.kind;
            eprintln!(
                "disturbed at {kind:?}, burst {burst}: the server held {server:.2} of its core, the generator {generator:.2}"
            );
            *disturbed += 1;
        }
        Ok(None)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        // The generator ends with its input, the server with its control connection.
        drop(self.commands);
        for (child, name) in [(&mut self.generator, "generator"), (&mut self.server, "server")] {
            let status = child.wait()?;
            if !status.success() {
                bail!("the {name} ended with {status}");
            }
        }
        Ok(())
    }
}

fn answer<T: serde::de::DeserializeOwned>(answers: &mut BufReader<ChildStdout>) -> anyhow::Result<T> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    serde_json::from_str(&line).context("the generator ended; what it said is above")
}

fn report(args: &Args, series: &[Series], idle_bytes: &[f64], disturbed: usize) -> anyhow::Result<()> {
    let section = section(args, series, idle_bytes, disturbed)?;
    println!("{}", section.show());
    if let Some(path) = &args.json {
        let text = serde_json::to_vec_pretty(&section.to_json())?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let missed: Vec<&str> =
        section.goals.iter().filter(|goal| !goal.is_met()).map(|goal| goal.what.as_str()).collect();
    if args.check && !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}

fn section(args: &Args, series: &[Series], idle_bytes: &[f64], disturbed: usize) -> anyhow::Result<Section> {
    let head = ["burst", "server", "us a message", "to raw", "sends a message", "p50 ms", "p99 ms"];
    let rows = series.iter().map(|own| {
        let over = |value: fn(&Sample) -> f64| Spread::of(own.samples.iter().flatten().map(value));
        vec![
            own.burst.to_string(),
            format!("{:?}", own.kind).to_lowercase(),
            over(cost_us).show(3),
            ratios(own, series).show(2),
            format!("{:.3}", over(sends).median),
            format!("{:.2}", over(|sample| sample.latency_p50_ns as f64 / 1e6).median),
            format!("{:.2}", over(|sample| sample.latency_p99_ns as f64 / 1e6).median),
        ]
    });
    let find = |burst: u32| {
        let own = series.iter().find(|own| own.kind == Kind::Chappe && own.burst == burst);
        own.expect("every burst is measured")
    };
    let coalesced = Spread::of(find(16).samples.iter().flatten().map(sends)).median;
    let goal = |what: &str, measured, must| Goal {
        what: what.to_owned(),
        measured,
        must,
        aim: None,
        better: Better::Less,
    };
    Ok(Section {
        title: "Broadcast to one group".to_owned(),
        note: format!(
            "{} clients in one group, frames of {FRAME_BYTES} bytes, {} rounds of {} ms; {disturbed} disturbed samples left out. \
             An idle client takes {:.0} bytes of the bare loop, {:.0} of Chappe.",
            args.connections, args.rounds, args.sample_ms, idle_bytes[0], idle_bytes[1]
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        goals: vec![
            goal("cost to raw at burst 1", ratios(find(1), series).median, RATIO_MAX),
            goal("sends per message at burst 16", coalesced, SENDS_PER_MESSAGE_MAX),
            goal("bytes of an idle client", idle_bytes[1], IDLE_BYTES_MAX),
        ],
        samples: serde_json::to_value(series)?,
    })
}

/// The cost of each sample as a multiple of the yardstick's in the same round.
fn ratios(own: &Series, series: &[Series]) -> Spread {
    let raw = series.iter().find(|other| other.kind == Kind::Raw && other.burst == own.burst);
    let raw = raw.expect("the yardstick is measured at every burst");
    let both = own.samples.iter().zip(&raw.samples);
    Spread::of(both.filter_map(|(own, raw)| Some(cost_us(own.as_ref()?) / cost_us(raw.as_ref()?))))
}

fn sends(sample: &Sample) -> f64 {
    sample.writes as f64 / sample.messages as f64
}

/// Server time for each delivered message, in microseconds.
fn cost_us(sample: &Sample) -> f64 {
    sample.server_cpu_ns as f64 / 1e3 / sample.messages as f64
}
