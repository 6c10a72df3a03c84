//! Names of the largest allowed length work in URLs and in tokens, in any script.

use serde_json::{Value, json};
use signalr_protocol::HubProtocol;

use super::world::World;
use crate::fixture::token;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_name_of_1024_three_byte_characters_is_accepted() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), HubProtocol::Json).await;
    let name = "\u{7fa4}".repeat(1_024);
    let group: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
    // The token's audience has the name encoded as in the URL, or not encoded.
    world.expect(200, &format!("PUT groups/{group}/connections/{}", ada.id), Value::Null).await;
    world.expect(202, &format!("POST groups/{group}/:send"), json!({ "target": "m" })).await;
    let path = format!("/api/hubs/chat/groups/{group}/:send");
    let plain = format!("/api/hubs/chat/groups/{name}/:send");
    let authorization = format!("Bearer {}", token(&format!("http://service{plain}"), &[]));
    let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let http = testkit::Http::new(&world.listening.authority);
    let path = format!("{path}?api-version=2024-12-01");
    let sent = http.send("POST", &path, &fields, r#"{"target":"m"}"#).await.unwrap();
    assert_eq!(sent.status, 202, "{}", sent.text());
    world.mark().await;
    let call = r#"{"type":1,"target":"m","arguments":[]}"#;
    assert_eq!(ada.until_mark().await, format!("{call}\n{call}"));
    let longer = format!("{group}%E7%BE%A4");
    let refused = world.call(&format!("POST groups/{longer}/:send"), json!({ "target": "m" })).await;
    assert_eq!((refused.status.as_u16(), &refused.json().unwrap()["code"]), (400, &json!("InvalidGroup")));
    drop(ada);
    world.stop().await;
}
