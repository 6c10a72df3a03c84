//! Sends by REST: requests per second, beside the same HTTP stack with a minimal service.
//!
//! Each kind of server has one server process on core 0 and one generator process on core 1; only one pair works at a time, and the kinds
//! take turns within each round. The baseline (`bare.rs`) has the same listener, HTTP stack and runtime as the service, so that the ratio
//! shows the cost of routing, verifying a token, reading a message, and passing through a shard. Each request has a token made for its
//! address, and there are as many addresses as clients; the service does not cache tokens, so that each is verified again.
//!
//! Start reading at [`section`]; `server.rs` and `bare.rs` are what is measured, `generator.rs` and `clients.rs` measure.

mod bare;
mod clients;
pub(crate) mod generator;
pub(crate) mod server;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use identity::{AccessKey, Algorithm, Claims};
use serde::{Deserialize, Serialize};

use crate::core_time::CoreTime;
use crate::report::{Better, Goal, Section, Spread};

const HUB: &str = "bench";
const GROUP: &str = "everybody";
const KEY: &str = "a-key-of-about-the-length-that-the-service-has";

/// Size of a frame, head included, in bytes.
const FRAME_BYTES: usize = 130;

const PATIENCE: Duration = Duration::from_secs(30);

/// How often a disturbed sample is measured again before it is left out.
const ATTEMPTS_MAX: usize = 4;

/// Requests to one connection for each second of the server's processor, as a share of the baseline's.
const SHARE_MIN: f64 = 0.7;
const SHARE_AIM: f64 = 0.85;

/// Flags of `bench rest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connected clients, all in one group
    #[arg(long, default_value_t = 5000)]
    pub(crate) connections: u32,
    /// Rounds; each measures every kind of server and send
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Length of one sample in milliseconds
    #[arg(long, default_value_t = 2000)]
    pub(crate) sample_ms: u64,
    /// Fail when a goal is missed
    #[arg(long)]
    pub(crate) check: bool,
    /// Also write the result as JSON to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The baseline: the same HTTP stack; verifies nothing, and writes a prepared frame.
    Bare,
    /// The realtime service.
    Chappe,
}

/// The receivers of a request's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Connection,
    /// All clients.
    Group,
}

const KINDS: [Kind; 2] = [Kind::Bare, Kind::Chappe];
const TARGETS: [To; 2] = [To::Connection, To::Group];

/// One measured period of requests, as the generator reports it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    requests: u64,
    /// Messages that arrived, each at its receiver.
    messages: u64,
    /// What the server's processor did.
    core: CoreTime,
    /// From the request to its response.
    latency_p50_ns: u64,
    latency_p99_ns: u64,
}

