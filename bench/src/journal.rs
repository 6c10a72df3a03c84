//! Durable appends: the cost that the journal adds to a bare write and flush of the same bytes.
//!
//! For each group size, three variants take turns within each round, on files that were written before:
//!
//! - `bare`: one thread writes the group's bytes and flushes (the baseline);
//! - `together`: one caller appends the group as one append;
//! - `callers`: as many callers as the group has records append one record each, repeatedly, so that the journal itself must form the
//!   groups. The clock starts when each of them has had one response.
//!
//! The throughput ratio is the median over the rounds; the latency ratio compares the 99th percentiles of all groups
//! (for `callers`, of all appends). Ratios carry over to other devices, absolute numbers do not.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::json;
use state::{Instance, Journal, Name, Record};
use state_embedded::{JournalOptions, Options, Store};
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

/// Size of a record's body, in bytes.
const RECORD_BYTES: usize = 1024;

/// Records in a group.
const SIZES: [usize; 4] = [1, 16, 64, 256];

/// The variants that take turns; the first one is the baseline.
const WAYS: [&str; 3] = ["bare", "together", "callers"];

/// Groups that one variant writes before the next one's turn.
const GROUPS_PER_TURN: usize = 20;

/// The goals: a fraction of the baseline's throughput, and a multiple of its 99th percentile.
const THROUGHPUT_RATIO_MIN: f64 = 0.6;
const P99_RATIO_MAX: f64 = 3.0;

/// Flags of `bench journal`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds; in each, every variant writes 20 groups of every size
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// Where to write; a temporary folder is made in it and removed [default: the system's folder for temporary files]
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
    /// Also write the result as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The measurement of one variant in one turn.
struct Turn {
    elapsed: Duration,
    latencies: Vec<Duration>,
}

/// The measurement of one variant at one size, over all rounds.
#[derive(Default)]
struct Samples {
    elapsed: Vec<Duration>,
    latencies: Vec<Duration>,
}

/// A row of the result.
struct Row {
    size: usize,
    way: &'static str,
    records_per_second: f64,
    throughput_ratio: f64,
    p50: Duration,
    p99: Duration,
    p99_ratio: f64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let parent = args.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory =
        tempfile::tempdir_in(&parent).with_context(|| format!("make a folder in {}", parent.display()))?;
    let bytes_of_a_way = (args.rounds * GROUPS_PER_TURN * SIZES.iter().sum::<usize>() * RECORD_BYTES) as u64;
    let mut baseline = Baseline::new(&directory.path().join("baseline"), bytes_of_a_way)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Two variants use it, records have heads, and the half that stays free keeps the next segment from being created during the
    // measurement.
    let segment_bytes = 5 * bytes_of_a_way + (1 << 20);
    let journal =
        JournalOptions { segment_bytes, segment_bytes_first: segment_bytes, ..JournalOptions::default() };
    let options = Options { journal, ..Options::default() };
    let store = Store::open(directory.path().join("state"), &options)?;
    let subject = Subject::new(&store, runtime)?;

    let mut samples: Vec<[Samples; WAYS.len()]> = SIZES.iter().map(|_| Default::default()).collect();
    for round in 0..args.rounds {
        for (size, samples) in SIZES.into_iter().zip(&mut samples) {
            // The order changes in each round, so that a drift of the machine does not always favour the same variant.
            for way in (0..WAYS.len()).map(|turn| (turn + round) % WAYS.len()) {
                samples[way].take(match WAYS[way] {
                    "bare" => baseline.turn(size)?,
                    "together" => subject.together(size)?,
                    _ => subject.callers(size)?,
                });
            }
        }
    }
    drop(store);

    let rows: Vec<_> =
        SIZES.into_iter().zip(&mut samples).flat_map(|(size, samples)| rows(size, samples)).collect();
    print(&rows)?;
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&as_json(&rows, args.rounds))?)?;
    }
    let missed = rows.iter().filter(|row| !row.is_met()).count();
    if args.check && missed > 0 {
        bail!("{missed} of {} goals missed", rows.len());
    }
    Ok(())
}

/// A bare file, written with zeros and flushed before it is used.
struct Baseline {
    file: File,
    bytes: u64,
    position: u64,
}

impl Baseline {
    fn new(path: &Path, bytes: u64) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new().create_new(true).write(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        let bytes = bytes.next_multiple_of(zeros.len() as u64);
        for _ in 0..bytes / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        Ok(Self { file, bytes, position: 0 })
    }

    fn turn(&mut self, size: usize) -> anyhow::Result<Turn> {
        let group = body().repeat(size);
        let mut latencies = Vec::with_capacity(GROUPS_PER_TURN);
        let began = Instant::now();
        for _ in 0..GROUPS_PER_TURN {
            if self.position + group.len() as u64 > self.bytes {
                self.position = 0;
            }
            let began = Instant::now();
            self.file.write_all_at(&group, self.position)?;
            self.file.sync_data()?;
            latencies.push(began.elapsed());
            self.position += group.len() as u64;
        }
        Ok(Turn { elapsed: began.elapsed(), latencies })
    }
}

/// The journal under test.
struct Subject {
    runtime: Runtime,
    journal: Arc<dyn Journal>,
    instance: Instance,
    name: Name,
}

