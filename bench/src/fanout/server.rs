//! The measured server, and how the generator talks to it: by five-byte requests on a control connection of its own.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use edge::{Body, Upgrade};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use realtime::engine::{
    self, Admission, ClientConnection, ClientInvocation, ConnectionId, EngineHandle, GroupName, Hub, Link,
    Membership, NodeId, Options, OutgoingMessage, Publish, Refusal, Room, Target, Upstream,
};
use tokio::runtime::Runtime;
use trace::Tracer;

use super::process::{allow_files, anonymous_bytes, cpu_ns, pin};
use super::{FRAME_BYTES, Kind, raw};

/// Flags of the hidden command `fanout-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    kind: Kind,
}

pub(super) const REQUEST_BYTES: usize = 5;

/// What the generator may ask.
pub(super) enum Question {
    /// Publish so many messages to the group; not answered, for the clients see them.
    Publish(u32),
    /// Put every client into the group; answered with their number.
    Join,
    /// Answered with processor time in nanoseconds and writes to clients so far.
    Counts,
    /// Answered with anonymous memory in bytes.
    Memory,
}

impl Question {
    pub(super) fn to_bytes(&self) -> [u8; REQUEST_BYTES] {
        let (letter, number) = match self {
            Self::Publish(burst) => (b'P', *burst),
            Self::Join => (b'J', 0),
            Self::Counts => (b'C', 0),
            Self::Memory => (b'M', 0),
        };
        let [a, b, c, d] = number.to_le_bytes();
        [letter, a, b, c, d]
    }

    pub(super) fn parse([letter, a, b, c, d]: [u8; REQUEST_BYTES]) -> Option<Self> {
        match letter {
            b'P' => Some(Self::Publish(u32::from_le_bytes([a, b, c, d]))),
            b'J' => Some(Self::Join),
            b'C' => Some(Self::Counts),
            b'M' => Some(Self::Memory),
            _ => None,
        }
    }
}

pub(super) fn answer(control: &mut impl Write, numbers: [u64; 2]) -> std::io::Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&numbers[0].to_le_bytes());
    bytes[8..].copy_from_slice(&numbers[1].to_le_bytes());
    control.write_all(&bytes)
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    pin(0)?;
    allow_files(20_000)?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    match args.kind {
        Kind::Raw => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            println!("{} {}", listener.local_addr()?, control.local_addr()?);
            raw::run(listener, accept_control(&control)?)
        }
        Kind::Chappe => {
            // The async runtime only shakes hands; one thread of it is enough.
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let server = Server::start(&runtime, &control)?;
            server.obey(accept_control(&control)?)
        }
    }
}

fn accept_control(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (control, _from) = listener.accept()?;
    control.set_nodelay(true)?;
    Ok(control)
}

struct Server<'a> {
    runtime: &'a Runtime,
    engine: EngineHandle,
    join: engine::EngineJoin,
    registry: Registry,
    connected: Arc<Connected>,
    group: GroupName,
}

/// Notes who has done the handshake, so that all can be put into the group.
#[derive(Default, Debug)]
struct Connected(Mutex<Vec<ConnectionId>>);

impl Upstream for Connected {
    fn invoke(&self, _invocation: ClientInvocation) -> Result<Room, Refusal> {
        Err(Refusal("the bench answers no calls".to_owned()))
    }

    fn connected(&self, connection: &ClientConnection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection.id);
    }
}

impl<'a> Server<'a> {
    fn start(runtime: &'a Runtime, control: &TcpListener) -> anyhow::Result<Self> {
        let connected = Arc::new(Connected::default());
        let mut registry = Registry::default();
        // Clients of the bench are silent by design, and pings of the one server must not fall into the samples of the other.
        let hour_ms = 3_600_000;
        let options = Options {
            shards: std::num::NonZeroU16::new(1),
            keep_alive_ms: hour_ms,
            client_timeout_ms: 2 * hour_ms,
            ..Options::default()
        };
        let upstream = Arc::clone(&connected) as Arc<dyn Upstream>;
        let (engine, join) = engine::start(&options, NodeId(0), Tracer::new(16), &mut registry, upstream)?;
        let listener = {
            let _inside = runtime.enter();
            edge::Listener::bind("bench", ([127, 0, 0, 1], 0).into())?
        };
        println!("{} {}", listener.local_addr(), control.local_addr()?);
        let service = {
            let engine = engine.clone();
            tower::service_fn(move |request| upgrade(engine.clone(), request))
        };
        // Ends with the process: the sockets that matter have left it.
        runtime.spawn(listener.serve(service, std::future::pending::<()>()));
        let group = GroupName::new("everybody");
        Ok(Self { runtime, engine, join, registry, connected, group })
    }

    fn obey(self, mut control: TcpStream) -> anyhow::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        while control.read_exact(&mut request).is_ok() {
            match Question::parse(request).context("an unknown request")? {
                Question::Publish(burst) => self.publish(burst)?,
                Question::Join => answer(&mut control, [self.join_all()?, 0])?,
                Question::Counts => answer(&mut control, [cpu_ns(), self.writes()?])?,
                Question::Memory => answer(&mut control, [anonymous_bytes()?, 0])?,
            }
        }
        self.runtime.block_on(self.join.drain(std::time::Duration::ZERO));
        Ok(())
    }

    fn publish(&self, burst: u32) -> anyhow::Result<()> {
        // What stands around the text, with the separator, in a frame with a head of four bytes.
        let around = b"{\"type\":1,\"target\":\"m\",\"arguments\":[\"\"]}\x1e".len();
        let text = "x".repeat(FRAME_BYTES - 4 - around);
        for _ in 0..burst {
            let publish = Publish {
                hub: hub(),
                target: Target::Group(self.group.clone()),
                excluded: Vec::new(),
                excluded_users: Vec::new(),
                message: OutgoingMessage::invocation("m", &format!("[\"{text}\"]"))?,
                trace: None,
            };
            self.engine.try_publish(publish)?;
        }
        Ok(())
    }

    fn join_all(&self) -> anyhow::Result<u64> {
        let all = std::mem::take(&mut *self.connected.0.lock().unwrap_or_else(PoisonError::into_inner));
        let hub = hub();
        self.runtime.block_on(async {
            for connection in &all {
                let joined =
                    self.engine.change_connection(&hub, *connection, &self.group, Membership::Join).await?;
                if !joined {
                    bail!("a client has gone");
                }
            }
            Ok(self.engine.connection_count(Some(&hub)).await?)
        })
    }

    /// Writes so far, from the engine's own metric.
    fn writes(&self) -> anyhow::Result<u64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        let lines = text.lines().filter(|line| line.starts_with("realtime_writes_total{"));
        let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(numbers.sum())
    }
}

fn hub() -> Hub {
    Hub::new(state::Instance::new("bench").expect("the name is valid"), "bench")
}

async fn upgrade(engine: EngineHandle, mut request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut response = Response::new(
        http_body_util::Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync(),
    );
    let upgrade = request.extensions_mut().remove::<Upgrade>();
    let (Ok(accept), Some(upgrade)) = (websocket::accept_upgrade(&request), upgrade) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    tokio::spawn(async move {
        let admission = Admission::new(hub(), engine.issue().connection, None);
        match upgrade.into_socket().await {
            Ok(socket) => {
                if let Err(error) = engine.attach(Link::Socket(socket), admission).await {
                    eprintln!("attach: {error}");
                }
            }
            Err(error) => eprintln!("upgrade: {error}"),
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    let accept = accept.parse().expect("base64 is a header value");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}
