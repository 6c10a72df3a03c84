//! The bindings over a recorded service in this process. The tests of the binary's wiring run them over the real one, in
//! process and over the network.

use std::sync::Mutex;
use std::time::Duration;

use functions_contract::suite::{SinkFactory, check_sink};
use functions_contract::{BindingContext, Value};
use http::Uri;
use identity::{Claims, SignalRConnectionString};
use serde_json::{Map, Value as Json, json};
use trace::TraceContext;

use super::*;
use crate::output::{SignalRGroupAction, SignalRMessage};
use crate::service::{NegotiationInfo, SignalRService};

/// A service that records what the bindings request of it.
#[derive(Default)]
struct Recorded {
    calls: Mutex<Vec<String>>,
    numbers: Mutex<Vec<u64>>,
}

impl Recorded {
    fn record(&self, call: String) {
        self.calls.lock().expect("no test panics here").push(call);
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no test panics here").clone()
    }
}

#[async_trait::async_trait]
impl SignalRService for Recorded {
    fn name(&self) -> String {
        "recorded".to_owned()
    }

    fn client_access(
        &self,
        hub: &str,
        user: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
        origin: Option<&Uri>,
    ) -> Result<NegotiationInfo, BindingError> {
        self.record(format!(
            "{hub} {user:?} {} s {origin:?} {}",
            lifetime.as_secs(),
            Json::Object(claims.to_json())
        ));
        Ok(NegotiationInfo { url: "http://here".to_owned(), access_token: "token".to_owned() })
    }

    async fn send(&self, hub: &str, message: &SignalRMessage, _: TraceContext) -> Result<(), BindingError> {
        self.record(format!("{hub} {:?} {}", message.recipient, message.target));
        let arguments: Vec<u64> = serde_json::from_str(message.arguments.get()).expect("one number");
        self.numbers.lock().expect("no test panics here").extend(arguments);
        Ok(())
    }

    async fn change_group(
        &self,
        hub: &str,
        change: &SignalRGroupAction,
        _: TraceContext,
    ) -> Result<(), BindingError> {
        self.record(format!("{hub} {change:?}"));
        Ok(())
    }
}

/// An app with these settings.
struct Settings(Vec<(&'static str, &'static str)>);

impl AppSettings for Settings {
    fn setting(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
    }

    fn names_below(&self, prefix: &str) -> Vec<String> {
        let is_below = |name: &&str| name.replace("__", ":").starts_with(prefix);
        self.0.iter().map(|(name, _)| *name).filter(is_below).map(str::to_owned).collect()
    }

    fn host_id(&self) -> &str {
        "tests"
    }
}

/// A connector whose resolver finds `service` for every connection string, and records the server's address.
fn connector(service: &Arc<Recorded>) -> SignalR {
    let service = Arc::clone(service);
    connector_by(Arc::new(move |connection| {
        service.record(connection.server_url());
        let service: Arc<dyn SignalRService> = service.clone();
        Some(service)
    }))
}

fn connector_by(in_process: InProcess) -> SignalR {
    let metrics = egress::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let egress = egress::Client::new(&egress::Options::default(), &metrics).expect("the options are valid");
    SignalR::new(in_process, egress, Options::default())
}

fn spec(kind: &str, direction: Direction, properties: Json) -> BindingSpec {
    let Json::Object(properties) = properties else { panic!("properties are an object") };
    let (function, name) = ("f".to_owned(), "binding".to_owned());
    BindingSpec { function, name, kind: kind.to_owned(), direction, properties }
}

fn context(properties: &Map<String, Json>) -> BindingContext<'_> {
    BindingContext {
        invocation_id: "i",
        properties,
        binding_data: properties,
        origin: None,
        trace: TraceContext::root(),
    }
}

const CONNECTION: (&str, &str) =
    ("AzureSignalRConnectionString", "Endpoint=http://localhost;Port=8888;AccessKey=k;Version=1.0;");

struct Output(Arc<Recorded>);

#[async_trait::async_trait]
impl SinkFactory for Output {
    async fn sink(&self) -> Arc<dyn Sink> {
        let spec = spec("signalR", Direction::Out, json!({ "hubName": "board" }));
        connector(&self.0).sink(&spec, &Settings(vec![CONNECTION])).await.expect("the binding is valid")
    }

    fn properties(&self) -> Map<String, Json> {
        Map::from_iter([("hubName".to_owned(), "board".into())])
    }

    fn item(&self, number: u64) -> Value {
        Value::Json(json!({ "target": "number", "arguments": [number] }).to_string().into())
    }

    fn bad_item(&self) -> Option<Value> {
        Some(Value::Json(json!({ "target": "number", "arguments": 1 }).to_string().into()))
    }

