//! Runs the contract suite of sinks against the `signalR` output, embedded and remote, and tests `signalRConnectionInfo` by
//! connecting with its value. The realtime service is real, behind a real listener.

use std::net::SocketAddr;

use functions_contract::suite::{SinkFactory, check_sink};
use functions_contract::{AppSettings, BindingContext, BindingSpec, Connector as _, Direction, Sink, Value};
use prometheus_client::registry::Registry;
use realtime_engine::NodeId;
use serde_json::{Map, Value as Json, json};
use signalr_protocol::HubProtocol;
use testkit::HubClient;
use tokio::sync::{Mutex, watch};
use trace::{TraceContext, Tracer};

use super::*;
use crate::ports::Addresses;
use crate::wiring::Reachable;

const ID: ServiceId = ServiceId::unnamed("realtime");

const DEFAULT_SETTING: &str = "AzureSignalRConnectionString";
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

const HUB: &str = "board";

/// A realtime service for one test, with one connected client.
struct Bench {
    realtime: realtime::Handle,
    address: SocketAddr,
    /// The numbers that the client received; a marker message shows that every earlier message has arrived.
    client: Mutex<(HubClient, Vec<u64>)>,
    /// Dropped last, because dropping it closes the state.
    _store: state_embedded::Store,
    /// Dropping it stops the listener.
    _stop: watch::Sender<bool>,
}

impl Bench {
    async fn start() -> Self {
        let mut registry = Registry::default();
        let options = realtime::Options { development_keys: true, ..realtime::Options::default() };
        let store = state_embedded::Store::ephemeral(&state_embedded::Options::default()).expect("a store");
        let metrics = egress::Metrics::register(&mut registry);
        let egress =
            egress::Client::new(&egress::Options::default(), &metrics).expect("the options are valid");
        let dependencies = realtime::Dependencies {
            node: NodeId(0),
            tracer: Tracer::new(16),
            journal: store.journal(),
            registry: store.registry(),
            egress,
            bodies: http_messages::Budget::default(),
            supervisor: supervision::Supervisor::default(),
            listeners: Vec::new(),
        };
        let started = realtime::start(options, dependencies, &mut registry).await;
        let (service, realtime, _join) = started.expect("the service starts");
        let listener = edge::Listener::bind_localhost("realtime", 0).expect("a port is free");
        let address = listener.local_addr();
        let (stop, mut stopping) = watch::channel(false);
        tokio::spawn(listener.serve(service, async move { drop(stopping.changed().await) }));
        let base = format!("http://{address}");
        let access = realtime.client_access(HUB, Some("ada"), &Claims::new(), TOKEN_LIFETIME, &base);
        let access = access.expect("the hub name is valid");
        let client = connect(&access.url, &access.access_token).await;
        Self { realtime, address, client: Mutex::new((client, Vec::new())), _store: store, _stop: stop }
    }

    fn local_services(&self) -> Arc<LocalServices> {
        let reachable = Reachable { id: ID, emulator_port: None, gateways: Vec::new() };
        Arc::new(LocalServices::new(vec![reachable], [(ID, self.address)].into_iter().collect(), None))
    }

    fn signalr(&self, local_services: Arc<LocalServices>) -> SignalR {
        let metrics = egress::Metrics::register(&mut Registry::default());
        let egress =
            egress::Client::new(&egress::Options::default(), &metrics).expect("the options are valid");
        signalr_connector(
            local_services,
            BTreeMap::from([(ID, self.realtime.clone())]),
            egress,
            connect_signalr::Options::default(),
        )
    }

    fn settings(&self) -> Settings {
        let port = self.address.port();
        let key = identity::DEVELOPMENT_SIGNALR_KEY;
        Settings(format!("Endpoint=http://localhost;Port={port};AccessKey={key};Version=1.0;"))
    }
}

/// An app with one setting.
struct Settings(String);

impl AppSettings for Settings {
    fn setting(&self, name: &str) -> Option<String> {
        (name == DEFAULT_SETTING).then(|| self.0.clone())
    }