/// A server and its generator.
struct Pair {
    kind: Kind,
    server: Child,
    generator: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Samples of one kind and target, by round; `None` if every attempt was disturbed.
#[derive(Serialize)]
struct Series {
    kind: Kind,
    to: To,
    samples: Vec<Option<Sample>>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    section(args)?.publish(args.json.as_deref(), args.check)
}

/// Measures, and reports the result.
pub(crate) fn section(args: &Args) -> anyhow::Result<Section> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("not run: server and generator need a processor each, and there is only one");
    }
    let mut pairs = [Pair::start(Kind::Bare, args)?, Pair::start(Kind::Chappe, args)?];
    let mut all: Vec<Series> = Vec::new();
    for to in TARGETS {
        all.extend(KINDS.map(|kind| Series { kind, to, samples: Vec::new() }));
    }
    let mut disturbed = 0;
    for round in 0..args.rounds {
        for to in TARGETS {
            // The order changes in each round, so that a drift of the machine does not always favour the same kind.
            for turn in 0..pairs.len() {
                let pair = &mut pairs[(turn + round) % KINDS.len()];
                let sample = pair.sample(to, args.sample_ms, &mut disturbed)?;
                let own = all.iter_mut().find(|own| own.kind == pair.kind && own.to == to);
                own.expect("there is a series for each").samples.push(sample);
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    for pair in pairs {
        pair.stop()?;
    }
    report(args, &all, disturbed)
}

impl Pair {
    fn start(kind: Kind, args: &Args) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let name = clap::ValueEnum::to_possible_value(&kind).expect("every kind has a name");
        let of_both = ["--kind", name.get_name(), "--connections", &args.connections.to_string()];
        let mut server = Command::new(&program)
            .arg("rest-server")
            .args(of_both)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let mut addresses = String::new();
        BufReader::new(server.stdout.take().expect("the output is piped")).read_line(&mut addresses)?;
        let addresses: Vec<&str> = addresses.split_whitespace().collect();
        let [http, clients, control] = addresses[..] else { bail!("the server did not start") };
        let mut generator = Command::new(&program)
            .arg("rest-generator")
            .args(of_both)
            .args(["--http", http, "--clients", clients, "--control", control])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the generator")?;
        let commands = generator.stdin.take().expect("the input is piped");
        let mut answers = BufReader::new(generator.stdout.take().expect("the output is piped"));
        let mut ready = String::new();
        answers.read_line(&mut ready)?;
        if ready.trim() != "ready" {
            bail!("the clients were not connected");
        }
        Ok(Self { kind, server, generator, commands, answers })
    }

    /// Measures, and repeats a disturbed measurement.
    fn sample(&mut self, to: To, sample_ms: u64, disturbed: &mut usize) -> anyhow::Result<Option<Sample>> {
        let name = clap::ValueEnum::to_possible_value(&to).expect("every target has a name");
        for _ in 0..ATTEMPTS_MAX {
            writeln!(self.commands, "{} {sample_ms}", name.get_name())?;
            let mut line = String::new();
            self.answers.read_line(&mut line)?;
            let sample: Sample =
                serde_json::from_str(&line).context("the generator ended; what it said is above")?;
            if !sample.core.is_disturbed() {
                return Ok(Some(sample));
            }
            eprintln!("disturbed at {:?} to {to:?}: {}", self.kind, sample.core.disturbance());
            *disturbed += 1;
        }
        Ok(None)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        // The generator ends when its input closes, the server when its control connection closes.
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

fn report(args: &Args, all: &[Series], disturbed: usize) -> anyhow::Result<Section> {
    let head = [
        "to",
        "server",
        "requests/s",
        "to bare",
        "messages/s",
        "us a request",
        "to bare",
        "p50 ms",
        "p99 ms",
    ];
    let rows = all.iter().map(|own| {
        let over = |value: fn(&Sample) -> f64| Spread::of(own.samples.iter().flatten().map(value));
        vec![
            format!("{:?}", own.to).to_lowercase(),
            format!("{:?}", own.kind).to_lowercase(),
            over(requests_per_s).show(0),
            ratios(own, all, requests_per_s).show(2),
            format!("{:.0}", over(|sample| sample.messages as f64 * 1e9 / sample.core.wall_ns as f64).median),
            over(cost_us).show(1),
            ratios(own, all, cost_us).show(2),
            format!("{:.2}", over(|sample| sample.latency_p50_ns as f64 / 1e6).median),
            format!("{:.2}", over(|sample| sample.latency_p99_ns as f64 / 1e6).median),
        ]
    });
    let single = all.iter().find(|own| own.kind == Kind::Chappe && own.to == To::Connection);
    let single = single.expect("every target is measured");
    Ok(Section {
        title: "Sends by REST".to_owned(),
        note: format!(
            "{} clients in one group, {} rounds of {} ms, frames of {FRAME_BYTES} bytes; `POST /api/hubs/{HUB}/connections/<id>/:send` and \
             `/groups/<name>/:send` on 32 keep-alive connections, not pipelined. Bare is the same HTTP stack without token, JSON and shard; \
             to a group it makes one write for each client, and never joins frames. Processor time is that in which the server's processor was not idle. \
             {disturbed} disturbed samples left out.",
            args.connections, args.rounds, args.sample_ms
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        goals: vec![Goal {
            what: "REST sends to one connection, requests a second of processor time, to bare".to_owned(),
            measured: ratios(single, all, |sample| 1.0 / cost_us(sample)).median,
            must: SHARE_MIN,
            aim: Some(SHARE_AIM),
            better: Better::More,
        }],
        samples: serde_json::to_value(all)?,
    })
}

/// A sample, as a multiple of the baseline's in the same round.
fn ratios(own: &Series, all: &[Series], value: fn(&Sample) -> f64) -> Spread {
    let bare = all.iter().find(|other| other.kind == Kind::Bare && other.to == own.to);
    let bare = bare.expect("the baseline is measured for every target");
    let both = own.samples.iter().zip(&bare.samples);
    Spread::of(both.filter_map(|(own, bare)| Some(value(own.as_ref()?) / value(bare.as_ref()?))))
}

fn requests_per_s(sample: &Sample) -> f64 {
    sample.requests as f64 * 1e9 / sample.core.wall_ns as f64
}

/// Time of the server's processor for each request, in microseconds.
fn cost_us(sample: &Sample) -> f64 {
    sample.core.busy_ns as f64 / 1e3 / sample.requests as f64
}

/// The header of an app's request, with a token made for its address as the SDKs make it.
fn authorization(path: &str) -> String {
    let key = AccessKey::new(KEY).expect("the constant is not empty");
    let (now, audience) = (unix_now(), format!("http://localhost{path}"));
    format!("Bearer {}", identity::sign(&Claims::new(), &audience, now, now + 3600, &key, Algorithm::Hs256))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