    async fn accepted(&self) -> Vec<u64> {
        self.0.numbers.lock().expect("no test panics here").clone()
    }
}

#[tokio::test]
async fn the_output_keeps_the_contract_of_sinks() {
    check_sink(&Output(Arc::default())).await;
}

#[tokio::test]
async fn an_output_with_one_invalid_item_sends_nothing() {
    let service = Arc::new(Recorded::default());
    let output = Output(Arc::clone(&service));
    let (sink, properties) = (output.sink().await, output.properties());
    let items = vec![output.item(1), Value::Json("{}".into())];
    sink.write(&context(&properties), items).await.expect_err("the second item is invalid");
    assert!(output.accepted().await.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_group_action_changes_membership_of_the_hub() {
    let service = Arc::new(Recorded::default());
    let output = Output(Arc::clone(&service));
    let (sink, properties) = (output.sink().await, output.properties());
    let item = json!({ "action": "add", "userId": "u", "groupName": "g" });
    let written = sink.write(&context(&properties), vec![Value::Json(item.to_string().into())]).await;
    written.expect("the item is valid");
    let change = r#"board SignalRGroupAction { member: User("u"), action: Add("g") }"#;
    assert_eq!(service.calls(), ["http://localhost:8888", change]);
}

#[tokio::test]
async fn connection_info_contains_the_address_and_only_the_listed_claims_of_the_id_token() {
    let service = Arc::new(Recorded::default());
    // The payload is {"role":["a","b"],"other":"x"}.
    let properties = json!({
        "hubName": "board", "userId": "ada", "claimTypeList": ["role", "missing"],
        "idToken": "h.eyJyb2xlIjpbImEiLCJiIl0sIm90aGVyIjoieCJ9.s",
    });
    let spec = spec("signalRConnectionInfo", Direction::In, properties);
    let reader = connector(&service).reader(&spec, &Settings(vec![CONNECTION])).await;
    let value = reader.expect("the binding is valid").read(&context(&spec.properties)).await;
    let expected = json!({ "url": "http://here", "accessToken": "token" }).to_string();
    assert_eq!(value.expect("the token is readable"), Value::Json(expected.into()));
    let call = service.calls().pop().expect("the binding called the service");
    assert!(call.starts_with(r#"board Some("ada") 3600 s None"#), "{call}");
    assert!(call.contains("role") && call.contains("\"a\"") && call.contains("\"b\""), "{call}");
    assert!(!call.contains("other"), "{call}");
}

async fn sink_error(connector: &SignalR, properties: Json, settings: Settings) -> String {
    let sink = connector.sink(&spec("signalR", Direction::Out, properties), &settings).await;
    sink.err().expect("the binding is invalid").to_string()
}

#[tokio::test]
async fn an_invalid_declaration_names_the_setting_or_property() {
    let nowhere = connector_by(Arc::new(|_: &SignalRConnectionString| None));
    let hub = || json!({ "hubName": "board" });
    let missing = sink_error(&nowhere, hub(), Settings(Vec::new())).await;
    assert!(
        missing.contains("AzureSignalRConnectionString") && missing.contains("local.settings.json"),
        "{missing}"
    );
    let other = json!({ "hubName": "board", "connectionStringSetting": "Other" });
    let malformed = sink_error(&nowhere, other, Settings(vec![("Other", "nonsense")])).await;
    assert!(malformed.starts_with("the setting \"Other\": "), "{malformed}");
    let no_hub = sink_error(&nowhere, json!({}), Settings(vec![CONNECTION])).await;
    assert_eq!(no_hub, "the binding \"binding\" has no hubName; set it to the name of a hub");
    let no_key =
        Settings(vec![("AzureSignalRConnectionString", "Endpoint=https://a.example;AuthType=azure;")]);
    let no_key = sink_error(&nowhere, hub(), no_key).await;
    assert!(no_key.contains("AccessKey"), "{no_key}");
}

#[tokio::test]
async fn settings_of_an_identity_based_connection_reach_the_service_in_process() {
    let service = Arc::new(Recorded::default());
    let spec = spec("signalR", Direction::Out, json!({ "hubName": "board" }));
    let settings = Settings(vec![("AzureSignalRConnectionString__serviceUri", "http://localhost:9999")]);
    connector(&service).sink(&spec, &settings).await.expect("the service is in this process");
    assert_eq!(service.calls(), ["http://localhost:9999"]);
}

/// Two primary endpoints and a secondary one, each with a service of its own.
const ENDPOINT_SETTINGS: [(&str, &str); 3] = [
    ("Azure__SignalR__Endpoints__east", "Endpoint=http://east;AccessKey=k;"),
    ("Azure__SignalR__Endpoints__west__primary", "Endpoint=http://west;AccessKey=k;"),
    ("Azure__SignalR__Endpoints__west__secondary", "Endpoint=http://spare;AccessKey=k;"),
];

/// A connector with a service for each address, and these services by their addresses.
fn connector_of_endpoints() -> (SignalR, Vec<(&'static str, Arc<Recorded>)>) {
    let services =
        ["http://east", "http://west", "http://spare"].map(|url| (url, Arc::new(Recorded::default())));
    let known = services.clone();
    let connector = connector_by(Arc::new(move |connection| {
        let found = known.iter().find(|(url, _)| *url == connection.server_url());
        found.map(|(_, service)| Arc::clone(service) as Arc<dyn SignalRService>)
    }));
    (connector, services.to_vec())
}

async fn read(connector: &SignalR, kind: &str, reads: usize) -> Vec<Json> {
    let spec = spec(kind, Direction::In, json!({ "hubName": "board" }));
    let reader = connector.reader(&spec, &Settings(ENDPOINT_SETTINGS.to_vec())).await;
    let (reader, mut values) = (reader.expect("the binding is valid"), Vec::new());
    for _ in 0..reads {
        let Ok(Value::Json(text)) = reader.read(&context(&spec.properties)).await else { panic!("no JSON") };
        values.push(serde_json::from_str(&text).expect("JSON"));
    }
    values
}

#[tokio::test]
async fn clients_are_sent_to_the_primary_endpoints_in_turn() {
    let (connector, services) = connector_of_endpoints();
    read(&connector, "signalRConnectionInfo", 4).await;
    let counts: Vec<usize> = services.iter().map(|(_, service)| service.calls().len()).collect();
    assert_eq!(counts, [2, 2, 0]);
}

#[tokio::test]
async fn a_function_can_see_all_endpoints_and_how_a_client_connects_to_each() {
    let (connector, _) = connector_of_endpoints();
    let endpoint = |kind: &str, name: &str, url: &str| json!({ "endpointType": kind, "name": name, "endpoint": url, "online": true });
    let expected = [
        endpoint("Primary", "east", "http://east"),
        endpoint("Primary", "west", "http://west"),
        endpoint("Secondary", "west", "http://spare"),
    ];
    assert_eq!(read(&connector, "signalREndpoints", 1).await, [json!(expected)]);
    let with_info = expected.map(|mut endpoint| {
        endpoint["connectionInfo"] = json!({ "url": "http://here", "accessToken": "token" });
        endpoint
    });
    assert_eq!(read(&connector, "signalRNegotiation", 1).await, [json!({ "endpoints": with_info })]);
}

#[tokio::test]
async fn messages_go_to_all_endpoints_or_to_those_that_they_name() {
    let (connector, services) = connector_of_endpoints();
    let properties = json!({ "hubName": "board" });
    let spec = spec("signalR", Direction::Out, properties);
    let sink = connector.sink(&spec, &Settings(ENDPOINT_SETTINGS.to_vec())).await.expect("it is valid");
    let all = read(&connector, "signalREndpoints", 1).await.remove(0);
    let unknown = json!({ "endpointType": "Primary", "name": "north", "endpoint": "http://north" });
    let items = [
        json!({ "target": "all", "arguments": [1] }),
        json!({ "target": "spare", "arguments": [2], "endpoints": [all[2], unknown] }),
        json!({ "target": "none", "arguments": [3], "endpoints": [] }),
        json!({ "action": "add", "userId": "u", "groupName": "g", "endpoints": [all[0]] }),
    ];
    let items = items.map(|item| Value::Json(item.to_string().into())).to_vec();
    sink.write(&context(&spec.properties), items).await.expect("all are valid");
    let calls = |at: usize| services[at].1.calls();
    let change = r#"board SignalRGroupAction { member: User("u"), action: Add("g") }"#;
    assert_eq!(calls(0), ["board All all", change]);
    assert_eq!(calls(1), ["board All all"]);
    assert_eq!(calls(2), ["board All all", "board All spare"]);
}

#[tokio::test]
async fn a_trigger_receives_events_of_all_endpoints() {
    let connector = connector(&Arc::default());
    let properties = json!({ "hubName": "board", "category": "messages", "event": "add" });
    let spec = spec(TRIGGER, Direction::In, properties);
    let mut settings = ENDPOINT_SETTINGS.to_vec();
    settings.push(CONNECTION);
    let trigger = connector.push_trigger(&spec, &Settings(settings)).await.expect("it is valid");
    assert_eq!(trigger.addresses().len(), 2, "by HTTP, and from the service of this process once");
}
