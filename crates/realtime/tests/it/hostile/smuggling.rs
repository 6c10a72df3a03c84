//! Requests whose end two parsers could see at different positions. Behind a proxy that parses them differently, a second request
//! would be smuggled in; here each has one response and its connection closes.

use testkit::RawSocket;

use super::still_serves;
use crate::fixture::{Fixture, Listening, client_token, options};

/// A smuggled request; it must have no response.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";

/// Sends bytes and returns the status of each response up to the end of the connection, which the service must close.
async fn statuses(listening: &Listening, bytes: &str) -> (Vec<u16>, String) {
    let mut socket = RawSocket::connect(&listening.authority).await.unwrap();
    socket.send(bytes.as_bytes()).await.unwrap();
    let text = socket.text_to_end().await.unwrap();
    // The text of a response may also contain HTTP/1.1.
    let places = text.match_indices("HTTP/1.1 ");
    let heads = places.filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok());
    (heads.collect(), text)
}

/// A negotiate request with these header fields and what follows its head.
fn negotiate(fields: &str, rest: &str) -> String {
    let path = format!("/client/negotiate?hub=chat&access_token={}", client_token("chat", &[]));
    format!("POST {path} HTTP/1.1\r\nhost: h\r\n{fields}\r\n{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_two_lengths_has_one_response_and_ends_its_connection() {
    let listening = Fixture::start(options()).await.listen();
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
    let swapped = "transfer-encoding: chunked\r\ncontent-length: 4\r\n";
    let chunk = format!("0\r\n\r\n{SMUGGLED}");
    for (fields, rest, expected) in [
        // Chunked is used (RFC 9112, 6.3), and the connection closes after it, so that nothing can follow.
        (both, chunk.as_str(), 200),
        (swapped, chunk.as_str(), 200),
        ("content-length: 0\r\ncontent-length: 54\r\n", SMUGGLED, 400),
        ("content-length: 54\r\ncontent-length: 0\r\n", SMUGGLED, 400),
        ("content-length: 0, 54\r\n", SMUGGLED, 400),
        ("content-length: +0\r\n", SMUGGLED, 400),
        ("content-length: -1\r\n", SMUGGLED, 400),
        ("content-length: 0x0\r\n", SMUGGLED, 400),
        ("content-length: 99999999999999999999\r\n", SMUGGLED, 400),
        ("content-length : 0\r\n", SMUGGLED, 400),
        ("content-length\r\n", SMUGGLED, 400),
        ("content-length: 0\r\n folded: x\r\n", SMUGGLED, 400),
        ("transfer-encoding: identity\r\n", SMUGGLED, 400),
        ("transfer-encoding: chunked, identity\r\n", &chunk, 400),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", &chunk, 400),
        ("transfer-encoding: xchunked\r\n", &chunk, 400),
        ("transfer-encoding : chunked\r\n", &chunk, 400),
        ("transfer-encoding:\u{b}chunked\r\n", &chunk, 400),
        ("transfer-encoding: \"chunked\"\r\n", &chunk, 400),
        ("x: y\rtransfer-encoding: chunked\r\n", &chunk, 400),
        ("x\0: y\r\n", SMUGGLED, 400),
        ("x: y\0\r\n", SMUGGLED, 400),
    ] {
        let (statuses, text) = statuses(&listening, &negotiate(fields, rest)).await;
        assert_eq!(statuses, [expected], "{fields:?}: {text}");
        assert!(!text.contains("smuggled"), "{fields:?}: {text}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_chunk_ends_the_connection() {
    let listening = Fixture::start(options()).await.listen();
    let path = "/api/v1/hubs/chat";
    let token = crate::fixture::token(&format!("http://h{path}"), &[]);
    for rest in [
        "-1\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n",
        "1\r\nxGET\r\n0\r\n\r\n",
        "1\nx\n0\n\n",
        "1\r\nx0\r\n\r\n",
        "5 \0\r\nhello\r\n0\r\n\r\n",
        "g\r\n\r\n",
        "\r\n\r\n",
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{rest}{SMUGGLED}"
        );
        let (statuses, text) = statuses(&listening, &request).await;
        assert_eq!(statuses, [400], "{rest:?}: {text}");
        assert!(text.contains("BrokenBody") && !text.contains("smuggled"), "{rest:?}: {text}");
    }
    // An endless chunk extension and endless trailers are cut off.
    for rest in [format!("1;{}", "x".repeat(100_000)), format!("0\r\n{}", "a: b\r\n".repeat(30_000))] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{rest}"
        );
        let mut socket = RawSocket::connect(&listening.authority).await.unwrap();
        // The service may close before it has read everything.
        let _ = socket.send(request.as_bytes()).await;
        let text = socket.text_to_end().await.unwrap();
        assert!(!text.contains("HTTP/1.1 2"), "{text}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_line_ends_the_connection() {
    let listening = Fixture::start(options()).await.listen();
    for line in [
        "GET /a /b HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET /",
        "G\u{1}T / HTTP/1.1",
        "GET /\u{0} HTTP/1.1",
        " GET / HTTP/1.1",
        "\u{16}\u{3}",
    ] {
        let (statuses, text) = statuses(&listening, &format!("{line}\r\nhost: h\r\n\r\n{SMUGGLED}")).await;
        assert!(statuses.iter().all(|status| *status == 400) && statuses.len() < 2, "{line:?}: {text}");
        assert!(!text.contains("smuggled"), "{line:?}: {text}");
    }
    // A single line feed ends a line (RFC 9112, 2.2); the body and the next request are parsed as usual.
    let body = "x".repeat(SMUGGLED.len());
    let path = format!("/client/negotiate?hub=chat&access_token={}", client_token("chat", &[]));
    let bare = format!("POST {path} HTTP/1.1\nhost: h\ncontent-length: {}\n\n{body}{SMUGGLED}", body.len());
    let (seen, text) = statuses(&listening, &bare).await;
    assert_eq!(seen, [200, 404], "{text}");
    // Two valid requests have two responses.
    let (seen, text) = statuses(&listening, &(negotiate("content-length: 0\r\n", "") + SMUGGLED)).await;
    assert_eq!(seen, [200, 404], "{text}");
    // Exactly one Host, with a valid name.
    for fields in
        ["", "host: a\r\nhost: a\r\n", "host: a b\r\n", "host: http://a/\r\n", "host: a@b\r\n", "host: \r\n"]
    {
        let (seen, text) =
            statuses(&listening, &format!("GET /client/ HTTP/1.1\r\nconnection: close\r\n{fields}\r\n"))
                .await;
        assert_eq!(seen, [400], "{fields:?}: {text}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}
