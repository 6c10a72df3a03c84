//! Upgrades of a connection from HTTP to a `Socket`.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::Arc;

use edge::{DevAuthority, Options, Socket};
use mio::{Events, Interest, Poll, Token};
use tokio::time::timeout;

use crate::harness::{self, PATIENCE, Server};

const REQUEST: &str = "GET /upgrade HTTP/1.1\r\nHost: x.test\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n";

/// Reads until `wanted` bytes have arrived, waiting with a poll of its own.
fn read_exactly(socket: &mut Socket, poll: &mut Poll, wanted: usize) -> Vec<u8> {
    let mut events = Events::with_capacity(8);
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    while read.len() < wanted {
        match socket.try_read(&mut buffer) {
            Ok(0) => panic!("closed after {} of {wanted} bytes", read.len()),
            Ok(length) => read.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(!socket.has_leftover(), "a socket that would block holds nothing back");
                poll.poll(&mut events, Some(PATIENCE)).expect("polling works");
                assert!(!events.is_empty(), "no readiness after {} of {wanted} bytes", read.len());
            }
            Err(error) => panic!("{error}"),
        }
    }
    read
}

fn registered(socket: &mut Socket) -> Poll {
    let poll = Poll::new().expect("a poll");
    let interests = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(socket, Token(7), interests).expect("the socket registers");
    poll
}

/// Reads a response head, one byte at a time so that no later byte is consumed.
fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head is complete");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_after_the_upgrade_request_are_read_first() {
    let mut server = Server::start();
    let address = server.address;
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(format!("{REQUEST}early").as_bytes()).expect("the request goes out");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        stream.write_all(b" late").expect("bytes go out");
        let mut response = [0; 11];
        stream.read_exact(&mut response).expect("a response");
        assert_eq!(&response, b"hello world");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the end");
        assert!(rest.is_empty());
    });
    let mut socket = timeout(PATIENCE, server.sockets.recv()).await.expect("in time").expect("a socket");
    assert!(socket.has_leftover() && !socket.is_tls());
    let mut poll = registered(&mut socket);
    assert_eq!(read_exactly(&mut socket, &mut poll, 10), b"early late");
    let slices = [IoSlice::new(b"hello"), IoSlice::new(b" world")];
    assert_eq!(socket.try_write_vectored(&slices).expect("a socket takes 11 bytes"), 11);
    assert!(!socket.wants_write());
    socket.shutdown_write().expect("our side ends");
    client.await.expect("the client is content");
    assert_eq!(socket.try_read(&mut [0; 8]).expect("the client has closed"), 0);
}

/// A blocking TLS client, and a listener with TLS.
struct TlsClient {
    server: Server,
    stream: rustls::StreamOwned<rustls::ClientConnection, TcpStream>,
    _dir: tempfile::TempDir,
}

fn tls_client(options: Options) -> TlsClient {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = DevAuthority::load_or_create(dir.path()).expect("an authority");
    let tls = authority.tls_config().expect("a certificate");
    let server = Server::start_with(options, |listener| listener.with_tls(tls));
    let config = harness::tls_client(authority.certificate_path(), &[b"http/1.1"]);
    let name = "localhost".try_into().expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
    let stream = TcpStream::connect(server.address).expect("the listener accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    TlsClient { server, stream: rustls::StreamOwned::new(session, stream), _dir: dir }
}

#[tokio::test(flavor = "multi_thread")]
async fn encrypted_bytes_sent_after_the_upgrade_request_are_read_first() {
    let TlsClient { mut server, mut stream, _dir } = tls_client(Options::default());
    let client = tokio::task::spawn_blocking(move || {
        // One record with the request and more, and a second one directly after it, most likely in the same segment.
        stream.conn.writer().write_all(format!("{REQUEST}early").as_bytes()).expect("room");
        stream.conn.writer().write_all(b" second").expect("room");
        stream.flush().expect("the request goes out");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        stream.write_all(b" late").expect("bytes go out");
        let mut response = [0; 11];
        stream.read_exact(&mut response).expect("a response");
        assert_eq!(&response, b"hello world");
        let mut rest = Vec::new();
        // Without close_notify this would be an error.
        stream.read_to_end(&mut rest).expect("the end");
        assert!(rest.is_empty());
        stream.conn.send_close_notify();
        stream.flush().expect("the end goes out");
    });
    let mut socket = timeout(PATIENCE, server.sockets.recv()).await.expect("in time").expect("a socket");
    assert!(socket.is_tls() && socket.has_leftover());
    let mut poll = registered(&mut socket);
    assert_eq!(read_exactly(&mut socket, &mut poll, 17), b"early second late");
    let slices = [IoSlice::new(b"hello"), IoSlice::new(b" world")];
    assert_eq!(socket.try_write_vectored(&slices).expect("a socket takes 11 bytes"), 11);
    socket.shutdown_write().expect("our side ends");
    client.await.expect("the client is content");
    assert_eq!(socket.try_read(&mut [0; 8]).expect("the client has closed"), 0);
}

/// Sends bytes with the request and after the response, and expects all of them back, and then the end.
fn check_echo(stream: &mut impl Stream) {
    let request = REQUEST.replace("/upgrade", "/duplex");
    stream.write_all(format!("{request}early").as_bytes()).expect("the request goes out");
    stream.flush().expect("the request goes out");
    let head = read_head(stream);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let late = vec![b'x'; 300_000];
    stream.write_all(&late).expect("bytes go out");
    let mut echoed = vec![0; 5 + late.len()];
    stream.read_exact(&mut echoed).expect("everything comes back");
    assert!(echoed.starts_with(b"early") && echoed.ends_with(&late));
    stream.end();
    assert_eq!(stream.read(&mut [0; 8]).expect("the end comes back"), 0);
}

trait Stream: Read + Write {
    fn end(&mut self);
}

impl Stream for TcpStream {
    fn end(&mut self) {
        self.shutdown(std::net::Shutdown::Write).expect("our side ends");
    }
}

impl Stream for rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    fn end(&mut self) {
        self.conn.send_close_notify();
        self.flush().expect("the end goes out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplex_stays_in_the_runtime_with_and_without_tls() {
    let server = Server::start();
    let address = server.address;
    let plain = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        check_echo(&mut stream);
    });
    plain.await.expect("the client is content");
    let TlsClient { server: _server, mut stream, _dir } = tls_client(Options::default());
    let encrypted = tokio::task::spawn_blocking(move || check_echo(&mut stream));
    encrypted.await.expect("the client is content");
}

