//! Benches: each measures the product beside a baseline of the same run, and prints the ratio.
//!
//! Absolute numbers depend on the machine and the moment; ratios carry over. Each bench prints a table and, with a flag, writes its
//! measurements as JSON.

mod connect;
mod connections;
mod core_time;
mod fanout;
mod functions;
mod idle;
mod journal;
mod latency;
mod report;
mod rest;
mod service;

use clap::Parser;

/// The binary's allocator, so that the measurements apply to the binary.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures Chappe against baselines of the same run
#[derive(Debug, Parser)]
#[command(name = "bench")]
enum Command {
    /// Server work for each message delivered to many clients, beside a bare send loop
    Fanout(fanout::Args),
    /// Sends by REST, beside the same HTTP stack with nothing behind it
    Rest(rest::Args),
    /// Durable appends, beside bare writes and flushes
    Journal(journal::Args),
    /// Time from an accepted write to the message at the client
    Latency(latency::Args),
    /// Many connections to one process while messages flow and the process is killed, until all have disconnected
    Connections(connections::Args),
    /// Verifies that the peer servers of the fan-out comparison deliver what was published
    Peers(fanout::peers::proof::Args),
    /// Server work for each client that negotiates, connects and joins a group, beside the bare HTTP and WebSocket stack
    Connect(connect::Args),
    /// Invocations of functions, beside the language's library in a loop, its worker without a host, and the vendor's workers
    Functions(functions::Args),
    /// Memory of an idle connection
    Idle(idle::Args),
    #[command(hide = true)]
    ConnectionsGenerator(connections::generator::Args),
    #[command(hide = true)]
    ConnectServer(connect::server::Args),
    #[command(hide = true)]
    ConnectGenerator(connect::generator::Args),
    #[command(hide = true)]
    RestServer(rest::server::Args),
    #[command(hide = true)]
    RestGenerator(rest::generator::Args),
    #[command(hide = true)]
    FanoutServer(fanout::server::Args),
    #[command(hide = true)]
    FanoutGenerator(fanout::generator::Args),
    #[command(hide = true)]
    FanoutApp,
    #[command(hide = true)]
    PeerProcess(fanout::peers::process::Args),
}

fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Fanout(args) => fanout::run(&args),
        Command::Functions(args) => functions::run(&args),
        Command::Rest(args) => rest::run(&args),
        Command::Journal(args) => journal::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Connections(args) => connections::run(&args),
        Command::Peers(args) => fanout::peers::proof::run(&args),
        Command::ConnectionsGenerator(args) => connections::generator::run(&args),
        Command::RestServer(args) => rest::server::run(&args),
        Command::RestGenerator(args) => rest::generator::run(&args),
        Command::Connect(args) => connect::run(&args),
        Command::Idle(args) => idle::run(&args),
        Command::ConnectServer(args) => connect::server::run(&args),
        Command::ConnectGenerator(args) => connect::generator::run(&args),
        Command::FanoutServer(args) => fanout::server::run(&args),
        Command::FanoutGenerator(args) => fanout::generator::run(&args),
        Command::FanoutApp => fanout::app::run(),
        Command::PeerProcess(args) => fanout::peers::process::run(&args),
    }
}
