//! Requests, their limits, and the connections that remain after them.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use egress::{HttpVersion, Metrics, Options, RequestTimeout, SendError};
use http::Request;
use http_body_util::{BodyExt, Full};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::harness::{PATIENCE, Server, client, empty, get, options, text};

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let server = Server::start().await;
    let client = client(&options());
    let uri = format!("http://{}/a?b=c", server.address);
    for _ in 0..3 {
        let seen = text(&client, &uri).await;
        assert_eq!(seen, format!("GET /a?b=c HTTP/1.1 host=Some(\"{}\") login=None", server.address));
    }
    assert_eq!(server.connections(), 1);
    tokio::time::timeout(PATIENCE, client.close()).await.expect("in time");
    text(&client, &uri).await;
    assert_eq!(server.connections(), 2, "a closed connection is not used again");
}

#[tokio::test]
async fn http2_without_tls_is_used_if_configured() {
    let server = Server::start().await;
    let client = client(&Options { http_version: HttpVersion::Http2, ..options() });
    let uri = format!("http://{}/a", server.address);
    let (first, second) = tokio::join!(text(&client, &uri), text(&client, &uri));
    assert!(first.contains("HTTP/2.0"), "{first}");
    assert_eq!(first, second);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_client_is_a_tower_service_that_streams_bodies() {
    let server = Server::start().await;
    let body = Full::new(Bytes::from("hello")).map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::post(format!("http://{}/", server.address)).body(body).expect("a request");
    // A request received over HTTP/2 is sent with the version of the outgoing connection.
    *request.version_mut() = http::Version::HTTP_2;
    let response = client(&options()).oneshot(request).await.expect("a response");
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "hello");
}

#[tokio::test]
async fn a_server_that_never_responds_times_out() {
    // Connections queue in the kernel; they are never accepted.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("http://{}/", listener.local_addr().expect("bound"));
    let limit = NonZeroU64::new(30).expect("not zero");
    let quick = client(&Options { request_timeout_ms: limit, ..options() });
    let error = quick.call(get(&uri)).await.expect_err("nobody answers");
    assert!(matches!(error, SendError::Timeout { after } if after == Duration::from_millis(30)), "{error:?}");
    assert!(!error.nothing_sent());
    // One request may have a limit of its own.
    let mut request = Request::get(&uri).body(empty()).expect("a request");
    request.extensions_mut().insert(RequestTimeout(Duration::from_millis(20)));
    let error = client(&options()).send(request).await.expect_err("nobody answers");
    assert_eq!(error.to_string(), "no response within 20ms");
}

#[tokio::test]
async fn a_response_above_the_limit_is_an_error() {
    let server = Server::start().await;
    let bytes_max = NonZeroUsize::new(1000).expect("not zero");
    let client = client(&Options { response_bytes_max: bytes_max, ..options() });
    let uri = |bytes: usize| format!("http://{}/bytes/{bytes}", server.address);
    assert_eq!(text(&client, &uri(1000)).await.len(), 1000);
    let error = client.call(get(&uri(1001))).await.expect_err("it is too large");
    assert!(matches!(error, SendError::BodyTooLarge { bytes_max: 1000 }), "{error:?}");
    // A streamed body is limited by its reader.
    let request = Request::get(uri(1001)).body(empty()).expect("a request");
    let response = client.send(request).await.expect("a response");
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes().len(), 1001);
}

#[tokio::test]
async fn a_response_without_buffer_capacity_is_an_error() {
    let server = Server::start().await;
    let room = http_messages::Options {
        memory_bytes_max: 1 << 20,
        wait_ms: 20,
        ..http_messages::Options::default()
    };
    let bodies = http_messages::Budget::new(room, &std::env::temp_dir(), http_messages::Metrics::default());
    let client = client(&options()).with_bodies(bodies.clone());
    let uri = format!("http://{}/bytes/1000", server.address);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut taken = Full::new(Bytes::from(vec![0; http_messages::SMALL_BYTES]));
        held.push(bodies.read(&mut taken, http_messages::SMALL_BYTES).await.expect("there is room"));
    }
    let error = client.call(get(&uri)).await.expect_err("there is no room");
    assert!(matches!(error, SendError::OverBudget { .. }) && !error.nothing_sent(), "{error:?}");
    drop(held);
    assert_eq!(text(&client, &uri).await.len(), 1000);
}

