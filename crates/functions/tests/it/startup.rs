//! Apps that do not start at first: the responses meanwhile, and the start of a corrected app without a restart of the host. With our
//! own Node.js worker, on apps that need no packages.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use functions::{Dependencies, Handle, Options, Service};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use http_messages::Body;
use prometheus_client::registry::Registry;
use serde_json::json;
use state_embedded::Store;
use supervision::Supervisor;
use tower::ServiceExt;
use trace::Tracer;

use crate::fake::{PATIENCE, body_of};

/// A host of an app in its own folder.
pub(crate) struct Host {
    service: Service,
    pub(crate) handle: Handle,
    pub(crate) supervisor: Supervisor,
    dir: tempfile::TempDir,
    _store: Store,
}

/// Longer than any test.
const NEVER_MS: u64 = 3_600_000;

impl Host {
    pub(crate) fn start(files: &[(&str, &str)], change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write(dir.path(), "host.json", r#"{"version":"2.0"}"#);
        write(dir.path(), "package.json", r#"{"main":"app.js"}"#);
        for (name, text) in files {
            write(dir.path(), name, text);
        }
        let store = Store::ephemeral(&state_embedded::Options::default()).expect("a store");
        let mut options = Options {
            app_dir: dir.path().to_owned(),
            cache_dir: Some(dir.path().join("cache")),
            watch_interval_ms: 20,
            start_retry_ms_min: NEVER_MS,
            start_retry_ms_max: NEVER_MS,
            ..Options::default()
        };
        options.ignored_dirs = vec![dir.path().join("cache")];
        change(&mut options);
        let path = std::env::var("PATH").expect("a PATH");
        let mut registry = Registry::default();
        let supervisor = Supervisor::new(&mut registry);
        let dependencies = Dependencies {
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            registry: store.registry(),
            lease: store.lease(),
            owner: "host-1".to_owned(),
            connectors: Vec::new(),
            bodies: http_messages::Budget::default(),
            tracer: Tracer::new(64),
            supervisor: supervisor.clone(),
            workers: None,
        };
        let (service, handle) =
            Service::start(options, dependencies, &mut registry).expect("the host starts");
        Self { service, handle, supervisor, dir, _store: store }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(self.dir.path(), name, text);
    }

    pub(crate) async fn fails(&self) -> String {
        let ready = tokio::time::timeout(PATIENCE, self.handle.ready()).await.expect("in time");
        ready.expect_err("the app is broken").to_string()
    }

    pub(crate) async fn starts(&self) {
        assert!(tokio::time::timeout(PATIENCE, self.handle.started()).await.expect("in time"));
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request: Request<Body> =
            Request::get(format!("http://app.test{path}")).body(body_of(b"")).expect("a request");
        let response = self.service.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    pub(crate) fn logged(&self, words: &str) -> usize {
        self.handle.logs().tail(0).iter().filter(|line| line.text.contains(words)).count()
    }
}

/// Waits until a condition is true.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !is_so() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("a file is written");
}

/// An app whose function `check` throws an exception unless the setting `GREETING` has the expected value.
pub(crate) const APP: &str = "
const core = require('@azure/functions-core');
core.setProgrammingModel({
    name: 'stand-in', version: '1',
    getInvocationModel: () => ({
        getArguments: async () => ({ context: {}, inputs: [] }),
        invokeFunction: async (context, inputs, callback) => callback(),
        getResponse: async (context, result) => ({ returnValue: result }),
    }),
});
core.registerFunction({ name: 'check', bindings: { item: { type: 'manualTrigger', direction: 'in' } } }, () => {
    if (process.env.GREETING !== 'hello') throw new Error('the setting is ' + process.env.GREETING);
});
";

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_a_syntax_error_starts_once_it_is_corrected() {
    let host = Host::start(&[("app.js", "const broken = {;")], |_| {});
    let why = host.fails().await;
    assert!(why.contains("syntax error") && why.contains("app.js:1"), "{why}");
    let not_ready = host.supervisor.not_ready();
    assert_eq!(not_ready.len(), 1);
    assert!(not_ready[0].reason.contains("syntax error"), "{not_ready:?}");
    for path in ["/", "/api/check"] {
        let (status, body) = host.get(path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(body.contains("syntax error") && !body.contains("up and running"), "{path}: {body}");
    }
    // The settings are read again too.
    host.write("local.settings.json", r#"{"Values": {"GREETING": "hello"}}"#);
    host.write("app.js", APP);
    host.starts().await;
    host.handle.invoke("check", &json!(null)).await.expect("it has the new setting");
    assert!(host.supervisor.not_ready().is_empty());
    let (status, page) = host.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("up and running"), "{page}");
    host.handle.drain(Duration::from_secs(10)).await;
    assert!(host.handle.worker_pids().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_with_unreadable_files_reports_the_reason() {
    let host = Host::start(&[("app.js", "throw new Error('first');")], |_| {});
    assert!(host.fails().await.contains("first"));
    host.write("host.json", "{");
    until(|| host.logged("not valid JSON") > 0).await;
    host.write("app.js", APP);
    host.write("host.json", r#"{"version":"2.0"}"#);
    host.starts().await;
}

/// A database or program that an app needs may become available without a change of the app's files.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_app_is_started_again_after_a_pause_and_its_reason_is_logged_once() {
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let (needed, tries) = (elsewhere.path().join("needed"), elsewhere.path().join("tries"));
    let app = format!(
        "require('fs').appendFileSync({tries:?}, 'x');\n\
         if (!require('fs').existsSync({needed:?})) throw new Error('not there yet');\n{APP}"
    );
    let host = Host::start(&[("app.js", &app)], |options| {
        (options.start_retry_ms_min, options.start_retry_ms_max) = (20, 200);
    });
    assert!(host.fails().await.contains("not there yet"));
    until(|| std::fs::read(&tries).is_ok_and(|tries| tries.len() >= 3)).await;
    assert_eq!(host.logged("did not start"), 1, "the same words are logged once");
    std::fs::write(&needed, "").expect("it is written");
    host.starts().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_host_shows_the_reason_in_its_log_only() {
    let host =
        Host::start(&[("app.js", "throw new Error('secret path');")], |options| options.enable_auth = true);
    assert!(host.fails().await.contains("secret path"));
    for path in ["/", "/api/check"] {
        let (status, body) = host.get(path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!body.contains("secret path") && body.contains("see the log of the host"), "{path}: {body}");
    }
    assert_eq!(host.logged("secret path"), 1);
    // A path outside of the route prefix does not report the failure.
    for path in ["/other", "/apix", "/favicon.ico"] {
        assert_eq!(host.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}
