use proptest::prelude::*;

use super::*;

/// Feeds `pieces` and checks the returned messages as text; an error ends the list.
fn check(protocol: HubProtocol, pieces: &[&[u8]], expected: &[&str]) {
    let mut splitter = Splitter::new(protocol, 8);
    let mut found = Vec::new();
    for piece in pieces {
        let fed = splitter.feed(piece, |payload| {
            found.push(String::from_utf8_lossy(payload).into_owned());
            Ok::<(), FramingError>(())
        });
        if let Err(error) = fed {
            found.push(error.to_string());
            break;
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn json_messages_end_with_a_separator() {
    let json = HubProtocol::Json;
    check(json, &[b"{}\x1e[]\x1e"], &["{}", "[]"]);
    check(json, &[b"{", b"", b"}", b"\x1e["], &["{}"]);
    check(json, &[b"12345678\x1e"], &["12345678"]);
    let too_large = "a message of more than 8 bytes is not allowed";
    check(json, &[b"a\x1e123456789\x1e"], &["a", too_large]);
    check(json, &[b"123456789"], &[too_large]);
    check(json, &[b"12345678", b"9\x1e"], &[too_large]);
}

#[test]
fn messagepack_messages_begin_with_their_length() {
    let msgpack = HubProtocol::MessagePack;
    check(msgpack, &[b"\x02ab\x00\x01c"], &["ab", "", "c"]);
    check(msgpack, &[b"\x02", b"a", b"b\x01"], &["ab"]);
    check(msgpack, &[b"\x09"], &["a message of more than 8 bytes is not allowed"]);
    let prefix = "the length prefix of a MessagePack message is not a number of at most 0x7fffffff";
    check(msgpack, &[b"\xff\xff\xff\xff\x08"], &[prefix]);
    check(msgpack, &[b"\xff\xff", b"\xff\xff", b"\xff"], &[prefix]);
    check(msgpack, &[b"\xff\xff\xff\xff\x07"], &["a message of more than 8 bytes is not allowed"]);
}

#[test]
fn a_frame_has_the_shortest_length_prefix() {
    for (length, prefix) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0x80, 0x01]),
        (16_384, &[0x80, 0x80, 0x01]),
        (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
    ] {
        let mut out = b"before".to_vec();
        let start = write_frame_start(HubProtocol::MessagePack, &mut out);
        out.resize(out.len() + length, b'x');
        finish_frame(&start, &mut out);
        assert_eq!(&out[6..6 + prefix.len()], prefix, "{length} bytes");
        assert_eq!(out.len(), 6 + prefix.len() + length);
        let (payload, used) = next_message(HubProtocol::MessagePack, &out[6..], length).unwrap().unwrap();
        assert_eq!((payload.len(), used), (length, prefix.len() + length));
    }
}

proptest! {
    #[test]
    fn a_stream_in_parts_of_any_size_is_split_into_the_same_messages(
        messages in prop::collection::vec(prop::collection::vec(0x20u8.., 0..300), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        binary in any::<bool>(),
    ) {
        let protocol = if binary { HubProtocol::MessagePack } else { HubProtocol::Json };
        let mut stream = Vec::new();
        for message in &messages {
            let start = write_frame_start(protocol, &mut stream);
            stream.extend_from_slice(message);
            finish_frame(&start, &mut stream);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut splitter = Splitter::new(protocol, 300);
        let mut found = Vec::new();
        for pair in cuts.windows(2) {
            let each = |payload: &[u8]| { found.push(payload.to_vec()); Ok::<(), FramingError>(()) };
            splitter.feed(&stream[pair[0]..pair[1]], each).unwrap();
        }
        prop_assert_eq!(found, messages);
        prop_assert_eq!(splitter.partial_bytes(), 0);
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), binary in any::<bool>()) {
        let protocol = if binary { HubProtocol::MessagePack } else { HubProtocol::Json };
        let _ = Splitter::new(protocol, 16).feed(&bytes, |_| Ok::<(), FramingError>(()));
    }
}
