//! Parses and encodes every vector of `tests/service/`: `vectors.json` was written by hand, `recorded.json` by the library of the
//! SDK (Microsoft.Azure.SignalR.Protocols 1.34.0). A vector has `name`, `message` (readable), `hex` (a whole frame with its
//! length prefix), `source` (`hand` or `recorded`), `decodeOnly` if its writer used other encodings of numbers or other fields
//! than we do, and a `note` with the reason. To add recorded messages, append entries; no code has to change.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use super::{FRAMING, Message, parse};
use crate::next_message;

/// The known types.
const KNOWN: std::ops::RangeInclusive<u64> = 1..=43;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Vector {
    name: String,
    message: Value,
    hex: String,
    source: Source,
    #[serde(default)]
    decode_only: bool,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Source {
    Hand,
    Recorded,
}

fn vectors() -> Vec<Vector> {
    let hand: Vec<Vector> = serde_json::from_str(include_str!("../../tests/service/vectors.json")).unwrap();
    let recorded: Vec<Vector> =
        serde_json::from_str(include_str!("../../tests/service/recorded.json")).unwrap();
    hand.into_iter().chain(recorded).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn every_vector_is_parsed_and_encoded() {
    for Vector { name, message: expected, hex: frame, decode_only, .. } in vectors() {
        let frame = bytes(&frame);
        let (payload, used) = next_message(FRAMING, &frame, frame.len()).unwrap().unwrap();
        assert_eq!(used, frame.len(), "{name}: the frame has the length of its prefix");
        let message = parse(payload).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(show(&message), readable("", expected), "{name}");
        let mut written = Vec::new();
        message.encode(&mut written);
        if let Message::Unknown(_) = message {
            assert!(written.is_empty(), "{name}");
            continue;
        }
        if !decode_only {
            assert_eq!(hex(&written), hex(&frame), "{name}");
        }
        let (payload, _) = next_message(FRAMING, &written, written.len()).unwrap().unwrap();
        assert_eq!(parse(payload).unwrap(), message, "{name}");
    }
}

#[test]
fn every_known_type_has_a_vector() {
    for source in [Source::Hand, Source::Recorded] {
        let (mut covered, mut names) = (BTreeSet::new(), BTreeSet::new());
        for vector in vectors().into_iter().filter(|vector| vector.source == source) {
            let frame = bytes(&vector.hex);
            let (payload, _) = next_message(FRAMING, &frame, frame.len()).unwrap().unwrap();
            covered.insert(parse(payload).unwrap().kind());
            assert!(names.insert(vector.name.clone()), "'{}' occurs twice", vector.name);
        }
        let without: Vec<u64> = KNOWN.filter(|kind| !covered.contains(kind)).collect();
        assert_eq!(without, Vec::<u64>::new(), "types without a vector of {source:?}");
    }
}

/// The SDK's library encodes some messages differently, each with the reason in its vector. All others are the same byte for
/// byte.
#[test]
fn messages_of_the_sdk_are_encoded_identically_except_flow_control() {
    let recorded: Vec<_> = vectors().into_iter().filter(|vector| vector.source == Source::Recorded).collect();
    assert_eq!(recorded.len(), 115, "with the long payload below, all 116 messages");
    for Vector { name, decode_only, note, .. } in recorded {
        assert_eq!(decode_only, name.starts_with("ConnectionFlowControl, "), "{name}");
        assert_eq!(decode_only, note.is_some(), "{name}");
    }
}

#[test]
fn a_long_payload_of_the_sdk_is_parsed_and_encoded() {
    let long: Vec<u8> = (0..70_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    let head = bytes("83a3049406aa6b6670336d5a2d616461c600011170");
    let frame = [&head[..], &long, &[0x80]].concat();
    let (payload, used) = next_message(FRAMING, &frame, frame.len()).unwrap().unwrap();
    assert_eq!(used, frame.len());
    let message = parse(payload).unwrap();
    let Message::ConnectionData { connection_id, payload, .. } = &message else { panic!("{message:?}") };
    assert_eq!((*connection_id, *payload), ("kfp3mZ-ada", &long[..]));
    let mut written = Vec::new();
    message.encode(&mut written);
    assert!(written == frame);
}

/// Each byte of each vector, changed in four ways, and each vector truncated at each position.
#[test]
fn damaged_vectors_are_messages_or_errors() {
    let (mut messages, mut errors) = (0, 0);
    let mut check = |payload: &[u8]| match parse(payload) {
        Err(_) => errors += 1,
        Ok(Message::Unknown(_)) => {}
        Ok(message) => {
            messages += 1;
            let mut written = Vec::new();
            message.encode(&mut written);
            let (again, _) = next_message(FRAMING, &written, written.len()).unwrap().unwrap();
            assert_eq!(parse(again).unwrap(), message);
        }
    };
    for vector in vectors() {
        let frame = bytes(&vector.hex);
        let (payload, _) = next_message(FRAMING, &frame, frame.len()).unwrap().unwrap();
        for at in 0..payload.len() {
            check(&payload[..at]);
            for change in [0x01, 0x20, 0x80, 0xff] {
                let mut damaged = payload.to_vec();
                damaged[at] ^= change;
                check(&damaged);
            }
        }
    }
    // Both must be numerous, or the test shows nothing.
    assert!(messages > 1_000 && errors > 1_000, "{messages} messages, {errors} errors");
}

fn show(message: &Message<'_>) -> Value {
    if let Message::Unknown(number) = message {
        return serde_json::json!({ "type": "Unknown", "number": number });
    }
    readable("", serde_json::to_value(message).unwrap())
}

/// Bytes as hexadecimal digits, pairs as objects, without values that are nil, false or empty.
fn readable(key: &str, value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = readable(&name, value);
                    (name, value)
                })
                .filter(|(name, value)| !is_nothing(value) && value != "Unknown" || name == "type")
                .collect(),
        ),
        Value::Array(items) if key == "payload" => Value::String(hex(&numbers(&items))),
        Value::Array(pairs) if key == "payloads" || key == "headers" => {
            let pair = |pair: Value| {
                let Value::Array(pair) = pair else { panic!("a pair is a list of two") };
                let value = if key == "payloads" {
                    Value::String(hex(&numbers(pair[1].as_array().unwrap())))
                } else {
                    pair[1].clone()
                };
                (pair[0].as_str().unwrap().to_owned(), value)
            };
            Value::Object(pairs.into_iter().map(pair).collect())
        }
        other => other,
    }
}

fn numbers(items: &[Value]) -> Vec<u8> {
    items.iter().map(|item| u8::try_from(item.as_u64().unwrap()).unwrap()).collect()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}
