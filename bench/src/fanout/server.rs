//! The measured server, and its control protocol: five-byte requests of the generator on a separate connection.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use identity::DEVELOPMENT_SIGNALR_KEY;
use prometheus_client::registry::Registry;
use realtime::upstream::TemplateOptions;
use realtime::{Mode, Options};
use realtime_engine::{
    self, ConnectionId, EngineHandle, GroupName, Hub, ListScope, Membership, OutgoingMessage, Publish,
    PublishError, SlowConsumer, Target,
};
use state_embedded::Store;
use tokio::runtime::Runtime;

use super::control::{ControlRequest, REQUEST_BYTES, respond};
use super::process::{allow_files, pin};
use super::raw;
use super::task::{Shape, group, text};
use crate::service::dependencies;

/// Flags of the hidden command `fanout-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bare loop, instead of the service
    #[arg(long)]
    raw: bool,
    /// TLS, with a certificate of an authority whose file is named in the first line of the output
    #[arg(long)]
    tls: bool,
    /// The upstream for invocations of clients, as an authority
    #[arg(long)]
    upstream: Option<String>,
    /// Shards, each with its own processor
    #[arg(long, default_value_t = NonZeroU16::MIN)]
    shards: NonZeroU16,
    /// Clients that do not read lose messages, and are not disconnected
    #[arg(long)]
    keep_slow: bool,
}

/// The hub of all clients.
pub(super) const HUB: &str = "bench";

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.shards == NonZeroU16::MIN {
        pin(0)?;
    }
    allow_files(20_000)?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    if args.raw {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{} {}", listener.local_addr()?, control.local_addr()?);
        return raw::run(listener, accept_control(&control)?);
    }
    // One shard and one thread for requests, as on a machine of two processors.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = Server::start(&runtime, &control, args)?;
    server.execute(accept_control(&control)?)
}

fn accept_control(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (control, _from) = listener.accept()?;
    control.set_nodelay(true)?;
    Ok(control)
}

/// The service as the binary starts it, except for timers that would run during samples.
fn options(args: &Args) -> Options {
    let hour_ms = 3_600_000;
    let mut engine = realtime_engine::Options {
        shards: Some(args.shards),
        // Clients of the bench send nothing by design, and pings of one server must not fall into the samples of another.
        keep_alive_ms: hour_ms,
        client_timeout_ms: 2 * hour_ms,
        disconnect_timeout_ms: hour_ms,
        ..realtime_engine::Options::default()
    };
    if args.keep_slow {
        engine.slow_consumer = SlowConsumer::DropOldest;
    }
    let mut options = Options {
        primary_key: Some(DEVELOPMENT_SIGNALR_KEY.to_owned()),
        development_keys: true,
        mode: Mode::Serverless,
        poll_interval_ms: hour_ms,
        engine,
        ..Options::default()
    };
    options.upstream.templates.extend(args.upstream.as_ref().map(|authority| TemplateOptions {
        url_template: format!("http://{authority}/{{event}}"),
        category_pattern: "messages".to_owned(),
        ..TemplateOptions::default()
    }));
    options
}

struct Server<'a> {
    runtime: &'a Runtime,
    engine: EngineHandle,
    hub: Hub,
    join: realtime::Join,
    store: Store,
    registry: Registry,
    shape: Shape,
    /// The receivers of a burst, by shape.
    targets: [Vec<Target>; Shape::ALL.len()],
    arguments: String,
    _folder: tempfile::TempDir,
}

impl<'a> Server<'a> {
    fn start(runtime: &'a Runtime, control: &TcpListener, args: &Args) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut registry = Registry::default();
        let store = Store::open(folder.path(), &state_embedded::Options::default())?;
        let dependencies = dependencies(&store, Vec::new(), &mut registry)?;
        let started = realtime::start(options(args), dependencies, &mut registry);
        let (service, handle, join) = runtime.block_on(started)?;
        let (listener, certificate) = {
            let _inside = runtime.enter();
            listener(args.tls, folder.path())?
        };
        let certificate = certificate.map_or_else(String::new, |path| path.display().to_string());
        println!("{} {} {certificate}", listener.local_addr(), control.local_addr()?);
        // This thread ends with the process; the measured sockets no longer belong to it.
        runtime.spawn(listener.serve(service, std::future::pending::<()>()));
        let hub = handle.hub(HUB)?;
        let engine = handle.engine().clone();
        let (shape, targets, arguments) = (Shape::One, Default::default(), String::new());
        Ok(Self { runtime, engine, hub, join, store, registry, shape, targets, arguments, _folder: folder })
    }

