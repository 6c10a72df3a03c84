//! Invocations of functions: throughput and processor time, beside the language's library alone and its worker without a host.
//!
//! Each server and its worker share the first processor, the clients have the second; the servers take turns within each round. Start
//! reading at [`section`].

mod frames;
mod http;
mod kind;
mod process;
mod sample;
mod server;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use self::kind::Kind;
use self::sample::{Sample, host_us, rate, worker_us};
use self::server::{CLIENTS, Starter};
use crate::report::{Better, Goal, Section, Spread};

/// Flags of `bench functions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The binary; without it, the one beside this program
    #[arg(long)]
    pub(crate) chappe: Option<PathBuf>,
    /// The vendor's workers as peers: a folder with one folder for each language (compat/official-workers/README.md)
    #[arg(long)]
    pub(crate) workers: Option<PathBuf>,
    /// A Python that has the library azure-functions; with it and --workers, Python is measured too
    #[arg(long)]
    pub(crate) python: Option<PathBuf>,
    /// Only these servers
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Rounds; each measures every server
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

#[derive(Serialize)]
struct Series {
    kind: Kind,
    samples: Vec<Sample>,
    /// From the start of the process to the first response, in nanoseconds.
    cold_starts_ns: Vec<u64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    section(args)?.publish(args.json.as_deref(), args.check)
}

