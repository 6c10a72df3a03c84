use std::time::Duration;

use bytes::{BufMut, Bytes};
use bytestring::ByteString;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::{
    Chunk, HostMessage, InvocationRequest, InvocationResponse, LogLevel, ParameterBinding, RpcHttp, RpcLog,
    StatusResult, TypedData, WorkerMessage,
};

const BYTES_MAX: usize = 1 << 20;

fn joined(frame: &OutgoingFrame) -> Vec<u8> {
    frame.chunks.iter().flat_map(content).collect()
}

fn content(chunk: &Chunk) -> Bytes {
    match chunk {
        Chunk::Bytes(bytes) => bytes.clone(),
        Chunk::Stored(stored) => stored.read_at(0, stored.bytes()).expect("it is in memory"),
    }
}

fn split(bytes: &[u8], read_bytes: usize) -> Vec<ReceivedFrame> {
    let mut decoder = FrameDecoder::new(BYTES_MAX);
    let mut frames = Vec::new();
    for read in bytes.chunks(read_bytes.max(1)) {
        decoder.buffer().put_slice(read);
        while let Some(frame) = decoder.next_frame().expect("well-formed") {
            frames.push(frame);
        }
    }
    frames
}

fn check(message: HostMessage, expected: Expect) {
    let bytes = joined(&encode_host(message.clone(), BYTES_MAX).expect("small"));
    let frames = split(&bytes, 7);
    assert_eq!(frames.len(), 1);
    let header = String::from_utf8(frames[0].header.to_vec()).expect("JSON");
    expected.assert_eq(&format!("{header} + {} bytes", frames[0].body.len()));
    assert_eq!(decode_host(&frames[0]).expect("readable"), message);
}

fn request(data: TypedData) -> HostMessage {
    HostMessage::Invoke(InvocationRequest {
        invocation_id: "i".into(),
        function_id: "f".into(),
        input_data: vec![ParameterBinding { name: "req".into(), data }],
        ..InvocationRequest::default()
    })
}

#[test]
fn stored_bytes_are_a_chunk_of_their_own_and_are_decoded_as_bytes() {
    let body = |body| TypedData::from(RpcHttp { method: "POST".into(), body, ..RpcHttp::default() });
    let content = Bytes::from(vec![7; 1000]);
    let stored = crate::stored::in_memory(content.clone());
    let frame = encode_host(request(body(TypedData::Stored(stored.clone()))), BYTES_MAX).expect("small");
    assert_eq!(frame.chunks[1], Chunk::Stored(stored));
    let bytes = joined(&frame);
    assert_eq!(frame.bytes(), bytes.len());
    let frames = split(&bytes, 100);
    assert_eq!(decode_host(&frames[0]).expect("readable"), request(body(TypedData::Bytes(content))));
}

#[test]
fn a_large_text_is_a_chunk_of_its_frame_and_a_slice_of_the_received_one() {
    let text = ByteString::from("x".repeat(300));
    let frame = encode_host(request(TypedData::Json(text.clone())), BYTES_MAX).expect("small");
    let Chunk::Bytes(chunk) = &frame.chunks[1] else { panic!("a text is in memory") };
    assert_eq!(chunk.as_ptr(), text.as_ptr());
    let received = &split(&joined(&frame), 1000)[0];
    let HostMessage::Invoke(read) = decode_host(received).expect("readable") else { panic!("an invocation") };
    let TypedData::Json(read) = &read.input_data[0].data else { panic!("JSON") };
    assert!(received.body.as_ptr_range().contains(&read.as_ptr()));
}

