//! Items of streams that clients started, and messages that the sender has framed itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use expect_test::{Expect, expect};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol::{Json, MessagePack};

use super::world::World;
use crate::fixture::Fixture;
use crate::webhook::Webhook;

const OCTETS: [(&str, &str); 1] = [("content-type", "application/octet-stream")];
const MSGPACK: [(&str, &str); 1] = [("content-type", "application/x-msgpack")];

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_receives_items_and_an_end_with_or_without_a_reason() {
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    for (client, protocol) in [(&mut ada, Json), (&mut bob, MessagePack)] {
        for id in ["s/1", "s/2", "s/3", "s/4"] {
            client.open(&mut webhook, id, protocol).await;
        }
        let stream = format!("POST connections/{}/streams", client.id);
        world.expect(202, &format!("{stream}/s%2F1/:send"), json!({ "price": 41 })).await;
        world.expect(202, &format!("{stream}/s%2F1/:send?completed=True"), json!(42)).await;
        world.expect(202, &format!("{stream}/s%2F2/:complete"), Value::Null).await;
        // The vendor's description says `reason`; its SDK sends `error`.
        world.expect(202, &format!("{stream}/s%2F3/:complete?reason=closed"), Value::Null).await;
        world.expect(202, &format!("{stream}/s%2F4/:complete?error=closed"), Value::Null).await;
    }
    world.mark().await;
    expect![[r#"
        {"type":2,"invocationId":"s/1","item":{"price":41}}
        {"type":2,"invocationId":"s/1","item":42}
        {"type":3,"invocationId":"s/1"}
        {"type":3,"invocationId":"s/2"}
        {"type":3,"invocationId":"s/3","error":"closed"}
        {"type":3,"invocationId":"s/4","error":"closed"}"#]]
    .assert_eq(&ada.until_mark().await);
    for expected in [
        "940280a3732f3181a5707269636529",
        "940280a3732f312a",
        "940380a3732f3102",
        "940380a3732f3202",
        "950380a3732f3301a6636c6f736564",
        "950380a3732f3401a6636c6f736564",
    ] {
        assert_eq!(bob.next_hex().await, expected);
    }
    drop((ada, bob));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_stream_that_is_not_open_are_refused_with_404() {
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let check = async |id: &str, stream: &str, code: &str| {
        for operation in [":send", ":send?completed=true", ":complete"] {
            let line = format!("POST connections/{id}/streams/{stream}/{operation}");
            let answer = world.expect(404, &line, json!(1)).await;
            assert_eq!(answer.headers["x-ms-error-code"], code, "{line}");
            assert_eq!(answer.json().unwrap()["code"], code, "{line}");
        }
    };
    let id = ada.id.clone();
    let (no_stream, no_connection) = ("Error.Stream.NotExisted", "Error.Connection.NotExisted");
    check(&id, "unknown", no_stream).await;
    // An invocation is not a stream.
    ada.hub.send(b"{\"type\":1,\"invocationId\":\"c\",\"target\":\"t\",\"arguments\":[]}\x1e").await.unwrap();
    webhook.take(204, "").await;
    check(&id, "c", no_stream).await;
    // Ended over REST, with an item or without.
    for (stream, operation) in [("a", ":complete"), ("b", ":send?completed=true")] {
        ada.open(&mut webhook, stream, Json).await;
        world.expect(202, &format!("POST connections/{id}/streams/{stream}/{operation}"), json!(1)).await;
        check(&id, stream, no_stream).await;
    }
    // Ended by the response of the upstream, whether it succeeds or not.
    for (stream, status, body) in [("d", 200, "{\"type\":3,\"invocationId\":\"d\"}\u{1e}"), ("e", 500, "")] {
        let message = json!({ "type": 4, "invocationId": stream, "target": "t", "arguments": [] });
        ada.hub.send(format!("{message}\u{1e}").as_bytes()).await.unwrap();
        webhook.take(status, body).await;
        while ada.hub.next_json().await.unwrap()["invocationId"] != stream {}
        check(&id, stream, no_stream).await;
    }
    // Cancelled by its client.
    ada.open(&mut webhook, "f", Json).await;
    ada.hub.send(b"{\"type\":5,\"invocationId\":\"f\"}\x1e").await.unwrap();
    webhook.take(204, "").await;
    check(&id, "f", no_stream).await;
    // Of a connection that never existed, or has closed.
    check("none", "a", no_connection).await;
    ada.open(&mut webhook, "g", Json).await;
    world.expect(200, &format!("DELETE connections/{id}"), Value::Null).await;
    while ada.hub.next().await.unwrap().is_some() {}
    check(&id, "g", no_connection).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_carries_several_items() {
    const LINES: [(&str, &str); 1] = [("content-type", "application/x-ndjson; charset=utf-8")];
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    ada.open(&mut webhook, "s", Json).await;
    bob.open(&mut webhook, "s", MessagePack).await;
    for id in [&ada.id, &bob.id] {
        let line = format!("POST connections/{id}/streams/s/:send");
        let sent = world.call_with(&line, &LINES, "\u{feff}1\n{\"a\": 2}\r\n\n\"three\"").await;
        assert_eq!(sent.status, 202, "{}", sent.text());
        // All items of a request are sent or none.
        for (body, expected) in [
            (b"1\n{\n3".as_slice(), "the item in line 2"),
            (b" \n\n".as_slice(), "the body has no items"),
            (b"\xff".as_slice(), "the items are not UTF-8"),
        ] {
            let refused = world.call_with(&line, &LINES, body).await;
            assert_eq!(refused.status, 400, "{}", refused.text());
            assert!(refused.text().contains(expected), "{}", refused.text());
        }
        let last = world.call_with(&format!("{line}?completed=true"), &LINES, "6\n7\n").await;
        assert_eq!(last.status, 202, "{}", last.text());
    }
    world.mark().await;
    expect![[r#"
        {"type":2,"invocationId":"s","item":1}
        {"type":2,"invocationId":"s","item":{"a": 2}}
        {"type":2,"invocationId":"s","item":"three"}
        {"type":2,"invocationId":"s","item":6}
        {"type":2,"invocationId":"s","item":7}
        {"type":3,"invocationId":"s"}"#]]
    .assert_eq(&ada.until_mark().await);
    for item in ["01", "81a16102", "a57468726565", "06", "07"] {
        assert_eq!(bob.next_hex().await, format!("940280a173{item}"));
    }
    assert_eq!(bob.next_hex().await, "940380a17302");
    drop((ada, bob));
    world.stop().await;
}

/// 100,000 items, more bytes than may be pending for a client. The time is measured with the built binary elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_items_arrive_in_order() {
    const COUNT: usize = 100_000;
    const A_REQUEST: usize = 5_000;
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    ada.open(&mut webhook, "s", Json).await;
    let line = format!("POST connections/{}/streams/s/:send", ada.id);
    let sending = async {
        for first in (0..COUNT).step_by(A_REQUEST) {
            let lines: String = (first..first + A_REQUEST).map(|number| format!("{number}\n")).collect();
            let sent = world.call_with(&line, &[("content-type", "application/jsonl")], lines).await;
            assert_eq!(sent.status, 202, "{}", sent.text());
        }
    };
    let receiving = async {
        for number in 0..COUNT {
            assert_eq!(ada.hub.next_json().await.unwrap()["item"], number);
        }
    };
    tokio::join!(sending, receiving);
    drop(ada);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_above_the_limit_of_open_streams_is_refused() {
    let mut webhook = Webhook::start();
    let mut options = crate::upstream::with_template(&webhook, "messages");
    options.engine.connection_streams_max = 2.try_into().unwrap();
    let world = World { listening: Fixture::start(options).await.listen() };
    let mut ada = world.connect(Some("ada"), Json).await;
    for id in ["a", "b"] {
        ada.open(&mut webhook, id, Json).await;
    }
    let third = b"{\"type\":4,\"invocationId\":\"c\",\"target\":\"t\",\"arguments\":[]}\x1e";
    ada.hub.send(third).await.unwrap();
    let error = &ada.hub.next_json().await.unwrap()["error"];
    assert_eq!(
        error,
        "too many open streams; the limit of the connection is 2; cancel one, or wait until one ends"
    );
    world.expect(202, &format!("POST connections/{}/streams/a/:complete", ada.id), Value::Null).await;
    assert_eq!(ada.hub.next_json().await.unwrap()["invocationId"], "a");
    ada.open(&mut webhook, "c", Json).await;
    drop(ada);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_accepted_in_every_format_and_invalid_ones_refused() {
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    ada.open(&mut webhook, "s", Json).await;
    bob.open(&mut webhook, "s", MessagePack).await;
    for id in [&ada.id, &bob.id] {
        let line = format!("POST connections/{id}/streams/s/:send");
        let sent = world.call_with(&line, &MSGPACK, b"\x92\x01\xc0".as_slice()).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
        // Framed for one protocol only; the other encoding is made from it.
        let framed = b"\x81\xabmessagepack\xc4\x07\x06\x94\x02\x80\xa1s\x05";
        let sent = world.call_with(&line, &OCTETS, framed.as_slice()).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
        let other = b"\x81\xabmessagepack\xc4\x07\x06\x94\x02\x80\xa1x\x05";
        let sent = world.call_with(&line, &OCTETS, other.as_slice()).await;
        assert_eq!((sent.status.as_u16(), sent.text().contains("of another stream")), (400, true));
    }
    let line = format!("POST connections/{}/streams", ada.id);
    let check = async |line: String, body: &'static str, expected: &str| {
        let answer = world.call_with(&line, &[("content-type", "application/json")], body).await;
        let code = answer.headers["x-ms-error-code"].to_str().unwrap();
        assert_eq!((answer.status.as_u16(), code), (400, expected), "{}", answer.text());
    };
    check(format!("{line}/s/:send"), "{", "InvalidBody").await;
    check(format!("{line}/s/:send"), "1e", "InvalidBody").await;
    check(format!("{line}/s/:send"), "", "InvalidBody").await;
    check(format!("{line}/s/:send?completed=yes"), "1", "InvalidCompleted").await;
    check(format!("{line}/%20/:send"), "1", "InvalidStreamId").await;
    check(format!("{line}/{}/:complete", "x".repeat(101)), "", "InvalidStreamId").await;
    world.mark().await;
    expect![[r#"
        {"type":2,"invocationId":"s","item":[1,null]}
        {"type":2,"invocationId":"s","item":5}"#]]
    .assert_eq(&ada.until_mark().await);
    assert_eq!(bob.next_hex().await, "940280a1739201c0");
    assert_eq!(bob.next_hex().await, "940280a17305");
    drop((ada, bob));
    world.stop().await;
}

/// A MessagePack map of protocol to framed messages.
fn octets(payloads: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = vec![0x80 | u8::try_from(payloads.len()).unwrap()];
    for (name, framed) in payloads {
        body.push(0xa0 | u8::try_from(name.len()).unwrap());
        body.extend(name.as_bytes());
        body.extend([0xc4, u8::try_from(framed.len()).unwrap()]);
        body.extend(*framed);
    }
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_carries_several_framed_items() {
    let mut webhook = Webhook::start();
    let world = World::with_upstream(&webhook).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    ada.open(&mut webhook, "s", Json).await;
    bob.open(&mut webhook, "s", MessagePack).await;
    let json = "{\"type\":2,\"invocationId\":\"s\",\"item\":1}\u{1e}{\"type\":2,\"invocationId\":\"s\",\"item\":\"two\"}\u{1e}";
    let messagepack = b"\x06\x94\x02\x80\xa1s\x03\x06\x94\x02\x80\xa1s\x04".as_slice();
    let of_another = b"\x06\x94\x02\x80\xa1s\x07\x06\x94\x02\x80\xa1x\x08".as_slice();
    let unended = &json[..20];
    for id in [&ada.id, &bob.id] {
        let line = format!("POST connections/{id}/streams/s/:send");
        let send = async |body: Vec<u8>| {
            let answer = world.call_with(&line, &OCTETS, body).await;
            (answer.status.as_u16(), answer.text())
        };
        // Framed for one protocol, from which the items for the other are made; then for both.
        for payloads in [
            &[("json", json.as_bytes())][..],
            &[("messagepack", messagepack)],
            &[("json", json.as_bytes()), ("messagepack", messagepack)],
        ] {
            assert_eq!(send(octets(payloads)).await, (202, String::new()));
        }
        // No item is sent if one is invalid.
        let refused = async |payloads: &[(&str, &[u8])], why: &str| {
            let (status, text) = send(octets(payloads)).await;
            assert!(status == 400 && text.contains(why), "{text}");
        };
        refused(&[("messagepack", of_another)], "item 2 in 'messagepack' is of another stream").await;
        refused(&[("json", unended.as_bytes())], "item 1 in 'json' is not one framed hub message").await;
        let uneven = [("json", json.as_bytes()), ("messagepack", &messagepack[..7])];
        refused(&uneven, "there are 2 items in 'json' and 1 in 'messagepack'").await;
        refused(&[("json", b"{\"type\":6}\x1e")], "message 1 in 'json' is not a stream item").await;
        refused(&[("json", b"")], "the body has no stream item").await;
        refused(&[], "the body has no message").await;
    }
    world.mark().await;
    expect![[r#"
        {"type":2,"invocationId":"s","item":1}
        {"type":2,"invocationId":"s","item":"two"}
        {"type":2,"invocationId":"s","item":3}
        {"type":2,"invocationId":"s","item":4}
        {"type":2,"invocationId":"s","item":1}
        {"type":2,"invocationId":"s","item":"two"}"#]]
    .assert_eq(&ada.until_mark().await);
    for expected in
        ["940280a17301", "940280a173a374776f", "940280a17303", "940280a17304", "940280a17303", "940280a17304"]
    {
        assert_eq!(bob.next_hex().await, expected);
    }
    drop((ada, bob));
    world.stop().await;
}

fn raw(json: Option<&str>, messagepack: Option<&[u8]>) -> Value {
    let mut raw = json!({});
    if let Some(json) = json {
        raw["json"] = STANDARD.encode(format!("{json}\u{1e}")).into();
    }
    if let Some(messagepack) = messagepack {
        raw["messagepack"] = STANDARD.encode(messagepack).into();
    }
    raw
}

/// `{"type":1,"target":"t","arguments":[]}` in MessagePack, framed.
const MESSAGE: &[u8] = b"\x07\x95\x01\x80\xc0\xa1t\x90";

#[tokio::test(flavor = "multi_thread")]
async fn raw_bytes_reach_each_client_in_its_protocol() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let mut bob = world.connect(Some("bob"), MessagePack).await;
    let json = r#"{"type":1,"target":"j","arguments":[]}"#;
    let both = raw(Some(json), Some(b"\x07\x95\x01\x80\xc0\xa1m\x90"));
    world.expect(202, "POST :send", json!({ "rawBytes": both, "rawOnly": true })).await;
    // A missing encoding is made from target and arguments, or from the other encoding.
    let message = json!({ "target": "told", "arguments": [1], "rawBytes": raw(Some(json), None) });
    world.expect(202, "POST :send", message).await;
    let message = json!({ "target": "not told", "RawBytes": raw(None, Some(b"\x07\x95\x01\x80\xc0\xa1m\x90")), "rawOnly": true });
    world.expect(202, "POST users/ada/:send", message).await;
    let none = json!({ "target": "plain", "arguments": [], "rawBytes": {}, "rawOnly": false });
    world.expect(202, "POST :send", none).await;
    world.mark().await;
    expect![[r#"
        {"type":1,"target":"j","arguments":[]}
        {"type":1,"target":"j","arguments":[]}
        {"type":1,"target":"m","arguments":[]}
        {"type":1,"target":"plain","arguments":[]}"#]]
    .assert_eq(&ada.until_mark().await);
    for expected in ["950180c0a16d90", "960180c0a4746f6c64910190", "960180c0a5706c61696e9090"] {
        assert_eq!(bob.next_hex().await, expected);
    }
    drop((ada, bob));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_bodies_are_accepted_and_invalid_ones_refused() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let target_and_arguments = b"\x82\xa6Target\xa1t\xa9arguments\x91\xc3";
    for body in
        [target_and_arguments.as_slice(), &[b"\x81\xabmessagepack\xc4\x08".as_slice(), MESSAGE].concat()]
    {
        let sent = world.call_with("POST :send", &MSGPACK, body.to_vec()).await;
        assert_eq!(sent.status, 202, "{}", sent.text());
    }
    let refused = async |body: Value, expected: Expect| {
        let answer = world.expect(400, "POST :send", body).await;
        expected.assert_eq(answer.json().unwrap()["message"].as_str().unwrap());
    };
    refused(
        json!({ "rawBytes": { "json": "%" }, "rawOnly": true }),
        expect!["rawBytes of 'json' is not base64"],
    )
    .await;
    refused(
        json!({ "rawBytes": { "smoke": "AA==" }, "rawOnly": true }),
        expect!["the body has no message for 'json' or 'messagepack'"],
    )
    .await;
    refused(
        json!({ "rawBytes": raw(Some(r#"{"type":6}"#), None), "rawOnly": true }),
        expect!["the 'json' message is not an invocation without an id"],
    )
    .await;
    refused(
        json!({ "rawBytes": raw(Some(r#"{"type":1,"target":"t","arguments":[]}"#), None) }),
        expect!["the message has no target; name the client method to call"],
    )
    .await;
    refused(
        json!({ "rawBytes": "AA==", "target": "t" }),
        expect![[
            r#"the body is not {"target": ..., "arguments": [...]}: rawBytes must be an object of strings"#
        ]],
    )
    .await;
    refused(
        json!({ "rawOnly": "yes", "target": "t" }),
        expect![[r#"the body is not {"target": ..., "arguments": [...]}: rawOnly must be true or false"#]],
    )
    .await;
    for body in [b"\x81\xa6target\xc0".as_slice(), b"\x93\x01\x02\x03", b"", b"\x81\xa6target\xa1t\xff"] {
        let answer = world.call_with("POST :send", &MSGPACK, body).await;
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
    }
    world.mark().await;
    expect![[r#"
        {"type":1,"target":"t","arguments":[true]}
        {"type":1,"target":"t","arguments":[]}"#]]
    .assert_eq(&ada.until_mark().await);
    drop(ada);
    world.stop().await;
}
