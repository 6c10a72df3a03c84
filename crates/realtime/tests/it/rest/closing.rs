//! Closing connections: the Close message that their clients receive.

use serde_json::{Value, json};
use signalr_protocol::HubProtocol;

use super::world::World;

/// The Close message that a client receives after a request.
async fn closed_by(world: &World, status: u16, line: &str, body: Value) -> Value {
    let mut client = world.connect(Some("ada"), HubProtocol::Json).await;
    world.expect(status, &line.replace("ID", &client.id), body).await;
    client.hub.next_json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_allows_reconnect_unless_the_request_forbids_it() {
    let world = World::start().await;
    let may = json!({ "type": 7, "error": "enough", "allowReconnect": true });
    let may_not = json!({ "type": 7, "error": "enough" });
    for (status, line) in [
        (200, "DELETE connections/ID?reason=enough"),
        (204, "POST :closeConnections?reason=enough"),
        (204, "POST users/ada/:closeConnections?reason=enough"),
    ] {
        assert_eq!(closed_by(&world, status, line, Value::Null).await, may, "{line}");
        for word in ["false", "False"] {
            let line = format!("{line}&allowReconnect={word}");
            assert_eq!(closed_by(&world, status, &line, Value::Null).await, may_not, "{line}");
        }
        let line = format!("{line}&allowReconnect=true");
        assert_eq!(closed_by(&world, status, &line, Value::Null).await, may, "{line}");
    }
    let command = json!({ "type": "CloseConnection", "reason": "enough" });
    assert_eq!(closed_by(&world, 202, "POST :execute", json!([command])).await, may);
    let command = json!({ "type": "CloseConnection", "reason": "enough", "allowReconnect": false });
    assert_eq!(closed_by(&world, 202, "POST :execute", json!([command])).await, may_not);
    let answer = world.call("POST :closeConnections?allowReconnect=perhaps", Value::Null).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["x-ms-error-code"], "InvalidAllowReconnect");
    world.stop().await;
}
