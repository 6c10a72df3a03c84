//! Slow clients and silent clients.

use std::time::Duration;

use tempfile::tempdir;
use testkit::{PATIENCE, RawSocket};
use tokio::time::{Instant, interval, timeout};

use super::{HANDSHAKE, Witness, connections, opened, start};
use crate::realtime::token;

/// Sends a byte at intervals until the other side closes; returns what it sent.
async fn trickle(socket: &mut RawSocket, bytes: &[u8]) -> String {
    let mut ticks = interval(Duration::from_millis(20));
    let began = Instant::now();
    for byte in bytes.iter().cycle() {
        ticks.tick().await;
        assert!(began.elapsed() < PATIENCE, "it is still awaited");
        if socket.send(&[*byte]).await.is_err() {
            break;
        }
    }
    socket.text_to_end().await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_below_the_least_rate_are_closed() {
    let folder = tempdir().expect("a folder can be made");
    let settings = [
        "edge.head_timeout_ms=500",
        "edge.body_grace_ms=500",
        "edge.body_bytes_per_second_min=1000",
        "edge.unread_timeout_ms=500",
    ];
    let process = start(folder.path(), &settings).await;
    let mut witness = Witness::connect(&process).await;
    let realtime = process.http("realtime");
    let gateway = process.http("gateway");
    for authority in [realtime.authority(), gateway.authority()] {
        // A head whose fields never end gets no response, because there is no complete request.
        let mut head = RawSocket::connect(authority).await.expect("it is accepted");
        head.send(b"POST /client/negotiate?hub=chat HTTP/1.1\r\nhost: localhost\r\n")
            .await
            .expect("it is taken");
        assert_eq!(trickle(&mut head, b"a: b\r\n").await, "");
        // The body of a negotiate request is not read at all.
        let negotiate = token("http://localhost/client/?hub=chat", None);
        let mut body = RawSocket::connect(authority).await.expect("it is accepted");
        let request = format!(
            "POST /client/negotiate?hub=chat HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {negotiate}\r\n\
             content-length: 100000\r\n\r\n"
        );
        body.send(request.as_bytes()).await.expect("it is taken");
        let answer = trickle(&mut body, b"x").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // The body of a request with an invalid token is not read either.
    let refused = "POST /api/v1/hubs/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n";
    let mut socket = RawSocket::connect(realtime.authority()).await.expect("it is accepted");
    socket.send(refused.as_bytes()).await.expect("it is taken");
    let answer = trickle(&mut socket, b"x").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // The body of a request to an app is read, while it arrives fast enough.
    let app = token("http://localhost/api/v1/hubs/chat", None);
    for length in ["content-length: 100000", "transfer-encoding: chunked"] {
        let request = format!(
            "POST /api/v1/hubs/chat HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {app}\r\n\
             content-type: application/json\r\n{length}\r\n\r\n"
        );
        let mut socket = RawSocket::connect(realtime.authority()).await.expect("it is accepted");
        socket.send(request.as_bytes()).await.expect("it is taken");
        let answer = trickle(&mut socket, b"1\r\nx\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("BrokenBody"), "{answer}");
    }
    witness.is_served(&process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_closed_and_one_that_pings_stays() {
    let folder = tempdir().expect("a folder can be made");
    let settings = ["realtime.engine.client_timeout_ms=1200", "realtime.engine.keep_alive_ms=300"];
    let process = start(folder.path(), &settings).await;
    let (mut silent, mut alive) = (opened(&process).await, opened(&process).await);
    for socket in [&mut silent, &mut alive] {
        socket.send(HANDSHAKE).await.expect("it is taken");
        assert_eq!(socket.heard().await.expect("an answer"), "text {}\u{1e}");
    }
    let ping = b"\x81\x8b\0\0\0\0{\"type\":6}\x1e";
    // Clients older than pings never send one, and may stay connected; a client that has sent a ping is disconnected when its pings
    // stop.
    silent.send(ping).await.expect("it is taken");
    let pings = async {
        let mut ticks = interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            alive.send(ping).await.expect("it is taken");
        }
    };
    let end = async {
        loop {
            let heard = silent.heard().await.expect("it hears");
            if heard != "text {\"type\":6}\u{1e}" {
                return heard;
            }
        }
    };
    let heard = tokio::select! {
        () = pings => unreachable!("it never ends"),
        heard = timeout(PATIENCE, end) => heard.expect("in time"),
    };
    assert!(heard == "end" || heard == "reset", "{heard}");
    assert_eq!(connections(&process).await, 1, "the one that pings is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_does_not_delay_its_group() {
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["realtime.engine.pending_bytes_max=262144"]).await;
    let mut witness = Witness::connect(&process).await;
    // Clients of the witness's hub that do not read: every message is sent to them as well.
    let hub = witness.hub.clone();
    let own = token(&format!("http://localhost/client/?hub={hub}"), None);
    let path = format!("/client/?hub={hub}&access_token={own}");
    let realtime = process.http("realtime");
    let mut lazy = Vec::new();
    for _ in 0..20 {
        let (mut socket, _) =
            RawSocket::upgrade(realtime.authority(), &path, "").await.expect("it is answered");
        socket.send(HANDSHAKE).await.expect("it is taken");
        lazy.push(socket);
    }
    let app = format!("/api/v1/hubs/{hub}");
    let authorization = format!("Bearer {}", token(&format!("http://localhost{app}"), None));
    let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = format!("{{\"target\":\"large\",\"arguments\":[\"{}\"]}}", "x".repeat(200_000));
    let mut slowest = Duration::ZERO;
    for _ in 0..60 {
        let began = Instant::now();
        let answer = realtime.send("POST", &app, &fields, body.clone()).await.expect("it answers");
        assert_eq!(answer.status, 202);
        witness.client.arguments_of("large").await.expect("a message");
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?} for one message");
    witness.is_served(&process).await;
    assert_eq!(connections(&process).await, 1, "the lazy ones are cut");
    drop(lazy);
}