/// Measures every server in turn.
fn section(args: &Args) -> anyhow::Result<Section> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("not run: the servers and the clients need a processor each, and there is only one");
    }
    let mut kinds = vec![Kind::NodeLibrary, Kind::NodeWorker, Kind::NodeHttp, Kind::Node];
    if args.workers.is_some() {
        kinds.push(Kind::NodeOfficial);
        if args.python.is_some() {
            kinds.extend([Kind::PythonLibrary, Kind::PythonOfficial]);
        }
    }
    if stream::has_nginx() {
        kinds.extend([Kind::NodeStream, Kind::NginxStream]);
    } else {
        eprintln!("nginx is not installed, so streams are not measured: apt-get install nginx-light");
    }
    if !args.only.is_empty() {
        kinds.retain(|kind| args.only.contains(kind));
    }
    let starter = Starter::new(args.chappe.as_ref(), args.workers.as_ref(), args.python.as_ref())?;
    let mut all = Vec::new();
    for kind in kinds {
        eprintln!("starting {kind:?}");
        all.push((Series { kind, samples: Vec::new(), cold_starts_ns: Vec::new() }, starter.start(kind)?.0));
    }
    for round in 0..args.rounds {
        let count = all.len();
        for turn in 0..count {
            // The order changes in each round, so that a drift of the machine does not always favour the same server.
            let (series, target) = &mut all[(turn + round) % count];
            series.samples.push(target.sample(Duration::from_millis(args.sample_ms))?);
            if matches!(series.kind, Kind::Node | Kind::NodeOfficial | Kind::PythonOfficial) {
                series.cold_starts_ns.push(starter.start(series.kind)?.1);
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    let all: Vec<Series> = all.into_iter().map(|(series, _)| series).collect();
    report(args, &all)
}

fn report(args: &Args, all: &[Series]) -> anyhow::Result<Section> {
    let head = [
        "server",
        "calls/s",
        "to the library",
        "host us/call",
        "worker us/call",
        "p50 ms",
        "p99 ms",
        "cold start ms",
    ];
    let rows = all.iter().map(|own| {
        let over = |value: fn(&Sample) -> f64| Spread::of(own.samples.iter().map(value));
        let cold = own.cold_starts_ns.iter().map(|ns| *ns as f64 / 1e6);
        vec![
            serde_json::to_value(own.kind)
                .map(|name| name.as_str().unwrap_or_default().replace('_', " "))
                .unwrap_or_default(),
            over(rate).show(0),
            ratio(all, own.kind, library_of(own.kind), rate).map_or_else(String::new, |ratio| ratio.show(2)),
            over(host_us).show(1),
            over(worker_us).show(1),
            over(|sample| sample.p50_ns as f64 / 1e6).show(3),
            over(|sample| sample.p99_ns as f64 / 1e6).show(3),
            if own.cold_starts_ns.is_empty() { String::new() } else { Spread::of(cold).show(0) },
        ]
    });
    Ok(Section {
        title: "Calls of functions".to_owned(),
        note: format!(
            "{CLIENTS} clients with one call at a time, {} rounds of {} ms. Host and worker share one processor, the clients have another. Logs at their \
             default, into a file. `p50` and `p99` are of one client alone. In the rows of streams a call is one MiB of a response of 64 MiB, \
             the ratio is to nginx, and nginx counts as a host.",
            args.rounds, args.sample_ms
        ),
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        goals: goals(all),
        samples: serde_json::to_value(all)?,
    })
}

fn library_of(kind: Kind) -> Kind {
    match kind {
        Kind::PythonLibrary | Kind::PythonOfficial => Kind::PythonLibrary,
        Kind::NodeStream | Kind::NginxStream => Kind::NginxStream,
        _ => Kind::NodeLibrary,
    }
}

/// The goals of the project, for everything that was measured.
fn goals(all: &[Series]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add = |what: &str, measured: Option<f64>, must: f64, aim: f64, better: Better| {
        if let Some(measured) = measured {
            goals.push(Goal { what: what.to_owned(), measured, must, aim: Some(aim), better });
        }
    };
    let rate_ratio = |kind, to| ratio(all, kind, to, rate).map(|spread| spread.median);
    let median = |kind, value: fn(&Sample) -> f64| {
        let own = all.iter().find(|own| own.kind == kind)?;
        Some(Spread::of(own.samples.iter().map(value)).median)
    };
    let (more, less) = (Better::More, Better::Less);
    add("Node.js, calls to the worker's own limit", rate_ratio(Kind::Node, Kind::NodeWorker), 0.8, 0.9, more);
    add(
        "Node.js, calls to the library in a loop",
        rate_ratio(Kind::Node, Kind::NodeLibrary),
        0.6,
        0.75,
        more,
    );
    add("Node.js, our worker to the vendor's", rate_ratio(Kind::Node, Kind::NodeOfficial), 1.5, 2.5, more);
    add("host, us a call, our protocol", median(Kind::Node, host_us), 60.0, 35.0, less);
    add("host, us a call, FunctionRpc", median(Kind::NodeOfficial, host_us), 60.0, 35.0, less);
    let p50 = |sample: &Sample| sample.p50_ns as f64 / 1e6;
    let added =
        median(Kind::Node, p50).zip(median(Kind::NodeLibrary, p50)).map(|(host, library)| host - library);
    let python = rate_ratio(Kind::PythonOfficial, Kind::PythonLibrary);
    add("Python async, calls to the library in a loop", python, 0.4, 0.5, more);
    add("Node.js, p50 above the library, ms", added, 0.4, 0.25, less);
    let node = all.iter().find(|own| own.kind == Kind::Node);
    let cold = node.map(|own| Spread::of(own.cold_starts_ns.iter().map(|ns| *ns as f64 / 1e9)).median);
    add("Node.js, start of the process to the first response, s", cold, 0.45, 0.3, less);
    let streamed = ratio(all, Kind::NodeStream, Kind::NginxStream, host_us).map(|spread| spread.median);
    add("streamed bytes, processor time of the host to nginx proxy_pass", streamed, 2.0, 1.3, less);
    goals
}

/// The samples of a kind, as multiples of another kind's in the same rounds.
fn ratio(all: &[Series], kind: Kind, to: Kind, value: fn(&Sample) -> f64) -> Option<Spread> {
    let own = all.iter().find(|own| own.kind == kind)?;
    let base = all.iter().find(|own| own.kind == to)?;
    Some(Spread::of(own.samples.iter().zip(&base.samples).map(|(own, base)| value(own) / value(base))))
}
