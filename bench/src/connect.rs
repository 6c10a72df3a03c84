//! The server's cost of connecting a client: it negotiates, opens a WebSocket, completes the handshake and joins a group. Measured beside
//! the same requests to the bare HTTP and WebSocket stack.
//!
//! As in `fanout`, each kind of server has a process on core 0 and its generator one on core 1, and the kinds take turns within
//! each round. The metric is the time in which the server's processor was busy, for each client.
//!
//! Start reading at [`run`]; `server.rs` and `bare.rs` are what is measured, `generator.rs` and `client.rs` measure.

mod bare;
mod client;
pub(crate) mod generator;
mod kind;
pub(crate) mod pair;
pub(crate) mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

pub(crate) use self::kind::Kind;
use self::pair::{Pair, Setup};
use crate::core_time::CoreTime;
use crate::report::{Better, Goal, Section, Spread};

/// How often a disturbed sample is measured again before it is left out.
const ATTEMPTS_MAX: usize = 6;

/// Clients that connect at the same time, by default.
pub(crate) const UNDER_WAY: usize = 32;

const RATIO_MUST: f64 = 1.5;
const RATIO_AIM: f64 = 1.2;

/// Flags of `bench connect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients of one sample
    #[arg(long, default_value_t = 2000)]
    pub(crate) connections: u32,
    /// Rounds; each measures every kind of server
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Clients that connect at the same time
    #[arg(long, default_value_t = UNDER_WAY)]
    pub(crate) under_way: usize,
    /// Accept disturbed samples too: rough figures of a busy machine
    #[arg(long)]
    pub(crate) rough: bool,
    /// Fail when a goal is missed
    #[arg(long)]
    pub(crate) check: bool,
    /// Also write the result as JSON to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

const KINDS: [Kind; 3] = [Kind::Bare, Kind::Chappe, Kind::Listener];

/// Clients that connected, as the generator reports it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    clients: u32,
    /// What the server's processor did.
    core: CoreTime,
}

/// Samples of one kind, round by round; `None` where every attempt was disturbed.
#[derive(Serialize)]
struct Series {
    kind: Kind,
    samples: Vec<Option<Sample>>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tell(&section(args)?, args.check, args.json.as_deref())
}

/// Measures, and reports the result.
pub(crate) fn section(args: &Args) -> anyhow::Result<Section> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("not run: server and generator need a processor each, and there is only one");
    }
    let setup = Setup { under_way: args.under_way, ..Setup::default() };
    let mut pairs = Vec::new();
    for kind in KINDS {
        let mut pair = Pair::start(kind, setup)?;
        // One-time work, such as growing a table, belongs to no sample.
        pair.ask::<Sample>(&format!("sample {}", args.connections / 2))?;
        pairs.push((pair, Series { kind, samples: Vec::new() }));
    }
    let mut disturbed = 0;
    for round in 0..args.rounds {
        // The order changes in each round, so that a drift of the machine does not always favour the same kind.
        for turn in 0..pairs.len() {
            let (pair, series) = &mut pairs[(turn + round) % KINDS.len()];
            series.samples.push(sample(pair, series.kind, args, &mut disturbed)?);
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    let mut series = Vec::new();
    for (pair, own) in pairs {
        pair.stop()?;
        series.push(own);
    }
    table(args, &series, disturbed)
}

/// Measures, and repeats a disturbed measurement.
fn sample(pair: &mut Pair, kind: Kind, args: &Args, disturbed: &mut usize) -> anyhow::Result<Option<Sample>> {
    for _ in 0..ATTEMPTS_MAX {
        let sample: Sample = pair.ask(&format!("sample {}", args.connections))?;
        if !sample.core.is_disturbed() || args.rough {
            return Ok(Some(sample));
        }
        eprintln!("disturbed at {kind:?}: {}", sample.core.disturbance());
        *disturbed += 1;
    }
    Ok(None)
}

fn table(args: &Args, series: &[Series], disturbed: usize) -> anyhow::Result<Section> {
    let head = ["server", "us a client", "to bare", "clients a second"];
    let rows = series.iter().map(|own| {
        let over = |value: fn(&Sample) -> f64| Spread::of(own.samples.iter().flatten().map(value));
        let name = match own.kind {
            Kind::Bare => "bare stack",
            Kind::Chappe => "chappe",
            Kind::Listener => "chappe, each connection recorded for a listener",
        };
        vec![
            name.to_owned(),
            over(cost_us).show(1),
            ratios(own, series).show(2),
            over(|sample| f64::from(sample.clients) * 1e9 / sample.core.wall_ns as f64).show(0),
        ]
    });
    let find = |kind| series.iter().find(|own| own.kind == kind).expect("every kind is measured");
    Ok(Section {
        title: "A client connects".to_owned(),
        note: format!(
            "Time of the server's processor for one client: negotiate on a TCP connection of its own that stays open, as a browser does it, then the WebSocket \
             on another, the handshake, and a REST request of an app that puts it into a group of 50; tokens of 300 bytes are verified \
             three times. {} clients a sample, {} under way at a time, {} rounds; {disturbed} disturbed samples left out. Closing is not \
             part of it.",
            args.connections, args.under_way, args.rounds
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        goals: vec![Goal {
            what: "CPU of a client that connects, to the bare stack".to_owned(),
            measured: ratios(find(Kind::Chappe), series).median,
            must: RATIO_MUST,
            aim: Some(RATIO_AIM),
            better: Better::Less,
        }],
        samples: serde_json::to_value(series)?,
    })
}

/// The cost of each sample as a multiple of the baseline's in the same round.
fn ratios(own: &Series, series: &[Series]) -> Spread {
    let bare = series.iter().find(|other| other.kind == Kind::Bare).expect("the baseline is measured");
    let both = own.samples.iter().zip(&bare.samples);
    Spread::of(both.filter_map(|(own, bare)| Some(cost_us(own.as_ref()?) / cost_us(bare.as_ref()?))))
}

/// Time of the server's processor for each client, in microseconds.
fn cost_us(sample: &Sample) -> f64 {
    sample.core.busy_ns as f64 / 1e3 / f64::from(sample.clients)
}

/// Prints a section; fails if a goal was missed and the flag asks for that.
pub(crate) fn tell(section: &Section, check: bool, json: Option<&Path>) -> anyhow::Result<()> {
    println!("{}", section.show());
    if let Some(path) = json {
        let text = serde_json::to_vec_pretty(&section.to_json())?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let missed: Vec<&str> =
        section.goals.iter().filter(|goal| !goal.is_met()).map(|goal| goal.what.as_str()).collect();
    if check && !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}
