//! Any bytes as an upstream's response: the client receives only complete messages that belong to its invocation.

#![no_main]

use libfuzzer_sys::fuzz_target;
use realtime::fuzzing::upstream_answer;
use signalr_protocol::{HubMessage, HubProtocol, next_message, parse};

fuzz_target!(|data: &[u8]| {
    let Some((switches, body)) = data.split_first() else { return };
    let protocol = if switches & 1 == 0 { HubProtocol::Json } else { HubProtocol::MessagePack };
    match upstream_answer(protocol, switches & 2 != 0, body) {
        Ok(None) => assert!(body.is_empty()),
        Ok(Some(mut framed)) => {
            while !framed.is_empty() {
                let (payload, used) = next_message(protocol, &framed, framed.len())
                    .expect("it is framed")
                    .expect("it is whole");
                let id = match parse(protocol, payload).expect("it is a message") {
                    HubMessage::Completion(completion) => completion.invocation_id.into_owned(),
                    HubMessage::StreamItem(item) => item.invocation_id.into_owned(),
                    other => panic!("{other:?} answers no call"),
                };
                assert_eq!(id, "1");
                framed = framed.slice(used..);
            }
        }
        Err(told) => assert!(told.len() <= 1024, "{} bytes of reason", told.len()),
    }
});
