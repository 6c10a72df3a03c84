//! URLs, names, header fields and bodies that are invalid or ambiguous.

use std::time::Duration;

use realtime::Options;
use testkit::{Http, RawSocket};

use super::{options, still_serves};
use crate::fixture::{Fixture, Listening, client_token, token};

/// Negotiates with a query; returns status and text, without secrets.
async fn negotiated(listening: &Listening, query: &str, token: &str) -> String {
    let authorization = format!("Bearer {token}");
    let path = format!("/client/negotiate?{query}");
    let http = Http::new(&listening.authority);
    let answer = http.send("POST", &path, &[("authorization", &authorization)], "").await.unwrap();
    let text = if answer.status == 200 { String::new() } else { answer.text() };
    format!("{} {text}", answer.status.as_u16())
}

fn no_hub(name: &str) -> String {
    format!(
        "400 '{name}' is not a valid hub name; use a letter, then at most 127 letters, digits and characters of _`,.[]"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ambiguous_or_invalid_hub_name_is_refused() {
    let listening = Fixture::start(options()).await.listen();
    let token = client_token("chat", &[]);
    let long = "h".repeat(129);
    for (query, expected) in [
        ("hub=", no_hub("")),
        ("hub", no_hub("")),
        ("hub=9", no_hub("9")),
        ("hub=a-b", no_hub("a-b")),
        ("hub=a+b", no_hub("a b")),
        ("hub=chat%2Fx", no_hub("chat/x")),
        ("hub=chat%00", no_hub("chat\0")),
        ("hub=chat%0d%0aset-cookie:x", no_hub("chat\r\nset-cookie:x")),
        ("hub=%ff%fe", no_hub("\u{fffd}\u{fffd}")),
        ("hub=%zz", no_hub("%zz")),
        ("hub=%", no_hub("%")),
        ("hub=ch%C3%A4t", no_hub("ch\u{e4}t")),
        // The Kelvin sign, which lower-cases to an ASCII letter, is not allowed.
        ("hub=%E2%84%AA", no_hub("\u{212a}")),
        (format!("hub={long}").as_str(), no_hub(&long[..128])),
        ("", "400 the query has no hub; add hub=<name>".to_owned()),
        ("&&&=&=hub", "400 the query has no hub; add hub=<name>".to_owned()),
        ("hubs=chat", "400 the query has no hub; add hub=<name>".to_owned()),
        ("hub=chat&hub=other", "400 the query names more than one hub".to_owned()),
        ("hub=chat&HUB=chat", "400 the query names more than one hub".to_owned()),
        ("hub=chat&h%75b=", "400 the query names more than one hub".to_owned()),
        ("hub=chat", "200 ".to_owned()),
        ("HUB=ChAt", "200 ".to_owned()),
        ("hu%62=ch%61t", "200 ".to_owned()),
        ("x=%zz&hub=chat&&=", "200 ".to_owned()),
    ] {
        assert_eq!(negotiated(&listening, query, &token).await, expected, "{query}");
    }
    let most = "h".repeat(128);
    assert_eq!(negotiated(&listening, &format!("hub={most}"), &client_token(&most, &[])).await, "200 ");
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_negotiate_version_is_an_error_in_the_response() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let authorization = format!("Bearer {}", client_token("chat", &[]));
    let long = "9".repeat(5_000);
    for version in ["x", "", "1.0", "1e0", "0x1", "99999999999999999999", "%ff", &long] {
        let path = format!("/client/negotiate?hub=chat&negotiateVersion={version}");
        let answer = http.send("POST", &path, &[("authorization", &authorization)], "").await.unwrap();
        assert_eq!(answer.status, 200);
        let json = answer.json().unwrap();
        let error = json["error"].as_str().unwrap_or_else(|| panic!("{version}: {json}"));
        assert!(error.ends_with("is not a whole number") && error.len() < 100, "{error}");
        assert!(json.get("connectionId").is_none());
    }
    for version in ["-1", "-9223372036854775808"] {
        let path = format!("/client/negotiate?hub=chat&negotiateVersion={version}");
        let answer = http.send("POST", &path, &[("authorization", &authorization)], "").await.unwrap();
        let error = answer.json().unwrap()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains("is older than 0"), "{error}");
    }
    let path = "/client/negotiate?hub=chat&negotiateVersion=9223372036854775807";
    let answer = http.send("POST", path, &[("authorization", &authorization)], "").await.unwrap();
    assert_eq!(answer.json().unwrap()["negotiateVersion"], 1);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_decoded_once_and_not_normalized() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let authorization = format!("Bearer {}", client_token("chat", &[]));
    let fields = [("authorization", authorization.as_str())];
    for path in [
        "/client/../client/negotiate?hub=chat",
        "/client/./negotiate?hub=chat",
        "/client//negotiate?hub=chat",
        "//client/negotiate?hub=chat",
        "/client/%6eegotiate?hub=chat",
        "/client%2fnegotiate?hub=chat",
        "/clientnegotiate?hub=chat",
        "/client/negotiate/more?hub=chat",
        "/api/../client/negotiate?hub=chat",
        "/client;x/negotiate?hub=chat",
        "/api",
        "/api/",
        "/api/v1/hubs",
        "/api/v1/hubs//",
        "/api/v1/hubs/chat/users//groups/g",
        "/api/v1/hubs/chat/%2e%2e/other",
    ] {
        let answer = http.send("POST", path, &fields, "").await.unwrap();
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    for path in ["/api/v1/hubs/%ff/users/x", "/api/v1/hubs/chat/users/%ff", "/API/v1/hubs/chat/groups/%c3"] {
        let answer = http.send("POST", path, &fields, "").await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.json().unwrap()["code"]), (400, &"InvalidPath".into()));
    }
    for path in ["/CLIENT/negotiate?hub=chat", "/Client/Negotiate/?hub=chat"] {
        assert_eq!(http.send("POST", path, &fields, "").await.unwrap().status, 200, "{path}");
    }
    // A name in a path is decoded exactly once.
    let body = r#"{"target":"x","arguments":[]}"#;
    for (path, status) in [
        ("/api/v1/hubs/chat/users/..%2F..%2Fother", 202),
        ("/api/v1/hubs/chat/users/%252e", 202),
        ("/api/v1/hubs/chat/groups/%00", 202),
        ("/api/v1/hubs/chat/groups/%20", 400),
        ("/api/v1/hubs/chat%00", 400),
        ("/api/v1/hubs/..", 400),
    ] {
        let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), &[]));
        let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = http.send("POST", path, &fields, body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_extensions_are_not_negotiated() {
    let listening = Fixture::start(options()).await.listen();
    let path = format!("/client/?hub=chat&access_token={}", client_token("chat", &[]));
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        "x-webkit-deflate-frame",
    ] {
        let field = format!("sec-websocket-extensions: {offer}\r\nsec-websocket-protocol: json, x\r\n");
        let (_, head) = RawSocket::upgrade(&listening.authority, &path, &field).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("extensions") && !head.contains("sec-websocket-protocol"), "{head}");
    }
    listening.stop().await;
}

