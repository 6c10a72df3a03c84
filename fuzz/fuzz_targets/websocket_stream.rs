//! Any bytes, in chunks of any size, to the decoder of frames: its result equals that of a simple parser on the whole stream, and it uses
//! no more memory than the received bytes.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use chappe_fuzz::pieces::Settings;
use chappe_fuzz::plain_websocket::{Seen, read};
use libfuzzer_sys::fuzz_target;
use websocket::{Decoded, Decoder, Event, Role};

/// The decoder's memory beside the received payload, in bytes.
const STATE_BYTES_MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((settings, stream)) = Settings::split(data) else { return };
    let role = if settings.switches & 1 == 0 { Role::Server } else { Role::Client };
    let expected = read(stream, role, settings.bytes_max);
    assert_eq!(decode(stream, &settings.pieces(stream), role, settings.bytes_max), expected);
    assert_eq!(decode(stream, &[stream], role, settings.bytes_max), expected, "in one piece");
});

fn decode(stream: &[u8], pieces: &[&[u8]], role: Role, bytes_max: u32) -> Vec<Seen> {
    let mut decoder = Decoder::new(role, bytes_max);
    let (mut seen, mut arrived) = (Vec::new(), 0);
    for piece in pieces {
        let mut copy = piece.to_vec();
        let mut rest = &mut copy[..];
        loop {
            let offered = rest.len();
            let (decoded, peak) = peak_bytes(|| decoder.decode(rest));
            assert!(peak <= 3 * stream.len() + STATE_BYTES_MAX, "{peak} bytes while decoding");
            let Decoded { consumed, event } = match decoded {
                Ok(decoded) => decoded,
                Err(violation) => {
                    seen.push(Seen::Broken(violation));
                    return seen;
                }
            };
            arrived += consumed;
            let Some(event) = event else {
                assert_eq!(consumed, offered, "without an event all input is used");
                break;
            };
            seen.push(match event {
                Event::Message(kind, payload) => {
                    assert!(payload.len() <= bytes_max as usize);
                    Seen::Message(kind, payload.to_vec())
                }
                Event::Ping(payload) => Seen::Ping(payload.to_vec()),
                Event::Pong(payload) => Seen::Pong(payload.to_vec()),
                Event::Close(close) => {
                    seen.push(Seen::Close(close.code, close.reason.to_owned()));
                    return seen;
                }
            });
            rest = &mut rest[consumed..];
        }
        // A vector that grows uses twice what it needs.
        let held_max = 2 * arrived.min(bytes_max as usize + 125) + STATE_BYTES_MAX;
        assert!(decoder.partial_bytes() <= held_max, "{} of {arrived} bytes", decoder.partial_bytes());
    }
    if decoder.is_idle() {
        assert_eq!(decoder.partial_bytes(), 0, "an idle decoder uses no memory");
    } else {
        seen.push(Seen::Incomplete);
    }
    seen
}
