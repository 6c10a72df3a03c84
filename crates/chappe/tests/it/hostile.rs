//! Floods against the built binary: what thousands of connections use is bounded and released by itself, and clients that follow
//! the rules are not affected.

mod floods;
mod noise;
mod patience;
mod readers;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use signalr_protocol::HubProtocol;
use testkit::{ChildProcess, HubClient, RawSocket};

use crate::realtime::{connect, token};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

const HANDSHAKE: &[u8] = b"\x81\xa0\0\0\0\0{\"protocol\":\"json\",\"version\":1}\x1e";

async fn start(folder: &Path, settings: &[&str]) -> ChildProcess {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> =
        ["start", "--no-functions", "--ephemeral"].into_iter().chain(settings).collect();
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts")
}

/// A WebSocket of the hub `chat` that has not sent the handshake.
async fn opened(process: &ChildProcess) -> RawSocket {
    let path = format!("/client/?hub=chat&access_token={}", token("http://localhost/client/?hub=chat", None));
    let realtime = process.http("realtime");
    let (socket, head) = RawSocket::upgrade(realtime.authority(), &path, "").await.expect("it answers");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    socket
}

/// A client that follows the rules, alone in its hub, and shows that the service works.
struct Witness {
    client: HubClient,
    hub: String,
    sent: u64,
}

impl Witness {
    async fn connect(process: &ChildProcess) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let hub = format!("witness{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { client: connect(process, &hub, None, HubProtocol::Json).await, hub, sent: 0 }
    }

    /// Sends a message over REST and checks that it arrives.
    async fn is_served(&mut self, process: &ChildProcess) {
        let path = format!("/api/v1/hubs/{}", self.hub);
        let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), None));
        let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        self.sent += 1;
        let body = json!({ "target": "seen", "arguments": [self.sent] }).to_string();
        let answer = process.http("realtime").send("POST", &path, &fields, body).await.expect("it answers");
        assert_eq!(answer.status, 202, "{}", answer.text());
        let arguments = self.client.arguments_of("seen").await.expect("a message");
        assert_eq!(arguments, json!([self.sent]), "every message, once, in order");
    }
}

/// The number of connections in the metrics of the process.
async fn connections(process: &ChildProcess) -> u64 {
    let info = process.http("gateway").get("/chappe/api/info").await.and_then(|answer| answer.json());
    info.expect("it answers")["connections"].as_u64().expect("a number")
}

/// Memory in megabytes, for messages and limits.
fn megabytes(process: &ChildProcess) -> Option<u64> {
    process.anonymous_bytes().map(|bytes| bytes / (1024 * 1024))
}