/// Sends a message with these header fields; returns status, code and the whole response.
async fn sent(listening: &Listening, fields: &[(&str, &str)], body: Vec<u8>) -> (u16, String, String) {
    let path = "/api/v1/hubs/chat";
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), &[]));
    let mut all = vec![("authorization", authorization.as_str())];
    all.extend(fields);
    let answer = Http::new(&listening.authority).send("POST", path, &all, body).await.unwrap();
    let code = answer.json().ok().and_then(|json| json["code"].as_str().map(str::to_owned));
    (answer.status.as_u16(), code.unwrap_or_default(), answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_refused_without_decompression() {
    let listening = Fixture::start(options()).await.listen();
    let json = ("content-type", "application/json");
    // The start of a megabyte of zeros, compressed.
    let bomb = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xec\xc1\x01\x01\x00".to_vec();
    for encoding in ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "x"] {
        let (status, code, text) =
            sent(&listening, &[json, ("content-encoding", encoding)], bomb.clone()).await;
        assert_eq!((status, code.as_str()), (415, "UnsupportedMediaType"), "{encoding}: {text}");
        assert!(text.contains("content-encoding"), "{text}");
    }
    let body = br#"{"target":"x","arguments":[]}"#;
    let (status, _, text) = sent(&listening, &[json, ("content-encoding", "identity")], body.to_vec()).await;
    assert_eq!(status, 202, "{text}");
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_body_is_refused_with_the_reason() {
    let listening = Fixture::start(Options { body_bytes_max: 10_000, ..options() }).await.listen();
    let json = [("content-type", "application/json")];
    let octets = [("content-type", "application/octet-stream")];
    let deep = format!(r#"{{"target":"x","arguments":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    let deeper = format!(r#"{{"target":"x","arguments":{}"#, "[".repeat(9_000));
    for body in [
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        "{}",
        r#"{"target":""}"#,
        r#"{"target":1,"arguments":[]}"#,
        r#"{"target":"x","arguments":{}}"#,
        r#"{"target":"x","arguments":"[]"}"#,
        r#"{"target":"x","arguments":[1}"#,
        r#"{"target":"x","arguments":[]}{}"#,
        "{\"target\":\"x\",\"arguments\":[\"\u{1e}\"]}",
        &deep,
        &deeper,
        // Quoted in the error, with six characters for one.
        &format!("\"{}\"", "\u{7f}".repeat(9_000)),
    ] {
        let (status, code, text) = sent(&listening, &json, body.into()).await;
        assert_eq!((status, code.as_str()), (400, "InvalidBody"), "{body}: {text}");
        assert!(text.len() < 2_000, "{} bytes", text.len());
    }
    let not_text = b"{\"target\":\"x\",\"arguments\":[\"\xff\"]}".to_vec();
    assert_eq!(sent(&listening, &json, not_text).await.0, 400);
    for body in [
        &b""[..],
        b"\xc1",
        b"\x80",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa4json\xc6\xff\xff\xff\xff",
        b"\x81\xa4json\xc4\x0a{\"type\":6}",
        b"\x81\xa4json\xc4\x0b{\"type\":6}\x1e",
        b"\x81\xa4json\xc4\x16{\"type\":6}\x1e{\"type\":6}\x1e",
        b"\x81\xabmessagepack\xc4\x03\x02\x91\x06",
        b"\x81\xabmessagepack\xc4\x0a\x09\x96\x01\x80\xc0\xa1t\xdd\xff\xff",
    ] {
        let (status, code, text) = sent(&listening, &octets, body.to_vec()).await;
        assert_eq!((status, code.as_str()), (400, "InvalidBody"), "{body:02x?}: {text}");
    }
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json2", "", "\u{e9}"] {
        let (status, code, text) = sent(&listening, &[("content-type", kind)], b"{}".to_vec()).await;
        assert_eq!((status, code.as_str()), (415, "UnsupportedMediaType"), "{kind}: {text}");
    }
    for bytes in [10_001, 50_000, 200_000] {
        let (status, code, text) = sent(&listening, &json, vec![b' '; bytes]).await;
        assert_eq!((status, code.as_str()), (413, "BodyTooLarge"), "{bytes}: {text}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn negotiations_above_the_limit_are_refused_until_earlier_ones_expire() {
    let lifetime = Duration::from_millis(1_500);
    let options =
        Options { negotiations_max: 200, negotiation_lifetime_ms: lifetime.as_millis() as u64, ..options() };
    let listening = Fixture::start(options).await.listen();
    let token = client_token("chat", &[]);
    let path = format!("/client/negotiate?hub=chat&access_token={token}");
    // One connection with many requests: as many as a flood over many connections, without using many ports.
    let mut socket = RawSocket::connect(&listening.authority).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
    let last = request.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let began = std::time::Instant::now();
    let flood = async {
        let text = request.repeat(999) + &last;
        socket.send(text.as_bytes()).await.unwrap();
        socket.text_to_end().await.unwrap()
    };
    let answers = flood.await;
    let taken = answers.matches("HTTP/1.1 200 ").count();
    let refused = answers.matches("HTTP/1.1 429 ").count();
    assert_eq!(taken + refused, 1_000, "each request has a response");
    // On a slow machine the first ones expire while the last ones arrive; the limit applies at any one time.
    let generations = began.elapsed().as_millis() as usize / lifetime.as_millis() as usize + 1;
    assert!((200..=200 * generations).contains(&taken), "{taken} in {:?}", began.elapsed());
    assert!(answers.contains("too many clients have negotiated and not connected"));
    // The negotiations expire, and then further ones are accepted.
    let http = Http::new(&listening.authority);
    let again = async {
        while http.send("POST", &path, &[], "").await.unwrap().status != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(testkit::PATIENCE, again).await.unwrap();
    still_serves(&listening).await;
    listening.stop().await;
}