    fn execute(mut self, mut control: TcpStream) -> anyhow::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        while control.read_exact(&mut request).is_ok() {
            match ControlRequest::parse(request)? {
                ControlRequest::Publish(burst) => self.publish(burst)?,
                ControlRequest::FrameBytes(bytes) => {
                    self.arguments = format!("[\"{}\"]", text(bytes as usize));
                }
                ControlRequest::Shape(shape) => {
                    self.shape = Shape::from_number(shape).context("a known shape")?;
                }
                ControlRequest::Join => respond(&mut control, [self.join_all()?, 0])?,
                ControlRequest::Writes => respond(&mut control, [self.writes()?, 0])?,
            }
        }
        self.runtime.block_on(async {
            self.join.drain(Duration::ZERO).await;
            self.store.close().await;
        });
        Ok(())
    }

    fn publish(&self, burst: u32) -> anyhow::Result<()> {
        for _ in 0..burst {
            for target in &self.targets[self.shape.to_number() as usize] {
                let publish = || -> anyhow::Result<Publish> {
                    Ok(Publish {
                        hub: self.hub.clone(),
                        target: target.clone(),
                        excluded: Vec::new(),
                        excluded_users: Vec::new(),
                        message: OutgoingMessage::invocation("m", &self.arguments)?,
                        trace: None,
                    })
                };
                match self.engine.try_publish(publish()?) {
                    Err(PublishError::Busy) => self.runtime.block_on(self.engine.publish(publish()?))?,
                    published => published?,
                }
            }
        }
        Ok(())
    }

    /// Each client joins one group of all, one of fifty and one of ten.
    fn join_all(&mut self) -> anyhow::Result<u64> {
        let listed = self.engine.list_members(&self.hub, &ListScope::Hub, None, usize::MAX);
        let mut members = self.runtime.block_on(listed)?;
        // In order of connection, like the clients of every other server here: the order of their ids is random.
        members.sort_by_cached_key(|member| {
            let name = member.user.as_ref().map_or("", |user| user.as_str());
            (name.len(), name.to_owned())
        });
        let all: Vec<ConnectionId> = members.into_iter().map(|member| member.connection).collect();
        let mut targets: [Vec<Target>; Shape::ALL.len()] = Default::default();
        for (shape, size) in [(Shape::One, all.len().max(1)), (Shape::Fifties, 50), (Shape::Tens, 10)] {
            for (number, members) in all.chunks(size).enumerate() {
                let group = GroupName::new(&group(shape, number));
                targets[shape.to_number() as usize].push(Target::Group(group.clone()));
                self.runtime.block_on(self.join_group(&group, members))?;
            }
        }
        targets[Shape::Single.to_number() as usize] = all.iter().copied().map(Target::Connection).collect();
        self.targets = targets;
        Ok(all.len() as u64)
    }

    async fn join_group(&self, group: &GroupName, members: &[ConnectionId]) -> anyhow::Result<()> {
        for connection in members {
            let joined =
                self.engine.change_connection(&self.hub, *connection, group, Membership::Join).await?;
            if !joined {
                bail!("a client has gone");
            }
        }
        Ok(())
    }

    /// Writes so far, from the engine's metric.
    fn writes(&self) -> anyhow::Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let lines = text.lines().filter(|line| line.starts_with("realtime_writes_total{"));
        let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(numbers.sum())
    }
}

/// A listener on a free port, and the file of its certificate authority.
fn listener(tls: bool, folder: &std::path::Path) -> anyhow::Result<(edge::Listener, Option<PathBuf>)> {
    // All event stream clients have one address here, and the default limit of an address is below their number.
    let defaults = edge::Options::default();
    let options = edge::Options { connections_per_address_max: defaults.connections_max, ..defaults };
    let listener = edge::Listener::bind("bench", ([127, 0, 0, 1], 0).into())?.with_options(options);
    if !tls {
        return Ok((listener, None));
    }
    let authority = edge::DevAuthority::load_or_create(&folder.join("tls"))?;
    let certificate = authority.certificate_path().to_owned();
    Ok((listener.with_tls(authority.tls_config()?), Some(certificate)))
}
