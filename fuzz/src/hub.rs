//! Properties of any payload of a hub message, in both encodings.

use signalr_protocol::{HubMessage, HubMessageType, HubProtocol, next_message, parse, peek};

use crate::memory::peak_bytes;
use crate::plain_messagepack::value_bytes;

/// Most memory that parsing may use for each byte of payload: a header of two empty texts is two encoded bytes, two borrowed texts in
/// memory, and a vector that grows uses twice what it needs, in addition to the vector that it replaces.
const BYTES_PER_BYTE_MAX: usize = 80;

/// Parses a payload in both ways, and writes what was parsed.
pub fn check(protocol: HubProtocol, payload: &[u8]) {
    let bytes_max = BYTES_PER_BYTE_MAX * payload.len() + 1024;
    let (parsed, peak) = peak_bytes(|| parse(protocol, payload));
    assert!(peak <= bytes_max, "{peak} bytes to read {}", payload.len());
    let (peeked, peak) = peak_bytes(|| peek(protocol, payload));
    // The text may quote the invalid part, with up to six characters for one.
    assert!(peak <= 16 * payload.len() + 1024, "{peak} bytes to peek into {}", payload.len());
    if protocol == HubProtocol::Json && peeked.is_ok() {
        assert!(std::str::from_utf8(payload).is_ok(), "what a router lets pass is text");
    }
    let message = match parsed {
        Ok(message) => message,
        Err(error) => {
            assert!(error.to_string().len() <= 512, "the reason goes to the client");
            return;
        }
    };
    if protocol != HubProtocol::Json {
        assert_eq!(value_bytes(payload), Some(payload.len()), "it is one whole value");
    }
    let peeked = peeked.expect("what can be read can be peeked into");
    let (kind, id, target) = facts(&message);
    assert_eq!(peeked.kind, kind);
    if let Some(id) = id {
        assert_eq!(peeked.invocation_id.as_deref(), id);
    }
    if let Some(target) = target {
        assert_eq!(peeked.target.as_deref(), Some(target));
    }
    let mut written = Vec::new();
    message.encode(protocol, &mut written);
    if matches!(message, HubMessage::Unknown(_)) {
        assert!(written.is_empty());
        return;
    }
    let (again, used) = next_message(protocol, &written, written.len())
        .expect("what was written is framed")
        .expect("what was written is whole");
    assert_eq!(used, written.len(), "one message, not several");
    assert_eq!(parse(protocol, again).expect("what was written can be read"), message);
    if protocol == HubProtocol::Json {
        assert!(std::str::from_utf8(&written).is_ok(), "JSON goes into text frames");
    }
}

/// The kind; the id and the target if this kind has them.
fn facts<'m>(message: &'m HubMessage<'_>) -> (HubMessageType, Option<Option<&'m str>>, Option<&'m str>) {
    match message {
        HubMessage::Invocation(call) => {
            (HubMessageType::Invocation, Some(call.invocation_id.as_deref()), Some(&call.target))
        }
        HubMessage::StreamInvocation(call) => {
            (HubMessageType::StreamInvocation, Some(call.invocation_id.as_deref()), Some(&call.target))
        }
        HubMessage::StreamItem(item) => (HubMessageType::StreamItem, Some(Some(&item.invocation_id)), None),
        HubMessage::Completion(end) => (HubMessageType::Completion, Some(Some(&end.invocation_id)), None),
        HubMessage::CancelInvocation(cancel) => {
            (HubMessageType::CancelInvocation, Some(Some(&cancel.invocation_id)), None)
        }
        HubMessage::Ping => (HubMessageType::Ping, None, None),
        HubMessage::Close(_) => (HubMessageType::Close, None, None),
        HubMessage::Ack(_) => (HubMessageType::Ack, None, None),
        HubMessage::Sequence(_) => (HubMessageType::Sequence, None, None),
        HubMessage::Unknown(number) => (HubMessageType::Unknown(*number), None, None),
    }
}