#[test]
fn host_messages_have_the_documented_form() {
    check(
        HostMessage::Terminate { grace: Duration::from_secs(5) },
        expect![[r#"{"terminate":{"graceMs":5000}} + 0 bytes"#]],
    );
    check(HostMessage::Status, expect![[r#"{"status":{}} + 0 bytes"#]]);
    let http = RpcHttp {
        method: "POST".into(),
        url: "http://localhost/api/x".into(),
        body: TypedData::Bytes(Bytes::from_static(b"\0\xff")),
        ..RpcHttp::default()
    };
    check(
        request(http.into()),
        expect![[
            r#"{"invoke":{"invocationId":"i","functionId":"f","inputData":[{"name":"req","data":{"http":{"method":"POST","url":"http://localhost/api/x","headers":{},"body":{"bytes":[0,2]},"params":{},"query":{},"statusCode":"","enableContentNegotiation":false,"identities":[],"cookies":[]}}}],"triggerMetadata":{},"traceContext":{"traceParent":"","traceState":"","attributes":{},"baggage":{}},"retryContext":null}} + 2 bytes"#
        ]],
    );
}

#[test]
fn large_texts_and_numbers_are_decoded_unchanged() {
    let long = "ü".repeat(300);
    let values = vec![
        TypedData::String(long.clone().into()),
        TypedData::Json("{}".into()),
        TypedData::Int(i64::MIN),
        TypedData::Int((1 << 53) + 1),
        TypedData::Double(f64::NEG_INFINITY),
        TypedData::CollectionSint64(vec![1, i64::MAX]),
        TypedData::CollectionString(vec!["".into(), long.into()]),
        TypedData::CollectionBytes(vec![Bytes::new(), Bytes::from_static(b"a")]),
        TypedData::Null,
    ];
    for data in values {
        let message = request(data);
        let bytes = joined(&encode_host(message.clone(), BYTES_MAX).expect("small"));
        assert_eq!(decode_host(&split(&bytes, bytes.len())[0]).expect("readable"), message);
    }
}

#[test]
fn decoded_worker_messages_equal_the_encoded_ones() {
    let start = StartStream { token: "t".into(), worker_id: "w".into() };
    let log = RpcLog {
        invocation_id: Some("i".into()),
        level: LogLevel::Warning,
        message: "hi".into(),
        ..RpcLog::default()
    };
    let response = InvocationResponse {
        invocation_id: "i".into(),
        return_value: Some(TypedData::Null),
        result: StatusResult::failure("no"),
        ..InvocationResponse::default()
    };
    let none = InvocationResponse { return_value: None, ..response.clone() };
    let messages = [WorkerMessage::Log(log), WorkerMessage::Invoked(response), WorkerMessage::Invoked(none)];
    for message in messages {
        let frame = encode_worker(message.clone(), &start, BYTES_MAX).expect("small");
        assert_eq!(decode_worker(&split(&joined(&frame), 3)[0]).expect("readable"), message);
    }
}

#[test]
fn a_start_message_of_another_version_is_an_error() {
    let frame =
        |text: &str| ReceivedFrame { header: Bytes::copy_from_slice(text.as_bytes()), body: Bytes::new() };
    let start =
        StartStream::decode(&frame(r#"{"start":{"version":1,"token":"t","workerId":"w"}}"#)).expect("ours");
    assert_eq!(start, StartStream { token: "t".into(), worker_id: "w".into() });
    let newer = StartStream::decode(&frame(r#"{"start":{"version":2,"workerId":"w"}}"#));
    assert!(matches!(newer, Err(DecodeError::Version { found: 2 })));
    assert!(matches!(StartStream::decode(&frame(r#"{"status":{}}"#)), Err(DecodeError::NotStart)));
    assert!(matches!(decode_worker(&frame(r#"{"later":{"a":1}}"#)), Ok(WorkerMessage::Unused(_))));
}

#[test]
fn malformed_frames_are_errors() {
    let error = |bytes: &[u8]| {
        let mut decoder = FrameDecoder::new(BYTES_MAX);
        decoder.buffer().put_slice(bytes);
        decoder.next_frame().expect_err("malformed").to_string()
    };
    assert_eq!(error(&[0xff; 4]), "frame of 4294967295 bytes; at most 1048576 are allowed");
    assert_eq!(error(&[0, 0, 0, 4, 0, 0, 0, 1]), "a header of 1 bytes in a frame of 4 bytes");
    assert!(error(&[0, 0, 0, 2, 0, 0]).starts_with("a header of"));
    let out = ReceivedFrame {
        header: Bytes::from_static(br#"{"log":{"propertiesMap":{"a":{"bytes":[1,18446744073709551615]}}}}"#),
        body: Bytes::from_static(b"ab"),
    };
    assert!(matches!(decode_worker(&out), Err(DecodeError::OutOfBody { .. })));
    assert!(matches!(
        encode_host(request(TypedData::Null), 10),
        Err(EncodeError::TooLarge { bytes_max: 10, .. })
    ));
}

#[test]
fn expires_ms_of_a_cookie_is_decoded() {
    let json = r#"{"name":"a","value":"b","expiresMs":1700000000000,"sameSite":"lax"}"#;
    let cookie: crate::RpcHttpCookie = serde_json::from_str(json).expect("a cookie");
    let end = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!((cookie.expires, cookie.same_site), (Some(end), crate::SameSite::Lax));
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_split(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..6),
        read_bytes in 1usize..700,
    ) {
        let messages: Vec<_> =
            payloads.into_iter().map(|bytes| request(TypedData::Bytes(Bytes::from(bytes)))).collect();
        let stream: Vec<u8> = messages
            .iter()
            .flat_map(|message| joined(&encode_host(message.clone(), BYTES_MAX).expect("small")))
            .collect();
        let read: Vec<_> =
            split(&stream, read_bytes).iter().map(|frame| decode_host(frame).expect("readable")).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = FrameDecoder::new(200);
        decoder.buffer().put_slice(&bytes);
        while let Ok(Some(frame)) = decoder.next_frame() {
            let _ = decode_worker(&frame);
        }
    }
}
