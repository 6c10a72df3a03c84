//! [`Process`]: a simulated process with a store and the realtime service.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use identity::{AccessKey, Algorithm, Claims};
use prometheus_client::registry::Registry;
use realtime::{Dependencies, Handle, HistoryRule, Join, Options, Service};
use realtime_engine::{ConnectionId, EndReason, NodeId, TraceEventKind, TraceFilter, TraceSubscription};
use state_embedded::{JournalOptions, Store};
use supervision::{Supervisor, simulation};
use tokio::runtime::Runtime;
use tower::Service as _;
use trace::Tracer;

use crate::chance::Chance;
use crate::system;

const KEY: &str = "a-key-for-the-simulator";
/// Rounds after which a pending future will never be ready.
const ROUNDS_MAX: usize = 3_000;
/// Metrics that are 0 when no client is connected.
const GAUGES: [&str; 4] = [
    "realtime_connections",
    "realtime_pending_bytes",
    "realtime_outlet_bytes",
    "realtime_upgrades_under_way",
];

/// Everything that ends with a process.
pub(super) struct Process {
    pub(super) runtime: Runtime,
    pub(super) supervisor: Supervisor,
    pub(super) service: Service,
    pub(super) handle: Handle,
    /// Whether the buffer for a client is small.
    pub(super) waits_little: bool,
    /// Connections that were opened, and the reason of those that ended.
    pub(super) opened: BTreeSet<ConnectionId>,
    pub(super) ends: BTreeMap<ConnectionId, EndReason>,
    trace: TraceSubscription,
    metrics: Registry,
    join: Option<Join>,
    store: Store,
}

/// The service pings a client to which it has sent nothing for this long.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// A client that sends pings and is then silent for this long is disconnected.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(8);
/// A client without a socket or a poll is disconnected after this long.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that may wait for a client if the buffer is small.
const LITTLE: u32 = 8_000;

