//! The Chappe binary: command line, configuration, wiring, and the life of the process.
//!
//! It assembles and decides nothing: which service does what stands in the services, who meets whom in `wiring/`. Start
//! reading at `run.rs`.

mod admin;
mod assemble;
mod cli;
mod config;
mod demo;
mod keys;
mod plan;
mod ports;
mod private;
mod ready;
mod run;
mod signals;
mod tail;
mod telemetry;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::plan::Plan;

/// Gives memory back when thousands of clients have left. glibc keeps every page that has one small piece still in use, which after a
/// busy hour is all of them; the numbers are in docs/dependencies.md.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration is wrong (`EX_USAGE` of sysexits.h): restarting does not help.
const EXIT_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let plan = match &cli.command {
        Command::Start(start) => Plan::start(&start.app, &start.shared),
        Command::Demo(demo) => Plan::demo(&demo.folder, &demo.shared),
        Command::Check(check) => Plan::start(&check.app, &check.shared),
        Command::Tail(tail) => return ended(tail::run(tail)),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            complain(&error.into());
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    if let Command::Check(_) = cli.command {
        println!("The configuration and the app can be read.");
        return ExitCode::SUCCESS;
    }
    ended(run::run(plan))
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// An error for people: what happened, then its causes, each on a line.
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
}
