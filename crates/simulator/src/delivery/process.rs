//! [`Process`]: a simulated process with a store and the realtime service.

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
use realtime_engine::NodeId;
use state_embedded::{JournalOptions, Store};
use supervision::{Supervisor, simulation};
use tokio::runtime::Runtime;
use tower::Service as _;
use trace::Tracer;

use crate::chance::Chance;
use crate::system;

const KEY: &str = "a-key-for-the-simulator";
/// Rounds after which a future that is not ready never will be.
const ROUNDS_MAX: usize = 3_000;

/// All that ends with a process.
pub(super) struct Process {
    pub(super) runtime: Runtime,
    pub(super) supervisor: Supervisor,
    pub(super) service: Service,
    pub(super) handle: Handle,
    /// Whether only little may wait for a client.
    pub(super) waits_little: bool,
    join: Option<Join>,
    store: Store,
}

/// Bytes that may wait for a client where it is little.
const LITTLE: u32 = 8_000;

fn options(chance: &mut Chance) -> Result<Options> {
    let engine = realtime_engine::Options {
        shards: NonZeroU16::new(u16::try_from(chance.between(1, 2))?),
        pending_bytes_max: if chance.once_in(3) { LITTLE } else { 1_000_000 },
        commands_max: if chance.once_in(3) { 2 } else { 1_024 },
        ..realtime_engine::Options::default()
    };
    let rule: HistoryRule =
        serde_json::from_str(r#"{"hub":"chat","group":"kept","messages":100000,"seconds":86400}"#)?;
    Ok(Options { primary_key: Some(KEY.to_owned()), history: vec![rule], engine, ..Options::default() })
}

impl Process {
    /// Starts a process on what the disk has.
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
        let mut registry = Registry::default();
        let egress =
            egress::Client::new(&egress::Options::default(), &egress::Metrics::register(&mut registry))?;
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
            let start = realtime::start(options, dependencies, &mut registry);
            finish(&runtime, start, || Ok(()))?
        };
        let (service, handle, join) = started.context("start the service")?;
        Ok(Self { runtime, supervisor, service, handle, waits_little, join: Some(join), store })
    }

    /// Lets tasks run, and each thread take a turn.
    pub(super) fn round(&self) {
        round(&self.runtime);
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

    /// Ends the process in order.
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

    /// The process is gone, with all that was under way.
    pub(super) fn kill(self) {
        system::disk(|disk| disk.is_dead = true);
        simulation::forget();
        drop(self.runtime);
    }
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
        let ready = runtime.block_on(std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        }));
        if let Some(value) = ready {
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

/// A request as a listener makes it.
pub(super) fn request(method: &str, path: &str, token: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("http://localhost:8888{path}"))
        .header(http::header::AUTHORIZATION, format!("Bearer {token}"))
}

/// A token of a user that may do everything for an hour.
pub(super) fn token(user: usize) -> Result<String> {
    let name = format!("user{user}");
    let claims =
        [("nameid", name.as_str()), ("role", "chappe.joinLeaveGroup"), ("role", "chappe.sendToGroup")];
    let claims: Claims = claims.into_iter().collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let audience = "http://localhost/client/?hub=chat";
    Ok(identity::sign(&claims, audience, now, now + 3600, &AccessKey::new(KEY)?, Algorithm::Hs256))
}
