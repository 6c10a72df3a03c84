//! The measured server, and its control protocol: one-byte requests on a separate connection, each answered with two numbers.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use edge::{DevAuthority, Listener};
use http::{Request, Response};
use http_messages::Body;
use prometheus_client::registry::Registry;
use realtime::Mode;
use realtime::events::{ConnectionEvent, ConnectionListener, DeliveryError, EventKind};
use realtime::upstream::TemplateOptions;
use realtime_engine::Hub;
use tokio::runtime::Runtime;

use super::bare::Bare;
use super::kind::{FILES, KEY, Kind};
use crate::fanout::{allow_files, anonymous_bytes, pin};
use crate::service::dependencies;

/// Flags of the hidden command `connect-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kind: Kind,
    /// Where connection events go
    #[arg(long)]
    upstream: Option<String>,
    /// A folder for the development certificate; TLS is then accepted too
    #[arg(long)]
    tls: Option<std::path::PathBuf>,
}

/// The requests of the control protocol.
#[derive(Clone, Copy)]
pub(super) enum Question {
    /// Anonymous memory in bytes; the second number is unused.
    Memory = b'M' as isize,
    /// Open WebSockets, and open HTTP connections.
    Held = b'H' as isize,
    /// Connected and disconnected events that the in-process listener received.
    Told = b'T' as isize,
}

/// Sends requests to a server.
pub(super) struct Control(TcpStream);

impl Control {
    pub(super) fn connect(address: std::net::SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    pub(super) fn ask(&mut self, question: Question) -> anyhow::Result<[u64; 2]> {
        self.0.write_all(&[question as u8])?;
        let mut bytes = [0; 16];
        self.0.read_exact(&mut bytes).context("the server has gone")?;
        let (first, second) = bytes.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of sixteen is eight"));
        Ok([number(first), number(second)])
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    pin(0)?;
    allow_files(FILES)?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = Server::start(args, &runtime)?;
    println!("{} {}", server.address, control.local_addr()?);
    let (control, _from) = control.accept()?;
    control.set_nodelay(true)?;
    server.obey(control)
}

struct Server<'a> {
    runtime: &'a Runtime,
    address: std::net::SocketAddr,
    metrics: Registry,
    product: Product,
    told: Told,
    _folder: Option<tempfile::TempDir>,
}

enum Product {
    Bare(Bare),
    Chappe(realtime::Handle),
}

/// A listener that accepts every event at once.
#[derive(Clone, Debug, Default)]
struct Told(Arc<[AtomicU64; 2]>);

#[async_trait::async_trait]
impl ConnectionListener for Told {
    fn name(&self) -> &'static str {
        "bench"
    }

    fn subscribes_to(&self, _hub: &Hub, _kind: EventKind) -> bool {
        true
    }

    async fn deliver(&self, event: &ConnectionEvent) -> Result<(), DeliveryError> {
        let index = usize::from(event.change.kind() == EventKind::Disconnected);
        self.0[index].fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

impl<'a> Server<'a> {
    fn start(args: &Args, runtime: &'a Runtime) -> anyhow::Result<Self> {
        let mut metrics = Registry::default();
        let told = Told::default();
        let edge_metrics = edge::Metrics::register(&mut metrics);
        let mut listener = {
            let _inside = runtime.enter();
            Listener::bind("bench", ([127, 0, 0, 1], 0).into())?
        };
        listener = listener.with_metrics(&edge_metrics);
        if let Some(folder) = &args.tls {
            listener = listener.with_tls(DevAuthority::load_or_create(folder)?.tls_config()?);
        }
        let address = listener.local_addr();
        let (product, folder) = match args.kind {
            Kind::Bare => {
                let bare = Bare::start()?;
                let service = {
                    let bare = bare.clone();
                    tower::service_fn(move |request| bare.clone().answer(request))
                };
                serve(runtime, listener, service);
                (Product::Bare(bare), None)
            }
            Kind::Chappe | Kind::Listener => {
                let folder = tempfile::tempdir()?;
                let told = (args.kind == Kind::Listener).then(|| told.clone());
                let started = start_realtime(args, told, folder.path(), &mut metrics);
                let (service, handle) = runtime.block_on(started)?;
                serve(runtime, listener, service);
                (Product::Chappe(handle), Some(folder))
            }
        };
        Ok(Self { runtime, address, metrics, product, told, _folder: folder })
    }

    /// Answers requests until the control connection closes.
    fn obey(&self, mut control: TcpStream) -> anyhow::Result<()> {
        let mut question = [0];
        while control.read_exact(&mut question).is_ok() {
            let numbers = match question[0] {
                b'M' => [anonymous_bytes(std::process::id())?, 0],
                b'H' => [self.held()?, self.open()?],
                b'T' => [0, 1].map(|index| self.told.0[index].load(Ordering::Acquire)),
                other => bail!("an unknown question: {other}"),
            };
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            control.write_all(&bytes)?;
        }
        Ok(())
    }

    fn held(&self) -> anyhow::Result<u64> {
        match &self.product {
            Product::Bare(bare) => Ok(bare.held()),
            Product::Chappe(handle) => Ok(self.runtime.block_on(handle.engine().connection_count(None))?),
        }
    }

    /// HTTP connections that are open, from the listener's own metric.
    fn open(&self) -> anyhow::Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics)?;
        let line = text.lines().find(|line| line.starts_with("edge_connections_open{"));
        let number = line.and_then(|line| line.rsplit(' ').next()).context("a metric of the listener")?;
        Ok(number.parse()?)
    }
}

fn serve<S>(runtime: &Runtime, listener: Listener, service: S)
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    // This thread ends with the process.
    runtime.spawn(listener.serve(service, std::future::pending::<()>()));
}

async fn start_realtime(
    args: &Args,
    told: Option<Told>,
    folder: &std::path::Path,
    metrics: &mut Registry,
) -> anyhow::Result<(realtime::Service, realtime::Handle)> {
    let store = state_embedded::Store::open(folder, &state_embedded::Options::default())?;
    let listeners = told.into_iter().map(|told| Arc::new(told) as Arc<dyn ConnectionListener>).collect();
    let dependencies = dependencies(&store, listeners, metrics)?;
    let mut options = realtime::Options {
        primary_key: Some(KEY.to_owned()),
        mode: Mode::Serverless,
        ..realtime::Options::default()
    };
    options.engine.shards = NonZeroU16::new(1);
    options.upstream.templates = args
        .upstream
        .iter()
        .map(|authority| TemplateOptions {
            url_template: format!("http://{authority}/{{hub}}/{{category}}/{{event}}"),
            ..TemplateOptions::default()
        })
        .collect();
    let (service, handle, join) = realtime::start(options, dependencies, metrics).await?;
    // Nothing is drained: the process ends with its control connections.
    drop(tokio::spawn(async move {
        let _join = join;
        let _store = store;
        std::future::pending::<()>().await;
    }));
    Ok((service, handle))
}
