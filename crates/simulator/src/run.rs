//! Runs seeds: one, or many in several processes; and prints how to repeat a failure.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum as _};

use crate::chance::Chance;
use crate::delivery::Delivery;
use crate::disk::Disk;
use crate::documents::Documents;
use crate::events::Events;
use crate::many::{self, Plan};
use crate::storage::Storage;
use crate::system;

/// Runs the store and the realtime service with virtual time, files and sockets, and faults drawn from seeds.
#[derive(Debug, Parser)]
struct Arguments {
    /// Repeat one seed and show its events.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many seeds to run.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// Processes at a time. Default: one for each processor.
    #[arg(long)]
    processes: Option<u64>,
    /// Start no further seeds after this many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Skip the seeds of other parts: storage, documents or delivery.
    #[arg(long)]
    part: Option<Part>,
    /// Run the seeds in this process.
    #[arg(long, hide = true)]
    here: bool,
    /// Let the device ignore flushes, to verify that the simulator detects it.
    #[arg(long, hide = true)]
    ignore_flushes: bool,
    /// Add one of the known faults to the product, to verify that the simulator detects it.
    #[arg(long)]
    mutation: Option<String>,
}

/// Faults with which the simulator itself is tested.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Flushes do nothing.
    ignores_flushes: bool,
    /// One of [`MUTATIONS`].
    mutation: Option<&'static str>,
}

/// The faults that the product can have (`supervision::is_mutated`), and the error text of the check that detects each.
const MUTATIONS: [(&str, Part, &str); 12] = [
    ("position-before-response", Part::Delivery, "came before the response"),
    ("ping-left-out", Part::Delivery, "has sent nothing for"),
    ("silent-client-stays", Part::Delivery, "has been silent for"),
    ("token-expires-early", Part::Delivery, "ended the connection for Some(TokenExpired)"),
    ("end-without-reason", Part::Delivery, "has no end reason"),
    ("connection-stays-in-group", Part::Delivery, "has the members"),
    ("bytes-stay-counted", Part::Delivery, "realtime_outlet_bytes is"),
    ("user-groups-forgotten", Part::Delivery, ""),
    ("end-not-reported", Part::Delivery, "the process calls itself ready"),
    ("epoch-kept-after-loss", Part::Storage, "was acknowledged and is gone"),
    ("write-not-committed", Part::Documents, "item"),
    ("change-keeps-its-lsn", Part::Documents, "the follower of the change feed last saw"),
];

impl Arguments {
    fn faults(&self) -> Result<Faults> {
        let mutation = self.mutation.as_deref().map(|wanted| {
            let known = MUTATIONS.iter().find(|(name, ..)| *name == wanted);
            let names = || MUTATIONS.map(|(name, ..)| name).join(", ");
            known.map(|(name, ..)| *name).with_context(|| format!("no such mutation; there are: {}", names()))
        });
        Ok(Faults { ignores_flushes: self.ignore_flushes, mutation: mutation.transpose()? })
    }
}

/// The part that a seed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Journals, keys and leases.
    Storage,
    /// The document service.
    Documents,
    /// The realtime service.
    Delivery,
}

impl Part {
    fn of(seed: u64) -> Self {
        match seed % 4 {
            0 => Self::Storage,
            2 => Self::Documents,
            _ => Self::Delivery,
        }
    }
}

