//! The Chappe binary: command line, configuration, wiring, and life cycle of the process.
//!
//! It only assembles: each service is implemented in its crate, `services.rs` lists the services, and `wiring.rs` connects them.
//! Start reading at `run.rs`.

mod admin;
mod admin_request;
mod assemble;
mod change;
mod check;
mod cli;
mod command_error;
mod config;
mod data_folder;
mod demo;
mod drain;
mod error_code;
#[cfg(test)]
mod error_pages;
mod error_table;
mod exit;
mod gateway_command;
mod guard;
mod keys;
mod plan;
mod ports;
mod private;
mod ready;
mod reload;
mod run;
mod services;
mod signals;
mod tail;
mod telemetry;
#[cfg(test)]
mod toy;
mod trust;
mod usage;
mod wiring;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, ConfigCommand, FunctionsCommand};
use crate::plan::Plan;

/// Returns memory to the system after thousands of clients have disconnected. glibc keeps every page that has one small allocation
/// in use, which after a busy hour is all of them; the numbers are in docs/dependencies.md.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(cli::normalise(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let sections = || services::sections(services::TABLE);
    let plan = match &cli.command {
        Command::Start(start) => Plan::start(sections(), start.app(), &start.shared, &start.func),
        Command::Demo(demo) => Plan::demo(sections(), demo.folder.as_deref(), demo.yes, &demo.shared),
        Command::Check(check) => {
            // With a named folder neither an app nor a configuration is needed: they may have been lost.
            if let Some(Some(folder)) = &check.data {
                return check_data(folder);
            }
            let plan = if check.data.is_some() { Plan::start } else { Plan::check };
            plan(sections(), check.app(), &check.shared, &check.func)
        }
        Command::Config(ConfigCommand::Schema) => {
            ready::print(config::schema::TEXT.trim_end());
            return ExitCode::SUCCESS;
        }
        Command::Config(ConfigCommand::Show(show)) => {
            Plan::start(sections(), show.app(), &show.shared, &show.func)
        }
        Command::Backup(backup) => {
            let made = data_folder::backup::backup(&backup.data_dir, &backup.to);
            if made.is_ok() {
                println!(
                    "The copy in {} is complete, and everything in it can be read.",
                    backup.to.display()
                );
            }
            return exit_code_of(made);
        }
        Command::Trust(trust) => return exit_code_of(trust::run(trust)),
        Command::Gateway(command) => return exit_code_of(gateway_command::run(command)),
        Command::Tail(tail) => return exit_code_of(tail::run(tail)),
        Command::Functions(FunctionsCommand::Usage(usage)) => return exit_code_of(usage::run(usage)),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            print_error(&error.into());
            return ExitCode::from(exit::USAGE);
        }
    };
    if let Command::Config(_) = &cli.command {
        let settings = config::show::settings(&plan.config, &plan.layers);
        let text = if plan.json { config::show::to_json } else { config::show::to_toml }(&settings);
        ready::print(text.trim());
        return ExitCode::SUCCESS;
    }
    if let Command::Check(check) = &cli.command {
        if check.data.is_some() {
            return plan.data_dir.as_deref().map_or(ExitCode::SUCCESS, check_data);
        }
        return checked(check::run(plan, services::TABLE));
    }
    exit_code_of(run::run(plan, services::TABLE))
}

/// Prints the result of a check: each problem as a separate error.
fn checked(findings: anyhow::Result<services::Findings>) -> ExitCode {
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => return exit_code_of(Err(error)),
    };
    if findings.problems.is_empty() {
        let functions = match findings.functions.len() {
            0 => String::new(),
            _ => format!(" Functions: {}.", findings.functions.join(", ")),
        };
        println!("The configuration and the app are in order.{functions}");
        return ExitCode::SUCCESS;
    }
    for problem in &findings.problems {
        eprintln!("error: {}", problem.text);
        eprintln!("  code: {}", problem.code);
    }
    ExitCode::from(exit::USAGE)
}

/// Requested help and version go to standard output; any other parse error is a wrong command line.
fn usage(error: &clap::Error) -> ExitCode {
    // Fails if the stream is closed; the exit code is still correct.
    let _ = error.print();
    if error.use_stderr() {
        print_code(&error_table::configuration::COMMAND_LINE);
    }
    if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS }
}

/// Reads a data folder, and prints the damage.
fn check_data(folder: &Path) -> ExitCode {
    let complaints = match data_folder::check::check(folder) {
        Ok(complaints) => complaints,
        Err(error) => return exit_code_of(Err(error.into())),
    };
    if complaints.is_empty() {
        println!("The data folder {} is complete, and everything in it can be read.", folder.display());
        return ExitCode::SUCCESS;
    }
    for complaint in complaints {
        eprintln!("error: {complaint}");
    }
    print_code(&error_table::data::DAMAGED);
    eprintln!(
        "Restore a backup of the folder (docs/backup.md). Without one, `chappe start --accept-loss=PART` continues with the remaining data."
    );
    ExitCode::FAILURE
}

fn exit_code_of(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // Errors of a running process were logged where they occurred.
    if !(error.is::<supervision::Failure>() || error.is::<drain::Overdue>() || error.is::<exit::Logged>()) {
        print_error(&error);
    }
    ExitCode::from(exit::code(&error))
}

/// Prints an error: what happened, then its causes and its code, one per line.
fn print_error(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    print_code(error_code::describe(error));
}

/// Prints the code that identifies an error in docs/errors.
fn print_code(description: &http_messages::ErrorDescription) {
    eprintln!("  code: {} (docs/errors)", description.code);
}
