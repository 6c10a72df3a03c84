//! Supervision of workers, with our own Node.js worker and an app that needs no packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use functions::worker::{
    Cancellation, Indexing, InvokeError, Observer, Pool, PoolOptions, StartError, Terms, WorkerEvent,
    WorkerLine, WorkerSpec,
};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use worker_protocol::{InvocationRequest, InvocationResponse, ParameterBinding, RpcLog, Status, TypedData};

use crate::function_rpc::elsewhere;

/// Everything that a pool tells, as text.
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
            WorkerEvent::Exited { status, was_asked, .. } => {
                let status = status.map(|status| status.to_string()).unwrap_or_default();
                format!("exited, {status}, asked: {was_asked}")
            }
            WorkerEvent::Overran { pid, answers } => format!("overran {pid}, answers: {answers}"),
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
            WorkerEvent::Overran { .. } => "overran",
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
    let pool = Pool::start(spec, options, observer, &mut registry);
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
        self.pool.invoke(request(function, TypedData::Null), Terms::default()).await
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

#[tokio::test]
async fn values_travel_whole_and_records_come_before_the_answer() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let values = [
        TypedData::Bytes(Bytes::from(vec![7; 300_000])),
        TypedData::Json(format!("[{:?}]", "ü".repeat(1000))),
        TypedData::Int(i64::MAX),
        TypedData::Double(f64::INFINITY),
        TypedData::CollectionBytes(vec![Bytes::from_static(b"a"), Bytes::new()]),
        TypedData::CollectionSint64(vec![1, i64::MIN]),
    ];
    for value in values {
        let answer =
            running.pool.invoke(request("echo", value.clone()), Terms::default()).await.expect("answered");
        let id = answer.invocation_id.clone();
        let own = format!("log {id} ");
        let records: Vec<_> = running
            .seen
            .lines()
            .iter()
            .filter_map(|line| line.strip_prefix(&own).map(str::to_owned))
            .collect();
        assert_eq!(records, ["Information first", "Warning second", "Debug third"]);
        assert_eq!(returned(answer), value);
    }
    let lines = running.drain().await;
    assert_eq!(lines.last().map(String::as_str), Some("exited, exit status: 0, asked: true"));
}

#[tokio::test]
async fn stored_bytes_reach_the_worker_in_pieces_between_others() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let content: Bytes = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect::<Vec<_>>().into();
    let calls = [
        (elsewhere(content.clone()), TypedData::Bytes(content.clone())),
        (TypedData::String("small".into()), TypedData::String("small".into())),
        (elsewhere(content.slice(..10)), TypedData::Bytes(content.slice(..10))),
        (elsewhere(content.clone()), TypedData::Bytes(content)),
    ];
    let calls = calls.into_iter().map(|(sent, expected)| {
        let pool = running.pool.clone();
        tokio::spawn(async move {
            let answer = pool.invoke(request("echo", sent), Terms::default()).await.expect("answered");
            assert!(answer.return_value == Some(expected));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("it came whole");
    }
    running.drain().await;
}

#[tokio::test]
async fn the_environment_is_the_given_one_without_its_traps() {
    let given = [("MINE", "yes"), ("CONTAINER_NAME", "c"), ("WEBSITE_INSTANCE_ID", "i")];
    let running = start_loaded(&given, PoolOptions::default()).await;
    let TypedData::Json(json) = returned(running.call("environment").await.expect("answered")) else {
        panic!("JSON");
    };
    let found: BTreeMap<String, String> = serde_json::from_str(&json).expect("a map");
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let expected = [
        "AzureWebJobsScriptRoot",
        "FUNCTIONS_APPLICATION_DIRECTORY",
        "FUNCTIONS_WORKER_DIRECTORY",
        "FUNCTIONS_WORKER_RUNTIME",
        "MINE",
        "PATH",
    ];
    assert_eq!(names, expected, "the token is not handed on, nor anything of ours");
    let printed = running.call("prints").await.expect("answered");
    assert_eq!(printed.result.status, Status::Success);
    running.seen.wait_for("line plain line").await;
    running.drain().await;
}

#[tokio::test]
async fn a_function_that_fails_harms_nobody_else() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let failed = running.call("fails").await.expect("answered");
    let exception = failed.result.exception.expect("with its error");
    assert_eq!(exception.message, "as asked");
    assert!(exception.stack_trace.contains("stand-in/app.js:"), "{}", exception.stack_trace);
    assert_eq!(whole(running.call("pid").await.expect("answered")), i64::from(running.pool.workers()[0].pid));
    running.drain().await;
}

#[tokio::test]
async fn a_worker_that_dies_is_named_and_replaced() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    for (function, status) in [("crashes", "exit status: 1"), ("exits", "exit status: 7")] {
        let pid = running.pool.workers()[0].pid;
        let error = running.call(function).await.expect_err("the worker dies");
        assert!(matches!(error, InvokeError::WorkerGone { pid: gone } if gone == pid), "{error}");
        running.seen.wait_for(&format!("exited, {status}, asked: false")).await;
        // Waits for the next worker by itself.
        let next = whole(running.call("pid").await.expect("answered"));
        assert_ne!(next, i64::from(pid));
    }
    let crash = running.seen.wait_for("log crashes").await;
    assert!(crash.contains("Critical Uncaught error in crashes.Invocation"), "{crash}");
    assert!(crash.contains("nobody catches this"), "{crash}");
    assert!(running.metric("functions_worker_restarts_total 2"));
    assert!(running.metric("functions_worker_invocations_lost_total 2"));
    assert!(running.metric("functions_workers_ready 1"));
    running.drain().await;
}