#[tokio::test(flavor = "multi_thread")]
async fn unsent_ciphertext_is_bounded_and_flushed_later() {
    let bytes_max = 32 * 1024;
    let limit = NonZeroUsize::new(bytes_max).expect("not zero");
    let options = Options { upgraded_tls_bytes_max: limit, ..Options::default() };
    let TlsClient { mut server, mut stream, _dir } = tls_client(options);
    let (begin, begun) = std::sync::mpsc::channel();
    let (all, wanted) = std::sync::mpsc::channel();
    let client = tokio::task::spawn_blocking(move || {
        stream.write_all(REQUEST.as_bytes()).expect("the request goes out");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        begun.recv_timeout(PATIENCE).expect("the server is stuck");
        let mut read = Vec::new();
        stream.read_to_end(&mut read).expect("everything, and then the end");
        let wanted: usize = wanted.recv_timeout(PATIENCE).expect("the server is done");
        assert_eq!(read.len(), wanted);
        assert!(read.iter().enumerate().all(|(index, byte)| *byte == (index % 251) as u8), "in order");
    });
    let mut socket = timeout(PATIENCE, server.sockets.recv()).await.expect("in time").expect("a socket");
    let mut poll = registered(&mut socket);
    let source: Vec<u8> = (0..16 * 1024 * 1024).map(|index| (index % 251) as u8).collect();
    let mut written = 0;
    // The other side does not read: at some point the kernel's buffers and ours are full, however large the kernel's are.
    let stuck = loop {
        match socket.try_write(&source[written..]) {
            Ok(length) => {
                assert!(length <= bytes_max, "no call takes more than the limit");
                written += length;
            }
            Err(error) => break error,
        }
        assert!(written < source.len(), "the limit must hold");
    };
    assert_eq!(stuck.kind(), std::io::ErrorKind::WouldBlock);
    assert!(socket.wants_write());
    begin.send(()).expect("the client waits");
    all.send(written).expect("the client waits");
    let mut closing = socket.shutdown_write();
    let mut events = Events::with_capacity(8);
    while let Err(error) = closing {
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
        poll.poll(&mut events, Some(PATIENCE)).expect("polling works");
        assert!(!events.is_empty(), "the socket becomes writable");
        closing = socket.try_flush();
    }
    assert!(!socket.wants_write());
    client.await.expect("the client is content");
}

#[tokio::test]
async fn a_response_other_than_101_leaves_the_connection_to_http() {
    let server = Server::start();
    let request = "GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = harness::raw(server.address, request.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 426"), "no Upgrade field, no extension: {response}");
}

#[tokio::test]
async fn a_socket_can_be_made_without_http() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (stream, peer) = listener.accept().expect("accepted");
    let mut socket = Socket::from_std(stream).expect("a socket");
    assert_eq!(socket.peer_addr().expect("connected"), peer);
    let nothing = socket.try_read(&mut [0; 8]).expect_err("nothing was sent");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    let mut poll = registered(&mut socket);
    client.write_all(b"ping").expect("sent");
    assert_eq!(read_exactly(&mut socket, &mut poll, 4), b"ping");
}
