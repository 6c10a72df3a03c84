//! Any address and body at the REST interface: the request is rejected with a status, a code and a text of bounded length, or its message
//! can be sent to every client, in complete frames.

#![no_main]

use bytes::Bytes;
use chappe_fuzz::memory::peak_bytes;
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use realtime::fuzzing::{Accepted, rest};
use signalr_protocol::{HubProtocol, next_message, parse};
use websocket::{Decoder, Event, MessageKind, Role};

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD];

const CONTENT_TYPES: [&str; 4] =
    ["application/json", "application/octet-stream", "application/x-msgpack", "text/json; charset=utf-8"];

fuzz_target!(|data: &[u8]| {
    let Some(([method, kind], rest_of)) = data.split_first_chunk::<2>() else { return };
    let method = &METHODS[usize::from(*method) % METHODS.len()];
    let kind = CONTENT_TYPES[usize::from(*kind) % CONTENT_TYPES.len()];
    let mut parts = rest_of.splitn(2, |byte| *byte == b'\n');
    let (address, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let uri = [b"http://localhost", address].concat();
    let Ok(uri) = Uri::try_from(uri) else { return };
    let (outcome, peak) = peak_bytes(|| rest(method, &uri, kind.as_bytes(), body));
    assert!(peak <= 256 * data.len() + 65_536, "{peak} bytes for a request of {}", data.len());
    match outcome {
        Ok(messages) => messages.iter().for_each(all_can_be_told),
        Err(refused) => {
            assert!(refused.status.is_client_error() && !refused.code.is_empty(), "{refused:?}");
            assert!(refused.message.len() <= 1_100, "{} bytes of text", refused.message.len());
        }
    }
});

fn all_can_be_told(message: &Accepted) {
    if !message.only_blazorpack {
        assert!(message.json.is_some() && message.messagepack.is_some(), "{message:?}");
    }
    let forms = [
        (HubProtocol::Json, &message.json),
        (HubProtocol::MessagePack, &message.messagepack),
        (HubProtocol::BlazorPack, &message.blazorpack),
    ];
    for (protocol, frame) in forms {
        if let Some(frame) = frame {
            whole(protocol, frame);
        }
    }
}

/// One frame with one hub message.
fn whole(protocol: HubProtocol, frame: &Bytes) {
    let mut bytes = frame.to_vec();
    let length = bytes.len();
    let mut decoder = Decoder::new(Role::Client, u32::MAX);
    let decoded = decoder.decode(&mut bytes).expect("the frame keeps the rules");
    assert_eq!(decoded.consumed, length);
    let Some(Event::Message(kind, payload)) = decoded.event else { panic!("it is one message") };
    assert_eq!(kind == MessageKind::Text, protocol == HubProtocol::Json);
    let (message, used) =
        next_message(protocol, payload, payload.len()).expect("it is framed").expect("it is whole");
    assert_eq!(used, payload.len());
    parse(protocol, message).expect("it is a hub message");
}
