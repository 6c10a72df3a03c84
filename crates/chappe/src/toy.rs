//! Adds a service with one row: everything that the binary does with services, it does with this one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gateway::UpstreamService;
use http::{Request, Response, StatusCode};
use http_messages::Body;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use supervision::Component;
use testkit::Http;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::service_fn;

use crate::assemble::{Process, assemble};
use crate::cli::{FuncArgs, SharedArgs};
use crate::config::{Section, SectionOptions};
use crate::guard::{GuardAudience, Rules};
use crate::plan::{Plan, PlanError};
use crate::services::{
    self, Drain, Phase, Row, ServiceHandle, ServiceJoin, Stage, Started, Starting, TABLE, Table,
};

/// What a new service adds to the binary.
static ROW: Row = Row {
    section: Section::of::<Options>("toy", Some(0), Some("toy")),
    title: "Toy",
    routes: &["/toy"],
    rules: Some(&Rules { paths: &[("/toy/open", GuardAudience::Anyone)], others: GuardAudience::Operator }),
    made_key_bytes: Some(16),
    phase: Phase::Apps,
    drain: Drain { stage: Stage::Work, closes_listener_first: false, what: "the toy" },
    admin_shortcuts: &[],
    on_own_port: |service| service,
    runs: |_| Ok(()),
    describe: |_| None,
    start: |starting| Box::pin(async move { Ok(start(starting)) }),
};

/// The table of the product with one more row.
static WITH_TOY: Table = &[TABLE[0], TABLE[1], TABLE[2], TABLE[3], TABLE[4], &ROW];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    greeting: String,
    primary_key: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { greeting: "hello".to_owned(), primary_key: None }
    }
}

impl SectionOptions for Options {
    fn primary_key(&mut self) -> Option<&mut Option<String>> {
        Some(&mut self.primary_key)
    }
}

/// Requests return the key and the greeting; the admin API returns the greeting, and can make the toy ready.
fn start(starting: Starting<'_>) -> Started {
    let options: Options = starting.options();
    let requests = Counter::<u64>::default();
    starting.metrics.register("toy_requests", "Requests to the toy", requests.clone());
    let component = starting.supervisor.component("toy");
    component.set_not_ready("nobody has wound it up");
    let (greeting, key) = (options.greeting.clone(), options.primary_key);
    let service = service_fn(move |request: Request<Body>| {
        requests.inc();
        let shown = request.headers().get("x-toy-key").map(|shown| shown.as_bytes().to_vec());
        let is_known = key.as_ref().is_none_or(|key| shown.as_deref() == Some(key.as_bytes()));
        let status = if is_known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let response = http_messages::text(status, greeting.clone());
        async move { Ok(response) }
    });
    let handle = Arc::new(Handle { greeting: options.greeting, component: Arc::new(component) });
    Started {
        service: UpstreamService::new(service),
        handle,
        join: Box::new(Join),
        parts: Vec::new(),
        about: "greetings".to_owned(),
    }
}

struct Handle {
    greeting: String,
    component: Arc<Component>,
}

#[async_trait]
impl ServiceHandle for Handle {
    fn admin(&self, mount: &str) -> Option<UpstreamService> {
        let (greeting, component, mount) =
            (self.greeting.clone(), Arc::clone(&self.component), mount.to_owned());
        Some(UpstreamService::new(service_fn(move |request: Request<Body>| {
            let response = match request.uri().path().strip_prefix(&mount) {
                Some("/greeting") => http_messages::text(StatusCode::OK, greeting.clone()),
                Some("/wind-up") => {
                    component.set_ready();
                    http_messages::empty(StatusCode::NO_CONTENT)
                }
                _ => http_messages::empty(StatusCode::NOT_FOUND),
            };
            async move { Ok::<Response<Body>, _>(response) }
        })))
    }

    async fn info(&self) -> Map<String, Value> {
        Map::from_iter([("greeting".to_owned(), json!(self.greeting))])
    }
}

struct Join;

