//! Draining a listener.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;

use bytes::Bytes;
use edge::{Drained, Options};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server};

fn send(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).expect("the listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("the request goes out");
    stream
}

fn read_to_end(mut stream: TcpStream) -> String {
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response, and then the end");
    response
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_finishes_running_requests_and_rejects_new_ones() {
    let mut server = Server::start();
    let address = server.address;
    let idle = send(&server, "");
    let running = send(&server, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("the request is running");
    let release = server.release.clone();
    let stopped = server.stop();
    // The idle connection ends when draining starts, and the port is free by then.
    assert_eq!(tokio::task::spawn_blocking(|| read_to_end(idle)).await.expect("joined"), "");
    assert!(TcpStream::connect(address).is_err(), "a draining listener takes nothing new");
    release.notify_waiters();
    let response = tokio::task::spawn_blocking(|| read_to_end(running)).await.expect("joined");
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("waited"), "{response}");
    assert!(response.contains("connection: close"), "the client must know: {response}");
    let drained = stopped.await.expect("joined").expect("served");
    assert_eq!(drained.cut, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_finish_are_aborted() {
    let limit = NonZeroU64::new(50).expect("not zero");
    let options = Options { drain_timeout_ms: limit, ..Options::default() };
    let mut server = Server::start_with(options, |listener| listener);
    let running = send(&server, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("the request is running");
    let drained = timeout(PATIENCE, server.stop()).await.expect("in time").expect("joined").expect("served");
    assert_eq!(drained, Drained { finished: 0, cut: 1 });
    assert_eq!(read_to_end(running), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_sends_goaway_and_finishes_http2_requests() {
    let mut server = Server::start();
    let stream = tokio::net::TcpStream::connect(server.address).await.expect("connected");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let body = Empty::<Bytes>::new();
    let request = http::Request::get("http://x.test/wait").body(body).expect("a request");
    let running = tokio::spawn(sender.send_request(request));
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("the request is running");
    let release = server.release.clone();
    let stopped = server.stop();
    // The client learns that it must not send another request, while its request is still running.
    while sender.ready().await.is_ok() {
        let late = http::Request::get("http://x.test/").body(Empty::new()).expect("a request");
        let Ok(response) = sender.send_request(late).await else { break };
        // Read to the end: dropped bodies reset their streams, and too many resets end the connection.
        let _ = response.into_body().collect().await;
    }
    release.notify_waiters();
    let response = timeout(PATIENCE, running).await.expect("in time").expect("joined").expect("a response");
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "waited");
    let drained = timeout(PATIENCE, stopped).await.expect("in time").expect("joined").expect("served");
    assert_eq!(drained, Drained { finished: 1, cut: 0 });
    timeout(PATIENCE, connection).await.expect("in time").expect("joined").expect("a clean end");
}
