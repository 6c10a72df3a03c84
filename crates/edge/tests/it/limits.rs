//! Every limit is enforced.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge::{Metrics, Options};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{LARGE_BYTES, PATIENCE, Server, encoded, raw, tls_connect};

fn milliseconds(value: u64) -> NonZeroU64 {
    NonZeroU64::new(value).expect("not zero")
}

/// Reads until the server closes.
async fn ended(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut response)).await.expect("in time").expect("the end");
    String::from_utf8(response).expect("text")
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let server = Server::start();
    let head = |bytes: usize| {
        let filler = "a".repeat(bytes);
        format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Filler: {filler}\r\n\r\n")
    };
    let response = raw(server.address, head(30 * 1024).as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let response = raw(server.address, head(33 * 1024).as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(101));
    let response = raw(server.address, many.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

/// The text and the fields by which a browser lets the page read it.
fn assert_readable(response: &str, text: &str) {
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    let fields = response.to_ascii_lowercase();
    for field in [
        "access-control-allow-origin: https://page.example\r\n",
        "access-control-allow-credentials: true\r\n",
        "vary: origin\r\n",
        "connection: close\r\n",
    ] {
        assert!(fields.contains(field), "{field} is not in {response}");
    }
    assert!(response.contains(text), "{response}");
}

#[tokio::test]
async fn a_page_of_another_origin_can_read_a_431_response() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let server = Server::start_with(Options::default(), |listener| listener.with_metrics(&metrics));
    let origin = "Origin: https://page.example\r\n";
    let long = |bytes: usize| "a".repeat(bytes);
    let bytes = "have more than 32768 bytes (edge.head_bytes_max)";
    let heads = [
        // A little and far beyond the limit, in one field and in many, before and after the origin.
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{origin}A: {}\r\n\r\n", long(40_000)), bytes),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n{origin}\r\n", long(300_000)), bytes),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{origin}A: {}\r\n\r\n", long(3_000_000)), bytes),
        (format!("GET /?{} HTTP/1.1\r\nHost: x\r\n{origin}\r\n", long(100_000)), bytes),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\n{}{origin}\r\n",
                format!("A: {}\r\n", long(4_000)).repeat(20)
            ),
            bytes,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\n{}{origin}\r\n", "A: b\r\n".repeat(120)),
            "has more than 100 headers (edge.head_fields_max)",
        ),
        // A body after it is not parsed as a request.
        (
            format!(
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 27\r\n{origin}A: {}\r\n\r\nGET /panic HTTP/1.1\r\nHost:x\r\n\r\n",
                long(40_000)
            ),
            bytes,
        ),
    ];
    for (head, text) in &heads {
        assert_readable(&raw(server.address, head.as_bytes()).await, text);
    }
    // The second request of a connection, sent together with the first and after its response.
    let (ok, head) =
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", heads[0].0.replace("Host: x", "Connection: close"));
    let answers = raw(server.address, format!("{ok}{head}").as_bytes()).await;
    let (first, second) = answers.split_once("tls=false").expect("two responses");
    assert!(first.starts_with("HTTP/1.1 200 ") && second.starts_with("HTTP/1.1 431 "), "{answers}");
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(ok.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    while !response.ends_with(b"tls=false") {
        response.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    stream.write_all(heads[1].0.as_bytes()).await.expect("sent");
    assert_readable(&ended(&mut stream).await, bytes);
    let refused = "edge_requests_refused_total{listener=\"test\",reason=\"Head\"} 9";
    let text = encoded(&registry);
    assert!(text.lines().any(|found| found == refused), "{text}");
}

#[tokio::test]
async fn body_bytes_read_after_the_response_are_not_parsed_as_a_head() {
    let options = Options { head_timeout_ms: milliseconds(200), ..Options::default() };
    let mut server = Server::start_with(options, |listener| listener);
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    // Larger than any head, and slower than a head may be; and the next request follows directly.
    let lines = ["x".repeat(100_000), "y: z\r\n\r\n".repeat(10_000)].concat();
    let head = format!("POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", lines.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    while !response.ends_with(b"later") {
        response.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    assert!(response.starts_with(b"HTTP/1.1 202 "));
    for piece in lines.as_bytes().chunks(lines.len() / 10) {
        stream.write_all(piece).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let body = timeout(PATIENCE, server.bodies.recv()).await.expect("in time").expect("it is read");
    assert_eq!(body.as_deref(), Ok(lines.as_bytes()));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
    let next = ended(&mut stream).await;
    assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
}

#[tokio::test]
async fn a_large_head_in_parts_or_over_tls_is_answered_with_431() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = edge::DevAuthority::load_or_create(folder.path()).expect("an authority");
    let tls = authority.tls_config().expect("a certificate");
    let server = Server::start_with(Options::default(), |listener| listener.with_tls(tls));
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\nOrigin: https://page.example\r\n\r\n",
        "a".repeat(100_000)
    );
    let bytes = "have more than 32768 bytes (edge.head_bytes_max)";
    let mut plain = TcpStream::connect(server.address).await.expect("connected");
    plain.set_nodelay(true).expect("set");
    for piece in head.as_bytes().chunks(1_499) {
        plain.write_all(piece).await.expect("sent");
    }
    assert_readable(&ended(&mut plain).await, bytes);
    let mut secure = tls_connect(server.address, authority.certificate_path(), &[b"http/1.1"]).await;
    secure.write_all(head.as_bytes()).await.expect("sent");
    let mut response = Vec::new();
    timeout(PATIENCE, secure.read_to_end(&mut response)).await.expect("in time").expect("the end");
    assert_readable(&String::from_utf8(response).expect("text"), bytes);
}

#[tokio::test]
async fn an_http2_431_can_be_read_by_a_page_and_the_connection_stays_open() {
    let server = Server::start();
    let stream = TcpStream::connect(server.address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    for (filler, status) in [(40_000, 431), (10, 200), (100_000, 431)] {
        let request = http::Request::get("http://x.test/")
            .header("origin", "https://page.example")
            .header("a", "a".repeat(filler))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response =
            timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("a response");
        let (head, body) = response.into_parts();
        assert_eq!(head.status.as_u16(), status);
        let text = body.collect().await.expect("a body").to_bytes();
        if status == 431 {
            assert_eq!(head.headers["access-control-allow-origin"], "https://page.example");
            assert_eq!(head.headers["access-control-allow-credentials"], "true");
            let error: serde_json::Value = serde_json::from_slice(&text).expect("a JSON body");
            assert_eq!(error["error"]["code"], "edge-head-too-large");
        }
    }
    connection.abort();
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let options = Options { head_timeout_ms: milliseconds(100), ..Options::default() };
    let server = Server::start_with(options, |listener| listener);
    // No byte; a part of a head; a part of the HTTP/2 preface; a part of a head that is already too large.
    let large = format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(60_000));
    for sent in ["", "GET / HTTP/1.1\r\nHo", "PRI * HT", &large] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.write_all(sent.as_bytes()).await.expect("sent");
        assert_eq!(ended(&mut stream).await, "", "{sent}");
    }
    // The second head on a connection has the same time limit as the first.
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut response = Vec::new();
    while !response.ends_with(b"tls=false") {
        response.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    stream.write_all(b"GET / HT").await.expect("sent");
    assert_eq!(ended(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_head_timeout_but_not_its_own() {
    let (head, idle) = (50, 400);
    let options = Options {
        head_timeout_ms: milliseconds(head),
        idle_timeout_ms: milliseconds(idle),
        ..Options::default()
    };
    let server = Server::start_with(options, |listener| listener);
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let asked = Instant::now();
    let response = ended(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(asked.elapsed() >= Duration::from_millis(idle), "closed after {:?}", asked.elapsed());
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let options = Options {
        head_timeout_ms: milliseconds(200),
        idle_timeout_ms: milliseconds(50),
        ..Options::default()
    };
    let server = Server::start_with(options, |listener| listener);
    let stream = TcpStream::connect(server.address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://x.test/").body(Empty::<Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.expect("a response");
    assert!(response.into_body().collect().await.is_ok());
    // The sender is not dropped, so that only the server can end this.
    let ended = timeout(PATIENCE, connection).await.expect("in time").expect("joined");
    assert!(ended.is_ok(), "it was told before: {ended:?}");
    assert!(sender.is_closed());
}

#[tokio::test]
async fn a_running_request_is_not_idle() {
    let options = Options {
        head_timeout_ms: milliseconds(20),
        idle_timeout_ms: milliseconds(20),
        ..Options::default()
    };
    let mut server = Server::start_with(options, |listener| listener);
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("running");
    // Another connection is closed as idle in the meantime, so that this one had enough time to be closed.
    let mut other = TcpStream::connect(server.address).await.expect("connected");
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    ended(&mut other).await;
    server.release.notify_waiters();
    assert!(ended(&mut stream).await.ends_with("waited"));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = Options { connections_max: NonZeroUsize::new(1).expect("not zero"), ..Options::default() };
    let mut server = Server::start_with(options, |listener| listener.with_metrics(&metrics));
    let mut first = TcpStream::connect(server.address).await.expect("connected");
    first.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("running");
    let mut second = TcpStream::connect(server.address).await.expect("queued");
    assert_eq!(ended(&mut second).await, "");

    server.release.notify_waiters();
    assert!(ended(&mut first).await.ends_with("waited"));
    let drained = server.stop().await.expect("joined").expect("served");
    assert_eq!(drained.cut, 0);

    let text = encoded(&registry);
    for line in [
        "edge_connections_open{listener=\"test\"} 0",
        "edge_connections_accepted_total{listener=\"test\"} 1",
        "edge_connections_refused_total{listener=\"test\",reason=\"Connections\"} 1",
        "edge_requests_total{listener=\"test\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn invalid_options_are_rejected() {
    let read = |text: &str| serde_json::from_str::<Options>(text).map_err(|error| error.to_string());
    assert_eq!(read("{}"), Ok(Options::default()));
    assert_eq!(read(r#"{"head_timeout_ms": 5}"#).map(|options| options.head_timeout_ms), Ok(milliseconds(5)));
    for (text, why) in [
        (r#"{"head_timeout": 5}"#, "unknown field `head_timeout`"),
        (r#"{"connections_max": 0}"#, "nonzero"),
        (r#"{"head_bytes_max": 100}"#, "must be at least 8192"),
    ] {
        let error = read(text).expect_err("it is refused");
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_is_still_sending_receives_the_error_response() {
    let server = Server::start();
    let heads = ["Content-Length: 33554432", "Transfer-Encoding: chunked"];
    for head in heads {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        let head = format!("POST /refuse HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n2000000\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // Far more than all buffers: this ends only if the server continues to read, and fails if it resets the connection.
        let piece = vec![b'a'; 64 * 1024];
        for _ in 0..500 {
            timeout(PATIENCE, stream.write_all(&piece)).await.expect("in time").expect("no reset");
        }
        let response = ended(&mut stream).await;
        assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    }
}

#[tokio::test]
async fn a_connection_whose_rejected_body_never_ends_is_closed() {
    let options = Options { unread_timeout_ms: milliseconds(100), ..Options::default() };
    let server = Server::start_with(options, |listener| listener);
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").await.expect("sent");
    assert!(ended(&mut stream).await.starts_with("HTTP/1.1 413"));
    let began = Instant::now();
    // Our side is shut down; the server does not wait forever for the other one.
    while stream.write_all(b"x").await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the connection is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_body_below_the_least_rate_is_aborted() {
    let options = Options {
        body_grace_ms: milliseconds(200),
        body_bytes_per_second_min: NonZeroU32::new(1_000).expect("not zero"),
        ..Options::default()
    };
    let server = Server::start_with(options, |listener| listener);
    for (head, piece) in [("Content-Length: 100000", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")] {
        let mut stream = TcpStream::connect(server.address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        // A byte every ten milliseconds is a hundred per second: never silent, always too slow.
        let (mut reader, mut writer) = stream.split();
        let trickle = async {
            loop {
                if writer.write_all(piece.as_bytes()).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut response = vec![0; 4096];
        let length = tokio::select! {
            () = trickle => unreachable!("it never ends"),
            length = timeout(PATIENCE, reader.read(&mut response)) => length.expect("in time").expect("a response"),
        };
        let response = String::from_utf8_lossy(&response[..length]);
        assert!(
            response.starts_with("HTTP/1.1 400") && response.contains("arrives too slowly"),
            "{response}"
        );
    }
    // Bytes that arrive at the rate, after a pause within the grace period, are accepted.
    let body = "x".repeat(1_000);
    let request =
        format!("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{body}");
    assert!(raw(server.address, request.as_bytes()).await.ends_with(&body));
}

#[tokio::test]
async fn a_body_that_stops_after_a_fast_start_is_aborted() {
    let options = Options {
        body_window_ms: milliseconds(300),
        body_grace_ms: milliseconds(100),
        body_bytes_per_second_min: NonZeroU32::new(240).expect("not zero"),
        ..Options::default()
    };
    let server = Server::start_with(options, |listener| listener);
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    let (mut reader, mut writer) = stream.split();
    // Three of four megabytes; at the least rate they would count for hours.
    let mut request = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".to_vec();
    request.resize(request.len() + 3_000_000, b'x');
    writer.write_all(&request).await.expect("sent");
    let mut response = vec![0; 4096];
    let length = timeout(PATIENCE, reader.read(&mut response)).await.expect("in time").expect("a response");
    let response = String::from_utf8_lossy(&response[..length]);
    assert!(response.starts_with("HTTP/1.1 400") && response.contains("arrives too slowly"), "{response}");
    assert!(response.contains("there are 3000000 bytes, 0 of them in the last"), "{response}");
}

#[tokio::test]
async fn a_connection_whose_client_never_reads_is_closed() {
    let options = Options { write_timeout_ms: milliseconds(200), ..Options::default() };
    let server = Server::start_with(options, |listener| listener);
    let request = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut lazy = TcpStream::connect(server.address).await.expect("connected");
    lazy.write_all(request).await.expect("sent");
    let began = Instant::now();
    // Closed by the server although this side still has not read anything.
    while lazy.write_all(b"x").await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the connection is still open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A client that reads slowly but steadily receives all of it.
    let mut slow = TcpStream::connect(server.address).await.expect("connected");
    slow.write_all(request).await.expect("sent");
    let (mut buffer, mut read_bytes) = (vec![0; 256 * 1024], 0);
    loop {
        let length = timeout(PATIENCE, slow.read(&mut buffer)).await.expect("in time").expect("no reset");
        if length == 0 {
            break;
        }
        read_bytes += length;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(read_bytes > LARGE_BYTES, "{read_bytes}");
}
