//! A host with the real pool and our own Node.js worker, on the app `crashing`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use functions::worker::PoolOptions;
use functions::{Dependencies, Handle, Options, Service};
use functions_contract::Connector;
use http::Request;
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use state_embedded::Store;
use supervision::Supervisor;
use tower::Service as _;
use trace::Tracer;

use crate::fake::{PATIENCE, body_of};

pub(crate) struct RealHost {
    pub(crate) service: Service,
    pub(crate) handle: Handle,
    metrics: Registry,
    _app: tempfile::TempDir,
    _store: Arc<Store>,
}

impl RealHost {
    pub(crate) async fn start(workers: PoolOptions, connectors: Vec<Arc<dyn Connector>>) -> Self {
        let store = Arc::new(Store::ephemeral(&state_embedded::Options::default()).expect("a store"));
        let options = Options { workers, log_lines_max: 1_000_000, ..Options::default() };
        Self::start_on(store, options, connectors, "{}").await
    }

    /// With a part of `host.json` beside its version.
    pub(crate) async fn start_on(
        store: Arc<Store>,
        options: Options,
        connectors: Vec<Arc<dyn Connector>>,
        host_json: &str,
    ) -> Self {
        let app = tempfile::tempdir().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/crashing");
        for name in ["app.js", "package.json"] {
            std::fs::copy(source.join(name), app.path().join(name)).expect("the app is copied");
        }
        let mut host: serde_json::Value = serde_json::from_str(host_json).expect("host.json");
        host["version"] = "2.0".into();
        std::fs::write(app.path().join("host.json"), host.to_string()).expect("host.json is written");
        let options =
            Options { app_dir: app.path().to_owned(), cache_dir: Some(app.path().join("cache")), ..options };
        let path = std::env::var("PATH").expect("a PATH");
        let hostid = "crashing".to_owned();
        let environment = [("PATH".to_owned(), path), ("AzureFunctionsWebHost__hostid".to_owned(), hostid)];
        let dependencies = Dependencies {
            environment: BTreeMap::from(environment),
            registry: store.registry(),
            lease: store.lease(),
            owner: "host-1".to_owned(),
            connectors,
            bodies: http_messages::Budget::default(),
            tracer: Tracer::new(64),
            supervisor: Supervisor::default(),
            workers: None,
        };
        let mut metrics = Registry::default();
        let (service, handle) = Service::start(options, dependencies, &mut metrics).expect("the host starts");
        tokio::time::timeout(PATIENCE, handle.ready()).await.expect("in time").expect("the app starts");
        Self { service, handle, metrics, _app: app, _store: store }
    }

    /// The mean time in which a worker started.
    pub(crate) fn mean_start(&self) -> Duration {
        let sum = self.metric("functions_worker_start_seconds_sum");
        Duration::from_secs_f64(sum / self.metric("functions_worker_start_seconds_count"))
    }

    /// Status and body of a GET request.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let request = Request::get(format!("http://app.test:7071/api/{path}"));
        let request = request.body(body_of(b"")).expect("a request");
        // The service is always ready.
        let response = self.service.clone().call(request);
        let response = tokio::time::timeout(PATIENCE, response);
        let (parts, body) = response.await.expect("an answer in time").expect("infallible").into_parts();
        let body = body.collect().await.expect("a complete body").to_bytes();
        (parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }

    /// The value of a metric, with its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).expect("metrics are text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// Whether the log of the app has a line that contains a text.
    pub(crate) fn logged(&self, part: &str) -> bool {
        self.handle.logs().tail(0).iter().any(|line| line.text.contains(part))
    }

    /// Waits until something is the case.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, wait).await;
        ended.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    pub(crate) async fn drain(self) {
        self.handle.drain(Duration::from_secs(10)).await;
        assert!(self.handle.worker_pids().is_empty());
    }
}
