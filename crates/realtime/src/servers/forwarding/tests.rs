use super::*;

const JSON: HubProtocol = HubProtocol::Json;

fn call(id: &str) -> String {
    format!("{{\"type\":1,\"invocationId\":\"{id}\",\"target\":\"Echo\",\"arguments\":[]}}\u{1e}")
}

fn item(id: &str, kind: u8) -> String {
    format!("{{\"type\":{kind},\"invocationId\":\"{id}\"}}\u{1e}")
}

fn stream_item(id: &str) -> String {
    format!("{{\"type\":2,\"invocationId\":\"{id}\",\"item\":1}}\u{1e}")
}

/// Forwards bytes and returns those that the app server receives.
fn sent(forwarding: &mut Forwarding, protocol: HubProtocol, bytes: &[u8]) -> Vec<u8> {
    let mut passed = Vec::new();
    forwarding.forward(protocol, bytes, false, |bytes, _| passed.extend_from_slice(bytes));
    passed
}

fn sent_text(forwarding: &mut Forwarding, text: &str) -> String {
    String::from_utf8(sent(forwarding, JSON, text.as_bytes())).unwrap()
}

/// A completion of the app server.
fn completion(id: &str) -> String {
    format!("{{\"type\":3,\"invocationId\":\"{id}\",\"result\":1}}")
}

#[test]
fn while_draining_new_invocations_are_held_until_the_old_ones_complete() {
    let mut forwarding = Forwarding::default();
    assert_eq!(sent_text(&mut forwarding, &call("1")), call("1"));
    forwarding.hold_invocations();
    assert!(!forwarding.is_drained());
    assert_eq!(sent_text(&mut forwarding, &call("2")), "");
    forwarding.sent_by_server(JSON, completion("2").as_bytes());
    assert!(!forwarding.is_drained(), "a completion of another invocation does not count");
    forwarding.sent_by_server(JSON, completion("1").as_bytes());
    assert!(forwarding.is_drained());
    forwarding.pause();
    let held_back = forwarding.move_on(JSON);
    assert_eq!(
        held_back,
        BufferedBytes { bytes: call("2").into_bytes(), is_partial: false, unanswered: Vec::new() }
    );
    // The held invocation runs on the new server now.
    assert!(!forwarding.is_drained());
    assert_eq!(sent_text(&mut forwarding, &call("3")), call("3"));
}

#[test]
fn while_draining_messages_of_running_invocations_are_still_forwarded() {
    let mut forwarding = Forwarding::default();
    let upload =
        "{\"type\":1,\"invocationId\":\"1\",\"target\":\"Sum\",\"arguments\":[],\"streamIds\":[\"s\"]}\u{1e}";
    let later =
        "{\"type\":1,\"invocationId\":\"2\",\"target\":\"Sum\",\"arguments\":[],\"streamIds\":[\"t\"]}\u{1e}";
    sent_text(&mut forwarding, upload);
    forwarding.hold_invocations();
    assert_eq!(sent_text(&mut forwarding, later), "");
    for (message, passes) in [
        (stream_item("s"), true),
        (stream_item("t"), false),
        (item("t", 3), false),
        (item("s", 3), true),
        (item("of-the-server", 3), true),
        (item("2", 5), false),
        (item("1", 5), true),
        ("{\"type\":6}\u{1e}".to_owned(), true),
    ] {
        let expected = if passes { message.as_str() } else { "" };
        assert_eq!(sent_text(&mut forwarding, &message), expected);
    }
    let held = [later.to_owned(), stream_item("t"), item("t", 3), item("2", 5)].concat();
    let held_back = forwarding.move_on(JSON);
    assert_eq!(String::from_utf8(held_back.bytes).unwrap(), held);
    assert_eq!(held_back.unanswered, ["1".into()], "it was not completed");
}

#[test]
fn while_draining_a_message_that_was_forwarded_in_part_is_forwarded_to_its_end() {
    let mut forwarding = Forwarding::default();
    let (first, second) = (call("1"), call("2"));
    let (begin, end) = first.split_at(10);
    assert_eq!(sent_text(&mut forwarding, begin), begin);
    forwarding.hold_invocations();
    assert!(!forwarding.is_drained());
    assert_eq!(sent_text(&mut forwarding, &(end.to_owned() + &second)), end);
    forwarding.sent_by_server(JSON, completion("1").as_bytes());
    assert!(forwarding.is_drained());
    assert_eq!(forwarding.move_on(JSON).bytes, second.into_bytes());
}