    fn host_id(&self) -> &str {
        "tests"
    }
}

async fn connect(url: &str, token: &str) -> HubClient {
    let (authority, path) = url.trim_start_matches("http://").split_once('/').expect("the url has a path");
    let path = format!("/{path}&access_token={token}");
    HubClient::connect(authority, &path, HubProtocol::Json).await.expect("it connects")
}

fn spec(kind: &str, direction: Direction) -> BindingSpec {
    let properties = properties();
    BindingSpec {
        function: "f".to_owned(),
        name: "out".to_owned(),
        kind: kind.to_owned(),
        direction,
        properties,
    }
}

fn properties() -> Map<String, Json> {
    Map::from_iter([("hubName".to_owned(), HUB.into()), ("userId".to_owned(), "ada".into())])
}

struct Output {
    bench: Bench,
    local_services: Arc<LocalServices>,
}

#[async_trait::async_trait]
impl SinkFactory for Output {
    async fn sink(&self) -> Arc<dyn Sink> {
        let signalr = self.bench.signalr(Arc::clone(&self.local_services));
        let sink = signalr.sink(&spec("signalR", Direction::Out), &self.bench.settings()).await;
        sink.expect("the binding is valid")
    }

    fn properties(&self) -> Map<String, Json> {
        properties()
    }

    fn item(&self, number: u64) -> Value {
        Value::Json(json!({ "target": "number", "userId": "ada", "arguments": [number] }).to_string().into())
    }

    fn bad_item(&self) -> Option<Value> {
        Some(Value::Json(json!({ "target": "number", "arguments": { "no": "array" } }).to_string().into()))
    }