fn options(chance: &mut Chance) -> Result<Options> {
    let engine = realtime_engine::Options {
        shards: NonZeroU16::new(u16::try_from(chance.between(1, 2))?),
        pending_bytes_max: if chance.once_in(3) { LITTLE } else { 1_000_000 },
        keep_alive_ms: KEEP_ALIVE.as_secs() * 1_000,
        client_timeout_ms: CLIENT_TIMEOUT.as_secs() * 1_000,
        disconnect_timeout_ms: DISCONNECT_TIMEOUT.as_secs() * 1_000,
        commands_max: if chance.once_in(3) { 2 } else { 1_024 },
        ..realtime_engine::Options::default()
    };
    let rule: HistoryRule =
        serde_json::from_str(r#"{"hub":"chat","group":"kept","messages":100000,"seconds":86400}"#)?;
    Ok(Options { primary_key: Some(KEY.to_owned()), history: vec![rule], engine, ..Options::default() })
}

impl Process {
    /// Starts a process on the files of the disk.
    pub(super) fn start(chance: &mut Chance) -> Result<Self> {
        let directory = system::disk(|disk| disk.root().join("state"));
        let supervisor = Supervisor::simulated();
        let journal = JournalOptions {
            segment_bytes: 128 << 10,
            segment_bytes_first: 64 << 10,
            reader_threads: 1,
            ..JournalOptions::default()
        };
        let state = state_embedded::Options { journal, ..state_embedded::Options::default() };
        let store = Store::open_supervised(&directory, &state, &supervisor).context("open the store")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut metrics = Registry::default();
        let egress =
            egress::Client::new(&egress::Options::default(), &egress::Metrics::register(&mut metrics))?;
        let dependencies = Dependencies {
            node: NodeId(0),
            tracer: Tracer::new(10),
            journal: store.journal(),
            registry: store.registry(),
            egress,
            bodies: http_messages::Budget::default(),
            supervisor: supervisor.clone(),
            listeners: Vec::new(),
        };
        let options = options(chance)?;
        let waits_little = options.engine.pending_bytes_max == LITTLE;
        let started = {
            let start = realtime::start(options, dependencies, &mut metrics);
            finish(&runtime, start, || Ok(()))?
        };
        let (service, handle, join) = started.context("start the service")?;
        let filter = TraceFilter { presence_only: true, ..TraceFilter::default() };
        let trace = finish(&runtime, handle.engine().subscribe_trace(filter), || Ok(()))?;
        let trace = trace.context("subscribe to the trace")?;
        let (opened, ends) = (BTreeSet::new(), BTreeMap::new());
        let join = Some(join);
        Ok(Self {
            runtime,
            supervisor,
            service,
            handle,
            waits_little,
            opened,
            ends,
            trace,
            metrics,
            join,
            store,
        })
    }

    /// Runs tasks, and one turn of each thread.
    pub(super) fn round(&self) {
        round(&self.runtime);
    }

    /// Reads which connections were opened and which have ended.
    pub(super) fn read_trace(&mut self) {
        loop {
            let next = ready(&self.runtime, self.trace.next());
            let Some(Some(event)) = next else { return };
            match (event.connection, event.event) {
                (Some(id), TraceEventKind::Connected { .. }) => drop(self.opened.insert(id)),
                (Some(id), TraceEventKind::Ended { reason, .. }) => drop(self.ends.insert(id, reason)),
                _ => {}
            }
        }
    }

    /// The output of a future if it is ready now.
    pub(super) fn ready<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        ready(&self.runtime, future)
    }

    /// The metrics that count what belongs to connections.
    pub(super) fn gauges(&self) -> Result<Vec<(String, f64)>> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics)?;
        let samples = text.lines().filter(|line| GAUGES.iter().any(|name| is_sample_of(line, name)));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').context("a sample has a value")?;
                Ok((name.to_owned(), value.parse()?))
            })
            .collect()
    }

    /// The response to a request.
    pub(super) fn respond(
        &self,
        request: Request<Body>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static {
        let answer = self.service.clone().call(request);
        async move {
            let Ok::<_, Infallible>(response) = answer.await;
            response
        }
    }

    /// Runs everything until a future is ready; `meanwhile` after each round.
    pub(super) fn finish<T>(
        &self,
        future: impl Future<Output = T>,
        meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<T> {
        finish(&self.runtime, future, meanwhile)
    }

    /// Shuts the process down in order.
    pub(super) fn drain(mut self) -> Result<()> {
        if let Some(join) = self.join.take() {
            self.finish(join.drain(Duration::from_secs(1)), || {
                system::pass(Duration::from_millis(20));
                Ok(())
            })?;
        }
        drop(self.runtime);
        drop((self.service, self.handle));
        drop(self.store);
        simulation::forget();
        Ok(())
    }

    /// The process is dead, with everything that was pending.
    pub(super) fn kill(self) {
        system::disk(|disk| disk.is_dead = true);
        simulation::forget();
        drop(self.runtime);
    }
}

/// Whether a line of the metrics' text is a value of this metric.
fn is_sample_of(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
}

fn ready<T>(runtime: &Runtime, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    runtime.block_on(std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    }))
}

fn round(runtime: &Runtime) {
    runtime.block_on(async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    });
    for number in 0..simulation::threads() {
        simulation::turn(number);
    }
}

fn finish<T>(
    runtime: &Runtime,
    future: impl Future<Output = T>,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..ROUNDS_MAX {
        if let Some(value) = ready(runtime, future.as_mut()) {
            return Ok(value);
        }
        round(runtime);
        meanwhile()?;
    }
    anyhow::bail!("a call is not answered although nothing hinders it")
}

pub(super) fn body(bytes: impl Into<bytes::Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A request as a listener passes it on.
pub(super) fn request(method: &str, path: &str, token: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://localhost:8888{path}"))
        .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
}

/// A token of a user with all roles, valid for an hour, or until a time at which its connection ends, which is the second value.
pub(super) fn token(user: usize, lifetime: Option<Duration>) -> Result<(String, Option<SystemTime>)> {
    let name = format!("user{user}");
    let mut claims =
        vec![("nameid", name.as_str()), ("role", "chappe.joinLeaveGroup"), ("role", "chappe.sendToGroup")];
    if lifetime.is_some() {
        claims.push(("asrs.s.coae", "True"));
    }
    let claims: Claims = claims.into_iter().collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let expires = now + lifetime.map_or(3600, |lifetime| lifetime.as_secs());
    let audience = "http://localhost/client/?hub=chat";
    let token = identity::sign(&claims, audience, now, expires, &AccessKey::new(KEY)?, Algorithm::Hs256);
    Ok((token, lifetime.map(|_| UNIX_EPOCH + Duration::from_secs(expires))))
}