#[test]
fn a_partial_message_is_repeated_to_a_new_server_and_continued_to_the_old_one() {
    let (first, second) = (call("1"), call("2"));
    let (begin, end) = first.split_at(10);
    let both = first.clone() + &second;
    for (moves, expected) in [(true, both.as_str()), (false, &both[10..])] {
        let mut forwarding = Forwarding::default();
        sent_text(&mut forwarding, begin);
        forwarding.hold_invocations();
        forwarding.pause();
        assert_eq!(sent_text(&mut forwarding, &(end.to_owned() + &second)), "");
        let bytes = if moves { forwarding.move_on(JSON).bytes } else { forwarding.stay(JSON).0 };
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}

#[test]
fn messagepack_messages_are_recognized_in_parts_of_any_size() {
    // [1, {}, "7", "Echo", [], []], then a completion of the server.
    let call = b"\x0c\x96\x01\x80\xa17\xa4Echo\x90\x90";
    for cut in 0..call.len() {
        let mut forwarding = Forwarding::default();
        let (begin, end) = call.split_at(cut);
        assert_eq!(sent(&mut forwarding, HubProtocol::MessagePack, begin), begin);
        assert_eq!(sent(&mut forwarding, HubProtocol::MessagePack, end), end);
        forwarding.hold_invocations();
        assert!(!forwarding.is_drained(), "{cut}");
        assert_eq!(sent(&mut forwarding, HubProtocol::MessagePack, call), b"");
        forwarding.sent_by_server(HubProtocol::MessagePack, b"\x95\x03\x80\xa17\x03\x01");
        assert!(forwarding.is_drained(), "{cut}");
        assert_eq!(forwarding.move_on(HubProtocol::MessagePack).bytes, call);
    }
}

#[test]
fn a_client_cannot_migrate_within_a_message_that_is_too_long_to_buffer() {
    let long = format!("{{\"type\":1,\"target\":\"t\",\"arguments\":[\"{}\"]}}\u{1e}", "x".repeat(3 << 20));
    let mut packed = vec![0x80, 0x80, 0x80, 0x02];
    packed.extend(std::iter::repeat_n(0xc0, 4 << 20));
    let last = call("9");
    for (protocol, message) in [(JSON, long.as_bytes()), (HubProtocol::MessagePack, &packed)] {
        let mut forwarding = Forwarding::default();
        let mut passed = 0;
        for piece in message[..message.len() - 1].chunks(60_000) {
            passed += sent(&mut forwarding, protocol, piece).len();
        }
        forwarding.hold_invocations();
        assert!(!forwarding.can_move() && !forwarding.is_drained());
        passed += sent(&mut forwarding, protocol, &message[message.len() - 1..]).len();
        assert_eq!(passed, message.len());
        assert!(forwarding.can_move() && forwarding.is_drained());
    }
    let mut forwarding = Forwarding::default();
    sent_text(&mut forwarding, &long);
    sent_text(&mut forwarding, &last);
    forwarding.hold_invocations();
    assert!(!forwarding.is_drained(), "the invocation after it is tracked");
}

#[test]
fn reading_from_a_client_pauses_when_the_held_bytes_reach_the_limit() {
    let mut forwarding = Forwarding::default();
    forwarding.hold_invocations();
    let call = call(&"7".repeat(1000));
    let mut count = 0;
    while forwarding.forward(JSON, call.as_bytes(), false, |_, _| panic!("it is held back")) {
        count += 1;
    }
    assert!((200..400).contains(&count), "{count}");
}

#[test]
fn a_message_that_is_sent_again_on_a_new_socket_does_not_continue_the_old_one() {
    let mut forwarding = Forwarding::default();
    sent_text(&mut forwarding, &call("1")[..10]);
    forwarding.restart();
    assert!(forwarding.is_drained());
    sent_text(&mut forwarding, &call("2"));
    assert!(!forwarding.is_drained());
    forwarding.sent_by_server(JSON, completion("2").as_bytes());
    assert!(forwarding.is_drained());
}

#[test]
fn a_part_is_marked_partial_only_if_its_last_message_is_incomplete() {
    let mut forwarding = Forwarding::default();
    let (message, mut flags) = (call("1"), Vec::new());
    for (piece, is_partial) in [(&message[..5], true), (&message[5..], true), ("", false), (&message, false)]
    {
        forwarding
            .forward(JSON, piece.as_bytes(), is_partial, |bytes, goes_on| flags.push((bytes.len(), goes_on)));
    }
    let length = message.len();
    assert_eq!(flags, [(5, true), (length - 5, false), (length, false)]);
}
