use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::next_message;
use crate::{CancelInvocation, Close, Completion, CompletionResult, Sequenced};

/// Encodes `message` in both protocols, checks the bytes, and parses them to the same message.
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

/// Parses one JSON payload and checks the message or the error.
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
fn service_messages_are_the_same_in_blazorpack() {
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
fn invocation_messages_have_exact_bytes() {
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
fn raw_arguments_items_and_results_are_not_changed() {
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
    assert_eq!(out, b"{\"t", "a rejected message appends nothing");
}

#[test]
fn json_properties_may_have_any_order_and_unknown_ones_are_ignored() {
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
fn invalid_json_messages_are_rejected_with_the_cause() {
    check_json("{}", &expect!["error: Missing required property 'type'."]);
    check_json("[1]", &expect!["error: Unexpected JSON Token Type 'Array'. Expected a JSON Object."]);
    // Read as an array, it would be a ping.
    check_json(
        "[6,{},null,null,null,[],null,null,null,false,null]",
        &expect!["error: Unexpected JSON Token Type 'Array'. Expected a JSON Object."],
    );
    check_json(r#"{"type":"1"}"#, &expect!["error: Expected 'type' to be of type Number."]);
    check_json(r#"{"type":1,"arguments":[]}"#, &expect!["error: Missing required property 'target'."]);
    check_json(
        r#"{"type":1,"target":"x","arguments":{}}"#,
        &expect!["error: Expected 'arguments' to be of type Array."],
    );
    check_json(
        r#"{"type":4,"target":"x","arguments":[]}"#,
        &expect!["error: Missing required property 'invocationId'."],
    );
    check_json(
        r#"{"type":3,"invocationId":"1","result":1,"error":"e"}"#,
        &expect!["error: The 'error' and 'result' properties are mutually exclusive."],
    );
    check_json(r#"{"type":8}"#, &expect!["error: Missing required property 'sequenceId'."]);
}

#[test]
fn messagepack_messages_may_have_more_elements_but_not_fewer() {
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
    check_msgpack(b"\x94\x01\x80\xc0\xa1t", &expect!["error: Missing required property 'arguments'."]);
    check_msgpack(
        b"\x95\x01\x80\xc0\xa1t\x80",
        &expect!["error: Reading array length for 'arguments' failed."],
    );
    check_msgpack(b"\x94\x03\x80\xa1i\x09", &expect!["error: Invalid invocation result kind."]);
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
    check_msgpack(b"\x90", &expect!["error: Missing required property 'type'."]);
    check_msgpack(
        b"",
        &expect!["error: the message is not a MessagePack hub message: it ends in the middle of a value"],
    );
}

/// A message that [`parse`] rejects is rejected by [`peek`] too, which decides what is forwarded.
fn check_malformed(protocol: HubProtocol, payload: &[u8], expected: &str) {
    let shown = String::from_utf8_lossy(payload);
    assert_eq!(parse(protocol, payload).unwrap_err().to_string(), expected, "{shown}");
    assert_eq!(peek(protocol, payload).unwrap_err().to_string(), expected, "{shown}");
}

#[test]
fn malformed_json_messages_have_the_errors_of_asp_net_core() {
    for (payload, expected) in [
        (r#"{"type":1,"arguments":[]}"#, "Missing required property 'target'."),
        (r#"{"type":1,"target":null,"arguments":[]}"#, "Missing required property 'target'."),
        (r#"{"type":1,"target":"","arguments":[]}"#, "Missing required property 'target'."),
        (r#"{"type":1,"target":7,"arguments":[]}"#, "Expected 'target' to be of type String."),
        (r#"{"type":1,"target":"m"}"#, "Missing required property 'arguments'."),
        (r#"{"type":1,"target":"m","arguments":null}"#, "Expected 'arguments' to be of type Array."),
        (r#"{"type":1,"target":"m","arguments":{}}"#, "Expected 'arguments' to be of type Array."),
        (r#"{"type":1,"target":"m","arguments":"x"}"#, "Expected 'arguments' to be of type Array."),
        (
            r#"{"type":1,"target":"m","arguments":[],"invocationId":7}"#,
            "Expected 'invocationId' to be of type String.",
        ),
        (
            r#"{"type":1,"target":"m","arguments":[],"streamIds":"1"}"#,
            "Expected 'streamIds' to be of type Array.",
        ),
        (
            r#"{"type":1,"target":"m","arguments":[],"streamIds":[1]}"#,
            "Expected 'streamIds' to be of type Array of String.",
        ),
        (
            r#"{"type":1,"target":"m","arguments":[],"headers":[]}"#,
            "Expected 'headers' to be of type Object.",
        ),
        (
            r#"{"type":1,"target":"m","arguments":[],"headers":{"a":1}}"#,
            "Expected each header to be of type String.",
        ),
        (r#"{"type":4,"target":"m","arguments":[]}"#, "Missing required property 'invocationId'."),
        (
            r#"{"type":4,"target":"m","arguments":[],"invocationId":""}"#,
            "Missing required property 'invocationId'.",
        ),
        (r#"{"type":4,"invocationId":"1","arguments":[]}"#, "Missing required property 'target'."),
        (r#"{"type":2,"item":1}"#, "Missing required property 'invocationId'."),
        (r#"{"type":2,"invocationId":"1"}"#, "Missing required property 'item'."),
        (r#"{"type":3,"result":1}"#, "Missing required property 'invocationId'."),
        (r#"{"type":3,"invocationId":null}"#, "Missing required property 'invocationId'."),
        (r#"{"type":5}"#, "Missing required property 'invocationId'."),
        (r#"{"target":"m","arguments":[]}"#, "Missing required property 'type'."),
        (r#"{"type":null}"#, "Expected 'type' to be of type Number."),
        (r#"{"type":1.5}"#, "Expected 'type' to be of type Number."),
        ("null", "Unexpected JSON Token Type 'Null'. Expected a JSON Object."),
        (r#""x""#, "Unexpected JSON Token Type 'String'. Expected a JSON Object."),
        ("", "Error reading JSON."),
        (r#"{"type":1,"target":"m","arguments":[}"#, "Error reading JSON."),
        (r#"{"type":6} {"#, "Error reading JSON."),
    ] {
        check_malformed(HubProtocol::Json, payload.as_bytes(), expected);
    }
}

#[test]
fn malformed_messagepack_messages_have_the_errors_of_asp_net_core() {
    for (payload, expected) in [
        (&b"\x95\x01\x80\xc0\xc0\x90"[..], "Null or empty target for Invocation message."),
        (b"\x95\x01\x80\xc0\xa0\x90", "Null or empty target for Invocation message."),
        (b"\x95\x01\x80\xc0\x07\x90", "Reading 'target' as String failed."),
        (b"\x95\x01\x80\x07\xa1m\x90", "Reading 'invocationId' as String failed."),
        (b"\x95\x01\x90\xc0\xa1m\x90", "Reading map length for 'headers' failed."),
        (b"\x95\x01\x80\xc0\xa1m\xc0", "Reading array length for 'arguments' failed."),
        (b"\x96\x01\x80\xc0\xa1m\x90\x07", "Reading array length for 'streamIds' failed."),
        (b"\x96\x01\x80\xc0\xa1m\x90\x91\xc0", "Null or empty value in streamIds received."),
        (b"\x95\x04\x80\xc0\xa1m\x90", "Null or empty invocation ID for StreamInvocation message."),
        (b"\x95\x04\x80\xa11\xc0\x90", "Null or empty target for StreamInvocation message."),
        (b"\x94\x02\x80\xc0\x01", "Null or empty invocation ID for StreamItem message."),
        (b"\x94\x03\x80\xc0\x02", "Null or empty invocation ID for Completion message."),
        (b"\x94\x03\x80\xa11\xc0", "Reading 'resultKind' as Int32 failed."),
        (b"\x93\x05\x80\xa0", "Null or empty invocation ID for CancelInvocation message."),
    ] {
        check_malformed(HubProtocol::MessagePack, payload, expected);
    }
}

#[test]
fn an_empty_invocation_id_requests_no_completion() {
    let json = br#"{"type":1,"invocationId":"","target":"m","arguments":[]}"#;
    for (protocol, payload) in
        [(HubProtocol::Json, &json[..]), (HubProtocol::MessagePack, b"\x95\x01\x80\xa0\xa1m\x90")]
    {
        assert_eq!(peek(protocol, payload).unwrap().invocation_id, None);
    }
}

#[test]
fn unpaired_surrogates_are_replaced_in_names_only() {
    let json = br#"{"type":1,"invocationId":"1","target":"m\ud83d","arguments":["\ud83d"]}"#;
    let msgpack = b"\x95\x01\x80\xa11\xa4m\xed\xa0\xbd\x91\xa3\xed\xa0\xbd";
    for (protocol, payload, arguments) in [
        (HubProtocol::Json, &json[..], &br#"["\ud83d"]"#[..]),
        (HubProtocol::MessagePack, msgpack, b"\x91\xa3\xed\xa0\xbd"),
    ] {
        let HubMessage::Invocation(invocation) = parse(protocol, payload).unwrap() else {
            panic!("{protocol:?}")
        };
        assert_eq!((&*invocation.target, &*invocation.arguments), ("m\u{fffd}", arguments));
    }
}

#[test]
fn peek_returns_type_invocation_id_and_target() {
    let json = HubProtocol::Json;
    check_peek(
        json,
        br#"{"arguments":[{"target":"inner","type":9}],"target":"t","invocationId":"1","type":1}"#,
        &expect![[r#"Invocation Some("1") Some("t")"#]],
    );
    check_peek(json, br#"{"type":6}"#, &expect!["Ping None None"]);
    check_peek(json, br#"{"type":99}"#, &expect!["Unknown(99) None None"]);
    check_peek(
        json,
        br#"[1,"1","t"]"#,
        &expect!["error: Unexpected JSON Token Type 'Array'. Expected a JSON Object."],
    );
    check_peek(
        json,
        b"{\"type\":1,\"target\":\"t\",\"arguments\":[\"\xff\"]}",
        &expect!["error: Error reading JSON."],
    );
    check_peek(json, b"{", &expect!["error: Error reading JSON."]);
    let msgpack = HubProtocol::MessagePack;
    check_peek(
        msgpack,
        b"\x96\x01\x80\xa11\xa1t\x91\x01\x90",
        &expect![[r#"Invocation Some("1") Some("t")"#]],
    );
    check_peek(msgpack, b"\x94\x03\x80\xa11\x02", &expect![[r#"Completion Some("1") None"#]]);
    check_peek(msgpack, b"\x91\x06", &expect!["Ping None None"]);
    check_peek(msgpack, b"\x92\x01\x80", &expect!["error: Missing required property 'arguments'."]);
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for protocol in [HubProtocol::Json, HubProtocol::MessagePack] {
            let _ = (parse(protocol, &bytes), peek(protocol, &bytes));
        }
    }
}
