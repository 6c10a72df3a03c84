//! Clients that do not read the responses that they requested.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::{Duration, Instant};

use edge::{Metrics, Options};
use prometheus_client::registry::Registry;
use testkit::{Heard, RawHttp2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::harness::{LARGE_BYTES, PATIENCE, Server, encoded, raw};

fn milliseconds(value: u64) -> NonZeroU64 {
    NonZeroU64::new(value).expect("not zero")
}

fn server(options: Options) -> (Server, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    (Server::start_with(options, |listener| listener.with_metrics(&metrics)), registry)
}

fn has(registry: &Registry, line: &str) {
    let text = encoded(registry);
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
}

async fn connect(server: &Server, window: u32) -> RawHttp2 {
    RawHttp2::connect(&server.address.to_string(), window).await.expect("connected")
}

#[tokio::test]
async fn http2_streams_without_window_are_reset() {
    let (server, registry) = server(Options { write_timeout_ms: milliseconds(300), ..Options::default() });
    let mut client = connect(&server, 0).await;
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(client.get("/medium").await.expect("sent"));
    }
    while !open.is_empty() {
        match client.heard().await.expect("it answers") {
            Heard::Reset(id, RawHttp2::CANCEL) => open.retain(|stream| *stream != id),
            Heard::Head(_, false) => {}
            other => panic!("{other:?} while {} streams wait", open.len()),
        }
    }
    has(&registry, "edge_answers_cut_total{listener=\"test\",reason=\"Stalled\"} 50");
    // The connection still works for a client that reads.
    let stream = client.get("/").await.expect("sent");
    client.grant(stream, 1_000).await.expect("sent");
    assert!(client.text(stream).await.expect("a response").starts_with("GET http://"));
}

#[tokio::test]
async fn http2_streams_read_byte_by_byte_are_reset() {
    let (server, _registry) = server(Options { write_timeout_ms: milliseconds(500), ..Options::default() });
    // hyper passes a piece to h2 as soon as one byte of it may be sent: so also with a first byte that is granted immediately.
    for (path, window) in [("/medium", 0), ("/medium", 1), ("/", 0), ("/", 1)] {
        let mut client = connect(&server, window).await;
        let stream = client.get(path).await.expect("sent");
        let mut ticks = interval(Duration::from_millis(50));
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < PATIENCE, "it is still served");
            tokio::select! {
                _ = ticks.tick() => client.grant(stream, 1).await.expect("sent"),
                heard = client.heard() => match heard.expect("it answers") {
                    Heard::Reset(id, RawHttp2::CANCEL) if id == stream => break,
                    Heard::Head(..) | Heard::Data(_, _, false) => {}
                    other => panic!("{other:?}"),
                },
            }
        }
    }
}

#[tokio::test]
async fn an_http2_stream_read_slowly_and_steadily_gets_its_complete_response() {
    let (server, registry) = server(Options { write_timeout_ms: milliseconds(2_000), ..Options::default() });
    let mut client = connect(&server, 0).await;
    let stream = client.get("/medium").await.expect("sent");
    let began = Instant::now();
    let (mut ticks, mut bytes) = (interval(Duration::from_millis(30)), 0);
    loop {
        tokio::select! {
            // Longer than the timeout in total, and never as long at a time.
            _ = ticks.tick() => client.grant(stream, 3_000).await.expect("sent"),
            heard = client.heard() => match heard.expect("it answers") {
                Heard::Data(_, data, end) => {
                    bytes += data.len();
                    if end {
                        break;
                    }
                }
                Heard::Head(_, false) => {}
                other => panic!("{other:?}"),
            },
        }
    }
    assert_eq!(bytes, 300_000);
    assert!(began.elapsed() > Duration::from_millis(2_500), "{:?}", began.elapsed());
    assert!(!encoded(&registry).contains("edge_answers_cut_total{"), "nothing was cut");
}

#[tokio::test]
async fn a_response_that_sends_nothing_for_a_while_is_not_aborted() {
    let options = Options { write_timeout_ms: milliseconds(100), ..Options::default() };
    let (mut server, _registry) = server(options);
    let mut client = connect(&server, 65_535).await;
    let stream = client.get("/events").await.expect("sent");
    let request = "GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let http1 = tokio::spawn(async move { raw(server.address, request.as_bytes()).await });
    for _ in 0..2 {
        timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("it waits");
    }
    // Another stream is reset because of its silent reader in the meantime, more than once.
    let mut other = RawHttp2::connect(&server.address.to_string(), 0).await.expect("connected");
    for _ in 0..3 {
        other.get("/medium").await.expect("sent");
        while !matches!(other.heard().await.expect("it answers"), Heard::Reset(..)) {}
    }
    server.release.notify_waiters();
    assert_eq!(client.text(stream).await.expect("all of it"), "event 0\nevent 1\n");
    let response = http1.await.expect("joined");
    assert!(response.contains("event 0\n") && response.contains("event 1\n"), "{response}");
}

