//! Silent connections are evicted for active ones.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use edge::{Metrics, Options, Quotas};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, encoded, raw};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// A connection counts as silent from its first millisecond on.
fn at_once(options: Options) -> Options {
    Options { silent_after_ms: std::num::NonZeroU64::MIN, ..options }
}

fn count(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).expect("not zero")
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.expect("connected")
}

/// Reads until the listener closes; a connection that is closed with unread bytes is reset.
async fn end(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut response)).await.expect("it ends");
    String::from_utf8(response).expect("text")
}

/// Sends a request and reads the response; the connection stays open.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(GET).await.expect("sent");
    let mut response = Vec::new();
    while !response.ends_with(b"tls=false") {
        response.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
}

#[tokio::test]
async fn a_new_connection_replaces_the_connection_of_its_address_that_was_silent_longest() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = at_once(Options { connections_per_address_max: count(4), ..Options::default() });
    let server = Server::start_with(options, |listener| listener.with_metrics(&metrics));
    // Older than all others, with one request: idle, and evicted after those that never sent one.
    let mut idle = connect(&server).await;
    ask(&mut idle).await;
    let mut half = connect(&server).await;
    half.write_all(b"GET / HTTP").await.expect("sent");
    let mut first = connect(&server).await;
    let mut second = connect(&server).await;
    // Four are open; each new connection replaces the one that is first in the order of eviction.
    let mut newcomers = Vec::new();
    for silent in [&mut first, &mut second, &mut half, &mut idle] {
        newcomers.push(served(&server).await);
        assert_eq!(end(silent).await, "");
    }
    has(&registry, "edge_connections_evicted_total{listener=\"test\"} 4");
    for newcomer in &mut newcomers {
        ask(newcomer).await;
    }
}

/// A new connection with a request and a response. Earlier connections may be too new to count as silent.
async fn served(server: &Server) -> TcpStream {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "there is no place");
        let mut stream = connect(server).await;
        let mut first = [0];
        // A connection that is closed immediately may end in a reset.
        if stream.write_all(GET).await.is_ok() && stream.read(&mut first).await.is_ok_and(|read| read == 1) {
            let mut response = Vec::new();
            while !response.ends_with(b"tls=false") {
                response.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
            }
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn has(registry: &Registry, line: &str) {
    let text = encoded(registry);
    assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn a_connection_with_a_running_request_is_never_evicted() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = Options { connections_per_address_max: count(1), ..Options::default() };
    let mut server = Server::start_with(options, |listener| listener.with_metrics(&metrics));
    let mut running = connect(&server).await;
    running.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
    timeout(PATIENCE, server.waiting.recv()).await.expect("in time").expect("it runs");
    for _ in 0..3 {
        assert_eq!(end(&mut connect(&server).await).await, "", "there is no place");
    }
    has(&registry, "edge_connections_refused_total{listener=\"test\",reason=\"Address\"} 3");
    server.release.notify_waiters();
    assert!(end(&mut running).await.ends_with("waited"));
}

#[tokio::test]
async fn upgraded_connections_do_not_count() {
    let options =
        Options { connections_max: count(2), connections_per_address_max: count(2), ..Options::default() };
    let mut server = Server::start_with(options, |listener| listener);
    let mut sockets = Vec::new();
    for _ in 0..6 {
        let mut stream = connect(&server).await;
        let upgrade = b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n";
        stream.write_all(upgrade).await.expect("sent");
        let socket = timeout(PATIENCE, server.sockets.recv()).await.expect("in time").expect("a socket");
        sockets.push((stream, socket));
    }
    ask(&mut connect(&server).await).await;
}

#[tokio::test]
async fn hundreds_of_silent_connections_do_not_block_new_ones() {
    let options = at_once(Options { connections_max: count(100), ..Options::default() });
    let server = Server::start_with(options, |listener| listener);
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(connect(&server).await);
        if silent.len() % 100 == 0 {
            served(&server).await;
        }
    }
    served(&server).await;
    for stream in &mut silent[..300] {
        assert_eq!(end(stream).await, "");
    }
}

#[tokio::test]
async fn a_port_with_many_connections_leaves_descriptors_to_another() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    // As if the process could open only this many more, of which 48 are for itself and a quarter of the rest for each port.
    let quotas = Quotas::of_files(48 + 40, 2);
    let mut first =
        Server::start_with(Options::default(), |one| one.with_metrics(&metrics).with_quotas(&quotas));
    let second = Server::start_with(Options::default(), |one| one.with_quotas(&quotas));
    let mut held = Vec::new();
    // Upgraded connections keep their descriptors.
    for _ in 0..15 {
        let mut stream = connect(&first).await;
        let upgrade = b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n";
        stream.write_all(upgrade).await.expect("sent");
        let socket = timeout(PATIENCE, first.sockets.recv()).await.expect("in time").expect("a socket");
        held.push((stream, Some(socket)));
    }
    for _ in 0..15 {
        let mut stream = connect(&first).await;
        stream.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        timeout(PATIENCE, first.waiting.recv()).await.expect("in time").expect("it runs");
        held.push((stream, None));
    }
    assert_eq!(end(&mut connect(&first).await).await, "", "all that it may have are in use");
    has(&registry, "edge_connections_refused_total{listener=\"test\",reason=\"Descriptors\"} 1");
    // The reserved descriptors are left to the other port.
    let mut others = Vec::new();
    for _ in 0..10 {
        let mut stream = connect(&second).await;
        ask(&mut stream).await;
        others.push(stream);
    }
    // Returned descriptors can be used again.
    held.truncate(14);
    let response = raw(first.address, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}
