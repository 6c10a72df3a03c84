//! Values that JSON and MessagePack can express but Rust's strings and numbers cannot: every operation passes them on unchanged.

use serde_json::{Value, json};
use signalr_protocol::HubProtocol::{Json, MessagePack};
use signalr_protocol::{HubMessage, parse};

use super::world::{Client, World};
use crate::fixture::client_token;
use crate::webhook::Webhook;

/// An emoji cut in the middle, a number above every floating point number, and one with more digits than any has.
const ARGUMENTS: &str = r#"["\ud83d \uD83D\ude00",1e400,-0.10000000000000000000000000000000000000001E-0000000000000000000000000000001]"#;

/// The arguments of the next invocation, unparsed.
async fn arguments(client: &mut Client) -> Vec<u8> {
    let message = client.hub.next().await.unwrap().unwrap();
    let protocol = if message.first() == Some(&b'{') { Json } else { MessagePack };
    let HubMessage::Invocation(invocation) = parse(protocol, &message).unwrap() else {
        panic!("{message:?}")
    };
    invocation.arguments.into_owned()
}

/// As JavaScript's encoder would write them.
fn packed() -> Vec<u8> {
    let mut bytes = b"\x93\xa8\xed\xa0\xbd \xf0\x9f\x98\x80\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00\xcb".to_vec();
    bytes.extend_from_slice(&(-0.01_f64).to_be_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_carry_any_json_unchanged() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    let json = [("content-type", "application/json")];
    let call = format!("{{\"target\":\"m\",\"arguments\":{ARGUMENTS}}}");
    // A byte order mark belongs to the file that a body was read from, not to the JSON.
    let marked = format!("\u{feff}{call}");
    let execute = format!("\u{feff}[{{\"type\":\"SendMessage\",\"message\":{call}}}]");
    for (line, body) in [("POST :send", &call), ("POST :send", &marked), ("POST :execute", &execute)] {
        let sent = world.call_with(line, &json, body.clone()).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
        assert_eq!(arguments(&mut ada).await, ARGUMENTS.as_bytes(), "{line}");
        let expected = packed();
        let found = arguments(&mut bob).await;
        // Ten decimal places and a sign, as precise as 64 bits allow.
        assert_eq!(found[..found.len() - 8], expected[..expected.len() - 8], "{line}");
    }
    for (protocol, name, framed) in [
        (
            Json,
            "json",
            format!("{{\"type\":1,\"target\":\"m\",\"arguments\":{ARGUMENTS}}}\u{1e}").into_bytes(),
        ),
        (MessagePack, "messagepack", {
            let mut framed = Vec::new();
            signalr_protocol::Invocation::new("m", &packed()).encode_msgpack(&mut framed);
            framed
        }),
    ] {
        let length = u8::try_from(framed.len()).unwrap();
        let name_head = 0xa0 | u8::try_from(name.len()).unwrap();
        let body = [&[0x81, name_head], name.as_bytes(), &[0xc4, length], &framed].concat();
        let octets = [("content-type", "application/octet-stream")];
        let sent = world.call_with("POST :send", &octets, body).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
        let (as_json, as_packed) = (arguments(&mut ada).await, arguments(&mut bob).await);
        assert_eq!(as_packed[..19], packed()[..19]);
        match protocol {
            Json => assert_eq!(as_json, ARGUMENTS.as_bytes()),
            // JSON cannot express infinity, and JSON clients write null for it.
            _ => assert_eq!(as_json, "[\"\\ud83d \u{1f600}\",null,-0.01]".as_bytes()),
        }
    }
    drop((ada, bob));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_results_carry_any_json_unchanged() {
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    ada.open(&mut webhook, "s", Json).await;
    bob.open(&mut webhook, "s", MessagePack).await;
    let json = [("content-type", "application/json")];
    for id in [&ada.id, &bob.id] {
        let line = format!("POST connections/{id}/streams/s/:send");
        let sent = world.call_with(&line, &json, "\u{feff}\"\\ude00\"").await;
        assert_eq!(sent.status, 202, "{}", sent.text());
    }
    let item = ada.hub.next().await.unwrap().unwrap();
    assert_eq!(item, br#"{"type":2,"invocationId":"s","item":"\ude00"}"#);
    assert_eq!(bob.next_hex().await, "940280a173a3edb880");
    let line = format!("POST connections/{}/:invoke", bob.id);
    let answering = async {
        let message = bob.hub.next().await.unwrap().unwrap();
        let HubMessage::Invocation(call) = parse(MessagePack, &message).unwrap() else {
            panic!("{message:?}")
        };
        assert_eq!(&*call.arguments, b"\x91\xa3\xed\xa0\xbd");
        let id = call.invocation_id.unwrap().into_owned();
        let result = signalr_protocol::CompletionResult::Value(b"\xa3\xed\xa0\xbd".as_slice().into());
        let completion =
            signalr_protocol::Completion { headers: Vec::new(), invocation_id: id.into(), result };
        let mut framed = Vec::new();
        HubMessage::Completion(completion).encode(MessagePack, &mut framed);
        bob.hub.send(&framed).await.unwrap();
    };
    let body = r#"{"target":"ask","arguments":["\ud83d"]}"#;
    let (answer, ()) = tokio::join!(world.call_with(&line, &json, body), answering);
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, r#"{"result":"\ud83d"}"#));
    drop((ada, bob));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_send_any_json_to_each_other() {
    let world = World::start().await;
    let claims = [("role", "chappe.joinLeaveGroup"), ("role", "chappe.sendToGroup")];
    let token = client_token("chat", &claims);
    let mut ada = world.connect_with(&token, Json).await;
    let mut bob = world.connect_with(&token, MessagePack).await;
    for id in [&ada.id, &bob.id] {
        world.expect(200, &format!("PUT groups/g/connections/{id}"), Value::Null).await;
    }
    let call =
        r#"{"type":1,"invocationId":"1","target":"chappe.sendToGroup","arguments":["g","m","\ud83d",1e400]}"#;
    ada.hub.send(format!("{call}\u{1e}").as_bytes()).await.unwrap();
    assert_eq!(arguments(&mut ada).await, br#"["\ud83d",1e400]"#);
    assert_eq!(arguments(&mut bob).await, b"\x92\xa3\xed\xa0\xbd\xcb\x7f\xf0\0\0\0\0\0\0");
    assert_eq!(ada.hub.next_json().await.unwrap(), json!({ "type": 3, "invocationId": "1" }));
    let mut framed = Vec::new();
    let arguments_of_bob = b"\x93\xa1g\xa1m\xa3\xed\xa0\xbd";
    signalr_protocol::Invocation::new("chappe.sendToGroup", arguments_of_bob).encode_msgpack(&mut framed);
    bob.hub.send(&framed).await.unwrap();
    assert_eq!(arguments(&mut ada).await, br#"["\ud83d"]"#);
    assert_eq!(arguments(&mut bob).await, b"\x91\xa3\xed\xa0\xbd");
    drop((ada, bob));
    world.stop().await;
}
