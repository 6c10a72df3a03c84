//! Clients that violate the WebSocket protocol or are too slow, beside clients that follow the rules.

use std::time::Duration;

use serde_json::json;
use signalr_protocol::HubProtocol;
use testkit::{ChildProcess, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::realtime::{connect, token};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const HANDSHAKE: &[u8] = b"\x81\xa0\0\0\0\0{\"protocol\":\"json\",\"version\":1}\x1e";

async fn start(folder: &std::path::Path, settings: &[&str]) -> ChildProcess {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> =
        ["start", "--no-functions", "--ephemeral"].into_iter().chain(settings).collect();
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts")
}

/// A socket of the hub `chat` after the 101 response, before the handshake.
async fn upgraded(process: &ChildProcess) -> TcpStream {
    let token = token("http://localhost/client/?hub=chat", None);
    let request = format!(
        "GET /client/?hub=chat&access_token={token} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut stream = TcpStream::connect(process.http("realtime").authority()).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// What the service sends before it closes.
async fn read_until_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it closes").expect("no reset");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn broken_frames_close_their_connection_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &[]).await;
    let broken: [(&[u8], &str); 8] = [
        (b"\x81\x02{}", "not masked"),
        (b"\xc1\x82\0\0\0\0{}", "reserved bit"),
        (b"\x83\x82\0\0\0\0{}", "opcode is reserved"),
        (b"\x09\x81\0\0\0\0x", "control frame"),
        (b"\x80\x81\0\0\0\0x", "does not belong to a message"),
        (b"\x81\xff\0\0\x01\0\0\0\0\0\0\0\0\0", "larger than the allowed 1048576 bytes"),
        (b"\x81\x82\0\0\0\0\xff\xfe", "not valid UTF-8"),
        (b"\x81\x86\0\0\0\0hello\x1e", "must be a handshake"),
    ];
    for (frame, words) in broken {
        let mut stream = upgraded(&process).await;
        stream.write_all(frame).await.expect("the frame is taken");
        let said = read_until_close(&mut stream).await;
        assert!(said.contains(words), "{frame:?} should be told {words:?}: {said}");
    }
    let mut stream = upgraded(&process).await;
    stream.write_all(HANDSHAKE).await.expect("the frame is taken");
    stream.write_all(b"\x81\x89\0\0\0\0nonsense\x1e").await.expect("the frame is taken");
    let said = read_until_close(&mut stream).await;
    assert!(said.contains("\"type\":7") && said.contains("\"error\""), "{said}");
}

#[tokio::test]
async fn a_connection_without_a_handshake_is_closed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["realtime.engine.handshake_timeout_ms=200"]).await;
    let mut silent = upgraded(&process).await;
    assert!(read_until_close(&mut silent).await.contains("no handshake request was received in time"));
}

#[tokio::test]
async fn a_request_with_an_unfinished_head_is_closed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["edge.head_timeout_ms=200"]).await;
    let mut half = TcpStream::connect(process.http("realtime").authority()).await.expect("it listens");
    half.write_all(b"GET /client/ HTTP/1.1\r\nupgrade: webs").await.expect("the part is taken");
    assert_eq!(read_until_close(&mut half).await, "");
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_delay_others() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["realtime.engine.pending_bytes_max=65536"]).await;
    let mut lazy = upgraded(&process).await;
    lazy.write_all(HANDSHAKE).await.expect("the frame is taken");
    let mut reader = connect(&process, "chat", None, HubProtocol::Json).await;
    let path = "/api/v1/hubs/chat";
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), None));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    // More than the buffers of both sockets can store.
    for number in 0..64 {
        let body = json!({ "target": "x", "arguments": [number, "v".repeat(500_000)] }).to_string();
        let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
        assert_eq!(answer.status, 202, "{}", answer.text());
        let arguments = timeout(Duration::from_secs(10), reader.arguments_of("x")).await;
        assert_eq!(arguments.expect("in time").expect("a message")[0], number);
    }
    // The slow client is disconnected; its socket still has what was sent before.
    let info = process.http("gateway").get("/chappe/api/info").await.and_then(|answer| answer.json());
    assert_eq!(info.expect("it answers")["connections"], 1);
}
