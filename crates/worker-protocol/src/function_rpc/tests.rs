mod definition;

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use bytestring::ByteString;
use expect_test::{Expect, expect};
use prost::Message;

use super::*;
use crate::{
    Capabilities, FunctionMetadata, HostMessage, InvocationRequest, InvocationResponse, LoadRequest,
    LogCategory, LogLevel, ParameterBinding, RetryOptions, RetryStrategy, RpcHttp, RpcHttpCookie, RpcLog,
    SameSite, StatusResult, TypedData, WorkerMessage,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The expected bytes were compared with those of Google's protobuf for the published definition. They differ in one respect, without
/// a difference in meaning: Google's writes an empty value of a map entry, and prost leaves it out.
fn check(message: StreamingMessage, expected: Expect) {
    let bytes = message.encode_to_vec();
    expected.assert_eq(&hex(&bytes));
    assert_eq!(StreamingMessage::decode(Bytes::from(bytes)).expect("well-formed"), message);
}

fn request(data: TypedData) -> HostMessage {
    HostMessage::Invoke(InvocationRequest {
        invocation_id: "i".into(),
        function_id: "f".into(),
        input_data: vec![ParameterBinding { name: "r".into(), data }],
        ..InvocationRequest::default()
    })
}

fn http() -> RpcHttp {
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    RpcHttp {
        method: "GET".into(),
        url: "u".into(),
        headers: one("h", "1"),
        body: TypedData::Bytes(Bytes::from_static(b"b")),
        params: one("p", "2"),
        query: one("q", ""),
        ..RpcHttp::default()
    }
}

#[test]
fn messages_have_the_bytes_of_the_public_definition() {
    let raw = Capabilities::from_iter([(Capabilities::RAW_HTTP_BODY_BYTES, "true")]);
    let host = |message| encode_host(message, &raw, "R".to_owned());
    let worker = |message| encode_worker(message, String::new());
    check(worker(WorkerMessage::Start { worker_id: "w".into() }), expect!["a20103120177"]);
    check(host(HostMessage::Status), expect!["0a01526200"]);
    check(
        host(HostMessage::Terminate { grace: Duration::from_millis(5500) }),
        expect!["0a0152720a0a0808051080cab5ee01"],
    );
    check(host(HostMessage::Cancel { invocation_id: "i".into() }), expect!["0a0152aa0103120169"]);
    check(host(request(TypedData::Int(-3))), expect!["0a015222110a01691201661a070a0172120230052a00"]);
    check(
        host(request(http().into())),
        expect![
            "0a015222390a01691201661a2f0a0172122a2a280a034745541201751a060a016812013122031a016252060a01701201327a030a01718a01031a01622a00"
        ],
    );
    let nullable = [
        (Capabilities::USE_NULLABLE_VALUE_DICTIONARY_FOR_HTTP, "true"),
        (Capabilities::RAW_HTTP_BODY_BYTES, "true"),
        (Capabilities::RPC_HTTP_BODY_ONLY, "1"),
    ];
    check(
        encode_host(request(http().into()), &nullable.into_iter().collect(), String::new()),
        expect![
            "223e0a01691201661a340a0172122f2a2d0a0347455412017522031a0162a201080a016812030a0131aa01080a017012030a0132b201070a017112020a002a00"
        ],
    );
    let record = RpcLog {
        level: LogLevel::Warning,
        message: "m".into(),
        log_category: LogCategory::System,
        ..RpcLog::default()
    };
    check(worker(WorkerMessage::Log(record)), expect!["1207180322016d4001"]);
    let response = InvocationResponse {
        invocation_id: "i".into(),
        return_value: Some(TypedData::Null),
        result: StatusResult::success(),
        ..InvocationResponse::default()
    };
    check(worker(WorkerMessage::Invoked(response)), expect!["2a090a01691a0220012200"]);
    let metadata = FunctionMetadata {
        name: "n".into(),
        raw_bindings: vec![r#"{"Name":"x","type":"blob","DIRECTION":"OUT","dataType":"binary"}"#.into()],
        retry_options: Some(RetryOptions {
            max_retry_count: -1,
            retry_strategy: RetryStrategy::FixedDelay,
            delay_interval: Some(Duration::from_secs(2)),
            ..RetryOptions::default()
        }),
        ..FunctionMetadata::default()
    };
    check(
        host(HostMessage::Load(LoadRequest { function_id: "f".into(), metadata })),
        expect![
            "0a0152426e0a0166126922016e320f0a0178120a1204626c6f621801200252407b224e616d65223a2278222c2274797065223a22626c6f62222c22444952454354494f4e223a224f5554222c226461746154797065223a2262696e617279227d7a1110ffffffffffffffffff011a0208023001"
        ],
    );
}

#[test]
fn a_text_is_copied_only_into_the_encoded_message() {
    let text = ByteString::from("{}");
    let message =
        encode_host(request(TypedData::Json(text.clone())), &Capabilities::default(), String::new());
    let content = message.content.as_ref();
    let Some(messages::streaming_message::Content::InvocationRequest(request)) = content else {
        panic!("an invocation")
    };
    let data = request.input_data[0].rpc_data.clone();
    let Some(messages::parameter_binding::RpcData::Data(data)) = data else { panic!("data") };
    let Some(messages::typed_data::Data::Json(bytes)) = data.data else { panic!("JSON") };
    assert_eq!(bytes.as_ptr(), text.as_ptr());

    let encoded = Bytes::from(message.encode_to_vec());
    let read = decode_host(StreamingMessage::decode(encoded.clone()).expect("well-formed"));
    let Some(HostMessage::Invoke(read)) = read else { panic!("an invocation") };
    let TypedData::Json(read) = &read.input_data[0].data else { panic!("JSON") };
    assert!(encoded.as_ptr_range().contains(&read.as_ptr()));
}

#[test]
fn decoded_messages_equal_the_encoded_ones() {
    let names = [Capabilities::TYPED_DATA_COLLECTION, Capabilities::RAW_HTTP_BODY_BYTES];
    let capabilities: Capabilities = names.into_iter().map(|name| (name, "true")).collect();
    let values = [
        TypedData::Null,
        TypedData::String("s".into()),
        TypedData::Json("{}".into()),
        TypedData::Stream(Bytes::from_static(b"s")),
        TypedData::Int(i64::MIN),
        TypedData::Double(0.5),
        TypedData::CollectionBytes(vec![Bytes::from_static(b"a"), Bytes::new()]),
        TypedData::CollectionString(vec!["".into()]),
        TypedData::CollectionDouble(vec![1.0, -2.5]),
        TypedData::CollectionSint64(vec![i64::MAX, -1]),
        http().into(),
    ];
    for value in values {
        let message = request(value);
        let bytes = encode_host(message.clone(), &capabilities, String::new()).encode_to_vec();
        let read = StreamingMessage::decode(Bytes::from(bytes)).expect("well-formed");
        assert_eq!(decode_host(read), Some(message));
    }
    let cookie = RpcHttpCookie {
        name: "c".into(),
        expires: Some(UNIX_EPOCH + Duration::from_secs(7)),
        secure: Some(false),
        same_site: SameSite::None,
        max_age: Some(0.0),
        ..RpcHttpCookie::default()
    };
    let answer =
        RpcHttp { method: String::new(), status_code: "204".into(), cookies: vec![cookie], ..http() };
    let response = InvocationResponse {
        return_value: Some(answer.into()),
        result: StatusResult::failure("no"),
        ..InvocationResponse::default()
    };
    let message = WorkerMessage::Invoked(response);
    let bytes = encode_worker(message.clone(), String::new()).encode_to_vec();
    assert_eq!(decode_worker(StreamingMessage::decode(Bytes::from(bytes)).expect("well-formed")), message);
}

#[test]
fn an_absent_status_is_a_failure_and_unknown_content_is_unused() {
    let message = StreamingMessage {
        request_id: String::new(),
        content: Some(messages::streaming_message::Content::FunctionLoadResponse(
            messages::FunctionLoadResponse::default(),
        )),
    };
    let WorkerMessage::Load(load) = decode_worker(message) else { panic!("a load response") };
    assert!(!load.result.is_success());
    // Field 99 is not defined.
    let later = StreamingMessage::decode(Bytes::from_static(&[0x9a, 0x06, 0x00])).expect("well-formed");
    assert!(matches!(decode_worker(later), WorkerMessage::Unused(_)));
}

#[test]
fn empty_headers_are_left_out_for_workers_that_say_so() {
    let mut request = http();
    request.headers.insert("empty".into(), String::new());
    let sent = |names: &[(&'static str, &'static str)]| {
        let capabilities: Capabilities = names.iter().copied().collect();
        let message = encode_host(self::request(request.clone().into()), &capabilities, String::new());
        let Some(HostMessage::Invoke(read)) = decode_host(message) else { panic!("an invocation") };
        let TypedData::Http(http) = &read.input_data[0].data else { panic!("HTTP") };
        http.headers.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(sent(&[]), ["empty", "h"]);
    let ignores = (Capabilities::IGNORE_EMPTY_VALUED_RPC_HTTP_HEADERS, "true");
    assert_eq!(sent(&[ignores]), ["h"]);
    let nullable = (Capabilities::USE_NULLABLE_VALUE_DICTIONARY_FOR_HTTP, "true");
    assert_eq!(sent(&[ignores, nullable]), ["empty", "h"], "as the real host does for Node.js");
}
