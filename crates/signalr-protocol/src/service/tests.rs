use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::next_message;

fn check_error(payload: &[u8], expected: &Expect) {
    expected.assert_eq(&parse(payload).unwrap_err().to_string());
}

#[test]
fn errors_name_the_field() {
    check_error(
        b"",
        &expect![
            "it is not a MessagePack array that begins with the number of a message type: it ends in the middle of a value"
        ],
    );
    check_error(
        b"\x90",
        &expect![
            "it is not a MessagePack array that begins with the number of a message type: the array is empty"
        ],
    );
    check_error(
        b"\x80",
        &expect![
            "it is not a MessagePack array that begins with the number of a message type: an array is expected"
        ],
    );
    check_error(
        b"\x91\xa1x",
        &expect![
            "it is not a MessagePack array that begins with the number of a message type: a whole number is expected"
        ],
    );
    check_error(b"\x92\x06\xa1c", &expect!["'payload' is missing"]);
    check_error(b"\x93\x06\xc0\xc4\x00", &expect!["'connectionId': a string is expected"]);
    check_error(b"\x93\x06\xa1c\xa1x", &expect!["'payload': bytes are expected"]);
    check_error(b"\x93\x06\xa1c\xc4\x05x", &expect!["'payload': it ends in the middle of a value"]);
    check_error(b"\x93\x0a\x91\x01\x80", &expect!["'excludedList': a string is expected"]);
    check_error(b"\x92\x0a\x90", &expect!["'payloads' is missing"]);
    check_error(b"\x93\x0a\x90\x90", &expect!["'payloads': a map is expected"]);
    check_error(
        b"\x94\x06\xa1c\xc4\x00\x81\xa1k\x01",
        &expect!["'extensionMembers': a key is a whole number"],
    );
    check_error(b"\x94\x06\xa1c\xc4\x00\x81\x06\x01", &expect!["'isPartial': true or false is expected"]);
    check_error(
        b"\x94\x17\xa1g\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x80",
        &expect!["'ackId': a whole number of 32 bits is expected"],
    );
    check_error(b"\x94\x27\xa1c\x03\x01", &expect!["'connectionType': the number is unknown"]);
    check_error(b"\x94\x27\xa1c\x01\x05", &expect!["'operation': the number is unknown"]);
    check_error(
        b"\x95\x29\xa1t\x80\xd6\x05\x00\x00\x00\x00\x01",
        &expect!["'expireTime': a date is expected"],
    );
}

#[test]
fn a_wrong_length_allocates_nothing() {
    // The list claims more than four thousand million strings, but has none.
    check_error(
        b"\x93\x0a\xdd\xff\xff\xff\xff",
        &expect!["'excludedList': it ends in the middle of a value"],
    );
    check_error(b"\xdd\xff\xff\xff\xff\x03", &expect!["'messages': it ends in the middle of a value"]);
}

#[test]
fn ping_values_and_payloads_are_found_by_name() {
    let messages = ["status", "", "echo", "7", "odd"];
    assert_eq!(ping_value(&messages, "status"), Some(""));
    assert_eq!(ping_value(&messages, "echo"), Some("7"));
    assert_eq!(ping_value(&messages, "odd"), None);
    // A value is not a key.
    assert_eq!(ping_value(&["a", "b", "b", "c"], "b"), Some("c"));
    let payloads: [(&str, &[u8]); 2] = [("JSON", b"a"), ("blazorpack", b"b")];
    assert_eq!(payload_for(&payloads, HubProtocol::Json), Some(&b"a"[..]));
    assert_eq!(payload_for(&payloads, HubProtocol::BlazorPack), Some(&b"b"[..]));
    assert_eq!(payload_for(&payloads, HubProtocol::MessagePack), None);
}

