use proptest::prelude::*;

use crate::{
    CloseBody, CloseCode, Decoded, DecodedPart, Decoder, Event, Opcode, Part, Role, frame, masked_frame,
};

const KEY: [u8; 4] = [1, 2, 3, 4];

/// Decodes the chunks; returns a line for each event.
fn run(role: Role, bytes_max: u32, chunks: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let mut decoder = Decoder::new(role, bytes_max);
    let mut log = Vec::new();
    for mut chunk in chunks {
        let mut rest = &mut chunk[..];
        loop {
            let offered = rest.len();
            match decoder.decode(rest) {
                Err(violation) => {
                    log.push(format!("{} {violation}", violation.close_code().number()));
                    return log;
                }
                Ok(Decoded { consumed, event: None }) => {
                    assert_eq!(consumed, offered, "without an event all input is used");
                    break;
                }
                Ok(Decoded { consumed, event: Some(event) }) => {
                    log.push(show(&event));
                    rest = &mut rest[consumed..];
                }
            }
        }
    }
    if decoder.is_idle() {
        assert_eq!(decoder.partial_bytes(), 0, "an idle decoder uses no memory");
    } else {
        log.push("(incomplete)".to_owned());
    }
    log
}

/// Like [`run`], with [`Decoder::decode_part`]; joins the parts of each message.
fn run_parts(role: Role, bytes_max: u32, chunks: impl IntoIterator<Item = Vec<u8>>) -> Vec<String> {
    let mut decoder = Decoder::new(role, bytes_max);
    let (mut log, mut message) = (Vec::new(), Vec::new());
    for mut chunk in chunks {
        let mut rest = &mut chunk[..];
        loop {
            let offered = rest.len();
            let (consumed, part) = match decoder.decode_part(rest) {
                Err(violation) => {
                    log.push(format!("{} {violation}", violation.close_code().number()));
                    return log;
                }
                Ok(DecodedPart { consumed, part: None }) => {
                    assert_eq!(consumed, offered, "without a part all input is used");
                    break;
                }
                Ok(DecodedPart { consumed, part: Some(part) }) => (consumed, part),
            };
            match part {
                Part::Data { kind, payload, is_end } => {
                    message.extend_from_slice(payload);
                    if is_end {
                        log.push(show(&Event::Message(kind, &std::mem::take(&mut message))));
                    }
                }
                Part::Ping(payload) => log.push(show(&Event::Ping(payload))),
                Part::Pong(payload) => log.push(show(&Event::Pong(payload))),
                Part::Close(close) => log.push(show(&Event::Close(close))),
            }
            rest = &mut rest[consumed..];
        }
    }
    if !decoder.is_idle() {
        log.push("(incomplete)".to_owned());
    }
    log
}

fn show(event: &Event<'_>) -> String {
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    match event {
        Event::Message(kind, payload) => format!("{kind:?} {}", text(payload)),
        Event::Ping(payload) => format!("Ping {}", text(payload)),
        Event::Pong(payload) => format!("Pong {}", text(payload)),
        Event::Close(CloseBody { code, reason }) => {
            format!("Close {:?} {reason}", code.map(CloseCode::number))
        }
    }
}

/// A masked frame with or without the FIN bit.
fn fragment(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = masked_frame(opcode, payload, KEY);
    if !fin {
        bytes[0] &= 0x7f;
    }
    bytes
}

#[test]
fn control_frames_between_fragments_are_returned_before_the_message() {
    let stream = [
        fragment(Opcode::Text, true, b"whole"),
        fragment(Opcode::Text, false, "h\u{e9}".as_bytes().split_at(2).0),
        fragment(Opcode::Ping, true, b"between"),
        fragment(Opcode::Continuation, false, b""),
        fragment(Opcode::Continuation, true, "\u{e9}llo".as_bytes().split_at(1).1),
        fragment(Opcode::Binary, true, b""),
        fragment(Opcode::Pong, true, b"late"),
        fragment(Opcode::Close, true, b"\x03\xe8bye"),
    ]
    .concat();
    let log = run(Role::Server, 100, [stream]);
    assert_eq!(
        log,
        ["Text whole", "Ping between", "Text h\u{e9}llo", "Binary ", "Pong late", "Close Some(1000) bye"]
    );
}

#[test]
fn a_client_reads_unmasked_frames() {
    let stream = frame(Opcode::Binary, &[b'x'; 70_000]).to_vec();
    let log = run(Role::Client, 70_000, stream.chunks(999).map(<[u8]>::to_vec));
    assert_eq!(log, [format!("Binary {}", "x".repeat(70_000))]);
}

