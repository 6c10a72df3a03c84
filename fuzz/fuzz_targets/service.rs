//! Any bytes as a service message: memory in proportion to them, and what is read can be written and read again.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use libfuzzer_sys::fuzz_target;
use signalr_protocol::service::{GroupMembers, Message, parse, parse_claims_payload};
use signalr_protocol::{HubProtocol, next_message};

/// Most memory that reading may take for each byte: a claim of two empty texts is two bytes on the wire, two borrowed texts in memory, and
/// a vector that grows takes twice what it needs, beside the one that it leaves.
const BYTES_PER_BYTE_MAX: usize = 80;

fuzz_target!(|payload: &[u8]| {
    let bytes_max = BYTES_PER_BYTE_MAX * payload.len() + 1024;
    let (message, peak) = peak_bytes(|| parse(payload));
    assert!(peak <= bytes_max, "{peak} bytes to read {}", payload.len());
    let (_, peak) =
        peak_bytes(|| (GroupMembers::parse(payload).is_some(), parse_claims_payload(payload).is_some()));
    assert!(peak <= 2 * bytes_max, "{peak} bytes to read {} as an ack's payload", payload.len());
    match message {
        Ok(Message::Unknown(_)) => {}
        Ok(message) => is_written_and_read_again(&message),
        Err(error) => assert!(error.to_string().len() <= 512, "the reason goes to the app server"),
    }
});

fn is_written_and_read_again(message: &Message<'_>) {
    let mut written = Vec::new();
    message.encode(&mut written);
    let framed = next_message(HubProtocol::MessagePack, &written, written.len());
    let (payload, used) = framed.expect("the prefix is right").expect("the frame is whole");
    assert_eq!(used, written.len());
    assert_eq!(parse(payload).expect("what was written can be read"), *message);
}