#[tokio::test]
async fn an_address_with_too_many_unread_bytes_gets_no_further_response() {
    let megabytes = |count: usize| NonZeroUsize::new(count * 1024 * 1024).expect("not zero");
    let options = Options {
        unsent_bytes_per_address_max: megabytes(40),
        write_timeout_ms: milliseconds(1_000),
        ..Options::default()
    };
    let (server, registry) = server(options);
    // The first is alone; with the second the total would exceed the limit.
    let mut client = connect(&server, 0).await;
    let first = client.get("/large").await.expect("sent");
    assert_eq!(client.heard().await.expect("a response"), Heard::Head(first, false));
    let second = client.get("/large").await.expect("sent");
    let told = client.heard().await.expect("it is told");
    assert!(matches!(told, Heard::Reset(id, _) if id == second), "{told:?}");
    has(&registry, "edge_answers_cut_total{listener=\"test\",reason=\"Unsent\"} 1");
    // Once the first is reset, the quota is free again.
    assert_eq!(client.heard().await.expect("it is told"), Heard::Reset(first, RawHttp2::CANCEL));
    let response = raw(server.address, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(response.len() > LARGE_BYTES);
}

#[tokio::test]
async fn an_address_above_its_unread_limit_is_answered_with_503() {
    let options = Options {
        unsent_bytes_per_address_max: NonZeroUsize::new(1024 * 1024).expect("not zero"),
        ..Options::default()
    };
    let (server, registry) = server(options);
    // Larger than the limit, but alone.
    let mut client = connect(&server, 0).await;
    let stream = client.get("/large").await.expect("sent");
    assert_eq!(client.heard().await.expect("a response"), Heard::Head(stream, false));
    let response = raw(server.address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("retry-after: 5"), "{response}");
    assert!(response.contains("wait for the clients of your address to read them"), "{response}");
    has(&registry, "edge_requests_refused_total{listener=\"test\",reason=\"Unsent\"} 1");
}

#[tokio::test]
async fn the_http2_requests_of_an_address_are_bounded_over_all_its_connections() {
    let options = Options {
        http2_streams_per_address_max: NonZeroU32::new(3).expect("not zero"),
        ..Options::default()
    };
    let (mut server, registry) = server(options);
    let mut first = connect(&server, 65_535).await;
    let mut second = connect(&server, 65_535).await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(first.get("/wait").await.expect("sent"));
        timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("it runs");
    }
    let refused = second.get("/").await.expect("sent");
    let text = second.text(refused).await.expect("a response");
    assert!(text.contains("edge-too-many-streams"), "{text}");
    has(&registry, "edge_requests_refused_total{listener=\"test\",reason=\"Streams\"} 1");
    server.release.notify_waiters();
    while !running.is_empty() {
        match first.heard().await.expect("a response") {
            Heard::Data(id, _, true) => running.retain(|stream| *stream != id),
            Heard::Head(_, false) | Heard::Data(_, _, false) => {}
            other => panic!("{other:?}"),
        }
    }
    let served = second.get("/").await.expect("sent");
    assert!(second.text(served).await.expect("a response").starts_with("GET "));
}

#[tokio::test]
async fn an_http1_connection_read_below_the_least_rate_is_closed() {
    let options = Options {
        write_timeout_ms: milliseconds(500),
        write_bytes_per_second_min: NonZeroU32::new(1_000_000).expect("not zero"),
        ..Options::default()
    };
    let (server, registry) = server(options);
    let mut stream = TcpStream::connect(server.address).await.expect("connected");
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
    let (mut ticks, began) = (interval(Duration::from_millis(10)), Instant::now());
    let mut read = 0;
    // A hundred kilobytes per second: never silent, always too slow.
    let mut buffer = [0; 1_000];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        read += length;
        ticks.tick().await;
        assert!(began.elapsed() < PATIENCE, "it is still served");
    }
    assert!(read < LARGE_BYTES, "{read} bytes");
    has(&registry, "edge_answers_cut_total{listener=\"test\",reason=\"Slow\"} 1");
}
