use super::*;

fn shown(protocol: HubProtocol, bytes: &[u8]) -> String {
    match protocol {
        HubProtocol::Json => String::from_utf8_lossy(bytes).replace('\u{1e}', "|"),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn check(protocol: HubProtocol, awaited: &Awaited, status: u16, body: &[u8], expected: &str) {
    let status = StatusCode::from_u16(status).unwrap();
    let result = to_client(protocol, awaited, status, &Bytes::copy_from_slice(body));
    let text = match result {
        Ok(None) => "nothing".to_owned(),
        Ok(Some(bytes)) => shown(protocol, &bytes),
        Err(error) => error.to_string(),
    };
    assert_eq!(text, expected);
}

const JSON: HubProtocol = HubProtocol::Json;
const MESSAGEPACK: HubProtocol = HubProtocol::MessagePack;

#[test]
fn a_completion_of_the_invocation_is_passed_on_as_it_is() {
    let awaited = Awaited::Completion("1".into());
    let odd = b"{\"result\": 1 ,\"invocationId\":\"1\",\"type\":3}\x1e";
    check(JSON, &awaited, 200, odd, r#"{"result": 1 ,"invocationId":"1","type":3}|"#);
    check(
        JSON,
        &awaited,
        200,
        b"{\"type\":3,\"invocationId\":\"1\",\"error\":\"no\"}\x1e",
        r#"{"type":3,"invocationId":"1","error":"no"}|"#,
    );
    // [3, {}, "1", 3, 42]
    check(MESSAGEPACK, &awaited, 200, b"\x07\x95\x03\x80\xa11\x03\x2a", "07950380a131032a");
}

#[test]
fn an_empty_response_becomes_a_completion_without_a_result() {
    let awaited = Awaited::Completion("1".into());
    check(JSON, &awaited, 200, b"", r#"{"type":3,"invocationId":"1"}|"#);
    check(JSON, &awaited, 204, b"", r#"{"type":3,"invocationId":"1"}|"#);
    check(MESSAGEPACK, &awaited, 204, b"", "06940380a13102");
    check(JSON, &Awaited::Stream("1".into()), 200, b"", "nothing");
}

#[test]
fn an_invocation_with_uploads_completes_at_once_or_with_a_later_item() {
    let [upload, part, last] = [
        Awaited::Upload("1".into()),
        Awaited::Part { invocation_id: "1".into(), is_last: false },
        Awaited::Part { invocation_id: "1".into(), is_last: true },
    ];
    let done = b"{\"type\":3,\"invocationId\":\"1\",\"result\":6}\x1e";
    let shown = r#"{"type":3,"invocationId":"1","result":6}|"#;
    let void = r#"{"type":3,"invocationId":"1"}|"#;
    check(JSON, &upload, 202, b"", "nothing");
    check(JSON, &upload, 204, b"", void);
    check(JSON, &part, 204, b"", "nothing");
    check(JSON, &last, 204, b"", void);
    for awaited in [&upload, &part, &last] {
        check(JSON, awaited, 200, done, shown);
        check(JSON, awaited, 500, b"", "Invocation failed, status code 500");
    }
    for awaited in [&part, &last] {
        check(JSON, awaited, 202, b"", "Invocation failed, status code 202");
    }
    check(JSON, &Awaited::Completion("1".into()), 202, b"", "Invocation failed, status code 202");
}

#[test]
fn any_json_is_passed_on_without_its_byte_order_mark() {
    let awaited = Awaited::Completion("1".into());
    let shown = r#"{"type":3,"invocationId":"1","result":["\ud83d",1e400]}|"#;
    let answer = shown.replace('|', "\u{1e}");
    check(JSON, &awaited, 200, answer.as_bytes(), shown);
    check(JSON, &awaited, 200, format!("\u{feff}{answer}").as_bytes(), shown);
}

#[test]
fn a_status_other_than_200_becomes_the_emulators_error_text() {
    let awaited = Awaited::Completion("1".into());
    for status in [201, 302, 401, 404, 500, 503] {
        let completion = b"{\"type\":3,\"invocationId\":\"1\"}\x1e";
        check(JSON, &awaited, status, completion, &format!("Invocation failed, status code {status}"));
    }
    check(JSON, &Awaited::Stream("1".into()), 500, b"", "Invocation failed, status code 500");
}

#[test]
fn a_response_that_the_client_does_not_await_is_discarded() {
    for (status, body) in [(200, b"nonsense".as_slice()), (500, b"".as_slice())] {
        check(JSON, &Awaited::Nothing, status, body, "nothing");
    }
    assert_eq!(error_for(JSON, &Awaited::Nothing, "no"), None);
}

#[test]
fn a_response_that_is_not_a_framed_completion_becomes_an_error() {
    let awaited = Awaited::Completion("1".into());
    let unframed = b"{\"type\":3,\"invocationId\":\"1\"}";
    check(
        JSON,
        &awaited,
        200,
        unframed,
        "Invocation failed, the upstream's response is not a whole hub message framed as json",
    );
    let framed = [unframed.as_slice(), b"\x1e"].concat();
    // Only the service may call methods of clients, also the reserved ones; a response of an upstream must not.
    let call = b"{\"type\":1,\"target\":\"chappe.position\",\"arguments\":[null,\"1-9\"]}\x1e";
    let foreign = "Invocation failed, the upstream's response is not a completion of this invocation";
    for awaited in [&awaited, &Awaited::Stream("1".into())] {
        check(JSON, awaited, 200, call, foreign);
    }
    // MessagePack reads the first character as a length.
    check(
        MESSAGEPACK,
        &awaited,
        200,
        &framed,
        "Invocation failed, the upstream's response is not a whole hub message framed as messagepack",
    );
    check(
        MESSAGEPACK,
        &awaited,
        200,
        b"\xff\xff\xff\xff\xff",
        "Invocation failed, the upstream's response is not framed as messagepack: the length prefix of a MessagePack message is not a number of at most 0x7fffffff",
    );
    check(
        MESSAGEPACK,
        &awaited,
        200,
        b"\x07\x95\x03",
        "Invocation failed, the upstream's response is not a whole hub message framed as messagepack",
    );
    check(
        JSON,
        &awaited,
        200,
        b"\x07\x95\x03\x80\xa11\x03\x2a",
        "Invocation failed, the upstream's response is not a whole hub message framed as json",
    );
    check(
        JSON,
        &awaited,
        200,
        b"{}\x1e",
        "Invocation failed, the upstream's response is not a hub message in json: Missing required property 'type'.",
    );
    check(
        JSON,
        &awaited,
        200,
        &[framed.as_slice(), &framed].concat(),
        "Invocation failed, the upstream's response is more than one hub message",
    );
    for foreign in ["{\"type\":3,\"invocationId\":\"2\"}\x1e", "{\"type\":6}\x1e"] {
        check(
            JSON,
            &awaited,
            200,
            foreign.as_bytes(),
            "Invocation failed, the upstream's response is not a completion of this invocation",
        );
    }
}

#[test]
fn the_response_to_a_stream_may_contain_items_and_its_end() {
    let awaited = Awaited::Stream("1".into());
    let item = "{\"type\":2,\"invocationId\":\"1\",\"item\":1}\x1e";
    let end = "{\"type\":3,\"invocationId\":\"1\"}\x1e";
    let check_all = |body: String, good: bool| {
        let expected = if good {
            body.replace('\u{1e}', "|")
        } else {
            "Invocation failed, the upstream's response is not a completion of this invocation".to_owned()
        };
        check(JSON, &awaited, 200, body.as_bytes(), &expected);
    };
    check_all(format!("{item}{item}"), true);
    check_all(format!("{item}{end}"), true);
    check_all(end.to_owned(), true);
    check_all(format!("{end}{item}"), false);
    check_all(item.replace("\"1\"", "\"2\""), false);
}

#[test]
fn errors_are_completions_in_the_clients_protocol() {
    let awaited = Awaited::Stream("1".into());
    let error = |protocol| shown(protocol, &error_for(protocol, &awaited, "no").unwrap());
    assert_eq!(error(JSON), r#"{"type":3,"invocationId":"1","error":"no"}|"#);
    assert_eq!(error(MESSAGEPACK), "09950380a13101a26e6f");
}

/// Feeds a response in parts of `bytes` bytes; returns what the client receives, and the error.
fn streamed(protocol: HubProtocol, body: &[u8], bytes: usize) -> (String, Option<String>) {
    let (mut reader, mut got) = (StreamReader::new(protocol, "1".into(), 100), String::new());
    for piece in body.chunks(bytes) {
        let (completed, result) = reader.feed(piece);
        for message in completed.messages {
            got.push_str(&format!("{message:?} "));
        }
        if completed.is_end {
            got.push_str("end");
        }
        if let Err(error) = result {
            return (got, Some(error.to_string()));
        }
    }
    (got, reader.finish().err().map(|error| error.to_string()))
}

#[test]
fn a_streamed_response_is_parsed_the_same_in_parts_of_any_size() {
    let json = HubProtocol::Json;
    let item = "{\"type\":2,\"invocationId\":\"1\",\"item\":1}\u{1e}";
    let end = "{\"type\":3,\"invocationId\":\"1\"}\u{1e}";
    for (protocol, body, is_good) in [
        (json, String::new().into_bytes(), true),
        (json, format!("{item}{item}").into_bytes(), true),
        (json, format!("{item}{end}").into_bytes(), true),
        // After the end, of another stream, cut in the middle, not a message, too large.
        (json, format!("{item}{end}{item}").into_bytes(), false),
        (json, item.replace("\"1\"", "\"2\"").into_bytes(), false),
        (json, format!("{item}{{").into_bytes(), false),
        (json, format!("{item}x\u{1e}").into_bytes(), false),
        (json, format!("{item}{}", "x".repeat(200)).into_bytes(), false),
        // [2, {}, "1", 1], [3, {}, "1", 2]
        (HubProtocol::MessagePack, b"\x06\x94\x02\x80\xa11\x01\x06\x94\x03\x80\xa11\x02".to_vec(), true),
        (HubProtocol::MessagePack, b"\x06\x94\x02\x80\xa11\x01\x06\x94".to_vec(), false),
    ] {
        let whole = streamed(protocol, &body, usize::MAX);
        assert_eq!(whole.1.is_none(), is_good, "{whole:?}");
        for bytes in [1, 2, 7, 50] {
            assert_eq!(streamed(protocol, &body, bytes), whole);
        }
    }
    let (got, _) = streamed(json, format!("{item}{end}").as_bytes(), 7);
    assert!(got.ends_with("end"), "{got}");
}
