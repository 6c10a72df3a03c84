//! Client methods that only the service may invoke (`chappe.*`): every other attempt, in any format, is refused and reaches no
//! client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use realtime::{SendMessage, SendMessageError};
use realtime_engine::Target;
use serde_json::{Value, json};
use signalr_protocol::{HubProtocol, Invocation};

use super::world::World;
use crate::fixture::client_token;

const WHY: &str =
    "the methods of clients that begin with 'chappe.' are called by the service only; choose another name";

/// The SDKs look up their handlers without regard to case.
const NAMES: [&str; 3] = ["chappe.position", "Chappe.Position", "chappe.anything"];

fn framed(protocol: HubProtocol, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match protocol {
        HubProtocol::Json => Invocation::new(name, b"[]").encode_json(&mut out),
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            Invocation::new(name, b"\x90").encode_msgpack(&mut out);
        }
    }
    out
}

/// A map of a protocol to a framed message, as the SDKs send it.
fn octets(protocol: HubProtocol, name: &str) -> Vec<u8> {
    let message = framed(protocol, name);
    let length = u8::try_from(message.len()).unwrap();
    [&[0x81], &short_text(protocol.name())[..], &[0xc4, length], &message].concat()
}

/// A string of at most 31 bytes in MessagePack.
fn short_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 32);
    [&[0xa0 | length], text.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_cannot_invoke_reserved_methods_over_rest() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), HubProtocol::Json).await;
    let json_type = ("content-type", "application/json");
    for name in NAMES {
        let call = json!({ "target": name, "arguments": [null, "1-1"] });
        let raw = STANDARD.encode(framed(HubProtocol::Json, name));
        let raw = json!({ "target": "m", "rawOnly": true, "rawBytes": { "json": raw } });
        let invoke = format!("POST connections/{}/:invoke", ada.id);
        let forms: Vec<(&str, &str, Vec<u8>)> = vec![
            ("POST :send", json_type.1, call.to_string().into()),
            ("POST groups/g/:send", json_type.1, call.to_string().into()),
            ("POST users/ada/:send", json_type.1, call.to_string().into()),
            (&invoke, json_type.1, call.to_string().into()),
            ("POST :send", json_type.1, raw.to_string().into()),
            ("POST :send", "application/x-msgpack", [&[0x92], &short_text(name)[..], &[0x90]].concat()),
            ("POST :send", "application/octet-stream", octets(HubProtocol::Json, name)),
            ("POST :send", "application/octet-stream", octets(HubProtocol::MessagePack, name)),
            ("POST :send", "application/octet-stream", octets(HubProtocol::BlazorPack, name)),
            (&invoke, "application/octet-stream", octets(HubProtocol::MessagePack, name)),
            (
                "POST :execute",
                json_type.1,
                json!([{ "type": "SendMessage", "message": call }]).to_string().into(),
            ),
        ];
        for (line, content_type, body) in forms {
            let answer = world.call_with(line, &[("content-type", content_type)], body).await;
            assert_eq!(answer.status, 400, "{line} {content_type}: {}", answer.text());
            assert!(answer.text().contains(WHY), "{line} {content_type}: {}", answer.text());
        }
    }
    world.mark().await;
    assert_eq!(ada.until_mark().await, "");
    drop(ada);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_callers_in_this_process_cannot_invoke_reserved_methods() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), HubProtocol::Json).await;
    let claims = [("role", "chappe.joinLeaveGroup"), ("role", "chappe.sendToGroup")];
    let mut eve = world.connect_with(&client_token("chat", &claims), HubProtocol::Json).await;
    world.expect(200, &format!("PUT groups/g/connections/{}", ada.id), Value::Null).await;
    for name in NAMES {
        let call = json!({ "type": 1, "invocationId": "1", "target": "chappe.sendToGroup",
            "arguments": ["g", name, "g", "1-99"] });
        eve.hub.send(format!("{call}\u{1e}").as_bytes()).await.unwrap();
        let answer = eve.hub.next_json().await.unwrap();
        assert_eq!(answer["error"], WHY, "{name}");
        let message = SendMessage {
            hub: "chat",
            to: Target::All,
            excluded: Vec::new(),
            target: name,
            arguments: "[]",
            trace: None,
        };
        let refused = world.listening.fixture.handle.send(message).await.unwrap_err();
        assert!(matches!(&refused, SendMessageError::Arguments(_)), "{refused:?}");
        assert_eq!(refused.to_string(), WHY);
    }
    world.mark().await;
    assert_eq!(ada.until_mark().await, "");
    drop((ada, eve));
    world.stop().await;
}
