//! Idle: how much memory of the process an idle connection uses.
//!
//! Anonymous memory (allocated and touched) with all clients, minus that with the first few, for each additional client; both when the
//! memory has settled: negotiations have expired, upstreams were notified, and freed pages were returned. The kernel's memory, about 4.8 KB
//! for each end of a socket, is not counted.

mod upstream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde::Serialize;

use self::upstream::Upstream;
use crate::connect::Kind;
use crate::connect::pair::{Pair, Setup};
use crate::report::{Better, Goal, Section, Spread};

/// Clients that are connected before memory is first measured, so that one-time allocations are not counted for each client.
const FIRST: u32 = 100;

const UNDER_WAY: usize = 32;

/// Memory is settled when it changed by at most this many bytes for this long: longer than negotiations are kept (15 s), than the allocator
/// keeps freed pages (10 s), and than connections to upstreams are kept for the next request (60 s).
const SETTLED_BYTES: u64 = 64 * 1024;
const SETTLED_AFTER: Duration = Duration::from_secs(70);
const SETTLED_AT_LAST: Duration = Duration::from_secs(300);

const PLAIN_MUST_BYTES: f64 = 2.0 * 1024.0;
const PLAIN_AIM_BYTES: f64 = 1.5 * 1024.0;

/// Half of the published value of Kestrel, 23.8 KB.
const TLS_AIM_BYTES: f64 = 23.8 * 1024.0 / 2.0;

/// Flags of `bench idle`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connected clients
    #[arg(long, default_value_t = 5000)]
    pub(crate) connections: u32,
    /// Rounds; in each, every kind of server is started again
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Fail when a goal is missed
    #[arg(long)]
    pub(crate) check: bool,
    /// Also write the result as JSON to this file
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    /// A socket and a frame decoder in a table.
    Bare,
    /// The goal: with a user, a token, a group, and an upstream that received the connected event.
    Upstream,
    /// The same without an upstream.
    Chappe,
    /// As `Upstream`, over TLS.
    Tls,
}

const CASES: [Case; 4] = [Case::Bare, Case::Chappe, Case::Upstream, Case::Tls];

/// Bytes of a client in each round.
#[derive(Serialize)]
struct Series {
    case: Case,
    bytes: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    crate::connect::tell(&section(args)?, args.check, args.json.as_deref())
}

/// Measures, and reports the result.
pub(crate) fn section(args: &Args) -> anyhow::Result<Section> {
    if args.connections <= FIRST {
        bail!("at least {} connections are needed", FIRST + 1);
    }
    let mut series: Vec<Series> =
        CASES.iter().map(|case| Series { case: *case, bytes: Vec::new() }).collect();
    for round in 0..args.rounds {
        // At the same time: other processes do not affect memory use, and most of the time is spent waiting.
        let measured: Vec<anyhow::Result<f64>> = std::thread::scope(|scope| {
            let started: Vec<_> =
                CASES.iter().map(|case| scope.spawn(|| measure(*case, args.connections))).collect();
            let ended = started.into_iter();
            ended.map(|thread| thread.join().expect("measuring does not panic")).collect()
        });
        for (series, bytes) in series.iter_mut().zip(measured) {
            series.bytes.push(bytes?);
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    table(args, &series)
}

fn measure(case: Case, connections: u32) -> anyhow::Result<f64> {
    let upstream = Upstream::start()?;
    let folder = tempfile::tempdir()?;
    let kind = if case == Case::Bare { Kind::Bare } else { Kind::Chappe };
    let hears = matches!(case, Case::Upstream | Case::Tls);
    let setup = Setup {
        upstream: hears.then_some(upstream.authority.as_str()),
        tls: (case == Case::Tls).then(|| folder.path()),
        under_way: UNDER_WAY,
    };
    let mut pair = Pair::start(kind, setup)?;
    let mut settled = |count: u32| -> anyhow::Result<u64> {
        pair.ask::<u32>(&format!("hold {count}"))?;
        settled(&mut pair)
    };
    let before = settled(FIRST)?;
    let after = settled(connections - FIRST)?;
    if hears && upstream.told() != u64::from(connections) {
        bail!("the upstream was told of {} clients of {connections}", upstream.told());
    }
    pair.stop()?;
    Ok((after as f64 - before as f64) / f64::from(connections - FIRST))
}

/// Memory of the server when it no longer changes.
fn settled(pair: &mut Pair) -> anyhow::Result<u64> {
    let began = Instant::now();
    let (mut least, mut since) = (u64::MAX, began);
    while since.elapsed() < SETTLED_AFTER {
        if began.elapsed() > SETTLED_AT_LAST {
            bail!("the server's memory does not settle");
        }
        std::thread::sleep(Duration::from_secs(1));
        let now: u64 = pair.ask("memory")?;
        if now.saturating_add(SETTLED_BYTES) < least {
            since = Instant::now();
        }
        least = least.min(now);
    }
    Ok(least)
}

fn table(args: &Args, series: &[Series]) -> anyhow::Result<Section> {
    let bytes = |case: Case| {
        let own = series.iter().find(|own| own.case == case).expect("every case is measured");
        Spread::of(own.bytes.iter().copied())
    };
    let row = |case: Case, name: &str| vec![name.to_owned(), bytes(case).show(0)];
    let goal = |what: &str, case, must, aim| Goal {
        what: what.to_owned(),
        measured: bytes(case).median,
        must,
        aim: Some(aim),
        better: Better::Less,
    };
    Ok(Section {
        title: "An idle connection".to_owned(),
        note: format!(
            "Anonymous memory of the server for each of {} WebSockets that do nothing, settled; {} rounds. Each client has a user and is in \
             one group of 50; its token has 300 bytes and five claims beside those of every token. The upstream was told `connected` and is \
             to be told the end; the connections on which they negotiated are closed.",
            args.connections, args.rounds
        ),
        head: vec!["server".to_owned(), "bytes a connection".to_owned()],
        rows: vec![
            row(Case::Bare, "a socket and a frame decoder in a table"),
            row(Case::Chappe, "chappe, nobody is told of connections"),
            row(Case::Upstream, "chappe, an upstream was told"),
            row(Case::Tls, "chappe, an upstream was told, TLS"),
        ],
        goals: vec![
            goal("bytes of an idle connection", Case::Upstream, PLAIN_MUST_BYTES, PLAIN_AIM_BYTES),
            goal("bytes of an idle connection with TLS", Case::Tls, 2.0 * TLS_AIM_BYTES, TLS_AIM_BYTES),
        ],
        samples: serde_json::to_value(series)?,
    })
}