/// A call is answered, by a worker that was not there before.
async fn another_worker_answers(running: &Running, before: u32) {
    loop {
        // A worker that is about to be missed may still be given a call, which then fails.
        let answer = tokio::time::timeout(Duration::from_secs(20), running.call("pid")).await;
        match answer.expect("it is answered or refused in time") {
            Ok(answer) if whole(answer.clone()) != i64::from(before) => break,
            Ok(_) | Err(InvokeError::WorkerGone { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(running.pool.workers().len(), 1, "its place is filled, once");
}

#[tokio::test]
async fn a_panic_of_the_task_that_fills_a_place_leaves_the_place_filled() {
    let running = start_faulty("started").await;
    assert_eq!(running.pool.workers().len(), 1, "the one that was being started is gone");
    let pid = running.pool.workers()[0].pid;
    assert!(running.call("pid").await.is_ok());
    assert!(running.pool.kill(pid));
    running.seen.wait_for("exited").await;
    assert!(running.call("pid").await.is_ok(), "the task that was run again fills the place again");
    let pids: Vec<u32> = running.pool.workers().iter().map(|worker| worker.pid).collect();
    running.drain().await;
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
    }
}

#[tokio::test]
async fn a_panic_of_a_task_of_a_workers_process_costs_that_worker_only() {
    // The task that waits for the process's end; the ones that read what it prints and what it sends.
    for (at, function) in [("exited", "exits"), ("line", "prints"), ("log first", "echo")] {
        let running = start_faulty(at).await;
        let before = running.pool.workers()[0].pid;
        let call = tokio::time::timeout(Duration::from_secs(20), running.call(function)).await;
        // Whether what was printed was read before the answer came is a race.
        let answer = call.unwrap_or_else(|_| panic!("a call waits for ever after a panic at {at}"));
        assert!(function == "prints" || answer.is_err(), "{at}");
        another_worker_answers(&running, before).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn a_kill_ends_the_worker_and_all_that_it_started() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let child = whole(running.call("starts").await.expect("answered"));
    let pid = running.pool.workers()[0].pid;
    let waits = tokio::spawn({
        let pool = running.pool.clone();
        async move { pool.invoke(request("waits", TypedData::Null), Terms::default()).await }
    });
    // The call before it in the same worker was answered, so it has been sent once this one has.
    while running.pool.workers().first().is_none_or(|worker| worker.in_flight == 0) {
        tokio::task::yield_now().await;
    }
    assert!(running.pool.kill(pid));
    assert!(!running.pool.kill(0));
    let error = waits.await.expect("no panic").expect_err("the worker is gone");
    assert!(matches!(error, InvokeError::WorkerGone { .. }), "{error}");
    running.seen.wait_for("restarted").await;
    // Gone, or a zombie until whoever adopted it looks.
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
    running.drain().await;
}

#[tokio::test]
async fn a_killed_worker_is_given_no_more_invocations() {
    let options = PoolOptions { processes: 2, ..PoolOptions::default() };
    let running = start_loaded(&[], options).await;
    for _ in 0..5 {
        let pid = running.pool.workers()[0].pid;
        assert!(running.pool.kill(pid));
        assert!(!running.pool.kill(pid), "it is not there any more");
        for _ in 0..4 {
            assert_ne!(whole(running.call("pid").await.expect("answered")), i64::from(pid));
        }
    }
    assert!(running.metric("functions_worker_invocations_lost_total 0"));
    running.drain().await;
}

/// Stops a process without ending it, and waits until it stands still.
#[cfg(target_os = "linux")]
async fn freeze(pid: u32) {
    let sent = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success());
    let frozen = async {
        while !std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives").contains("State:\tT")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), frozen).await.expect("it stands still");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn only_what_a_dead_worker_cannot_have_run_goes_to_the_next() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let pid = running.pool.workers()[0].pid;
    freeze(pid).await;
    let call = |value: TypedData| {
        let pool = running.pool.clone();
        tokio::spawn(async move { pool.invoke(request("echo", value), Terms::default()).await })
    };
    let in_flight = async |count: usize| {
        while running.pool.workers()[0].in_flight < count {
            tokio::task::yield_now().await;
        }
    };
    // The system takes the first as a whole, and of the second only what its buffer holds: nobody reads.
    let small = call(TypedData::Int(1));
    in_flight(1).await;
    let large = TypedData::Bytes(Bytes::from(vec![7; 8 << 20]));
    let whole_large = call(large.clone());
    in_flight(2).await;
    let behind = call(TypedData::Int(3));
    in_flight(3).await;
    // Not by way of the pool, which thus learns of it by the connection's end only.
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    assert!(killed.expect("kill is there").success());
    let lost = small.await.expect("no panic").expect_err("the dead worker may have run it");
    assert!(matches!(lost, InvokeError::WorkerGone { pid: gone } if gone == pid), "{lost}");
    assert_eq!(returned(whole_large.await.expect("no panic").expect("answered by the next")), large);
    let behind = behind.await.expect("no panic").expect("answered by the next");
    assert_eq!(returned(behind), TypedData::Int(3));
    assert!(running.metric("functions_worker_invocations_resent_total 2"));
    assert!(running.metric("functions_worker_invocations_lost_total 1"));
    running.drain().await;
}

#[tokio::test]
async fn a_cancelled_invocation_is_told_to_its_function_or_never_reaches_it() {
    let running = start_loaded(&[], PoolOptions::default()).await;
    let (canceller, cancellation) = Cancellation::channel();
    let terms = Terms { cancellation, ..Terms::default() };
    let call = tokio::spawn({
        let (pool, terms) = (running.pool.clone(), terms.clone());
        async move { pool.invoke(request("stops", TypedData::Null), terms).await }
    });
    running.seen.wait_for("line it waits").await;
    canceller.cancel();
    // What the function then says is its answer.
    assert!(call.await.expect("no panic").expect("answered").result.is_success());
    let error =
        running.pool.invoke(request("echo", TypedData::Null), terms).await.expect_err("nobody wants it");
    assert_eq!(error.to_string(), "the caller went away before the function was called");
    running.drain().await;
}

/// A short limit for each invocation, and a short grace for those that go on.
fn limited() -> (PoolOptions, Terms) {
    let options = PoolOptions { cancel_grace_ms: 200, ..PoolOptions::default() };
    (options, Terms { limit: Some(Duration::from_millis(200)), ..Terms::default() })
}

#[tokio::test]
async fn a_worker_that_no_longer_answers_is_killed_after_the_grace() {
    let (options, terms) = limited();
    let running = start_loaded(&[], options).await;
    let pid = running.pool.workers()[0].pid;
    let error = running.pool.invoke(request("hangs", TypedData::Null), terms).await.expect_err("it hangs");
    let expected = "the function did not end within 200ms; it was told to stop, and its worker is replaced if it goes on";
    assert_eq!(error.to_string(), expected);
    running.seen.wait_for(&format!("overran {pid}, answers: false")).await;
    running.seen.wait_for("exited, signal: 9 (SIGKILL)").await;
    running.seen.wait_for("restarted").await;
    assert_ne!(whole(running.call("pid").await.expect("answered")), i64::from(pid));
    running.drain().await;
}

#[tokio::test]
async fn a_function_that_stops_when_it_is_told_to_keeps_its_worker() {
    let (options, terms) = limited();
    let running = start_loaded(&[], options).await;
    let pid = running.pool.workers()[0].pid;
    for _ in 0..2 {
        let error = running.pool.invoke(request("stops", TypedData::Null), terms.clone()).await;
        assert!(matches!(error.expect_err("too late"), InvokeError::TimedOut { .. }));
    }
    running.seen.wait_for("line it stops").await;
    // Longer than the grace: had it gone on, its worker would be another one by now.
    let terms = Terms { limit: Some(Duration::from_secs(20)), ..Terms::default() };
    let later = running.pool.invoke(request("later", TypedData::Null), terms).await.expect("answered");
    assert_eq!(whole(later), i64::from(pid));
    running.drain().await;
}

#[tokio::test]
async fn other_invocations_of_a_worker_that_is_given_up_end_there_and_new_ones_go_elsewhere() {
    let (options, terms) = limited();
    let running = start_loaded(&[], options).await;
    let pid = running.pool.workers()[0].pid;
    let later = tokio::spawn({
        let pool = running.pool.clone();
        async move { pool.invoke(request("later", TypedData::Null), Terms::default()).await }
    });
    let error = running.pool.invoke(request("waits", TypedData::Null), terms).await;
    assert!(matches!(error.expect_err("it never ends"), InvokeError::TimedOut { .. }));
    running.seen.wait_for(&format!("overran {pid}, answers: true")).await;
    assert_ne!(whole(running.call("pid").await.expect("answered")), i64::from(pid));
    assert_eq!(whole(later.await.expect("no panic").expect("answered")), i64::from(pid));
    running.seen.wait_for("exited, exit status: 0, asked: true").await;
    running.drain().await;
}

#[tokio::test]
async fn several_workers_take_turns() {
    let options = PoolOptions { processes: 3, ..PoolOptions::default() };
    let running = start_loaded(&[], options).await;
    running.seen.wait_for("started").await;
    let mut workers = std::collections::BTreeSet::new();
    while workers.len() < 3 {
        workers.insert(whole(running.call("pid").await.expect("answered")));
    }
    running.pool.drain(Duration::from_secs(5)).await;
    let ended = running.seen.lines().iter().filter(|line| line.starts_with("exited")).count();
    assert_eq!(ended, 3);
    assert!(running.pool.workers().is_empty());
    assert!(matches!(running.call("pid").await, Err(InvokeError::Draining)));
}

#[tokio::test]
async fn what_is_wrong_with_an_app_is_said_with_a_remedy() {
    let check = async |files: &[(&str, &str)], expected: Expect| {
        expected.assert_eq(&start_refused(files).await);
    };
    let main = ("package.json", r#"{"main": "src/*.js"}"#);
    check(&[], expect![[r#"there is no package.json in APP. Create one with "main": "src/functions/*.js" and run 'npm install @azure/functions'"#]]).await;
    check(
        &[("package.json", "{}")],
        expect![[
            r#"package.json in APP has no "main", so no file is loaded. Add "main": "src/functions/*.js""#
        ]],
    )
    .await;
    check(
        &[("package.json", "{")],
        expect!["APP/package.json is not valid JSON: Expected property name or '}' in JSON at position 1"],
    )
    .await;
    check(&[main], expect![[r#""main" of APP/package.json is "src/*.js", which matches no file. Correct the pattern, or build the app if these files are made by a build"#]]).await;
    check(&[("package.json", r#"{"main": "index.js"}"#)], expect![[r#""main" of APP/package.json is "index.js", but there is no such file. Correct it, or build the app if that file is made by a build"#]]).await;
    check(
        &[main, ("src/a.js", "let x = ;")],
        expect![[r#"
            Cannot load src/a.js: syntax error at APP/src/a.js:1: Unexpected token ';'
            APP/src/a.js:1
            let x = ;
                    ^

            SyntaxError: Unexpected token ';'"#]],
    )
    .await;
    check(
        &[("package.json", r#"{"main": "a.mjs"}"#), ("a.mjs", "\nlet x = ;")],
        expect![[r#"
            Cannot load a.mjs: syntax error at APP/a.mjs:2: Unexpected token ';'
            SyntaxError: Unexpected token ';'"#]],
    )
    .await;
    check(&[main, ("src/a.js", "require('@azure/functions')")], expect!["Cannot load src/a.js: the package '@azure/functions' is not installed. Run 'npm install @azure/functions' in APP"]).await;
    check(
        &[
            ("package.json", r#"{"main": "a.mjs", "dependencies": {"left": "1"}}"#),
            ("a.mjs", "import 'left/x'"),
        ],
        expect!["Cannot load a.mjs: the package 'left' is not installed. Run 'npm install' in APP"],
    )
    .await;
    check(
        &[main, ("src/a.js", "throw new TypeError('at load')")],
        expect![[r#"
        Cannot load src/a.js: at load
        TypeError: at load
            at Object.<anonymous> (APP/src/a.js:1:7)"#]],
    )
    .await;
    check(&[main, ("src/a.js", "")], expect![[r#"no function is registered. src/a.js was loaded, but did not call app.http(...), app.timer(...) or the like; register functions there, or correct "main" in package.json"#]]).await;
    check(&[main, ("src/a.js", ""), ("f/function.json", "{}")], expect!["APP describes its functions by function.json files (programming model 3), which this worker cannot run yet. Move to @azure/functions 4 (app.http(...)), or set languageWorkers__node__workerDirectory to the folder of the official worker"]).await;
}

async fn start_with_command(script: &str) -> StartError {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let mut spec = WorkerSpec::resolve("node", &stand_in(), environment(&[]), cache.path(), "4.1")
        .expect("our own worker");
    spec.timeouts.startup = Duration::from_millis(300);
    spec.command = "sh".into();
    spec.arguments = vec!["-c".into(), script.into()];
    let running = start_spec(spec, PoolOptions::default(), cache);
    let error = running.pool.index().await.expect_err("no worker");
    running.pool.drain(Duration::from_secs(1)).await;
    drop(running);
    Arc::into_inner(error).expect("the pool is gone")
}

#[tokio::test]
async fn what_is_wrong_with_the_runtime_is_said_with_a_remedy() {
    let old = "echo LanguageWorkerConsoleLognode-version 12.1.0 >&2; exit 3";
    expect!["'sh' is version 12.1.0, but node functions need 18 or newer; install Node.js 20 or newer (https://nodejs.org), or set languageWorkers__node__defaultExecutablePath to its program"].assert_eq(&start_with_command(old).await.to_string());
    expect![[r#"
        the node worker ended (exit status: 9) while it was to connect to the host
        oh no"#]]
    .assert_eq(&start_with_command("echo oh no; exit 9").await.to_string());
    expect![[r#"
        the node worker did not connect to the host within 300ms; raise the timeout or look at its output
        busy"#]]
    .assert_eq(&start_with_command("echo busy; sleep 100").await.to_string());

    let cache = tempfile::tempdir().expect("a temporary folder");
    let program = cache.path().join("program");
    std::fs::write(&program, "").expect("writable");
    let env = BTreeMap::from([(
        "languageWorkers__node__defaultExecutablePath".to_owned(),
        program.display().to_string(),
    )]);
    let spec = WorkerSpec::resolve("node", &stand_in(), env, cache.path(), "4.1").expect("our own worker");
    let running = start_spec(spec, PoolOptions::default(), cache);
    let error = running.pool.index().await.expect_err("not executable").to_string();
    assert!(error.ends_with(&format!("make it executable: chmod +x '{}'", program.display())), "{error}");

    let cache = tempfile::tempdir().expect("a temporary folder");
    let env = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
    let spec = WorkerSpec::resolve("node", &stand_in(), env, cache.path(), "4.1").expect("our own worker");
    let running = start_spec(spec, PoolOptions::default(), cache);
    let error = running.pool.index().await.expect_err("no node");
    expect!["cannot start 'node', which runs node functions: it is not installed or not on the PATH; install Node.js 20 or newer (https://nodejs.org), or set languageWorkers__node__defaultExecutablePath to its program"].assert_eq(&error.to_string());
    let refused = tokio::time::timeout(Duration::from_secs(5), running.call("pid")).await.expect("at once");
    assert!(matches!(refused, Err(InvokeError::NoWorker { .. })));
}