#[tokio::test]
async fn an_error_states_whether_the_request_was_sent() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let client = egress::Client::new(&options(), &metrics).expect("options are right");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let error = client.call(get(&format!("http://{free}/"))).await.expect_err("nobody listens");
    assert!(matches!(&error, SendError::Connect { host, .. } if *host == free.to_string()), "{error:?}");
    assert!(error.nothing_sent());
    // A label has at most 63 bytes (RFC 1035 section 2.3.4), so that no resolver needs to be queried.
    let name = format!("{}.test", "a".repeat(64));
    let error = client.call(get(&format!("http://{name}/"))).await.expect_err("no such name");
    assert!(matches!(&error, SendError::Resolve { host, .. } if *host == name), "{error:?}");
    for uri in ["/relative", "ftp://x.test/"] {
        let error = client.call(get(uri)).await.expect_err("no address");
        assert_eq!(error.to_string(), format!("`{uri}` is not an absolute http or https address"));
        assert!(error.nothing_sent());
    }
    // A server that receives a request and closes may have carried it out.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        stream.read_u8().await.expect("a request");
    });
    let error = client.call(get(&format!("http://{address}/"))).await.expect_err("it left");
    assert!(matches!(error, SendError::Protocol { .. }) && !error.nothing_sent(), "{error:?}");

    client.close().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes all text");
    for line in [
        "egress_requests_total 5",
        "egress_failures_total{cause=\"connect\"} 1",
        "egress_failures_total{cause=\"resolve\"} 1",
        "egress_failures_total{cause=\"address\"} 2",
        "egress_failures_total{cause=\"protocol\"} 1",
        "egress_connections_open 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn an_upgrade_response_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let response =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\nhello";
        stream.write_all(response).await.expect("the client is there");
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.expect("the client speaks");
        said
    });
    let request = Request::get(format!("http://{address}/"))
        .header("connection", "upgrade")
        .header("upgrade", "test")
        .body(empty())
        .expect("a request");
    let mut response = client(&options()).send(request).await.expect("a response");
    assert_eq!(response.status(), 101);
    let upgraded = hyper::upgrade::on(&mut response).await.expect("the connection");
    let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
    let mut said = [0; 5];
    upgraded.read_exact(&mut said).await.expect("the server speaks");
    assert_eq!(&said, b"hello");
    upgraded.write_all(b"world").await.expect("the server is there");
    upgraded.flush().await.expect("the server is there");
    assert_eq!(&server.await.expect("joined"), b"world");
}

#[test]
fn invalid_options_are_rejected() {
    let read = |text: &str| serde_json::from_str::<Options>(text).map_err(|error| error.to_string());
    assert_eq!(read("{}"), Ok(Options::default()));
    let options = read(
        r#"{"http_version": "http2", "proxy": {"urls": {"http": "http://p"}}, "addresses": {"base": "public-only", "allow": ["10.0.0.0/8"]}}"#,
    )
    .expect("options");
    assert_eq!(options.http_version, HttpVersion::Http2);
    for (text, why) in [
        (r#"{"connect_timeout": 5}"#, "unknown field `connect_timeout`"),
        (r#"{"proxy": {"urls": {"htp": "x"}}}"#, "unknown field `htp`"),
        (r#"{"addresses": {"deny": ["10.0.0.0/99"]}}"#, "is not a network"),
    ] {
        let error = read(text).expect_err("it is refused");
        assert!(error.contains(why), "{error}");
    }
}
