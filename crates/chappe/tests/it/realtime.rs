//! The realtime service behind both of its doors: its own port and the gateway.

use std::time::{SystemTime, UNIX_EPOCH};

use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use serde_json::json;
use signalr_protocol::HubProtocol;
use testkit::{HubClient, Process};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
pub(crate) const CLIENT_PATH: &str = "/client/";

/// A token signed with the emulator's public key, as every local connection string has it.
pub(crate) fn token(audience: &str, user: Option<&str>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let key = AccessKey::new(DEVELOPMENT_SIGNALR_KEY).expect("the constant is not empty");
    let mut claims = Claims::new();
    if let Some(user) = user {
        claims.push("asrs.s.uid", user);
    }
    identity::sign(&claims, audience, now, now + 600, &key, Algorithm::Hs256)
}

/// A client of a hub, through the gateway, without negotiation.
pub(crate) async fn connect(
    process: &Process,
    hub: &str,
    user: Option<&str>,
    protocol: HubProtocol,
) -> HubClient {
    let token = token(&format!("http://localhost/client/?hub={hub}"), user);
    let path = format!("{CLIENT_PATH}?hub={hub}&access_token={token}");
    let gateway = process.http("gateway");
    HubClient::connect(gateway.authority(), &path, protocol).await.expect("it connects")
}

#[tokio::test]
async fn a_broadcast_over_rest_reaches_clients_of_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments = ["start", "--no-functions", "--ephemeral"];
    let process = Process::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    let mut alice = connect(&process, "chat", Some("alice"), HubProtocol::Json).await;
    let mut bob = connect(&process, "chat", Some("bob"), HubProtocol::Json).await;
    let path = "/api/v1/hubs/chat/users/alice";
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), None));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = json!({ "target": "greet", "arguments": ["hello", 1] }).to_string();
    let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(alice.arguments_of("greet").await.expect("a message"), json!(["hello", 1]));

    let path = "/api/v1/hubs/chat";
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), None));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = json!({ "Target": "all", "Arguments": [] }).to_string();
    let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
    // Bob's first message is the broadcast: what went to alice alone never reached him.
    assert_eq!(bob.next_json().await.expect("a message")["target"], "all");
    assert_eq!(alice.next_json().await.expect("a message")["target"], "all");
}
