//! Crash and load tests with full counts: the same tests as in CI, with larger numbers in the environment.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{fuzz, step};

/// How often a process under load is killed, in each crash test.
const KILLS: &str = "200";

/// Faults of each kind in the files of a killed process.
const DAMAGE: &str = "2000";

/// Connections to one process while messages flow; on most systems, a process may have 20,000 descriptors.
const CONNECTIONS: &str = "15000";

/// The seeds of the simulator.
#[derive(Debug, clap::Args)]
pub(crate) struct Seeds {
    /// How many seeds the simulator runs
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// The simulator starts no further seeds after this many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Seeds that the simulator runs at a time; by default, as many as there are processors
    #[arg(long)]
    processes: Option<u64>,
}

/// Half-open connections at a time.
const FLOOD: &str = "8000";

/// Clients that call while their app server is replaced, and how often it is replaced.
const MOVING_CLIENTS: &str = "200";
const MOVES: &str = "50";

/// Edits of an app under load.
const EDITS: &str = "50";

/// Bytes of one streamed request or response: 2 GB.
const STREAM_BYTES: &str = "2147483648";

/// Concurrent uploads to a function, and the bytes of each.
const UPLOADS: [(&str, &str); 2] = [("CHAPPE_UPLOADS", "40"), ("CHAPPE_UPLOAD_BYTES", "104857600")];

/// Lines that one invocation logs.
const LOGS: [(&str, &str); 1] = [("CHAPPE_LOG_LINES", "1000000")];

/// How long all fuzz targets run together.
const FUZZ: Duration = Duration::from_secs(3600);

/// Runs all of them, or those whose name contains a text.
pub(crate) fn run(root: &Path, only: Option<&str>, seeds: &Seeds) -> anyhow::Result<()> {
    let steps: Vec<step::Step<'_>> = vec![
        ("soak state-embedded", Box::new(|| crashes(root, "state-embedded", "crash"))),
        ("soak damage", Box::new(|| damage(root))),
        ("soak simulate", Box::new(|| simulate(root, seeds))),
        ("soak documents", Box::new(|| crashes(root, "documents", "crash"))),
        ("soak connection events", Box::new(|| crashes(root, "chappe", "connection_events"))),
        ("soak fuzz", Box::new(|| fuzz::run(root, FUZZ))),
        ("soak floods", Box::new(|| floods(root))),
        ("soak realtime", Box::new(|| connections(root))),
        ("soak migration", Box::new(|| migration(root))),
        ("soak main job", Box::new(|| main_job(root))),
        ("soak workers", Box::new(|| crashes(root, "functions", "crashes::"))),
        ("soak streams", Box::new(|| streams(root))),
        ("soak uploads", Box::new(|| functions_load(root, "uploads", &UPLOADS))),
        ("soak logs", Box::new(|| functions_load(root, "log lines", &LOGS))),
        ("soak hot reload", Box::new(|| hot_reload(root))),
    ];
    step::run_steps(steps, only)
}

fn crashes(root: &Path, package: &str, filter: &str) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["test", "--release", "--package", package, "--", "--nocapture", filter]);
    step::run(command.env("CHAPPE_SOAK_KILLS", KILLS).current_dir(root))
}

fn simulate(root: &Path, seeds: &Seeds) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--release", "--package", "simulator"])?;
    let mut simulator = Command::new(root.join("target/release/simulator"));
    simulator.arg("--seeds").arg(seeds.seeds.to_string()).arg("--first").arg(seeds.first.to_string());
    for (name, value) in [("--minutes", seeds.minutes), ("--processes", seeds.processes)] {
        if let Some(value) = value {
            simulator.arg(name).arg(value.to_string());
        }
    }
    step::run(simulator.current_dir(root))
}

/// Repeats one seed of the simulator, and shows all of its events. The build profile is that of CI, so that most crates are already built.
pub(crate) fn simulate_one(root: &Path, seed: u64) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--package", "simulator"])?;
    let mut simulator = Command::new(root.join("target/debug/simulator"));
    step::run(simulator.args(["--seed", &seed.to_string()]).current_dir(root))
}

fn damage(root: &Path) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["test", "--release", "--package", "checked-files", "--", "--nocapture", "damage"]);
    step::run(command.env("CHAPPE_SOAK_DAMAGE", DAMAGE).current_dir(root))
}

fn floods(root: &Path) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["test", "--package", "chappe", "--test", "it", "--", "--nocapture", "hostile::floods"]);
    step::run(command.env("CHAPPE_SOAK_FLOOD", FLOOD).current_dir(root))
}

/// Clients that call continuously while their app servers are replaced.
fn migration(root: &Path) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args([
        "test",
        "--release",
        "--package",
        "realtime",
        "--test",
        "it",
        "--",
        "--nocapture",
        "moving",
    ]);
    command.env("CHAPPE_SOAK_CLIENTS", MOVING_CLIENTS).env("CHAPPE_SOAK_MOVES", MOVES);
    step::run(command.current_dir(root))
}

fn connections(root: &Path) -> anyhow::Result<()> {
    step::cargo(root, &["build", "--release", "--package", "chappe", "--package", "bench"])?;
    let mut bench = Command::new(root.join("target/release/bench"));
    bench.args(["connections", "--connections", CONNECTIONS, "--flow-s", "60", "--kills", "5"]);
    step::run(bench.args(["--waves", "3"]).current_dir(root))
}

fn main_job(root: &Path) -> anyhow::Result<()> {
    crate::packages::install_npm(root)?;
    step::cargo(root, &["build", "--release", "--package", "chappe"])?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-name-pattern=kill", "main-job.test.mjs"]).current_dir(root.join("compat"));
    node.env("CHAPPE_BIN", root.join("target/release/chappe")).env("CHAPPE_SOAK_KILLS", "50");
    step::run(&mut node)
}

fn streams(root: &Path) -> anyhow::Result<()> {
    crate::packages::install_npm(root)?;
    step::cargo(root, &["build", "--release", "--package", "chappe"])?;
    let mut node = Command::new("node");
    node.args(["--test", "streams.test.mjs"]).current_dir(root.join("compat"));
    node.env("CHAPPE_BIN", root.join("target/release/chappe")).env("CHAPPE_STREAM_BYTES", STREAM_BYTES);
    step::run(&mut node)
}

/// Edits, broken edits and kills of an app with calls, a timer, a change feed and a client.
fn hot_reload(root: &Path) -> anyhow::Result<()> {
    crate::packages::install_npm(root)?;
    step::cargo(root, &["build", "--release", "--package", "chappe"])?;
    let mut node = Command::new("node");
    node.args(["--test", "hot-reload.test.mjs"]).current_dir(root.join("compat"));
    node.env("CHAPPE_BIN", root.join("target/release/chappe")).env("CHAPPE_SOAK_EDITS", EDITS);
    step::run(&mut node)
}

/// The tests of a functions host under load whose names contain a text, with these numbers.
fn functions_load(root: &Path, tests: &str, numbers: &[(&str, &str)]) -> anyhow::Result<()> {
    crate::packages::install_npm(root)?;
    step::cargo(root, &["build", "--release", "--package", "chappe"])?;
    let mut node = Command::new("node");
    node.arg("--test").arg(format!("--test-name-pattern={tests}")).arg("functions-load.test.mjs");
    node.env("CHAPPE_BIN", root.join("target/release/chappe")).envs(numbers.iter().copied());
    step::run(node.current_dir(root.join("compat")))
}

fn cargo() -> Command {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
}
