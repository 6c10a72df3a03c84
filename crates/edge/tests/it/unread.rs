//! Responses sent before the request's body was read: the connection can be reused, or the client is told that it closes.

use edge::Options;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server};

/// A connection on which responses are read one by one, by their length.
struct AddressUsage(TcpStream);

impl AddressUsage {
    async fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self(stream)
    }

    async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.0.write_all(bytes)).await.expect("in time").expect("sent");
    }

    /// The head of the next response, in lower case; its body is read.
    async fn answer(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.expect("in time").expect("a response"));
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length = length.split_once('\r').expect("a line").0.parse().expect("a number");
        let mut body = vec![0; length];
        timeout(PATIENCE, self.0.read_exact(&mut body)).await.expect("in time").expect("a body");
        head
    }

    /// A request on this connection gets a response: it was not closed.
    async fn is_usable(&mut self) {
        self.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = self.answer().await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
    }

    async fn is_closed(&mut self) {
        let mut rest = [0];
        let read = timeout(PATIENCE, self.0.read(&mut rest)).await.expect("in time");
        assert_eq!(read.expect("no reset"), 0);
    }
}

fn head(path: &str, field: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n")
}

#[tokio::test]
async fn a_connection_is_reused_after_a_body_that_the_service_did_not_read() {
    let server = Server::start();
    let mut client = AddressUsage::connect(&server).await;
    // Refused and accepted; smaller than any buffer, as Node.js sends it, and as large as the limit; of known and of unknown
    // length.
    for path in ["/refuse", "/ignore"] {
        for length in [1, 3_000, 70_000, 256 * 1024] {
            let body = "x".repeat(length);
            for separately in [false, true] {
                let known = (head(path, &format!("Content-Length: {length}")), body.clone());
                let chunked =
                    (head(path, "Transfer-Encoding: chunked"), format!("{length:x}\r\n{body}\r\n0\r\n\r\n"));
                for (head, body) in [known, chunked] {
                    if separately {
                        client.send(head.as_bytes()).await;
                        client.send(body.as_bytes()).await;
                    } else {
                        client.send((head + &body).as_bytes()).await;
                    }
                    let response = client.answer().await;
                    assert!(!response.contains("connection: close"), "{path} {length}: {response}");
                    client.is_usable().await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_response_waits_for_the_rest_of_a_short_request_body() {
    let server = Server::start();
    let mut client = AddressUsage::connect(&server).await;
    for path in ["/refuse", "/ignore"] {
        client.send(head(path, "Content-Length: 10000").as_bytes()).await;
        client.send(&[b'x'; 5_000]).await;
        // The response arrives while the other half of the body is missing.
        let response = client.answer().await;
        assert!(!response.contains("connection: close"), "{response}");
        client.send(&[b'x'; 5_000]).await;
        client.is_usable().await;
    }
}

#[tokio::test]
async fn a_response_says_connection_close_when_the_rest_is_not_read() {
    let server = Server::start();
    let long = (256 * 1024 + 1).to_string();
    let cases = [
        // Too long to read; of unknown length and not sent; not even requested with `100 Continue`.
        ("/refuse", format!("Content-Length: {long}")),
        ("/ignore", format!("Content-Length: {long}")),
        ("/ignore", "Transfer-Encoding: chunked".to_owned()),
        ("/ignore", "Expect: 100-continue\r\nContent-Length: 10".to_owned()),
        // The same if no service saw the request.
        ("/", format!("Host: other\r\nContent-Length: {long}")),
    ];
    for (path, field) in cases {
        let mut client = AddressUsage::connect(&server).await;
        client.send(head(path, &field).as_bytes()).await;
        let response = client.answer().await;
        assert!(response.contains("connection: close"), "{field}: {response}");
        client.is_closed().await;
    }
}

#[tokio::test]
async fn a_rest_of_a_body_that_does_not_arrive_closes_the_connection() {
    let options = Options {
        unread_timeout_ms: std::num::NonZeroU64::new(200).expect("not zero"),
        ..Options::default()
    };
    let server = Server::start_with(options, |listener| listener);
    let mut client = AddressUsage::connect(&server).await;
    client.send(head("/ignore", "Content-Length: 10").as_bytes()).await;
    client.answer().await;
    client.is_closed().await;
}

#[tokio::test]
async fn a_connection_is_kept_alive_after_a_body_was_read() {
    let server = Server::start();
    let mut client = AddressUsage::connect(&server).await;
    for request in [
        head("/echo", "Content-Length: 2") + "hi",
        head("/echo", "Transfer-Encoding: chunked") + "2\r\nhi\r\n0\r\n\r\n",
        head("/echo", "Content-Length: 0"),
    ] {
        client.send(request.as_bytes()).await;
        let response = client.answer().await;
        assert!(
            response.starts_with("http/1.1 200 ") && !response.contains("connection: close"),
            "{response}"
        );
    }
    client.is_usable().await;
}
