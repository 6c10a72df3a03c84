//! The worker pool, with our own Node.js worker and an app that needs no packages.

mod exits;
mod invocations;
mod misbehaviour;
mod startup;
mod timeouts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use functions::worker::{
    CancellationToken, Indexing, InvokeError, InvokeOptions, Observer, Pool, PoolMetrics, PoolOptions,
    StartError, WorkerEvent, WorkerLine, WorkerSpec,
};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use worker_protocol::{InvocationRequest, InvocationResponse, ParameterBinding, RpcLog, Status, TypedData};

use crate::function_rpc::elsewhere;

/// Records everything that a pool reports, as text.
#[derive(Default)]
pub(crate) struct Seen {
    lines: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
}

impl Seen {
    fn push(&self, line: String) {
        self.lines.lock().expect("no test panics here").push(line);
        self.changed.send_replace(());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no test panics here").clone()
    }

    /// Waits for a line with this beginning and gives it.
    pub(crate) async fn wait_for(&self, beginning: &str) -> String {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(line) = self.lines().into_iter().find(|line| line.starts_with(beginning)) {
                    return line;
                }
                changed.changed().await.expect("we own the sender");
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), found).await;
        waited.unwrap_or_else(|_| panic!("no line begins with {beginning:?}: {:#?}", self.lines()))
    }
}

impl Observer for Seen {
    fn log(&self, record: &RpcLog) {
        let id = record.invocation_id.as_ref().map_or("-", |id| id.as_str());
        self.push(format!("log {id} {:?} {}", record.level, record.message));
    }

    fn line(&self, line: WorkerLine<'_>) {
        self.push(format!("line {}", line.text));
    }

    fn event(&self, event: &WorkerEvent) {
        self.push(match event {
            WorkerEvent::Started { is_restart: false, .. } => "started".to_owned(),
            WorkerEvent::Started { pid, .. } => format!("restarted {pid}"),
            WorkerEvent::Exited { status, is_expected, .. } => {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                format!("exited, {status}, asked: {is_expected}")
            }
            WorkerEvent::TimedOut { pid, is_responding } => {
                format!("overran {pid}, answers: {is_responding}")
            }
            WorkerEvent::Retired { pid, reason } => format!("retired {pid}, {reason:?}"),
            WorkerEvent::Quarantined { function } => format!("quarantined {function}"),
            WorkerEvent::Released { function } => format!("released {function}"),
            WorkerEvent::UnknownCapabilities { names } => format!("unknown capabilities: {names:?}"),
            WorkerEvent::StartFailed { reason, .. } => format!("start failed: {reason}"),
        });
    }
}

/// Panics once at what it is told of, and passes everything else on.
struct Faulty {
    seen: Arc<Seen>,
    /// The beginning of the line at which it panics.
    at: &'static str,
    struck: AtomicBool,
}

impl Faulty {
    fn strike(&self, what: &str) {
        let strikes = what.starts_with(self.at) && !self.struck.swap(true, Ordering::Relaxed);
        assert!(!strikes, "a fault that a test ordered at {what}");
    }
}

impl Observer for Faulty {
    fn log(&self, record: &RpcLog) {
        self.strike(&format!("log {}", record.message));
        self.seen.log(record);
    }

    fn line(&self, line: WorkerLine<'_>) {
        self.strike("line");
        self.seen.line(line);
    }

    fn event(&self, event: &WorkerEvent) {
        self.strike(match event {
            WorkerEvent::Started { .. } => "started",
            WorkerEvent::Exited { .. } => "exited",
            WorkerEvent::TimedOut { .. } => "overran",
            WorkerEvent::Retired { .. } => "retired",
            WorkerEvent::Quarantined { .. } => "quarantined",
            WorkerEvent::Released { .. } => "released",
            WorkerEvent::UnknownCapabilities { .. } => "unknown capabilities",
            WorkerEvent::StartFailed { .. } => "start failed",
        });
        self.seen.event(event);
    }
}