impl Subject {
    /// The first append creates the segment, so it precedes the measurement.
    fn new(store: &Store, runtime: Runtime) -> anyhow::Result<Self> {
        let (instance, name) = (Instance::new("bench")?, Name::new("appends")?);
        let subject = Self { runtime, journal: store.journal(), instance, name };
        subject.together(1)?;
        Ok(subject)
    }

    fn together(&self, size: usize) -> anyhow::Result<Turn> {
        let body = Bytes::from(body());
        let mut latencies = Vec::with_capacity(GROUPS_PER_TURN);
        self.runtime.block_on(async {
            let began = Instant::now();
            for _ in 0..GROUPS_PER_TURN {
                let began = Instant::now();
                let records = vec![Record::new(body.clone()); size];
                self.journal.append(&self.instance, &self.name, records).await?;
                latencies.push(began.elapsed());
            }
            Ok(Turn { elapsed: began.elapsed(), latencies })
        })
    }

    fn callers(&self, size: usize) -> anyhow::Result<Turn> {
        let body = body();
        // One more participant for the clock: it starts when each caller has had one response.
        let ready = Arc::new(Barrier::new(size + 1));
        self.runtime.block_on(async {
            let mut callers = tokio::task::JoinSet::new();
            for _ in 0..size {
                let (journal, instance, name) =
                    (self.journal.clone(), self.instance.clone(), self.name.clone());
                let (body, ready) = (Bytes::copy_from_slice(&body), ready.clone());
                callers.spawn(async move {
                    let mut latencies = Vec::with_capacity(GROUPS_PER_TURN);
                    journal.append(&instance, &name, vec![Record::new(body.clone())]).await?;
                    ready.wait().await;
                    for _ in 0..GROUPS_PER_TURN {
                        let began = Instant::now();
                        journal.append(&instance, &name, vec![Record::new(body.clone())]).await?;
                        latencies.push(began.elapsed());
                    }
                    Ok::<_, state::AppendError>(latencies)
                });
            }
            ready.wait().await;
            let began = Instant::now();
            let mut latencies = Vec::with_capacity(GROUPS_PER_TURN * size);
            while let Some(caller) = callers.join_next().await {
                latencies.extend(caller??);
            }
            Ok(Turn { elapsed: began.elapsed(), latencies })
        })
    }
}

/// Bytes that no device can compress.
fn body() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..RECORD_BYTES / 8).flat_map(|_| next()).collect()
}

impl Samples {
    fn take(&mut self, turn: Turn) {
        self.elapsed.push(turn.elapsed);
        self.latencies.extend(turn.latencies);
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * percent / 100]
    }
}

impl Row {
    fn is_met(&self) -> bool {
        self.throughput_ratio >= THROUGHPUT_RATIO_MIN && self.p99_ratio <= P99_RATIO_MAX
    }
}

fn rows(size: usize, samples: &mut [Samples; WAYS.len()]) -> Vec<Row> {
    for samples in &mut *samples {
        samples.latencies.sort_unstable();
    }
    let bare = &samples[0];
    let of_way = |(samples, way): (&Samples, &'static str)| {
        let seconds: f64 = samples.elapsed.iter().map(Duration::as_secs_f64).sum();
        let mut ratios: Vec<_> = bare
            .elapsed
            .iter()
            .zip(&samples.elapsed)
            .map(|(bare, elapsed)| bare.as_secs_f64() / elapsed.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        Row {
            size,
            way,
            records_per_second: (samples.elapsed.len() * GROUPS_PER_TURN * size) as f64 / seconds,
            throughput_ratio: ratios[ratios.len() / 2],
            p50: samples.percentile(50),
            p99: samples.percentile(99),
            p99_ratio: samples.percentile(99).as_secs_f64() / bare.percentile(99).as_secs_f64(),
        }
    };
    samples.iter().zip(WAYS).map(of_way).collect()
}

fn print(rows: &[Row]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "group  way        records/s  of bare    p50 ms    p99 ms  p99 of bare")?;
    for row in rows {
        writeln!(
            out,
            "{:>5}  {:<9} {:>10.0}  {:>7.2}  {:>8.3}  {:>8.3}  {:>11.2}{}",
            row.size,
            row.way,
            row.records_per_second,
            row.throughput_ratio,
            row.p50.as_secs_f64() * 1e3,
            row.p99.as_secs_f64() * 1e3,
            row.p99_ratio,
            if row.is_met() { "" } else { "  missed" },
        )?;
    }
    writeln!(
        out,
        "goals: at least {THROUGHPUT_RATIO_MIN} of the bare throughput, and at most {P99_RATIO_MAX} of its p99"
    )?;
    Ok(())
}

fn as_json(rows: &[Row], rounds: usize) -> serde_json::Value {
    let row = |row: &Row| {
        json!({
            "group": row.size,
            "way": row.way,
            "records_per_second": row.records_per_second,
            "throughput_ratio": row.throughput_ratio,
            "p50_seconds": row.p50.as_secs_f64(),
            "p99_seconds": row.p99.as_secs_f64(),
            "p99_ratio": row.p99_ratio,
            "is_met": row.is_met(),
        })
    };
    json!({
        "bench": "journal",
        "record_bytes": RECORD_BYTES,
        "rounds": rounds,
        "goals": { "throughput_ratio_min": THROUGHPUT_RATIO_MIN, "p99_ratio_max": P99_RATIO_MAX },
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}
