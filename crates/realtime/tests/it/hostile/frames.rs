//! Frames and hub messages that violate the protocol, or follow it in unusual ways.

use realtime::Options;
use signalr_protocol::HubProtocol;

use super::{connected, frame, opened, options, still_serves};
use crate::fixture::Fixture;

const JSON: HubProtocol = HubProtocol::Json;
const MESSAGEPACK: HubProtocol = HubProtocol::MessagePack;

/// Messages of at most this many bytes, so that tests do not need to send megabytes.
const BYTES_MAX: u32 = 20_000;

fn small() -> Options {
    let engine = realtime_engine::Options { message_bytes_max: BYTES_MAX, ..options().engine };
    Options { engine, ..options() }
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

/// The header of a frame whose payload is never sent.
fn announced(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0xff];
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_violation_of_websocket_framing_has_its_close_code() {
    let listening = Fixture::start(small()).await.listen();
    let reserved = "close 1002 a reserved bit is set, but no extension was negotiated";
    let opcode = "close 1002 the opcode is reserved";
    let control = "close 1002 a control frame is longer than 125 bytes or fragmented";
    let length = "close 1002 the length of a frame is not in its shortest form";
    let fragment = "close 1002 a fragment does not belong to a message";
    let too_big = "close 1009 a message is larger than the allowed 20000 bytes";
    let body = "close 1002 a close frame has an invalid body";
    let utf8 = "close 1007 text is not valid UTF-8";
    let halves = [frame(0x02, &[b'x'; 12_000]), frame(0x80, &[b'x'; 12_000])].concat();
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (b"\x81\x02{}".to_vec(), "close 1002 a client's frame is not masked"),
        // A message compressed with permessage-deflate, which was not negotiated.
        (frame(0xc1, b"\xaa\x56\x2a\x01\x00"), reserved),
        (frame(0xa1, b"x"), reserved),
        (frame(0x91, b"x"), reserved),
        (frame(0xc9, b"x"), reserved),
        (frame(0x09, b"half"), control),
        (frame(0x08, b""), control),
        (frame(0x89, &[b'p'; 126]), control),
        (frame(0x80, b"x"), fragment),
        (frame(0x00, b"x"), fragment),
        ([frame(0x01, b"a"), frame(0x81, b"b")].concat(), fragment),
        ([frame(0x01, b"a"), frame(0x02, b"b")].concat(), fragment),
        (vec![0x81, 0xfe, 0, 5, 1, 2, 3, 4], length),
        (announced(0x81, 65_535), length),
        (announced(0x81, 1 << 63), length),
        (announced(0x81, u64::from(BYTES_MAX) * 5), too_big),
        (announced(0x82, i64::MAX as u64), too_big),
        (frame(0x82, &[b'x'; BYTES_MAX as usize + 1]), too_big),
        (halves, too_big),
        (frame(0x81, b"\xff\xfe"), utf8),
        (frame(0x81, b"\xed\xa0\x80"), utf8),
        (frame(0x81, b"\xc0\xaf"), utf8),
        ([frame(0x01, b"\xf0\x9f"), frame(0x80, b"\x98")].concat(), utf8),
        (frame(0x88, b"\x03"), body),
        (frame(0x88, b"\x03\xe7"), body),
        (frame(0x88, b"\x03\xed"), body),
        (frame(0x88, b"\x03\xee"), body),
        (frame(0x88, b"\x13\x88"), body),
        (frame(0x88, b"\x03\xe8\xff"), utf8),
    ];
    cases.extend([3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(|number| (frame(0x80 | number, b""), opcode)));
    for (bytes, expected) in &cases {
        let shown = format!("{:02x?}", &bytes[..bytes.len().min(16)]);
        let mut socket = connected(&listening, JSON).await;
        socket.send(bytes).await.unwrap();
        assert_eq!(socket.heard_to_close().await.unwrap(), [*expected], "{shown} of a client");
        let mut socket = opened(&listening).await;
        socket.send(bytes).await.unwrap();
        assert_eq!(socket.heard_to_close().await.unwrap(), [*expected], "{shown} before the handshake");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_frame_is_echoed_and_later_frames_are_ignored() {
    let listening = Fixture::start(small()).await.listen();
    for (body, expected) in [
        (&b""[..], "close 1000 "),
        (b"\x03\xe8bye", "close 1000 "),
        (b"\x0f\xa0mine", "close 4000 "),
        (b"\x03\xe9", "close 1001 "),
    ] {
        let mut socket = connected(&listening, JSON).await;
        let after = text("{\"type\":1,\"invocationId\":\"1\",\"target\":\"x\",\"arguments\":[]}\u{1e}");
        socket.send(&[frame(0x88, body), after, vec![0xff; 100]].concat()).await.unwrap();
        assert_eq!(socket.heard_to_close().await.unwrap(), [expected]);
        assert_eq!(socket.heard().await.unwrap(), "end");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_but_valid_fragmentation_is_accepted() {
    let listening = Fixture::start(small()).await.listen();
    let mut socket = connected(&listening, JSON).await;
    let call = "{\"type\":1,\"invocationId\":\"\u{e9}\",\"target\":\"x\",\"arguments\":[]}\u{1e}";
    // No upstream is configured; the error shows that the invocation arrived whole.
    let answered = |heard: &str| {
        let answer =
            "text {\"type\":3,\"invocationId\":\"\u{e9}\",\"error\":\"no upstream is configured for ";
        assert!(heard.starts_with(answer), "{heard}");
    };
    // Ten thousand empty fragments with pings between, and then the message one byte at a time.
    let mut bytes = frame(0x01, b"");
    for number in 0..10_000 {
        bytes.extend(frame(0x00, b""));
        if number % 5_000 == 0 {
            bytes.extend(frame(0x89, b"still here"));
        }
    }
    for byte in call.as_bytes() {
        bytes.extend(frame(0x00, &[*byte]));
    }
    bytes.extend(frame(0x80, b""));
    socket.send(&bytes).await.unwrap();
    for expected in ["pong still here", "pong still here"] {
        assert_eq!(socket.heard().await.unwrap(), expected);
    }
    answered(&socket.heard().await.unwrap());
    // Byte by byte over the network, two messages in one frame, one message in two frames.
    for byte in text(call) {
        socket.send(&[byte]).await.unwrap();
    }
    socket.send(&text(&call.repeat(2))).await.unwrap();
    let (front, back) = call.split_at(20);
    socket.send(&[text(front), text(back)].concat()).await.unwrap();
    for _ in 0..4 {
        answered(&socket.heard().await.unwrap());
    }
    still_serves(&listening).await;
    drop(socket);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_empty_fragments_use_no_memory() {
    let listening = Fixture::start(small()).await.listen();
    let mut socket = connected(&listening, JSON).await;
    socket.send(&frame(0x01, b"")).await.unwrap();
    let thousand = frame(0x00, b"").repeat(1_000);
    for _ in 0..200 {
        socket.send(&thousand).await.unwrap();
    }
    // The connection is open and answers pings; of the empty fragments only the fact that a message has started is stored.
    socket.send(&frame(0x89, b"there?")).await.unwrap();
    assert_eq!(socket.heard().await.unwrap(), "pong there?");
    still_serves(&listening).await;
    drop(socket);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_handshake_is_refused_with_a_text() {
    let listening = Fixture::start(small()).await.listen();
    let malformed =
        r#"the first message must be a handshake such as {\"protocol\":\"json\",\"version\":1}"#.to_owned();
    let long = format!("{{\"protocol\":\"json\",\"version\":1,\"x\":\"{}\"}}\u{1e}", "y".repeat(5_000));
    let deep = format!("{{\"protocol\":\"json\",\"version\":1,\"x\":{}\u{1e}", "[".repeat(2_000));
    let name = format!("{{\"protocol\":\"{}\",\"version\":1}}\u{1e}", "z".repeat(1_000));
    let cases: Vec<(&[u8], String)> = vec![
        (b"\x1e", malformed.clone()),
        (b"{}\x1e", malformed.clone()),
        (b"[\"json\",1]\x1e", malformed.clone()),
        (b"{\"type\":6}\x1e", malformed.clone()),
        (b"{\"protocol\":\"json\",\"version\":1", String::new()),
        (b"{\"protocol\":\"json\",\"version\":1e0}\x1e", malformed.clone()),
        (b"{\"protocol\":\"json\",\"version\":\"1\"}\x1e", malformed.clone()),
        (b"{\"protocol\":null,\"version\":1}\x1e", malformed.clone()),
        (deep.as_bytes(), malformed.clone()),
        (b"GET / HTTP/1.1\r\n\r\n\x1e", malformed),
        (long.as_bytes(), "the handshake request is longer than 4096 bytes".to_owned()),
        (
            b"{\"protocol\":\"json\",\"version\":3}\x1e",
            "version 3 of the hub protocol is not supported; use version 1 or 2".to_owned(),
        ),
        (
            name.as_bytes(),
            format!("the hub protocol '{}' is not supported; use 'json' or 'messagepack'", "z".repeat(64)),
        ),
    ];
    for (record, expected) in &cases {
        let mut socket = opened(&listening).await;
        socket.send(&frame(0x81, record)).await.unwrap();
        if expected.is_empty() {
            // Incomplete: the service waits for the rest, and accepts it.
            socket.send(&frame(0x81, b"}\x1e")).await.unwrap();
            assert_eq!(socket.heard().await.unwrap(), "text {}\u{1e}");
            continue;
        }
        let refusal = format!("text {{\"error\":\"{expected}\"}}\u{1e}");
        assert_eq!(socket.heard_to_close().await.unwrap(), [refusal.as_str(), "close 1000 "]);
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_hub_messages_close_with_the_reason() {
    let listening = Fixture::start(small()).await.listen();
    let (json, number) = ("Error reading JSON.", "Expected 'type' to be of type Number.");
    let deep = format!("{{\"type\":1,\"target\":\"x\",\"arguments\":{}\u{1e}", "[".repeat(5_000));
    let large = [text(&"x".repeat(15_000)), text(&"x".repeat(15_000))].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (text("\u{1e}"), json),
        (text("nonsense\u{1e}"), json),
        (text("[6]\u{1e}"), "Unexpected JSON Token Type 'Array'. Expected a JSON Object."),
        (text("{\"type\":1}}\u{1e}"), json),
        // If a name occurs twice, the last value is used, as in most parsers.
        (text("{\"type\":6,\"type\":1}\u{1e}"), "Missing required property 'target'."),
        (text("{\"type\":-1}\u{1e}"), number),
        (text("{\"type\":\"1\"}\u{1e}"), number),
        (text("{\"type\":1,\"target\":[]}\u{1e}"), "Expected 'target' to be of type String."),
        (text("{\"type\":1,\"target\":null,\"arguments\":[]}\u{1e}"), "Missing required property 'target'."),
        (text("{\"type\":1,\"target\":\"m\"}\u{1e}"), "Missing required property 'arguments'."),
        (
            text("{\"type\":1,\"target\":\"m\",\"arguments\":{}}\u{1e}"),
            "Expected 'arguments' to be of type Array.",
        ),
        (
            text("{\"type\":4,\"target\":\"m\",\"arguments\":[]}\u{1e}"),
            "Missing required property 'invocationId'.",
        ),
        (text("{\"type\":3,\"result\":1}\u{1e}"), "Missing required property 'invocationId'."),
        (text("{}\u{1e}"), "Missing required property 'type'."),
        (text(&deep), json),
        // Invalid UTF-8 in a binary frame.
        (frame(0x82, b"{\"type\":1,\"target\":\"x\",\"arguments\":[\"\xff\"]}\x1e"), json),
        (large, "a message of more than 20000 bytes is not allowed"),
    ];
    for (bytes, expected) in &cases {
        let mut socket = connected(&listening, JSON).await;
        socket.send(bytes).await.unwrap();
        let close = format!("text {{\"type\":7,\"error\":\"{expected}\",\"allowReconnect\":true}}\u{1e}");
        assert_eq!(socket.heard_to_close().await.unwrap(), [close.as_str(), "close 1000 "]);
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_hub_messages_in_messagepack_close_with_the_reason() {
    let listening = Fixture::start(small()).await.listen();
    let shape = "the message is not a MessagePack hub message: ";
    let cases: Vec<(&[u8], String)> = vec![
        (b"\x00", format!("{shape}it ends in the middle of a value")),
        (b"\x01\xc1", format!("{shape}the byte 0xc1 begins no value")),
        (b"\x01\x80", format!("{shape}an array is expected")),
        (b"\x02\x91\xc0", format!("{shape}a whole number is expected")),
        (b"\x07\x96\x01\xdf\xff\xff\xff\xff", format!("{shape}it ends in the middle of a value")),
        (b"\x09\x96\x01\x80\xdb\xff\xff\xff\xff\x61", format!("{shape}it ends in the middle of a value")),
        (b"\x06\x95\x01\x80\xa2\xff\xfe", format!("{shape}it ends in the middle of a value")),
        (b"\x07\x95\x01\x80\xc0\xa1m\xc0", "Reading array length for 'arguments' failed.".to_owned()),
        (b"\x06\x95\x01\x80\xc0\xa0\x90", "Null or empty target for Invocation message.".to_owned()),
        (
            b"\x07\x95\x04\x80\xc0\xa1m\x90",
            "Null or empty invocation ID for StreamInvocation message.".to_owned(),
        ),
        (b"\x05\x94\x03\x80\xc0\x02", "Null or empty invocation ID for Completion message.".to_owned()),
        (b"\x01\x90", "Missing required property 'type'.".to_owned()),
        (b"\xff\xff\xff\xff\x07", "a message of more than 20000 bytes is not allowed".to_owned()),
        (
            b"\xff\xff\xff\xff\xff",
            "the length prefix of a MessagePack message is not a number of at most 0x7fffffff".to_owned(),
        ),
    ];
    for (bytes, expected) in &cases {
        let mut socket = connected(&listening, MESSAGEPACK).await;
        socket.send(&frame(0x82, bytes)).await.unwrap();
        let heard = socket.heard_to_close().await.unwrap();
        let close = signalr_protocol::HubMessage::Close(signalr_protocol::Close {
            error: Some(expected.as_str().into()),
            allow_reconnect: true,
        });
        let mut framed = Vec::new();
        close.encode(MESSAGEPACK, &mut framed);
        let digits: String = framed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(heard, [format!("binary {digits}").as_str(), "close 1000 "], "{bytes:02x?}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}