pub(crate) struct Running {
    pub(crate) pool: Pool,
    pub(crate) seen: Arc<Seen>,
    pub(crate) registry: Registry,
    _cache: tempfile::TempDir,
}

fn stand_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps/stand-in")
}

fn environment(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let path = std::env::var("PATH").expect("a PATH");
    let pairs = [("PATH", path.as_str())].into_iter().chain(more.iter().copied());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn start(app: &Path, env: &[(&str, &str)], options: PoolOptions) -> Running {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let spec =
        WorkerSpec::resolve("node", app, environment(env), cache.path(), "4.1").expect("our own worker");
    start_spec(spec, options, cache)
}

pub(crate) fn start_spec(spec: WorkerSpec, options: PoolOptions, cache: tempfile::TempDir) -> Running {
    let seen = Arc::new(Seen::default());
    let observer: Arc<dyn Observer> = Arc::clone(&seen) as _;
    start_observed(spec, options, cache, seen, observer)
}

fn start_observed(
    spec: WorkerSpec,
    options: PoolOptions,
    cache: tempfile::TempDir,
    seen: Arc<Seen>,
    observer: Arc<dyn Observer>,
) -> Running {
    let mut registry = Registry::default();
    let pool = Pool::start(spec, options, observer, PoolMetrics::register(&mut registry), None);
    Running { pool, seen, registry, _cache: cache }
}

async fn start_loaded(env: &[(&str, &str)], options: PoolOptions) -> Running {
    let running = start(&stand_in(), env, options);
    running.load().await;
    running
}

/// A pool of one worker whose observer panics once.
async fn start_faulty(at: &'static str) -> Running {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let spec = WorkerSpec::resolve("node", &stand_in(), environment(&[]), cache.path(), "4.1");
    let seen = Arc::new(Seen::default());
    let observer = Arc::new(Faulty { seen: Arc::clone(&seen), at, struck: AtomicBool::new(false) });
    let running =
        start_observed(spec.expect("our own worker"), PoolOptions::default(), cache, seen, observer);
    running.load().await;
    running
}

async fn start_refused(files: &[(&str, &str)]) -> String {
    let app = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let file = app.path().join(name);
        std::fs::create_dir_all(file.parent().expect("in the app")).expect("writable");
        std::fs::write(file, text).expect("writable");
    }
    let running = start(app.path(), &[], PoolOptions::default());
    let error = running.pool.index().await.expect_err("the app is broken").to_string();
    running.pool.drain(Duration::from_secs(1)).await;
    let folder = app.path().canonicalize().expect("it exists").display().to_string();
    error.replace(&folder, "APP")
}

impl Running {
    pub(crate) async fn load(&self) {
        let Indexing::Worker(functions) = self.pool.index().await.expect("indexed") else {
            panic!("our worker indexes");
        };
        let loaded = self.pool.load(functions).await.expect("loaded");
        assert!(loaded.iter().all(|each| each.result.is_success()), "{loaded:?}");
    }

    pub(crate) async fn call(&self, function: &str) -> Result<InvocationResponse, InvokeError> {
        self.pool.invoke(request(function, TypedData::Null), InvokeOptions::default()).await
    }

    async fn drain(self) -> Vec<String> {
        self.pool.drain(Duration::from_secs(5)).await;
        self.seen.lines()
    }

    pub(crate) fn metric(&self, line: &str) -> bool {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodes");
        text.lines().any(|each| each == line)
    }
}

pub(crate) fn request(function: &str, data: TypedData) -> InvocationRequest {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    InvocationRequest {
        invocation_id: format!("{function}-{number}").into(),
        function_id: function.into(),
        input_data: vec![ParameterBinding { name: "item".into(), data }],
        ..InvocationRequest::default()
    }
}

fn returned(response: InvocationResponse) -> TypedData {
    assert_eq!(response.result.status, Status::Success, "{:?}", response.result);
    response.return_value.expect("it returned")
}

fn whole(response: InvocationResponse) -> i64 {
    match returned(response) {
        TypedData::Int(value) => value,
        other => panic!("no whole number: {other:?}"),
    }
}
