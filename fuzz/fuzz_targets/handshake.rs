//! Any bytes as the record of a handshake, and as the version in a negotiate request: an accepted one is equal to what was parsed, and a
//! rejected one gets a record that a client can read.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use signalr_protocol::{
    HANDSHAKE_VERSION_MAX, HandshakeRequest, NegotiateResponse, handshake_error, negotiate_version,
};

/// Longest text of a rejection, in bytes: the sender controls a part of it.
const REFUSAL_BYTES_MAX: usize = 512;

fuzz_target!(|record: &[u8]| {
    let (parsed, peak) = peak_bytes(|| HandshakeRequest::parse(record));
    // The text may quote the invalid part, with up to six characters for one.
    assert!(peak <= 16 * record.len() + 1024, "{peak} bytes for a record of {}", record.len());
    // If the record contains what serde_json does not read, such as halves of surrogate pairs, nothing can be compared.
    let value = serde_json::from_slice::<Value>(record).ok();
    match parsed {
        Ok(request) => {
            let Some(value) = value else { return };
            let name = value["protocol"].as_str().expect("it names a protocol");
            assert!(name.eq_ignore_ascii_case(request.protocol.name()));
            assert_eq!(value["version"].as_i64(), Some(i64::from(request.version)));
            assert!(request.version <= HANDSHAKE_VERSION_MAX);
        }
        Err(error) => {
            let refusal = handshake_error(&error.to_string());
            assert!(refusal.len() <= REFUSAL_BYTES_MAX, "{} bytes of refusal", refusal.len());
            readable(&refusal, &error.to_string());
        }
    }
    if let Ok(text) = std::str::from_utf8(record) {
        readable(&handshake_error(text), text);
        match negotiate_version(Some(text), 0) {
            Ok(version) => assert!(version <= 1),
            Err(error) => {
                let answer: Value =
                    serde_json::from_str(&NegotiateResponse::Error(error.to_string()).to_json())
                        .expect("a negotiate answer is JSON");
                assert_eq!(answer["error"], error.to_string());
                assert!(error.to_string().len() <= REFUSAL_BYTES_MAX);
            }
        }
    }
});

/// A rejection is one record with the text.
fn readable(refusal: &[u8], text: &str) {
    let (separator, json) = refusal.split_last().expect("a record has an end");
    assert_eq!(*separator, 0x1e);
    assert!(!json.contains(&0x1e), "one record, not several");
    let value: Value = serde_json::from_slice(json).expect("a refusal is JSON");
    assert_eq!(value["error"], text);
}
