//! A connection changes from HTTP to a `Socket`.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;

use edge::Socket;
use mio::{Events, Interest, Poll, Token};
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server};

const REQUEST: &str = "GET /upgrade HTTP/1.1\r\nHost: x.test\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n";

/// Reads until `wanted` bytes are there, waiting with a poll of our own.
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

/// Reads a response head, one byte at a time so that nothing behind it is taken.
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
async fn bytes_behind_the_request_arrive_first() {
    let mut server = Server::start();
    let address = server.address;
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(format!("{REQUEST}early").as_bytes()).expect("the request goes out");
        let head = read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        stream.write_all(b" late").expect("bytes go out");
        let mut answer = [0; 11];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"hello world");
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