#[async_trait]
impl ServiceJoin for Join {
    async fn drain(self: Box<Self>, _: Duration) {}
}

fn plan(folder: &Path, settings: &[&str]) -> Result<Plan, PlanError> {
    let ports = ["gateway", "realtime", "documents", "toy"].map(|name| format!("listen.{name}=localhost:0"));
    let set = ports.into_iter().chain(settings.iter().map(|setting| (*setting).to_owned())).collect();
    let data_dir = Some(folder.join("data"));
    let shared = SharedArgs { set, no_functions: true, data_dir, ..SharedArgs::default() };
    Plan::start(services::sections(WITH_TOY), folder, &shared, &FuncArgs::default())
}

/// A process whose listeners serve.
struct Running {
    process: Process,
    listeners: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Running {
    async fn start(folder: &Path, settings: &[&str]) -> Self {
        let plan = plan(folder, settings).expect("the configuration is right");
        let mut process = assemble(&plan, WITH_TOY).await.expect("it starts");
        let (stop, stopping) = watch::channel(false);
        let mut listeners = JoinSet::new();
        for served in std::mem::take(&mut process.served) {
            let mut stopping = stopping.clone();
            listeners.spawn(async move {
                let stopped = async { drop(stopping.wait_for(|stop| *stop).await) };
                served.listener.serve(served.service, stopped).await.expect("it serves");
            });
        }
        process.component.set_ready();
        Self { process, listeners, stop }
    }

    fn http(&self, service: &str) -> Http {
        Http::new(self.process.ready_line.urls()[service].as_str().expect("it listens"))
    }

    /// Drains it, and returns the order in which its parts ended.
    async fn drain(mut self) -> Vec<String> {
        let order = Mutex::new(Vec::new());
        self.process.supervisor.stopping();
        let listeners = async {
            self.stop.send_replace(true);
            while self.listeners.join_next().await.is_some() {}
        };
        let told = |what: &str| order.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
        self.process.drain_services(Duration::from_secs(5), told, listeners).await;
        self.process.close().await;
        order.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn get(http: &Http, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let answer = http.send("GET", path, headers, "").await.expect("it answers");
    (answer.status.as_u16(), answer.text())
}

#[tokio::test]
async fn one_table_row_routes_guards_and_drains_a_new_service() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let running = Running::start(folder.path(), &["toy.greeting=salut"]).await;
    let (own, gateway) = (running.http("toy"), running.http("gateway"));
    let ok = (200, "salut".to_owned());
    assert_eq!(get(&own, "/toy/x", &[]).await, ok, "on its own port");
    assert_eq!(get(&gateway, "/toy/x", &[]).await, ok, "through the gateway");
    let page = [("origin", "https://evil.example")];
    for http in [&own, &gateway] {
        let (status, text) = get(http, "/toy/x", &page).await;
        assert!(status == 403 && text.contains("guard-foreign-page"), "guarded: {text}");
        assert_eq!(get(http, "/toy/open", &page).await, ok, "its rules are data");
        let (status, text) = get(http, "/toy/x", &[("host", "evil.example")]).await;
        assert!(status == 403 && text.contains("guard-host-not-allowed"), "{text}");
    }
    let (status, text) = get(&gateway, "/readyz", &[]).await;
    assert_eq!((status, text.as_str()), (503, "not ready\ntoy: nobody has wound it up\n"));
    assert_eq!(get(&gateway, "/chappe/api/toy/greeting", &[]).await, ok, "its part of the admin API");
    assert_eq!(get(&gateway, "/chappe/api/toy/wind-up", &[]).await.0, 204);
    assert_eq!(get(&gateway, "/readyz", &[]).await, (200, "ready\n".to_owned()));
    let (_, info) = get(&gateway, "/chappe/api/info", &[]).await;
    let info: Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["greeting"], "salut");
    assert!(info["urls"]["toy"].is_string() && info["connections"] == 0, "{info}");
    let (_, metrics) = get(&gateway, "/metrics", &[]).await;
    assert!(metrics.contains("chappe_toy_requests_total 4\n"), "{metrics}");
    assert!(running.process.ready_line.text().contains("greetings"), "people are told of it");
    let order = running.drain().await;
    let expected = ["the realtime service", "the toy", "requests that run", "the document store"];
    assert_eq!(order[..4], expected, "{order:?}");
}

#[tokio::test]
async fn a_key_is_generated_for_a_new_service_if_other_machines_can_connect() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let running = Running::start(folder.path(), &["public_url=https://live.example.org"]).await;
    let keys = std::fs::read(folder.path().join("data/keys.json")).expect("keys were made");
    let keys: Value = serde_json::from_slice(&keys).expect("JSON");
    let key = keys["toy"].as_str().expect("one is for the toy");
    let toy = running.http("toy");
    assert_eq!(get(&toy, "/toy", &[]).await.0, 401);
    assert_eq!(get(&toy, "/toy", &[("x-toy-key", key)]).await.0, 200);
    running.drain().await;
}

