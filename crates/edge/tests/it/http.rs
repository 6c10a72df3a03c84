//! HTTP/1.1 and HTTP/2, plain and TLS, on one port, and the requests that services receive.

use std::num::{NonZeroU32, NonZeroUsize};

use edge::{DevAuthority, Listener, Metrics, Options};
use http::Request;
use http_body_util::{BodyExt, Empty};
use http_messages::Body;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::registry::Registry;
use testkit::{Heard, RawHttp2};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, encoded, raw, tls_connect};

fn get(uri: String) -> Request<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Request::get(uri).header("host", "x.test:81").body(body).expect("a request")
}

async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Body>) -> String {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.expect("HTTP/1.1");
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("a response");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    drop(sender);
    connection.await.expect("joined").expect("a clean end");
    String::from_utf8(body.to_vec()).expect("text")
}

async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Body>) -> String {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.expect("a response");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    drop(sender);
    connection.await.expect("joined").expect("a clean end");
    String::from_utf8(body.to_vec()).expect("text")
}

#[tokio::test]
async fn one_port_serves_http1_http2_tls_and_websockets() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = DevAuthority::load_or_create(dir.path()).expect("an authority");
    let tls = authority.tls_config().expect("a certificate");
    let server = Server::start_with(Default::default(), |listener: Listener| listener.with_tls(tls));
    let plain = || async { TcpStream::connect(server.address).await.expect("connected") };
    let path = authority.certificate_path();

    assert_eq!(
        http1(plain().await, get("/a?b=c".to_owned())).await,
        "GET http://x.test:81/a?b=c HTTP/1.1 tls=false"
    );
    assert_eq!(
        http2(plain().await, get("http://y.test/a".to_owned())).await,
        "GET http://y.test/a HTTP/2.0 tls=false"
    );
    let encrypted = tls_connect(server.address, path, &[b"http/1.1"]).await;
    assert_eq!(http1(encrypted, get("/a".to_owned())).await, "GET https://x.test:81/a HTTP/1.1 tls=true");
    let encrypted = tls_connect(server.address, path, &[b"h2", b"http/1.1"]).await;
    assert_eq!(encrypted.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(
        http2(encrypted, get("https://localhost/a".to_owned())).await,
        "GET https://localhost/a HTTP/2.0 tls=true"
    );
}

#[tokio::test]
async fn a_method_that_begins_like_http2_is_http1() {
    let server = Server::start();
    for method in ["POST", "PUT", "PRIX"] {
        let request =
            format!("{method} /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
        let response = raw(server.address, request.as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("hi"), "{method}: {response}");
    }
}

#[tokio::test]
async fn a_malformed_host_is_answered_with_400_and_the_reason() {
    let server = Server::start();
    let request = "GET / HTTP/1.1\r\nHost: user@x\r\nConnection: close\r\n\r\n";
    let response = raw(server.address, request.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    assert!(response.contains("\"code\":\"edge-malformed-host\""), "{response}");
    assert!(response.contains("`user@x` is not a host name with an optional port"), "{response}");
    let response =
        raw(server.address, b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 501"), "{response}");
}

#[tokio::test]
async fn tls_without_a_certificate_is_closed_and_plain_http_is_served() {
    let server = Server::start();
    assert_eq!(raw(server.address, b"\x16\x03\x01\x00\x05hello").await, "");
    let response = raw(server.address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[tokio::test]
async fn a_panic_of_the_service_ends_its_own_connection_only() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    // One slot besides that of the other connection: a panic must release it.
    let options = Options { connections_max: NonZeroUsize::new(2).expect("not zero"), ..Options::default() };
    let mut server = Server::start_with(options, |listener| listener.with_metrics(&metrics));
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let other = request("/wait");
    let address = server.address;
    let other = tokio::spawn(async move { raw(address, other.as_bytes()).await });
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("running");
    for _ in 0..5 {
        assert_eq!(raw(server.address, request("/panic").as_bytes()).await, "");
    }
    let response = raw(server.address, request("/").as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    server.release.notify_waiters();
    assert!(other.await.expect("it did not panic").ends_with("waited"));
    let drained = server.stop().await.expect("joined").expect("served");
    assert_eq!(drained.cut, 0);
    let text = encoded(&registry);
    assert!(text.lines().any(|line| line == "edge_connections_open{listener=\"test\"} 0"), "{text}");
}

#[tokio::test]
async fn a_panic_of_the_service_ends_its_own_http2_stream_only() {
    let options = Options {
        http2_streams_max: NonZeroU32::new(2).expect("not zero"),
        http2_streams_per_address_max: NonZeroU32::new(2).expect("not zero"),
        ..Options::default()
    };
    let mut server = Server::start_with(options, |listener| listener);
    let mut client = RawHttp2::connect(&server.address.to_string(), 65_535).await.expect("connected");
    let waiting = client.get("/wait").await.expect("sent");
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("running");
    // More often than there are stream slots.
    for _ in 0..5 {
        let stream = client.get("/panic").await.expect("sent");
        let heard = client.heard().await.expect("the connection goes on");
        assert!(matches!(heard, Heard::Reset(id, _) if id == stream), "{heard:?}");
    }
    let stream = client.get("/").await.expect("sent");
    assert!(client.text(stream).await.expect("a response").starts_with("GET http://"));
    server.release.notify_waiters();
    assert_eq!(client.text(waiting).await.expect("a response"), "waited");
    drop(client);
    let drained = server.stop().await.expect("joined").expect("served");
    assert_eq!(drained.cut, 0);
}