#[test]
fn payloads_of_acks_have_exact_bytes() {
    let members =
        GroupMembers { members: vec![("c", Some("ada")), ("d", None)], continuation_token: Some("d") };
    let payload = members.encode();
    assert_eq!(payload, b"\x92\x92\x92\xa1c\xa3ada\x92\xa1d\xc0\xa1d");
    assert_eq!(GroupMembers::parse(&payload), Some(members));
    assert_eq!(GroupMembers::default().encode(), b"\x92\x90\xc0");
    assert_eq!(GroupMembers::parse(b"\x92\xdd\xff\xff\xff\xff"), None);
    assert_eq!(claims_payload(&[]), b"\xc0");
    let claims = [("role", "a"), ("role", "b")];
    assert_eq!(claims_payload(&claims), b"\x82\xa4role\xa1a\xa4role\xa1b");
    assert_eq!(parse_claims_payload(&claims_payload(&claims)), Some(claims.to_vec()));
    assert_eq!(parse_claims_payload(b"\xc0"), Some(vec![]));
    assert_eq!(parse_claims_payload(b"\x81\x01\x02"), None);
}

/// Bytes that begin like a message of some type, so that random fields are reached.
fn near_messages() -> impl Strategy<Value = Vec<u8>> {
    (0u8..16, 0u8..48, prop::collection::vec(any::<u8>(), 0..96)).prop_map(|(fields, kind, mut rest)| {
        let mut payload = vec![0x90 | fields, kind];
        payload.append(&mut rest);
        payload
    })
}

/// A MessagePack value for a field.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(vec![0xc0]),
        any::<bool>().prop_map(|flag| vec![if flag { 0xc3 } else { 0xc2 }]),
        any::<i32>().prop_map(|number| {
            let mut bytes = Vec::new();
            rmp::encode::write_sint(&mut bytes, number.into()).unwrap();
            bytes
        }),
        "[a-z]{0,8}".prop_map(|text| {
            let mut bytes = Vec::new();
            rmp::encode::write_str(&mut bytes, &text).unwrap();
            bytes
        }),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(|data| {
            let mut bytes = Vec::new();
            rmp::encode::write_bin(&mut bytes, &data).unwrap();
            bytes
        }),
        (any::<u32>()).prop_map(|seconds| [&[0xd6, 0xff][..], &seconds.to_be_bytes()].concat()),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| { [&[0x90 | items.len() as u8][..], &items.concat()].concat() }),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(|pairs| {
                let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| [key, value].concat()).collect();
                [&[0x80 | pairs.len() as u8][..], &pairs.concat()].concat()
            }),
        ]
    })
}

fn check_round_trip(payload: &[u8]) {
    let Ok(message) = parse(payload) else { return };
    let mut written = Vec::new();
    message.encode(&mut written);
    if matches!(message, Message::Unknown(_)) {
        return assert!(written.is_empty());
    }
    let (again, used) = next_message(FRAMING, &written, written.len()).unwrap().unwrap();
    assert_eq!(used, written.len());
    assert_eq!(parse(again).unwrap(), message);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_bytes_are_a_message_or_an_error(payload in prop_oneof![near_messages(), prop::collection::vec(any::<u8>(), 0..64)]) {
        check_round_trip(&payload);
    }

    #[test]
    fn a_parsed_message_can_be_encoded_and_parsed_again(kind in 1u8..48, fields in prop::collection::vec(value(), 0..8)) {
        let mut payload = vec![0x90 | (fields.len() as u8 + 1), kind];
        payload.extend(fields.concat());
        check_round_trip(&payload);
    }
}

#[test]
fn ticks_are_parsed_up_to_the_year_9999() {
    /// `DateTime.MaxValue.Ticks`.
    const LAST: u64 = 3_155_378_975_999_999_999;
    let with_ticks = |ticks: u64| {
        let mut message = b"\x96\x29\xa6secret\x80\xcf".to_vec();
        message.extend_from_slice(&ticks.to_be_bytes());
        message.extend_from_slice(b"\x01\x80");
        message
    };
    let last = with_ticks(LAST);
    let Message::RefreshAuth { .. } = parse(&last).unwrap() else { panic!("type 41") };
    let mut written = Vec::new();
    parse(&last).unwrap().encode(&mut written);
    let (again, _) = next_message(FRAMING, &written, written.len()).unwrap().unwrap();
    assert_eq!(parse(again).unwrap(), parse(&last).unwrap());
    assert!(parse(&with_ticks(LAST + 1)).unwrap_err().to_string().contains("later than any date"));
}
