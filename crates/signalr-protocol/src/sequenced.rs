//! Which messages get a sequence id in stateful reconnect: those of types 1 to 5 ("Sequence", hub protocol specification). Both ends
//! count them without sending the ids, so a proxy between them counts by the bytes alone. An invalid message has no sequence id.

use crate::codec::peek;
use crate::framing::next_message;
use crate::hub_protocol::HubProtocol;
use crate::message::HubMessageType;

/// The start of JSON messages of .NET clients and servers; the type follows.
const JSON_PREFIX: &[u8] = b"{\"type\":";
/// The end of JSON messages of JavaScript clients, before the type. A quote in a string is escaped, so that this cannot be the end
/// of a string.
const JSON_SUFFIX: &[u8] = b",\"type\":";

/// Whether a message has a sequence id. `payload` is without framing.
pub fn is_sequenced(protocol: HubProtocol, payload: &[u8]) -> bool {
    match protocol {
        HubProtocol::Json => match json_type(payload) {
            Some(number) => is_sequenced_type(number),
            None => peek(protocol, payload).is_ok_and(|peek| {
                matches!(
                    peek.kind,
                    HubMessageType::Invocation
                        | HubMessageType::StreamItem
                        | HubMessageType::Completion
                        | HubMessageType::StreamInvocation
                        | HubMessageType::CancelInvocation
                )
            }),
        },
        HubProtocol::MessagePack | HubProtocol::BlazorPack => {
            array_type(payload).is_some_and(is_sequenced_type)
        }
    }
}

/// Whether a message has a sequence id, by its first few kilobytes. Messages without a sequence id are never that long; so it has
/// one unless its type is visible and says otherwise.
pub fn prefix_is_sequenced(protocol: HubProtocol, prefix: &[u8]) -> bool {
    match protocol {
        HubProtocol::Json => {
            let number = prefix.strip_prefix(JSON_PREFIX).and_then(|rest| rest.first());
            number.is_none_or(|number| is_sequenced_type(number.wrapping_sub(b'0')))
        }
        HubProtocol::MessagePack | HubProtocol::BlazorPack => is_sequenced(protocol, prefix),
    }
}

/// How many of the messages in `framed` have a sequence id. An incomplete message at the end is ignored.
pub fn count_sequenced(protocol: HubProtocol, mut framed: &[u8]) -> u32 {
    let mut count = 0;
    while let Ok(Some((payload, used))) = next_message(protocol, framed, framed.len()) {
        count += u32::from(is_sequenced(protocol, payload));
        framed = &framed[used..];
    }
    count
}

fn is_sequenced_type(number: u8) -> bool {
    matches!(number, 1..=5)
}

/// The type of a message in one of the two usual property orders; `None` if it must be parsed.
fn json_type(payload: &[u8]) -> Option<u8> {
    if let Some([number @ b'0'..=b'9', b',' | b'}', ..]) = payload.strip_prefix(JSON_PREFIX) {
        return Some(number - b'0');
    }
    let [rest @ .., number @ b'0'..=b'9', b'}'] = payload else { return None };
    // The payload is one object, so its last member belongs to the message itself.
    rest.ends_with(JSON_SUFFIX).then_some(number - b'0')
}

/// The first element of a MessagePack array.
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
    fn messages_of_types_1_to_5_are_sequenced_in_any_property_order() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_sequenced(HubProtocol::Json, text.as_bytes()), expected, "{text}");
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
                assert_eq!(is_sequenced(protocol, &array), expected, "{number}");
            }
        }
        check(r#"{"type":6}"#, false);
        check(r#"{"type":3,"invocationId":"1"}"#, true);
        check(r#"{"invocationId":"1","result":{"a":1,"type":7}  ,  "type":3}"#, true);
        check(r#"{"type":12,"a":1}"#, false);
        check(r#"{"a":1,"type":12}"#, false);
        check("no JSON", false);
        check("", false);
        assert!(!is_sequenced(HubProtocol::MessagePack, b""));
        assert!(!is_sequenced(HubProtocol::MessagePack, b"\xc1\x01"));
        assert!(is_sequenced(HubProtocol::MessagePack, b"\xdc\x00\x02\xcc\x01\xc0"));
    }

    #[test]
    fn count_sequenced_counts_the_messages_of_types_1_to_5() {
        let text = "{\"type\":6}\u{1e}{\"type\":1,\"target\":\"a\",\"arguments\":[]}\u{1e}{\"type\":5,\"invocationId\":\"1\"}\u{1e}{\"type\":1";
        assert_eq!(count_sequenced(HubProtocol::Json, text.as_bytes()), 2);
        assert_eq!(
            count_sequenced(HubProtocol::MessagePack, b"\x02\x91\x06\x03\x92\x05\xc0\x03\x92\x08\x01"),
            1
        );
    }

    #[test]
    fn a_long_prefix_is_sequenced_unless_its_type_is_not() {
        assert!(prefix_is_sequenced(HubProtocol::Json, br#"{"arguments":["xxxxx"#));
        assert!(prefix_is_sequenced(HubProtocol::Json, br#"{"type":1,"arg"#));
        assert!(!prefix_is_sequenced(HubProtocol::Json, br#"{"type":7,"error":"xxx"#));
        assert!(prefix_is_sequenced(HubProtocol::MessagePack, b"\x96\x01\x80"));
        assert!(!prefix_is_sequenced(HubProtocol::MessagePack, b"\x92\x07\xd9"));
    }
}
