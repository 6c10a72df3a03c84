//! A service for one test: in process, or behind a real listener.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use http_messages::Body;
use identity::{AccessKey, Algorithm, Claims};
use prometheus_client::registry::Registry;
use realtime::servers;
use realtime::{Dependencies, Handle, Join, Options, Service};
use realtime_engine::NodeId;
use tokio::sync::oneshot;
use tower::ServiceExt;
use trace::Tracer;

pub(crate) const KEY: &str = "a-key-for-tests";

/// A service without a listener.
pub(crate) struct Fixture {
    pub(crate) service: Service,
    pub(crate) handle: Handle,
    pub(crate) join: Join,
    pub(crate) tracer: Tracer,
    pub(crate) registry: Registry,
    pub(crate) store: state_embedded::Store,
    pub(crate) supervisor: supervision::Supervisor,
    folder: Option<tempfile::TempDir>,
}

/// How long a drain waits for the close frames of clients and app servers, in milliseconds: most test clients are dropped or do
/// nothing while the service drains.
const CLOSE_TIMEOUT_MS: u64 = 100;

pub(crate) fn options() -> Options {
    let engine = realtime_engine::Options {
        shards: std::num::NonZeroU16::new(2),
        close_timeout_ms: CLOSE_TIMEOUT_MS,
        ..realtime_engine::Options::default()
    };
    let servers = servers::Options { close_timeout_ms: CLOSE_TIMEOUT_MS, ..servers::Options::default() };
    Options { primary_key: Some(KEY.to_owned()), engine, servers, ..Options::default() }
}

impl Fixture {
    pub(crate) async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut fixture = Self::start_in(options, folder.path()).await;
        fixture.folder = Some(folder);
        fixture
    }

    /// A service whose state is in a folder that is not removed with it.
    pub(crate) async fn start_in(options: Options, folder: &Path) -> Self {
        Self::start_with(options, folder, http_messages::Budget::default()).await
    }

    /// The same, with a memory budget for bodies that the test shares.
    pub(crate) async fn start_with(options: Options, folder: &Path, bodies: http_messages::Budget) -> Self {
        Self::start_on(options, &state_embedded::Options::default(), folder, bodies).await
    }

    /// The same, with options of the store.
    pub(crate) async fn start_on(
        options: Options,
        store_options: &state_embedded::Options,
        folder: &Path,
        bodies: http_messages::Budget,
    ) -> Self {
        let (tracer, mut registry) = (Tracer::new(100), Registry::default());
        let store = state_embedded::Store::open(folder, store_options).expect("a store");
        let egress =
            egress::Client::new(&egress::Options::default(), &egress::Metrics::register(&mut registry));
        let supervisor = supervision::Supervisor::default();
        let dependencies = Dependencies {
            node: NodeId(0),
            tracer: tracer.clone(),
            journal: store.journal(),
            registry: store.registry(),
            egress: egress.expect("the options are good"),
            bodies,
            supervisor: supervisor.clone(),
            listeners: Vec::new(),
        };
        let started = realtime::start(options, dependencies, &mut registry).await;
        let (service, handle, join) = started.expect("the options are good");
        Self { service, handle, join, tracer, registry, store, supervisor, folder: None }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        let Ok::<_, Infallible>(response) = self.service.clone().oneshot(request).await;
        response
    }

    /// Sends a request and formats the response: status, the relevant headers, body.
    pub(crate) async fn shown(&self, request: Request<Body>) -> String {
        shown(self.send(request).await).await
    }

    /// Puts the service behind a listener on a free port of loopback.
    pub(crate) fn listen(self) -> Listening {
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = edge::Listener::bind("test", address).expect("a free port");
        let authority = listener.local_addr().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = self.service.clone();
        let serving = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            listener.serve(service, shutdown).await.expect("the listener serves");
        });
        Listening { fixture: self, authority, stop, serving }
    }
}

/// A service behind a listener.
pub(crate) struct Listening {
    pub(crate) fixture: Fixture,
    pub(crate) authority: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Listening {
    /// Drains the service, then ends the listener.
    pub(crate) async fn stop(self) -> (Tracer, Registry) {
        self.fixture.join.drain(Duration::from_secs(10)).await;
        drop(self.stop);
        self.serving.await.expect("the listener ended");
        self.fixture.store.close().await;
        (self.fixture.tracer, self.fixture.registry)
    }
}

pub(crate) fn body(bytes: impl Into<bytes::Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// `METHOD /path?query` as a request with an absolute URL, as the listener makes it.
pub(crate) fn request(line: &str) -> http::request::Builder {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    Request::builder().method(method).uri(format!("http://localhost:8888{path}"))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs()
}

/// A token for an audience, valid for a minute.
pub(crate) fn token(audience: &str, claims: &[(&str, &str)]) -> String {
    let claims: Claims = claims.iter().copied().collect();
    let key = AccessKey::new(KEY).expect("the key is not empty");
    identity::sign(&claims, audience, now(), now() + 60, &key, Algorithm::Hs256)
}

/// A token for a client of a hub.
pub(crate) fn client_token(hub: &str, claims: &[(&str, &str)]) -> String {
    token(&format!("http://localhost/client/?hub={hub}"), claims)
}

pub(crate) async fn shown(response: Response<Body>) -> String {
    let (head, body) = response.into_parts();
    let mut text = head.status.as_u16().to_string();
    for name in [
        "allow",
        "www-authenticate",
        "x-ms-error-code",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "sec-websocket-version",
    ] {
        if let Some(value) = head.headers.get(name) {
            text.push_str(&format!("\n{name}: {}", value.to_str().expect("our headers are text")));
        }
    }
    let body = body.collect().await.expect("the body is there").to_bytes();
    if !body.is_empty() {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&body));
    }
    text
}
