//! Any bytes as the body of a send request with framed messages: accepted messages are framed as their protocol requires, in the body's own
//! bytes, and can be written into a body with the same meaning.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use libfuzzer_sys::fuzz_target;
use signalr_protocol::{HubMessage, HubProtocol, json_to_msgpack, next_message, parse, parse_payloads};

fuzz_target!(|body: &[u8]| {
    let (parsed, peak) = peak_bytes(|| parse_payloads(body));
    assert!(peak <= 32 * body.len() + 1024, "{peak} bytes for {}", body.len());
    let Ok(payloads) = parsed else { return };
    assert!(!payloads.is_empty());
    let mut again = vec![0x80 | payloads.len().min(15) as u8];
    for (protocol, framed) in payloads.iter().take(15) {
        let (payload, used) = next_message(*protocol, framed, framed.len())
            .expect("the message is framed")
            .expect("the message is whole");
        assert_eq!(used, framed.len());
        translatable(*protocol, payload);
        let name = protocol.name();
        again.push(0xa0 | name.len() as u8);
        again.extend_from_slice(name.as_bytes());
        again.push(0xc6);
        again.extend_from_slice(&(framed.len() as u32).to_be_bytes());
        again.extend_from_slice(framed);
    }
    let again = parse_payloads(&again).expect("what was written can be read");
    assert_eq!(again[..], payloads[..payloads.len().min(15)]);
});

/// A MessagePack message that invokes a client method can be converted to JSON or is rejected with a reason; then the reverse conversion
/// succeeds too.
fn translatable(protocol: HubProtocol, payload: &[u8]) {
    let Ok(HubMessage::Invocation(call)) = parse(protocol, payload) else { return };
    let mut out = Vec::new();
    match protocol {
        HubProtocol::Json => {
            if call.encode_msgpack_from_json(&mut out).is_err() {
                assert!(out.is_empty(), "a rejected message appends nothing");
                return;
            }
        }
        // BlazorPack messages are never converted.
        HubProtocol::BlazorPack => return,
        HubProtocol::MessagePack => {
            if call.encode_json_from_msgpack(&mut out).is_err() {
                assert!(out.is_empty(), "a rejected message appends nothing");
                return;
            }
        }
    }
    let other = match protocol {
        HubProtocol::Json => HubProtocol::MessagePack,
        HubProtocol::MessagePack | HubProtocol::BlazorPack => HubProtocol::Json,
    };
    let (payload, used) = next_message(other, &out, out.len()).expect("framed").expect("whole");
    assert_eq!(used, out.len());
    let HubMessage::Invocation(translated) = parse(other, payload).expect("the translation can be read")
    else {
        panic!("an invocation stays one");
    };
    assert_eq!((&translated.target, &translated.headers), (&call.target, &call.headers));
    assert_eq!((&translated.invocation_id, &translated.stream_ids), (&call.invocation_id, &call.stream_ids));
    if other == HubProtocol::Json {
        json_to_msgpack(&translated.arguments, &mut Vec::new()).expect("there is a way back");
    }
}
