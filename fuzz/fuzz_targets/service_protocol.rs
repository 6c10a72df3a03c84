//! Any bytes as a message of an app server: a parsed message is written again as the same message, in one frame, and parsing uses memory in
//! proportion to the input.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use libfuzzer_sys::fuzz_target;
use signalr_protocol::service::{
    FRAMING, GroupMembers, Message, claims_payload, parse, parse_claims_payload, payload_for, ping_value,
};
use signalr_protocol::{HubProtocol, next_message};

/// As for hub messages: an empty text is one encoded byte and a slice in memory, in a vector that grows.
const BYTES_PER_BYTE_MAX: usize = 96;

fuzz_target!(|payload: &[u8]| {
    answers(payload);
    let (parsed, peak) = peak_bytes(|| parse(payload));
    assert!(peak <= BYTES_PER_BYTE_MAX * payload.len() + 1024, "{peak} bytes to read {}", payload.len());
    let message = match parsed {
        Ok(message) => message,
        Err(error) => {
            assert!(error.to_string().len() <= 512);
            return;
        }
    };
    let mut written = Vec::new();
    message.encode(&mut written);
    if let Message::Unknown(_) = message {
        assert!(written.is_empty());
        return;
    }
    let (again, used) = next_message(FRAMING, &written, written.len())
        .expect("what was written is framed")
        .expect("what was written is whole");
    assert_eq!(used, written.len(), "one message, not several");
    assert_eq!(parse(again).expect("what was written can be read"), message);
    match &message {
        Message::Ping { messages } => {
            for pair in messages.chunks_exact(2) {
                assert!(ping_value(messages, pair[0]).is_some());
            }
        }
        Message::BroadcastData { payloads, .. } => {
            if let Some(found) = payload_for(payloads, HubProtocol::Json) {
                assert!(payloads.iter().any(|(_, payload)| *payload == found));
            }
        }
        _ => {}
    }
});

/// The payload of an ack.
fn answers(payload: &[u8]) {
    let (members, peak) = peak_bytes(|| GroupMembers::parse(payload));
    assert!(peak <= BYTES_PER_BYTE_MAX * payload.len() + 1024, "{peak} bytes for members");
    if let Some(members) = members {
        assert_eq!(GroupMembers::parse(&members.encode()).as_ref(), Some(&members));
    }
    let (claims, peak) = peak_bytes(|| parse_claims_payload(payload));
    assert!(peak <= BYTES_PER_BYTE_MAX * payload.len() + 1024, "{peak} bytes for claims");
    if let Some(claims) = claims {
        assert_eq!(parse_claims_payload(&claims_payload(&claims)).as_ref(), Some(&claims));
    }
}