    async fn accepted(&self) -> Vec<u64> {
        let marker = realtime::SendMessage {
            hub: HUB,
            to: Target::All,
            excluded: Vec::new(),
            target: "marker",
            arguments: "[]",
            trace: None,
        };
        self.bench.realtime.send(marker).await.expect("the service runs");
        let (client, numbers) = &mut *self.bench.client.lock().await;
        loop {
            let message = client.next_json().await.expect("a message");
            match message["target"].as_str() {
                Some("marker") => return numbers.clone(),
                _ => numbers.push(message["arguments"][0].as_u64().expect("a number")),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_output_keeps_the_contract_of_sinks() {
    let bench = Bench::start().await;
    let local_services = bench.local_services();
    check_sink(&Output { bench, local_services }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_remote_output_keeps_the_contract_of_sinks() {
    let bench = Bench::start().await;
    // No address of this process is known, so the connection string names another host.
    let local_services = Arc::new(LocalServices::new(Vec::new(), Addresses::default(), None));
    check_sink(&Output { bench, local_services }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_connects_with_connection_info_embedded_and_remote() {
    let bench = Bench::start().await;
    let nowhere = Arc::new(LocalServices::new(Vec::new(), Addresses::default(), None));
    for local_services in [bench.local_services(), nowhere] {
        let signalr = bench.signalr(local_services);
        let reader = signalr.reader(&spec("signalRConnectionInfo", Direction::In), &bench.settings()).await;
        let reader = reader.expect("the binding is valid");
        let (properties, data) = (properties(), Map::new());
        let trace = TraceContext::root();
        let context = BindingContext {
            invocation_id: "i",
            properties: &properties,
            binding_data: &data,
            origin: None,
            trace,
        };
        let Ok(Value::Json(info)) = reader.read(&context).await else { panic!("the value is JSON") };
        let info: Json = serde_json::from_str(&info).expect("the value is JSON");
        let text = |name: &str| info[name].as_str().expect("url and accessToken are text").to_owned();
        let mut client = connect(&text("url"), &text("accessToken")).await;
        let to = Target::User(UserId::new("ada"));
        let message = realtime::SendMessage {
            hub: HUB,
            to,
            excluded: Vec::new(),
            target: "hello",
            arguments: "[]",
            trace: None,
        };
        bench.realtime.send(message).await.expect("the service runs");
        assert_eq!(client.next_json().await.expect("a message")["target"], "hello");
    }
}

/// Settings by their names.
struct Named(Vec<(&'static str, String)>);

impl AppSettings for Named {
    fn setting(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
    }

    fn host_id(&self) -> &str {
        "tests"
    }
}

/// Writes one item to an output with these settings.
async fn write(
    bench: &Bench,
    settings: &dyn AppSettings,
    local_services: Arc<LocalServices>,
    item: Json,
) -> Result<(), BindingError> {
    let sink = bench.signalr(local_services).sink(&spec("signalR", Direction::Out), settings).await?;
    let (properties, data) = (properties(), Map::new());
    let trace = TraceContext::root();
    let context = BindingContext {
        invocation_id: "i",
        properties: &properties,
        binding_data: &data,
        origin: None,
        trace,
    };
    sink.write(&context, vec![Value::Json(item.to_string().into())]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_based_connection_to_this_process_needs_no_token() {
    let bench = Bench::start().await;
    let endpoint = format!("http://localhost:{}", bench.address.port());
    let strings = [
        format!("Endpoint={endpoint};AuthType=azure;Version=1.0;"),
        format!("Endpoint={endpoint};AuthType=azure.msi;ClientId=00000000-0000-0000-0000-000000000000;"),
        format!("Endpoint={endpoint};AuthType=azure.app;ClientId=a;TenantId=b;ClientSecret=c;"),
        format!("Endpoint=http://localhost;Port={};AuthType=aad;", bench.address.port()),
    ];
    let mut settings: Vec<Named> =
        strings.into_iter().map(|string| Named(vec![(DEFAULT_SETTING, string)])).collect();
    settings.push(Named(vec![("AzureSignalRConnectionString__serviceUri", endpoint)]));
    let nowhere = || Arc::new(LocalServices::new(Vec::new(), Addresses::default(), None));
    let count = settings.len();
    for (number, settings) in settings.iter().enumerate() {
        let item = json!({ "target": "number", "userId": "ada", "arguments": [number] });
        write(&bench, settings, bench.local_services(), item.clone())
            .await
            .expect("the service is in this process");
        let error =
            write(&bench, settings, nowhere(), item).await.expect_err("a remote service needs an access key");
        assert!(error.to_string().contains("AccessKey"), "{error}");
    }
    let (client, _) = &mut *bench.client.lock().await;
    for number in 0..count {
        assert_eq!(client.arguments_of("number").await.expect("a message"), json!([number]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_added_to_a_group_is_a_member_with_later_connections() {
    let bench = Bench::start().await;
    let (settings, local_services) = (bench.settings(), || bench.local_services());
    let join = json!({ "userId": "bob", "groupName": "g", "action": "add" });
    write(&bench, &settings, local_services(), join).await.expect("the group has capacity");
    // The user connects afterwards.
    let base = format!("http://{}", bench.address);
    let access = bench.realtime.client_access(HUB, Some("bob"), &Claims::new(), TOKEN_LIFETIME, &base);
    let access = access.expect("the hub name is valid");
    let mut bob = connect(&access.url, &access.access_token).await;
    let to_group = json!({ "target": "news", "groupName": "g", "arguments": [1] });
    write(&bench, &settings, local_services(), to_group.clone()).await.expect("it is sent");
    assert_eq!(bob.arguments_of("news").await.expect("a message"), json!([1]));
    let leave = json!({ "userId": "bob", "groupName": "g", "action": "remove" });
    write(&bench, &settings, local_services(), leave).await.expect("the change is stored");
    write(&bench, &settings, local_services(), to_group).await.expect("it is sent");
    let to_all = json!({ "target": "end", "arguments": [] });
    write(&bench, &settings, local_services(), to_all).await.expect("it is sent");
    assert_eq!(bob.next_json().await.expect("a message")["target"], "end");
}
