//! Which messages stateful reconnect numbers: those of types 1 to 5 ("Sequence", hub protocol specification). Both ends count them by
//! themselves, so whoever stands between the two counts by the bytes alone. What is no hub message is not numbered.

use crate::{HubProtocol, MessageKind, next_message, peek};

/// How the JSON of .NET clients and servers begins, with the number of the type behind it.
const JSON_BEGIN: &[u8] = b"{\"type\":";
/// How the JSON of JavaScript clients ends, with the number of the type between. A quote in a string has a backslash before it, so
/// that this cannot be the end of one.
const JSON_END: &[u8] = b",\"type\":";

/// Whether a message is numbered. `payload` is as [`next_message`] gives it.
pub fn is_numbered(protocol: HubProtocol, payload: &[u8]) -> bool {
    match protocol {
        HubProtocol::Json => match json_type(payload) {
            Some(number) => is_numbered_type(number),
            None => peek(protocol, payload).is_ok_and(|peek| {
                matches!(
                    peek.kind,
                    MessageKind::Invocation
                        | MessageKind::StreamItem
                        | MessageKind::Completion
                        | MessageKind::StreamInvocation
                        | MessageKind::CancelInvocation
                )
            }),
        },
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            array_type(payload).is_some_and(is_numbered_type)
        }
    }
}

/// Whether a message is numbered of which only the beginning is there, at least a few kilobytes: of the types that are not numbered none
/// is so long, so that only a type that shows makes it one.
pub fn begins_numbered(protocol: HubProtocol, beginning: &[u8]) -> bool {
    match protocol {
        HubProtocol::Json => {
            let number = beginning.strip_prefix(JSON_BEGIN).and_then(|rest| rest.first());
            number.is_none_or(|number| is_numbered_type(number.wrapping_sub(b'0')))
        }
        HubProtocol::MessagePack | HubProtocol::BlazorPack => is_numbered(protocol, beginning),
    }
}

/// How many of the messages in `framed` are numbered. Bytes behind the last whole message count for nothing.
pub fn count_numbered(protocol: HubProtocol, mut framed: &[u8]) -> u32 {
    let mut count = 0;
    while let Ok(Some((payload, used))) = next_message(protocol, framed, framed.len()) {
        count += u32::from(is_numbered(protocol, payload));
        framed = &framed[used..];
    }
    count
}

fn is_numbered_type(number: u8) -> bool {
    matches!(number, 1..=5)
}

/// The type of a message in one of the two orders that clients and servers write; `None` where it must be looked for.
fn json_type(payload: &[u8]) -> Option<u8> {
    if let Some([number @ b'0'..=b'9', b',' | b'}', ..]) = payload.strip_prefix(JSON_BEGIN) {
        return Some(number - b'0');
    }
    let [rest @ .., number @ b'0'..=b'9', b'}'] = payload else { return None };
    // One object only, so that its last member is the message's own.
    rest.ends_with(JSON_END).then_some(number - b'0')
}

/// The first item of an array of MessagePack.
fn array_type(payload: &[u8]) -> Option<u8> {
    let ([0x91..=0x9f, rest @ ..] | [0xdc, _, _, rest @ ..] | [0xdd, _, _, _, _, rest @ ..]) = payload else {
        return None;
    };
    match rest {
        [number @ 0..=0x7f, ..] | [0xcc, number, ..] => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_types_1_to_5_are_numbered_wherever_their_type_stands() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_numbered(HubProtocol::Json, text.as_bytes()), expected, "{text}");
        };
        for (number, expected) in
            [(1, true), (3, true), (5, true), (6, false), (7, false), (8, false), (9, false)]
        {
            let rest = r#""target":"a","arguments":[],"invocationId":"1","sequenceId":1,"item":1"#;
            if number != 3 {
                check(&format!("{{\"type\":{number},{rest}}}"), expected);
                check(&format!("{{{rest},\"type\":{number}}}"), expected);
                check(&format!("{{ \"invocationId\":\"1\", \"type\" : {number} , {rest} }}"), expected);
            }
            let array = [0x92, number, 0xc0];
            for protocol in [HubProtocol::MessagePack, HubProtocol::BlazorPack] {
                assert_eq!(is_numbered(protocol, &array), expected, "{number}");
            }
        }
        check(r#"{"type":6}"#, false);
        check(r#"{"type":3,"invocationId":"1"}"#, true);
        check(r#"{"invocationId":"1","result":{"a":1,"type":7}  ,  "type":3}"#, true);
        check(r#"{"type":12,"a":1}"#, false);
        check(r#"{"a":1,"type":12}"#, false);
        check("no JSON", false);
        check("", false);
        assert!(!is_numbered(HubProtocol::MessagePack, b""));
        assert!(!is_numbered(HubProtocol::MessagePack, b"\xc1\x01"));
        assert!(is_numbered(HubProtocol::MessagePack, b"\xdc\x00\x02\xcc\x01\xc0"));
    }

    #[test]
    fn messages_in_one_payload_are_counted_one_by_one() {
        let text = "{\"type\":6}\u{1e}{\"type\":1,\"target\":\"a\",\"arguments\":[]}\u{1e}{\"type\":5,\"invocationId\":\"1\"}\u{1e}{\"type\":1";
        assert_eq!(count_numbered(HubProtocol::Json, text.as_bytes()), 2);
        assert_eq!(
            count_numbered(HubProtocol::MessagePack, b"\x02\x91\x06\x03\x92\x05\xc0\x03\x92\x08\x01"),
            1
        );
    }

    #[test]
    fn a_long_beginning_is_numbered_unless_its_type_says_otherwise() {
        assert!(begins_numbered(HubProtocol::Json, br#"{"arguments":["xxxxx"#));
        assert!(begins_numbered(HubProtocol::Json, br#"{"type":1,"arg"#));
        assert!(!begins_numbered(HubProtocol::Json, br#"{"type":7,"error":"xxx"#));
        assert!(begins_numbered(HubProtocol::MessagePack, b"\x96\x01\x80"));
        assert!(!begins_numbered(HubProtocol::MessagePack, b"\x92\x07\xd9"));
    }
}
