//! The measured server: either the service as it runs in production, or the baseline of `bare.rs`.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::time::Duration;

use prometheus_client::registry::Registry;
use realtime::{Mode, Options};

use super::{KEY, Kind, bare};
use crate::fanout::process::{allow_files, pin};
use crate::service::dependencies;

/// Flags of the hidden command `rest-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kind: Kind,
    #[arg(long)]
    connections: u32,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    pin(0)?;
    allow_files(u64::from(args.connections) + 200)?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    // As in production, with one worker for the one core.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match args.kind {
        Kind::Bare => {
            let (http, clients) = bare::start(&runtime, args.connections)?;
            tell(http, clients, &control)?;
            await_generator(&control)
        }
        Kind::Chappe => {
            let folder = tempfile::tempdir()?;
            let store = state_embedded::Store::open(folder.path(), &state_embedded::Options::default())?;
            let (http, join) = runtime.block_on(start(&store))?;
            tell(http, http, &control)?;
            await_generator(&control)?;
            runtime.block_on(async {
                join.drain(Duration::ZERO).await;
                store.close().await;
            });
            Ok(())
        }
    }
}

/// The service of `chappe`, with the store of a process.
async fn start(store: &state_embedded::Store) -> anyhow::Result<(SocketAddr, realtime::Join)> {
    let mut registry = Registry::default();
    // Clients of the bench send nothing by design, and pings must not fall into the samples.
    let hour_ms = 3_600_000;
    let engine = realtime_engine::Options {
        shards: NonZeroU16::new(1),
        keep_alive_ms: hour_ms,
        client_timeout_ms: 2 * hour_ms,
        ..realtime_engine::Options::default()
    };
    let options =
        Options { primary_key: Some(KEY.to_owned()), mode: Mode::Serverless, engine, ..Options::default() };
    let dependencies = dependencies(store, Vec::new(), &mut registry)?;
    let (service, _handle, join) = realtime::start(options, dependencies, &mut registry).await?;
    let listener = edge::Listener::bind("bench", ([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr();
    // This thread ends with the process.
    tokio::spawn(listener.serve(service, std::future::pending::<()>()));
    Ok((address, join))
}

/// Prints the addresses for requests, clients and the control connection.
fn tell(http: SocketAddr, clients: SocketAddr, control: &TcpListener) -> anyhow::Result<()> {
    println!("{http} {clients} {}", control.local_addr()?);
    Ok(())
}

/// Returns when the generator has closed its control connection.
fn await_generator(control: &TcpListener) -> anyhow::Result<()> {
    let (mut control, _from) = control.accept()?;
    control.read_to_end(&mut Vec::new())?;
    Ok(())
}
