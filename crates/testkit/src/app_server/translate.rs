//! Converts hub messages between the JSON of tests and the client's own protocol.

use anyhow::bail;
use serde_json::Value;
use signalr_protocol::{HubProtocol, json_to_msgpack, msgpack_to_json};

/// Encodes a hub message from its JSON form in a protocol. Supports only the parts that tests use.
pub(super) fn hub_message(protocol: HubProtocol, message: &Value) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let start = signalr_protocol::write_frame_start(protocol, &mut bytes);
    match protocol {
        HubProtocol::Json => bytes.extend(message.to_string().into_bytes()),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            json_to_msgpack(to_array(message)?.to_string().as_bytes(), &mut bytes)?;
        }
    }
    signalr_protocol::finish_frame(&start, &mut bytes);
    Ok(bytes)
}

fn to_array(message: &Value) -> anyhow::Result<Value> {
    let headers = serde_json::json!({});
    let part = |name: &str| message.get(name).cloned().unwrap_or(Value::Null);
    Ok(match message["type"].as_u64() {
        Some(1) => {
            let (id, target, arguments) = (part("invocationId"), part("target"), part("arguments"));
            serde_json::json!([1, headers, id, target, arguments, []])
        }
        Some(2) => serde_json::json!([2, headers, part("invocationId"), part("item")]),
        Some(3) if message.get("error").is_some() => {
            serde_json::json!([3, headers, part("invocationId"), 1, part("error")])
        }
        Some(3) => serde_json::json!([3, headers, part("invocationId"), 3, part("result")]),
        Some(7) => serde_json::json!([7, part("error"), message["allowReconnect"] == true]),
        other => bail!("messages of type {other:?} are not sent by tests"),
    })
}

/// A MessagePack hub message as JSON.
pub(super) fn from_array(payload: &[u8]) -> anyhow::Result<Value> {
    let mut json = Vec::new();
    msgpack_to_json(payload, &mut json)?;
    let array: Vec<Value> = serde_json::from_slice(&json)?;
    let part = |at: usize| array.get(at).cloned().unwrap_or(Value::Null);
    Ok(match array.first().and_then(Value::as_u64) {
        Some(kind @ (1 | 4)) => serde_json::json!({
            "type": kind, "invocationId": part(2), "target": part(3), "arguments": part(4), "streamIds": part(5),
        }),
        Some(2) => serde_json::json!({ "type": 2, "invocationId": part(2), "item": part(3) }),
        Some(3) => match part(3).as_u64() {
            Some(1) => serde_json::json!({ "type": 3, "invocationId": part(2), "error": part(4) }),
            _ => serde_json::json!({ "type": 3, "invocationId": part(2), "result": part(4) }),
        },
        Some(5) => serde_json::json!({ "type": 5, "invocationId": part(2) }),
        Some(kind) => serde_json::json!({ "type": kind }),
        None => bail!("not a hub message"),
    })
}
