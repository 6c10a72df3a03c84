//! The realtime service on both of its ports: its own port and the gateway.

use std::time::{SystemTime, UNIX_EPOCH};

use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use serde_json::json;
use signalr_protocol::HubProtocol;
use testkit::{ChildProcess, HubClient};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
pub(crate) const CLIENT_PATH: &str = "/client/";

/// A token signed with the emulator's public key, which every local connection string contains.
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
    process: &ChildProcess,
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
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
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
    // Bob's first message is the broadcast: the message to alice was not sent to him.
    assert_eq!(bob.next_json().await.expect("a message")["target"], "all");
    assert_eq!(alice.next_json().await.expect("a message")["target"], "all");
}

#[tokio::test]
async fn account_keys_change_through_the_admin_api_while_a_client_stays() {
    const KEYS: &str = "/chappe/api/realtime/keys";
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments = ["start", "--no-functions", "--ephemeral"];
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    let mut ada = connect(&process, "chat", Some("ada"), HubProtocol::Json).await;
    let gateway = process.http("gateway");
    let rotate = async |token: String, host: &'static str| {
        let authorization = format!("Bearer {token}");
        let headers = [("authorization", authorization.as_str()), ("host", host)];
        gateway.send("POST", KEYS, &headers, r#"{"renew":["primary"]}"#).await.expect("it answers")
    };
    let good = || token(&format!("http://localhost{KEYS}"), None);
    // Refused: without a key's signature, and with the name of another machine.
    assert_eq!(rotate("x".to_owned(), "localhost").await.status, 401);
    assert_eq!(rotate(good(), "chappe.example").await.status, 403);
    let keys = rotate(good(), "localhost").await.json().expect("both keys");
    let primary = AccessKey::new(keys["primary"].as_str().expect("a key")).expect("it is not empty");
    let path = "/api/v1/hubs/chat";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let audience = format!("http://localhost{path}");
    let token = identity::sign(&Claims::new(), &audience, now, now + 600, &primary, Algorithm::Hs256);
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = json!({ "target": "still", "arguments": [] }).to_string();
    let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(ada.arguments_of("still").await.expect("a message"), json!([]));
}
