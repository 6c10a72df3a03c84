//! Fan-out: what a delivered message costs the server, beside a bare loop that sends the same bytes and beside peer servers.
//!
//! Each contender has one server process on core 0 and one generator process on core 1; only one pair works at a time, and they take turns
//! within each round. The metric is the time in which core 0 was not idle, divided by the messages that the generator received
//! (`core_time.rs`); its ratio to the bare loop of the same round carries over to other machines.
//!
//! Start reading at [`run`]; `plan.rs` has the tables and their goals, `server.rs`, `raw.rs` and `peers.rs` are measured, `generator.rs`
//! measures, `measured.rs` reports.

pub(crate) mod app;
mod control;
pub(crate) mod generator;
mod measured;
mod pair;
pub(crate) mod peers;
mod plan;
pub(crate) mod process;
mod raw;
pub(crate) mod server;
mod table;
mod task;

pub(crate) use process::{allow_files, anonymous_bytes, pin};

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use crate::report::{Section, machine};
use crate::{connect, idle, rest};
use measured::Measured;

/// Flags of `bench fanout`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connected clients; some tables have a fifth of them, and one has nine fifths
    #[arg(long, default_value_t = 5000)]
    connections: u32,
    /// Rounds; each measures every contender at every level
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one sample in milliseconds
    #[arg(long, default_value_t = 2000)]
    sample_ms: u64,
    /// How often a sample is tried if it is disturbed, before it is left out
    #[arg(long, default_value_t = 4)]
    tries: usize,
    /// Another build of this program, whose server takes turns with ours, so that a change can be evaluated
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Only the tables with these names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Fail when a goal is missed
    #[arg(long)]
    check: bool,
    /// Also write the result as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("not run: server and generator need a processor each, and there is only one");
    }
    let mut tables = plan::tables(args.connections, args.sample_ms);
    if let Some(program) = &args.beside {
        tables.iter_mut().for_each(|table| table.add_beside(program));
    }
    let keys: Vec<&str> = tables.iter().map(|table| table.key).chain(OTHERS).collect();
    if let Some(unknown) = args.only.iter().find(|name| !keys.contains(&name.as_str())) {
        bail!("there is no table '{unknown}'; there are: {}", keys.join(", "));
    }
    println!("{}\n", machine());
    let is_asked = |key: &str| args.only.is_empty() || args.only.iter().any(|name| name == key);
    let mut sections: Vec<Section> = Vec::new();
    for key in keys.into_iter().filter(|key| is_asked(key)) {
        let section = match tables.iter().find(|table| table.key == key) {
            Some(table) => {
                let measured = Measured::take(table, args.rounds, args.tries)?;
                measured.section(table, plan::goals(table.goals, &measured), args.rounds)
            }
            None => other(key, args)?,
        };
        println!("{}", section.show());
        sections.push(section);
    }
    if let Some(path) = &args.json {
        let sections: Vec<_> = sections.iter().map(Section::to_json).collect();
        let text = serde_json::to_vec_pretty(&json!({ "machine": machine(), "tables": sections }))?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let goals = sections.iter().flat_map(|section| &section.goals);
    let missed: Vec<&str> = goals.filter(|goal| !goal.is_met()).map(|goal| goal.what.as_str()).collect();
    if args.check && !missed.is_empty() {
        bail!("missed: {}", missed.join("; "));
    }
    Ok(())
}

/// Tables that have benches of their own and belong to the goals of the fan-out.
const OTHERS: [&str; 3] = ["rest", "connect", "idle"];

fn other(key: &str, args: &Args) -> anyhow::Result<Section> {
    let (connections, rounds) = (args.connections, args.rounds);
    match key {
        "rest" => {
            let sample_ms = args.sample_ms;
            rest::section(&rest::Args { connections, rounds, sample_ms, check: false, json: None })
        }
        "connect" => {
            let connections = connections * 2 / 5;
            let (under_way, rough) = (connect::UNDER_WAY, false);
            connect::section(&connect::Args {
                connections,
                rounds,
                under_way,
                rough,
                check: false,
                json: None,
            })
        }
        // Most of a round is spent waiting for memory to settle.
        _ => idle::section(&idle::Args { connections, rounds: 1, check: false, json: None }),
    }
}