#[test]
fn each_violation_has_its_close_code() {
    let check = |bytes: &[u8], expected: &str| {
        assert_eq!(run(Role::Server, 8, [bytes.to_vec()]), [expected]);
        // The same when the bytes arrive one by one.
        assert_eq!(run(Role::Server, 8, bytes.iter().map(|byte| vec![*byte])), [expected]);
    };
    check(&[0xc1, 0x80], "1002 a reserved bit is set, but no extension was negotiated");
    check(&[0x83, 0x80], "1002 the opcode is reserved");
    check(&[0x81, 0x01], "1002 a client's frame is not masked");
    check(&[0x81, 0xfe, 0, 125], "1002 the length of a frame is not in its shortest form");
    check(
        &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        "1002 the length of a frame is not in its shortest form",
    );
    check(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], "1002 the length of a frame is not in its shortest form");
    check(&[0x89, 0xfe], "1002 a control frame is longer than 125 bytes or fragmented");
    check(&[0x09, 0x80], "1002 a control frame is longer than 125 bytes or fragmented");
    check(&fragment(Opcode::Continuation, true, b""), "1002 a fragment does not belong to a message");
    check(&fragment(Opcode::Close, true, b"\x03"), "1002 a close frame has an invalid body");
    check(&fragment(Opcode::Close, true, b"\x03\xed"), "1002 a close frame has an invalid body");
    check(&fragment(Opcode::Close, true, b"\x03\xe8\xff"), "1007 text is not valid UTF-8");
    check(&fragment(Opcode::Text, true, b"\xc3"), "1007 text is not valid UTF-8");
    check(&fragment(Opcode::Text, true, b"123456789"), "1009 a message is larger than the allowed 8 bytes");
    let within = [fragment(Opcode::Text, false, b"a"), fragment(Opcode::Text, true, b"b")].concat();
    check(&within, "1002 a fragment does not belong to a message");
    let split = [fragment(Opcode::Binary, false, b"12345"), fragment(Opcode::Continuation, true, b"6789")];
    check(&split.concat(), "1009 a message is larger than the allowed 8 bytes");
    assert_eq!(run(Role::Client, 8, [vec![0x81, 0x80]]), ["1002 a server's frame is masked"]);
}

#[test]
fn a_long_frame_uses_memory_only_for_bytes_that_arrived() {
    let mut decoder = Decoder::new(Role::Server, u32::MAX);
    let mut header = [0x82, 0xff, 0, 0, 0, 0, 0xf0, 0, 0, 0, 1, 2, 3, 4, 9];
    assert_eq!(decoder.decode(&mut header).map(|decoded| decoded.event.is_none()), Ok(true));
    assert!(decoder.partial_bytes() < 1024, "{}", decoder.partial_bytes());
}

prop_compose! {
    fn message()(
        text in any::<bool>(),
        parts in prop::collection::vec(prop::collection::vec(0u8..0x80, 0..200), 1..4),
        ping in any::<bool>(),
        key in any::<[u8; 4]>(),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let last = parts.len() - 1;
        for (index, part) in parts.iter().enumerate() {
            let first = if text { Opcode::Text } else { Opcode::Binary };
            let mut fragment = masked_frame(if index == 0 { first } else { Opcode::Continuation }, part, key);
            if index != last {
                fragment[0] &= 0x7f;
            }
            bytes.extend(fragment);
            if ping {
                bytes.extend(masked_frame(Opcode::Ping, &part[..part.len().min(125)], key));
            }
        }
        bytes
    }
}

proptest! {
    #[test]
    fn a_stream_in_chunks_of_any_size_is_decoded_to_the_same_events(
        messages in prop::collection::vec(message(), 1..5),
        cuts in prop::collection::vec(0usize..2000, 0..20),
    ) {
        let stream = messages.concat();
        let whole = run(Role::Server, 10_000, [stream.clone()]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| stream[pair[0]..pair[1]].to_vec());
        let chunks: Vec<Vec<u8>> = chunks.collect();
        prop_assert_eq!(run_parts(Role::Server, 10_000, chunks.clone()), whole.clone());
        prop_assert_eq!(run(Role::Server, 10_000, chunks), whole);
    }

    #[test]
    fn random_input_does_not_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
        run_parts(Role::Server, 1000, chunks.clone());
        run(Role::Server, 1000, chunks);
    }
}