/// The result of a run.
#[derive(Debug)]
struct Outcome {
    failure: Option<anyhow::Error>,
    events: Events,
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None if arguments.here => many_here(&arguments),
        None => many(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A separate folder for each run, in memory if the system supports that.
fn folder() -> PathBuf {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    base.join(format!("chappe-simulator-{}-{run}", std::process::id()))
}

/// Runs one seed in a new thread, because the standard library draws some random numbers once per thread.
fn run(seed: u64, is_shown: bool, faults: Faults) -> Result<Outcome> {
    let run = move || -> Result<Outcome> {
        let base = folder();
        let root = base.join("disk");
        std::fs::create_dir_all(&root).context("make a folder for the simulated disk")?;
        let mut disk = Disk::new(root, Chance::new(seed ^ 0xd15c));
        disk.ignores_flushes = faults.ignores_flushes;
        let mut events = Events::new(is_shown);
        supervision::simulation::mutate(faults.mutation);
        system::begin(seed, disk);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match Part::of(seed) {
            Part::Storage => Storage::new(seed, &mut events).run(),
            Part::Documents => Documents::new(seed, &mut events).run(),
            Part::Delivery => Delivery::new(seed, &mut events).run(),
        }));
        supervision::simulation::forget();
        system::end();
        std::fs::remove_dir_all(&base).context("remove the simulated disk")?;
        let failure = match result {
            Ok(result) => result.err(),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
                Some(anyhow::anyhow!("a panic: {text}"))
            }
        };
        Ok(Outcome { failure, events })
    };
    let thread =
        std::thread::Builder::new().name(format!("seed-{seed}")).spawn(run).context("start a thread")?;
    thread.join().map_err(|_| anyhow::anyhow!("seed {seed}: the simulator itself panicked"))?
}

fn one(seed: u64, arguments: &Arguments) -> Result<()> {
    let outcome = run(seed, true, arguments.faults()?)?;
    println!("events: {:016x}", outcome.events.sum());
    match outcome.failure {
        Some(failure) => Err(failure.context(format!("seed {seed} fails"))),
        None => Ok(()),
    }
}

fn many_here(arguments: &Arguments) -> Result<()> {
    // Panics that a seed causes are not printed.
    std::panic::set_hook(Box::new(|_| {}));
    for seed in arguments.first..arguments.first + arguments.seeds {
        if arguments.part.is_some_and(|part| part != Part::of(seed)) {
            continue;
        }
        let outcome = run(seed, false, arguments.faults()?)?;
        if let Some(failure) = outcome.failure {
            bail!(
                "{}seed {seed} fails: {failure:#}\nrepeat it with: cargo xtask soak simulate --seed {seed}",
                outcome.events.last()
            );
        }
    }
    Ok(())
}

fn many(arguments: &Arguments) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let mut of_each: Vec<String> = Vec::new();
    if let Some(mutation) = arguments.faults()?.mutation {
        of_each.extend(["--mutation".to_owned(), mutation.to_owned()]);
    }
    if arguments.ignore_flushes {
        of_each.push("--ignore-flushes".to_owned());
    }
    if let Some(part) = arguments.part.and_then(|part| part.to_possible_value()) {
        of_each.extend(["--part".to_owned(), part.get_name().to_owned()]);
    }
    many::run(&Plan {
        first: arguments.first,
        seeds: arguments.seeds,
        processes: arguments.processes.unwrap_or(processors),
        time_max: arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes)),
        arguments: &of_each,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_pass_and_the_same_seed_gives_the_same_events() {
        for seed in 0..5 {
            let [first, second] = [(); 2].map(|()| run(seed, false, Faults::default()).expect("it runs"));
            assert!(first.failure.is_none(), "seed {seed}: {:?}\n{}", first.failure, first.events.last());
            assert_eq!(first.events.sum(), second.events.sum(), "seed {seed}");
        }
    }

    #[test]
    fn a_device_that_ignores_flushes_is_detected() {
        let faults = Faults { ignores_flushes: true, ..Faults::default() };
        let is_noticed = |seed| run(seed, false, faults).expect("it runs").failure.is_some();
        assert!((0..30).any(is_noticed));
    }

    #[test]
    fn each_mutation_is_found_by_its_check() {
        for (name, part, text) in MUTATIONS {
            let faults = Faults { mutation: Some(name), ..Faults::default() };
            let failures = (0..2_000).filter(|seed| Part::of(*seed) == part).filter_map(|seed| {
                let failure = run(seed, false, faults).expect("it runs").failure?;
                Some((seed, format!("{failure:#}")))
            });
            let found = failures.inspect(|(seed, why)| println!("{name}: seed {seed}: {why}")).next();
            assert!(found.is_some_and(|(_, why)| why.contains(text)), "{name} is not found by its check");
        }
    }
}
