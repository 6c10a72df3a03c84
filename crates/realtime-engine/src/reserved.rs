//! Client methods that only this service invokes, such as `chappe.position`. A client trusts the position in them, so no client, app,
//! upstream or app server may invoke them; every sender is checked here.

use signalr_protocol::{HubProtocol, next_message, peek};

/// The prefix of the reserved names.
const PREFIX: &[u8] = b"chappe.";

/// Whether a method is reserved for this service. The comparison ignores case, as the SDKs do when they look up a handler.
pub fn is_reserved_method(method: &str) -> bool {
    method.as_bytes().get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}

/// Whether one of the framed hub messages invokes a reserved method. A message that cannot be parsed and contains the prefix counts as
/// one, because a client may parse it differently.
pub fn calls_reserved_method(protocol: HubProtocol, mut framed: &[u8]) -> bool {
    while let Ok(Some((payload, used))) = next_message(protocol, framed, framed.len()) {
        if message_calls_reserved_method(protocol, payload) {
            return true;
        }
        framed = &framed[used..];
    }
    false
}

/// As [`calls_reserved_method`], for one message without its frame.
pub fn message_calls_reserved_method(protocol: HubProtocol, payload: &[u8]) -> bool {
    may_hold_prefix(payload)
        && peek(protocol, payload)
            .map_or(true, |peek| peek.target.is_some_and(|name| is_reserved_method(&name)))
}

/// Whether the bytes contain the prefix, plain or with a JSON escape. Most messages do not, and this test is cheaper than
/// parsing.
fn may_hold_prefix(payload: &[u8]) -> bool {
    memchr::memchr3_iter(PREFIX[0], PREFIX[0].to_ascii_uppercase(), b'\\', payload).any(|at| {
        let rest = &payload[at..];
        rest.starts_with(b"\\u")
            || rest.get(..PREFIX.len()).is_some_and(|found| found.eq_ignore_ascii_case(PREFIX))
    })
}

#[cfg(test)]
mod tests {
    use signalr_protocol::Invocation;

    use super::*;

    #[test]
    fn names_with_the_prefix_in_any_case_are_reserved() {
        for name in ["chappe.position", "chappe.", "Chappe.Position", "CHAPPE.x"] {
            assert!(is_reserved_method(name), "{name}");
        }
        for name in ["", "chappe", "chappé.position", "position", " chappe.position", "x.chappe.position"] {
            assert!(!is_reserved_method(name), "{name}");
        }
    }

    #[test]
    fn a_framed_invocation_of_a_reserved_method_is_found() {
        let check = |message: &str, expected: bool| {
            assert_eq!(calls_reserved_method(HubProtocol::Json, message.as_bytes()), expected, "{message}");
        };
        check("{\"type\":1,\"target\":\"chappe.position\",\"arguments\":[]}\u{1e}", true);
        check("{\"type\":1,\"target\":\"\\u0043happe.position\",\"arguments\":[]}\u{1e}", true);
        check("{\"type\":6}\u{1e}{\"target\":\"CHAPPE.x\",\"type\":1,\"arguments\":[]}\u{1e}", true);
        check("{\"type\":1,\"target\":\"m\",\"arguments\":[\"chappe.position\"]}\u{1e}", false);
        check("{\"type\":3,\"invocationId\":\"chappe.x\"}\u{1e}", false);
        check("{\"target\":\"chappe.x\"", false);
        check("{\"target\":\"chappe.x\",\u{1e}", true);
        let mut framed = Vec::new();
        Invocation::new("m", b"\x91\xa9chappe.xx").encode_msgpack(&mut framed);
        assert!(!calls_reserved_method(HubProtocol::MessagePack, &framed));
        Invocation::new("Chappe.position", b"\x90").encode_msgpack(&mut framed);
        assert!(calls_reserved_method(HubProtocol::MessagePack, &framed));
        assert!(calls_reserved_method(HubProtocol::BlazorPack, &framed));
    }
}
