use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::next_message;

/// Encodes `message` in both protocols, shows the bytes, and reads them back as what was written.
fn check_bytes(message: &HubMessage<'_>, json: &Expect, msgpack: &Expect) {
    for (protocol, expected) in [(HubProtocol::Json, json), (HubProtocol::MessagePack, msgpack)] {
        let mut out = Vec::new();
        message.encode(protocol, &mut out);
        let shown = match protocol {
            HubProtocol::Json => String::from_utf8(out.clone()).unwrap().replace('\u{1e}', "<1E>"),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => {
                out.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
            }
        };
        expected.assert_eq(&shown);
        let (payload, used) = next_message(protocol, &out, out.len()).unwrap().unwrap();
        assert_eq!(used, out.len());
        assert_eq!(&parse(protocol, payload).unwrap(), message);
    }
}

/// Reads one JSON payload and shows what it is, or why it is none.
fn check_json(payload: &str, expected: &Expect) {
    let shown = match parse(HubProtocol::Json, payload.as_bytes()) {
        Ok(message) => format!("{message:?}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

fn check_msgpack(payload: &[u8], expected: &Expect) {
    let shown = match parse(HubProtocol::MessagePack, payload) {
        Ok(message) => format!("{message:?}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

fn check_peek(protocol: HubProtocol, payload: &[u8], expected: &Expect) {
    let shown = match peek(protocol, payload) {
        Ok(Peek { kind, invocation_id, target }) => format!("{kind:?} {invocation_id:?} {target:?}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn our_own_messages_are_the_same_in_blazorpack() {
    for message in [
        HubMessage::Ping,
        HubMessage::Close(Close { error: Some("over".into()), allow_reconnect: true }),
        HubMessage::Completion(Completion {
            headers: vec![],
            invocation_id: "7".into(),
            result: CompletionResult::Error("no".into()),
        }),
    ] {
        let (mut messagepack, mut blazorpack) = (Vec::new(), Vec::new());
        message.encode(HubProtocol::MessagePack, &mut messagepack);
        message.encode(HubProtocol::BlazorPack, &mut blazorpack);
        assert_eq!(blazorpack, messagepack);
        let (payload, used) = next_message(HubProtocol::BlazorPack, &blazorpack, 100).unwrap().unwrap();
        assert_eq!(used, blazorpack.len());
        assert_eq!(parse(HubProtocol::BlazorPack, payload).unwrap(), message);
    }
}

#[test]
fn a_ping_is_three_bytes() {
    check_bytes(&HubMessage::Ping, &expect![[r#"{"type":6}<1E>"#]], &expect!["02 91 06"]);
}

#[test]
fn close_ack_and_sequence_have_exact_bytes() {
    check_bytes(
        &HubMessage::Close(Close { error: None, allow_reconnect: true }),
        &expect![[r#"{"type":7,"allowReconnect":true}<1E>"#]],
        &expect!["04 93 07 c0 c3"],
    );
    check_bytes(
        &HubMessage::Close(Close { error: Some("a\"b".into()), allow_reconnect: false }),
        &expect![[r#"{"type":7,"error":"a\"b"}<1E>"#]],
        &expect!["07 93 07 a3 61 22 62 c2"],
    );
    check_bytes(
        &HubMessage::Ack(Sequenced { sequence_id: 300 }),
        &expect![[r#"{"type":8,"sequenceId":300}<1E>"#]],
        &expect!["05 92 08 cd 01 2c"],
    );
    check_bytes(
        &HubMessage::Sequence(Sequenced { sequence_id: 1 }),
        &expect![[r#"{"type":9,"sequenceId":1}<1E>"#]],
        &expect!["03 92 09 01"],
    );
}

#[test]
fn messages_of_calls_have_exact_bytes() {
    check_bytes(
        &HubMessage::CancelInvocation(CancelInvocation { headers: vec![], invocation_id: "7".into() }),
        &expect![[r#"{"type":5,"invocationId":"7"}<1E>"#]],
        &expect!["05 93 05 80 a1 37"],
    );
    let headers = vec![("a".into(), "b".into())];
    check_bytes(
        &HubMessage::Completion(Completion {
            headers,
            invocation_id: "7".into(),
            result: CompletionResult::Void,
        }),
        &expect![[r#"{"type":3,"headers":{"a":"b"},"invocationId":"7"}<1E>"#]],
        &expect!["0a 94 03 81 a1 61 a1 62 a1 37 02"],
    );
    check_bytes(
        &HubMessage::Completion(Completion {
            headers: vec![],
            invocation_id: "7".into(),
            result: CompletionResult::Error("no".into()),
        }),
        &expect![[r#"{"type":3,"invocationId":"7","error":"no"}<1E>"#]],
        &expect!["09 95 03 80 a1 37 01 a2 6e 6f"],
    );
}

#[test]
fn raw_parts_pass_through_in_the_encoding_of_the_message() {
    let mut out = Vec::new();
    let mut invocation = Invocation::new("news", b"[1, {\"a\":2}]");
    invocation.encode_json(&mut out);
    assert_eq!(out, b"{\"type\":1,\"target\":\"news\",\"arguments\":[1, {\"a\":2}]}\x1e");
    out.clear();
    invocation.encode_msgpack_from_json(&mut out).unwrap();
    assert_eq!(out, b"\x10\x96\x01\x80\xc0\xa4news\x92\x01\x81\xa1a\x02\x90");
    invocation = Invocation::new("news", b"\x92\x01\x81\xa1a\x02");
    let whole = out.clone();
    out.clear();
    invocation.encode_msgpack(&mut out);
    assert_eq!(out, whole);
    out.clear();
    invocation.encode_json_from_msgpack(&mut out).unwrap();
    assert_eq!(out, b"{\"type\":1,\"target\":\"news\",\"arguments\":[1,{\"a\":2}]}\x1e");
    out.truncate(3);
    assert!(Invocation::new("x", b"[1,").encode_msgpack_from_json(&mut out).is_err());
    assert!(Invocation::new("x", b"\x92\x01").encode_json_from_msgpack(&mut out).is_err());
    assert_eq!(out, b"{\"t", "a refused message leaves nothing behind");
}

#[test]
fn json_properties_come_in_any_order_and_unknown_ones_are_ignored() {
    check_json(
        r#"{"arguments":[ 1,"x" ],"streamIds":["s"],"new":{"type":9},"target":"a\nb","invocationId":"1","headers":{"h":"v"},"type":4}"#,
        &expect![[
            r#"StreamInvocation(Invocation { headers: [("h", "v")], invocation_id: Some("1"), target: "a\nb", arguments: [91, 32, 49, 44, 34, 120, 34, 32, 93], stream_ids: ["s"] })"#
        ]],
    );
    check_json(
        r#"{"item":null,"invocationId":"s","type":2}"#,
        &expect![[
            r#"StreamItem(StreamItem { headers: [], invocation_id: "s", item: [110, 117, 108, 108] })"#
        ]],
    );
    check_json(
        r#"{"type":3,"invocationId":"s","result":null}"#,
        &expect![[
            r#"Completion(Completion { headers: [], invocation_id: "s", result: Value([110, 117, 108, 108]) })"#
        ]],
    );
    check_json(
        r#"{"type":7,"error":null}"#,
        &expect!["Close(Close { error: None, allow_reconnect: false })"],
    );
    check_json(r#"{"type":77,"target":"x"}"#, &expect!["Unknown(77)"]);
}

#[test]
fn broken_json_messages_say_what_is_wrong() {
    check_json("{}", &expect!["error: the message lacks 'type'"]);
    check_json("[1]", &expect!["error: the message is not a JSON hub message"]);
    // By position it would be a ping.
    check_json(
        "[6,{},null,null,null,[],null,null,null,false,null]",
        &expect!["error: the message is not a JSON hub message"],
    );
    check_json(r#"{"type":"1"}"#, &expect!["error: the message is not a JSON hub message"]);
    check_json(r#"{"type":1,"arguments":[]}"#, &expect!["error: the message lacks 'target'"]);
    check_json(r#"{"type":1,"target":"x","arguments":{}}"#, &expect!["error: the message lacks 'arguments'"]);
    check_json(
        r#"{"type":4,"target":"x","arguments":[]}"#,
        &expect!["error: the message lacks 'invocationId'"],
    );
    check_json(
        r#"{"type":3,"invocationId":"1","result":1,"error":"e"}"#,
        &expect!["error: a completion has both a result and an error"],
    );
    check_json(r#"{"type":8}"#, &expect!["error: the message lacks 'sequenceId'"]);
}

#[test]
fn messagepack_messages_may_be_longer_but_not_shorter() {
    check_msgpack(
        b"\x97\x01\xc0\xc0\xa1t\x91\xc4\x01z\x90\xa3new",
        &expect![[
            r#"Invocation(Invocation { headers: [], invocation_id: None, target: "t", arguments: [145, 196, 1, 122], stream_ids: [] })"#
        ]],
    );
    check_msgpack(
        b"\x95\x01\x81\xa1h\xa1v\xa1i\xa1t\x90",
        &expect![[
            r#"Invocation(Invocation { headers: [("h", "v")], invocation_id: Some("i"), target: "t", arguments: [144], stream_ids: [] })"#
        ]],
    );
    check_msgpack(b"\x92\x07\xc0", &expect!["Close(Close { error: None, allow_reconnect: false })"]);
    check_msgpack(b"\x92\x0a\xc0", &expect!["Unknown(10)"]);
    check_msgpack(b"\x94\x01\x80\xc0\xa1t", &expect!["error: the message lacks 'arguments'"]);
    check_msgpack(
        b"\x95\x01\x80\xc0\xa1t\x80",
        &expect!["error: the message is not a MessagePack hub message: an array is expected"],
    );
    check_msgpack(
        b"\x94\x03\x80\xa1i\x09",
        &expect![
            "error: the message is not a MessagePack hub message: the kind of a completion is not 1, 2 or 3"
        ],
    );
    check_msgpack(
        b"\x95\x01\x80\xc0\xa5t",
        &expect!["error: the message is not a MessagePack hub message: it ends in the middle of a value"],
    );
    check_msgpack(
        b"\x92\x06",
        &expect!["error: the message is not a MessagePack hub message: it ends in the middle of a value"],
    );
    check_msgpack(
        b"\x91\x06\x06",
        &expect!["error: the message is not a MessagePack hub message: bytes follow the message"],
    );
    check_msgpack(b"\x90", &expect!["error: the message lacks 'type'"]);
    check_msgpack(
        b"",
        &expect!["error: the message is not a MessagePack hub message: it ends in the middle of a value"],
    );
}

#[test]
fn peek_sees_what_routing_needs() {
    let json = HubProtocol::Json;
    check_peek(
        json,
        br#"{"arguments":[{"target":"inner","type":9}],"target":"t","invocationId":"1","type":1}"#,
        &expect![[r#"Invocation Some("1") Some("t")"#]],
    );
    check_peek(json, br#"{"type":6}"#, &expect!["Ping None None"]);
    check_peek(json, br#"{"type":99}"#, &expect!["Unknown(99) None None"]);
    check_peek(json, br#"[1,"1","t"]"#, &expect!["error: the message is not a JSON hub message"]);
    check_peek(
        json,
        b"{\"type\":1,\"target\":\"t\",\"arguments\":[\"\xff\"]}",
        &expect!["error: the message is not a JSON hub message"],
    );
    check_peek(json, b"{", &expect!["error: the message is not a JSON hub message"]);
    let msgpack = HubProtocol::MessagePack;
    check_peek(
        msgpack,
        b"\x96\x01\x80\xa11\xa1t\x91\x01\x90",
        &expect![[r#"Invocation Some("1") Some("t")"#]],
    );
    check_peek(msgpack, b"\x94\x03\x80\xa11\x02", &expect![[r#"Completion Some("1") None"#]]);
    check_peek(msgpack, b"\x91\x06", &expect!["Ping None None"]);
    check_peek(msgpack, b"\x92\x01\x80", &expect!["error: the message lacks 'invocationId'"]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for protocol in [HubProtocol::Json, HubProtocol::MessagePack] {
            let _ = (parse(protocol, &bytes), peek(protocol, &bytes));
        }
    }
}
