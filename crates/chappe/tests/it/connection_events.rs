//! `kill -9` while clients connect and disconnect: an upstream that received a client's connected event receives its disconnected
//! event, sooner or later.
//!
//! `CHAPPE_SOAK_KILLS` sets the number of kills; `CHAPPE_SEED` repeats the choices of a run.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use signalr_protocol::HubProtocol;
use state::Instance;
use testkit::{ChildProcess, HubClient, PATIENCE};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::realtime::{CLIENT_PATH, token};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const CLIENTS: u64 = 8;

/// A xorshift generator that several tasks share.
#[derive(Clone)]
struct Chance(Arc<AtomicU64>);

impl Chance {
    fn new() -> Self {
        let seed = std::env::var("CHAPPE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| std::process::id().into());
        eprintln!("CHAPPE_SEED={seed}");
        Self(Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    fn below(&self, limit: u64) -> u64 {
        let step = |mut number: u64| {
            number ^= number << 13;
            number ^= number >> 7;
            number ^ (number << 17)
        };
        let before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |number| Some(step(number)));
        step(before.unwrap_or_else(|number| number)) % limit
    }
}

/// The events that the upstream received, in order.
#[derive(Default)]
struct Told {
    /// By connection: the number of connected and disconnected events, and whether the last event was disconnected.
    connections: HashMap<String, (u32, u32, bool)>,
}

impl Told {
    fn take(&mut self, connection: String, event: &str) {
        let (came, went, has_gone) = self.connections.entry(connection).or_default();
        match event {
            "connected" => (*came, *has_gone) = (*came + 1, false),
            "disconnected" => (*went, *has_gone) = (*went + 1, true),
            other => panic!("an upstream for connections is told {other}"),
        }
    }

    /// Connections with a connected event and no disconnected event.
    fn left(&self) -> usize {
        self.connections.values().filter(|(came, _, has_gone)| *came > 0 && !has_gone).count()
    }
}

/// An upstream that fails at intervals, and reports which events it accepted or refused.
struct Upstream {
    address: String,
    told: Arc<Mutex<Told>>,
    heard: mpsc::UnboundedReceiver<()>,
    _stop: oneshot::Sender<()>,
}

impl Upstream {
    fn start(chance: &Chance) -> Self {
        let listener = edge::Listener::bind("upstream", "127.0.0.1:0".parse().expect("an address"));
        let listener = listener.expect("a port is free");
        let address = format!("http://{}/", listener.local_addr());
        let (told, chance) = (Arc::new(Mutex::new(Told::default())), chance.clone());
        let (hear, heard) = mpsc::unbounded_channel();
        let shared = Arc::clone(&told);
        let service = tower::service_fn(move |request: Request<http_messages::Body>| {
            let header = |name: &str| {
                let value = request.headers().get(name).expect("every event has its headers");
                value.to_str().expect("ids and events are ASCII").to_owned()
            };
            let (connection, event) = (header("x-asrs-connection-id"), header("x-asrs-event"));
            shared.lock().expect("no test panics here").take(connection, &event);
            // The send fails only if the test has ended.
            let _ = hear.send(());
            let status =
                if chance.below(8) == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
            let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = status;
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            listener.serve(service, async { drop(stopped.await) }).await.expect("the upstream serves");
        });
        Self { address, told, heard, _stop: stop }
    }

    async fn hear(&mut self) {
        timeout(PATIENCE, self.heard.recv()).await.expect("the upstream hears").expect("it serves");
    }

    fn left(&self) -> usize {
        self.told.lock().expect("no test panics here").left()
    }
}

async fn start(folder: &Path, upstream: &Upstream) -> ChildProcess {
    let template = format!(
        "realtime.upstream.templates=[{{url_template=\"{}\",category_pattern=\"connections\"}}]",
        upstream.address
    );
    let arguments = ["start", "--no-functions", "--data-dir", "data", "--set", &template];
    let quick = ["--set", "realtime.events.backoff_first_ms=2", "--set", "realtime.events.backoff_max_ms=20"];
    let arguments: Vec<&str> = arguments.into_iter().chain(quick).collect();
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts after every kill")
}

/// Connects and disconnects until the process is killed.
async fn connect_and_disconnect(authority: String, may_stay: bool, chance: Chance) {
    loop {
        let token = token("http://localhost/client/?hub=chat", Some("ada"));
        let path = format!("{CLIENT_PATH}?hub=chat&access_token={token}");
        let Ok(mut client) = HubClient::connect(&authority, &path, HubProtocol::Json).await else { return };
        // Some close the connection, some just drop it, some stay until the kill.
        match chance.below(4) {
            0 => {
                let said = client.send(b"{\"type\":7}\x1e").await;
                while said.is_ok() && matches!(client.next().await, Ok(Some(_))) {}
            }
            1 if may_stay => while matches!(client.next().await, Ok(Some(_))) {},
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_received_connected_receives_disconnected_after_kills() {
    let kills: u32 = match std::env::var("CHAPPE_SOAK_KILLS") {
        Ok(kills) => kills.parse().expect("CHAPPE_SOAK_KILLS is a number"),
        Err(_) => 4,
    };
    let folder = tempfile::tempdir().expect("a folder can be made");
    let chance = Chance::new();
    let mut upstream = Upstream::start(&chance);
    for _ in 0..kills {
        let process = start(folder.path(), &upstream).await;
        let authority = process.http("realtime").authority().to_owned();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                tokio::spawn(connect_and_disconnect(authority.clone(), number % 2 == 0, chance.clone()))
            })
            .collect();
        for _ in 0..1 + chance.below(200) {
            upstream.hear().await;
        }
        let log = process.kill().await.expect("it can be killed");
        assert!(!log.contains("panicked"), "{log}");
        for client in clients {
            client.await.expect("a client ends with the process");
        }
    }
    let before = upstream.left();
    let process = start(folder.path(), &upstream).await;
    while upstream.left() > 0 {
        upstream.hear().await;
    }
    let told = upstream.told.lock().expect("no test panics here").connections.len();
    eprintln!("{told} connections over {kills} kills; the ends of {before} came after the last one");
    assert!(kills < 2 || told > 0, "some clients were there");
    let letters = process.http("gateway").get("/chappe/api/realtime/dead-letters").await;
    let letters: Value = letters.and_then(|answer| answer.json()).expect("it answers");
    assert_eq!(letters["letters"], serde_json::json!([]), "nothing was given up");
    process.terminate().await.expect("it can be asked to end");
    let (code, log) = process.wait().await.expect("it ends");
    assert_eq!(code, Some(0), "{log}");
    // Delivered events are no longer stored.
    let store =
        state_embedded::Store::open(folder.path().join("data/state"), &state_embedded::Options::default());
    let store = store.expect("the store can be opened");
    let instance = Instance::new("default").expect("a name");
    let left = store.registry().list(&instance, "realtime/connections/", None, 10).await.expect("it lists");
    assert_eq!(left, []);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_read_from_the_admin_api() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    // A port of the test that refuses connections.
    let closed = tokio::net::TcpSocket::new_v4().expect("a socket can be made");
    closed.bind("127.0.0.1:0".parse().expect("an address")).expect("a port is free");
    let address = closed.local_addr().expect("a bound socket has an address").to_string();
    let template = format!("realtime.upstream.templates=[{{url_template=\"http://{address}/\"}}]");
    let arguments = ["start", "--no-functions", "--ephemeral", "--set", &template];
    let quick = ["--set", "realtime.events.attempts_max=1"];
    let arguments: Vec<&str> = arguments.into_iter().chain(quick).collect();
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    let gateway = process.http("gateway");
    let client = crate::realtime::connect(&process, "chat", Some("ada"), HubProtocol::Json).await;
    drop(client);
    let page = async |query: &str| {
        let path = format!("/chappe/api/realtime/dead-letters{query}");
        gateway.get(&path).await.expect("it answers")
    };
    let both = async {
        loop {
            let answer = page("").await.json().expect("it is JSON");
            if answer["letters"].as_array().is_some_and(|letters| letters.len() == 2) {
                break answer;
            }
        }
    };
    let both = timeout(PATIENCE, both).await.expect("both events are given up");
    let events = [&both["letters"][0]["event"], &both["letters"][1]["event"]];
    assert_eq!(events, ["connected", "disconnected"]);
    assert_eq!(both["letters"][1]["userId"], "ada");
    assert!(both["letters"][1]["cause"].as_str().expect("a cause").contains(&address));
    let first = page("?max=1").await.json().expect("it is JSON");
    let second = page(&format!("?after={}", first["next"].as_str().expect("a place"))).await;
    let second = second.json().expect("it is JSON");
    assert_eq!(second["letters"], serde_json::json!([both["letters"][1]]));
    let wrong = page("?after=nowhere").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("admin-no-such-place"), "{}", wrong.text());
}
