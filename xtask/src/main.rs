//! `cargo xtask`: the steps of CI (`ci`), the rules of the project (`tidy`), crash and load tests with full counts (`soak`), and benchmarks
//! (`bench`). Contributors can run the same commands as CI.

mod ci;
mod compat;
mod deny;
mod fuzz;
mod packages;
mod reference;
mod soak;
mod step;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "What CI runs, and the checks of the house rules")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything CI runs: format, lints, project rules, licences, tests, documentation, real clients
    Ci {
        /// Only the steps whose name contains this text
        #[arg(long)]
        only: Option<String>,
    },
    /// The architecture's invariants and the style rules that a tool can check
    Tidy,
    /// Licences, bans and sources of dependencies, as deny.toml specifies
    Deny,
    /// Write docs/configuration.md from the comments of the options
    Reference,
    /// Crash and load tests with full counts
    Soak {
        /// Only the steps whose name contains this text
        #[arg(conflicts_with = "only")]
        step: Option<String>,
        /// The same
        #[arg(long)]
        only: Option<String>,
        /// Repeat one seed of the simulator and show its events
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        seeds: soak::Seeds,
    },
    /// Fuzzing: every target for a total number of seconds, or one target without a limit or on given inputs
    Fuzz {
        /// Total seconds, if no target is named
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// One target, then inputs to run it on, or flags of libFuzzer
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        target: Vec<String>,
    },
    /// Compare the built binary with other implementations: functions-host (recordings), official-workers (the vendor's language workers)
    Compat {
        /// Which suite, and its flags, such as --case TEXT or --workers FOLDER
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// A benchmark: fanout, rest, connect, idle, connections, latency or journal; peers installs and verifies the servers that fanout
    /// compares with
    Bench {
        /// Which benchmark, and its flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes is printed, without a backtrace of this tool.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let root = workspace_root();
    match Cli::parse().command {
        Command::Ci { only } => ci::run(&root, only.as_deref()),
        Command::Tidy => tidy::run(&root),
        Command::Deny => deny::run(&root),
        Command::Reference => reference::run(&root, false),
        Command::Soak { seed: Some(seed), .. } => soak::simulate_one(&root, seed),
        Command::Soak { step, only, seeds, .. } => soak::run(&root, step.or(only).as_deref(), &seeds),
        Command::Fuzz { seconds, target } => match target.split_first() {
            None => fuzz::run(&root, std::time::Duration::from_secs(seconds)),
            Some((target, arguments)) => fuzz::run_one(&root, target, arguments),
        },
        Command::Compat { arguments } => match arguments.split_first() {
            Some((name, flags)) if name == "functions-host" => compat::functions_host(&root, flags),
            Some((name, flags)) if name == "official-workers" => compat::official_workers(&root, flags),
            _ => anyhow::bail!("unknown comparison; use functions-host or official-workers"),
        },
        Command::Bench { arguments } => {
            let mut line = vec!["run", "--release", "--quiet", "--package", "bench", "--"];
            line.extend(arguments.iter().map(String::as_str));
            step::cargo(&root, &line)
        }
    }
}

fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}