#[tokio::test]
async fn a_second_instance_has_its_own_name_listener_key_and_metrics() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let settings = ["toy.greeting=salut", "toy.other.greeting=ciao", "gateway.side.listen=localhost:0"];
    let route = r#"gateway.side.routes=[{path="/toy",service="toy.other"}]"#;
    let running = Running::start(folder.path(), &[&settings[..], &[route]].concat()).await;
    let text = |text: &str| (200, text.to_owned());
    assert_eq!(get(&running.http("toy"), "/toy", &[]).await, text("salut"));
    assert_eq!(get(&running.http("toy.other"), "/toy", &[]).await, text("ciao"));
    assert_eq!(get(&running.http("gateway"), "/toy", &[]).await, text("salut"));
    assert_eq!(get(&running.http("gateway.side"), "/toy", &[]).await, text("ciao"), "its own routes");
    assert_eq!(
        get(&running.http("gateway.side"), "/healthz", &[]).await,
        text("ok\n"),
        "and the default ones"
    );
    let gateway = running.http("gateway");
    assert_eq!(get(&gateway, "/chappe/api/toy.other/greeting", &[]).await, text("ciao"));
    let (_, ready) = get(&gateway, "/readyz", &[]).await;
    assert!(ready.contains("\ntoy: nobody") && ready.contains("\ntoy.other: toy: nobody"), "{ready}");
    let (_, metrics) = get(&gateway, "/metrics", &[]).await;
    assert!(metrics.contains("chappe_toy_requests_total 2\n"), "{metrics}");
    assert!(metrics.contains("chappe_toy_requests_total{service=\"toy.other\"} 2\n"), "{metrics}");
    assert_eq!(metrics.matches("# TYPE chappe_toy_requests").count(), 1, "{metrics}");
    let (_, info) = get(&gateway, "/chappe/api/info", &[]).await;
    let info: Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(
        (&info["greeting"], &info["services"]["toy.other"]["greeting"]),
        (&json!("salut"), &json!("ciao"))
    );
    let order = running.drain().await;
    assert!(order.contains(&"the toy 'other'".to_owned()), "{order:?}");
}

#[test]
fn invalid_names_and_options_are_rejected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let same = ["realtime.instance=other", "realtime.other.mode=serverless"];
    let refused = |settings: &[&str]| {
        plan(folder.path(), settings).map(drop).expect_err("it cannot be meant").to_string()
    };
    let error = refused(&same);
    assert!(error.contains("[realtime] and [realtime.other] have the same instance"), "{error}");
    for (setting, words) in [
        ("toy.Other.greeting=x", "`Other` is no name for a service"),
        ("toy.default.greeting=x", "the section without a name is the default one"),
        ("toy.greting.x=1", "did you mean `greeting`?"),
        ("toy.other.greting=x", "unknown field `greting`"),
        ("admin.other.listen=off", "unknown field `other`"),
        ("functions.other.listen=off", "name the folder of its app"),
    ] {
        let error = refused(&[setting]);
        assert!(error.contains(words), "{setting}: {error}");
    }
}
