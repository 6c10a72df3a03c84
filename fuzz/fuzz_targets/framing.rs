//! Any bytes, in chunks of any size, split into hub messages: the same messages as from the whole stream, with memory for at most one of
//! them.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use chappe_fuzz::pieces::Settings;
use libfuzzer_sys::fuzz_target;
use signalr_protocol::{FramingError, HubProtocol, Splitter, finish_frame, next_message, write_frame_start};

fuzz_target!(|data: &[u8]| {
    let Some((settings, stream)) = Settings::split(data) else { return };
    let protocol = if settings.switches & 1 == 0 { HubProtocol::Json } else { HubProtocol::MessagePack };
    let bytes_max = settings.bytes_max as usize;
    let (whole, rest) = cut_whole(protocol, stream, bytes_max);

    let mut splitter = Splitter::new(protocol, bytes_max);
    let mut pieces = Vec::new();
    let mut outcome = Ok(());
    for piece in settings.pieces(stream) {
        let (fed, peak) = peak_bytes(|| {
            splitter.feed(piece, |payload| {
                pieces.push(payload.to_vec());
                Ok::<(), FramingError>(())
            })
        });
        // The copies above are as large as the chunk and the retained bytes; a vector that grows uses twice what it needs.
        assert!(peak <= 96 * (stream.len() + 16), "{peak} bytes for {} bytes", stream.len());
        outcome = fed;
        if outcome.is_err() {
            break;
        }
        assert!(splitter.partial_bytes() <= bytes_max + 5, "{} bytes are kept", splitter.partial_bytes());
    }
    assert_eq!(pieces, whole);
    match rest {
        Ok(left) => {
            assert_eq!(outcome, Ok(()));
            assert_eq!(splitter.partial_bytes(), left, "what is incomplete is kept");
        }
        Err(error) => assert_eq!(outcome, Err(error)),
    }
    written_frames_are_cut_again(protocol, &whole);
});

/// All messages of a complete stream, and how many bytes of the last one remain or why none can follow.
fn cut_whole(
    protocol: HubProtocol,
    mut stream: &[u8],
    bytes_max: usize,
) -> (Vec<Vec<u8>>, Result<usize, FramingError>) {
    let mut messages = Vec::new();
    loop {
        match next_message(protocol, stream, bytes_max) {
            Ok(Some((payload, used))) => {
                assert!(payload.len() <= bytes_max && used > payload.len() && used <= stream.len());
                messages.push(payload.to_vec());
                stream = &stream[used..];
            }
            Ok(None) => return (messages, Ok(stream.len())),
            Err(error) => return (messages, Err(error)),
        }
    }
}

fn written_frames_are_cut_again(protocol: HubProtocol, messages: &[Vec<u8>]) {
    let mut out = Vec::new();
    for message in messages {
        let start = write_frame_start(protocol, &mut out);
        out.extend_from_slice(message);
        finish_frame(&start, &mut out);
    }
    let (again, rest) = cut_whole(protocol, &out, usize::MAX >> 1);
    assert_eq!(again, messages);
    assert_eq!(rest, Ok(0));
}
