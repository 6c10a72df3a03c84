//! Limits of hubs, users, groups and connections, over the network: each error names the limit, and other clients are not
//! affected.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use http::StatusCode;
use realtime::Options;
use signalr_protocol::HubProtocol;
use testkit::{Http, PATIENCE, RawSocket};
use tokio::time::timeout;

use super::{connected, frame, options, still_serves};
use crate::fixture::{Fixture, Listening, client_token, token};

const CALL: &str = "{\"type\":1,\"target\":\"x\",\"arguments\":[]}\u{1e}";

async fn start(change: impl FnOnce(&mut realtime_engine::Options)) -> Listening {
    let mut engine = options().engine;
    change(&mut engine);
    Fixture::start(Options { engine, ..options() }).await.listen()
}

/// A client of a hub after its handshake, or the head of the response that refused it.
async fn join(listening: &Listening, hub: &str, user: &str) -> Result<RawSocket, String> {
    let path = format!("/client/?hub={hub}&access_token={}", client_token(hub, &[("sub", user)]));
    let (mut socket, head) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
    if !head.starts_with("HTTP/1.1 101 ") {
        return Err(head);
    }
    socket.send(&frame(0x81, b"{\"protocol\":\"json\",\"version\":1}\x1e")).await.unwrap();
    assert_eq!(socket.heard().await.unwrap(), "text {}\u{1e}");
    Ok(socket)
}

async fn negotiate(listening: &Listening, hub: &str) -> (u16, String) {
    let path = format!("/client/negotiate?hub={hub}&access_token={}", client_token(hub, &[]));
    let answer = Http::new(&listening.authority).send("POST", &path, &[], "").await.unwrap();
    (answer.status.as_u16(), answer.text())
}

async fn rest(listening: &Listening, method: &str, path: &str) -> (StatusCode, String) {
    let authorization = format!("Bearer {}", token(&format!("http://service{path}"), &[]));
    let fields = [("authorization", authorization.as_str())];
    let answer = Http::new(&listening.authority).send(method, path, &fields, "").await.unwrap();
    (answer.status, answer.text())
}

/// Sends until the connection closes; returns what was received.
async fn flood(socket: &mut RawSocket, bytes: &[u8], times: usize) -> Vec<String> {
    for _ in 0..times {
        if socket.send(bytes).await.is_err() {
            break;
        }
    }
    socket.heard_to_close().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_at_its_connection_limit_refuses_clients_until_one_disconnects() {
    let listening = start(|engine| {
        engine.hub_connections_max = NonZeroU32::new(3);
        let small = realtime_engine::HubOptions { connections_max: NonZeroU32::new(1), ..Default::default() };
        engine.hubs.insert("small".to_owned(), small);
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(join(&listening, "chat", "ada").await.unwrap());
    }
    let refused = join(&listening, "chat", "bob").await.err().expect("the hub is full");
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    let told = "hub chat is at its limit of 3 connections; try again later";
    assert_eq!(negotiate(&listening, "chat").await, (429, told.to_owned()));
    // Other hubs are not affected; one has its own limit.
    let _small = join(&listening, "small", "ada").await.unwrap();
    assert_eq!(negotiate(&listening, "small").await.0, 429);
    still_serves(&listening).await;
    drop(clients.pop());
    let again = async {
        while negotiate(&listening, "chat").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("there is room again");
    clients.push(join(&listening, "chat", "bob").await.unwrap());
    drop(clients);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_simultaneous_clients_never_exceed_the_connection_limit() {
    let listening = start(|engine| engine.hub_connections_max = NonZeroU32::new(20)).await;
    let listening = std::sync::Arc::new(listening);
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let listening = std::sync::Arc::clone(&listening);
        storm.spawn(async move {
            let path = format!("/client/?hub=chat&access_token={}", client_token("chat", &[]));
            let (mut socket, head) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
            if !head.starts_with("HTTP/1.1 101 ") {
                assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
                return None;
            }
            socket.send(&frame(0x81, b"{\"protocol\":\"json\",\"version\":1}\x1e")).await.unwrap();
            // Clients that passed the check at the same moment are checked again by the shard.
            (socket.heard().await.unwrap() == "text {}\u{1e}").then_some(socket)
        });
    }
    let inside: Vec<RawSocket> = storm.join_all().await.into_iter().flatten().collect();
    assert_eq!(inside.len(), 20, "exactly the limit");
    let engine = listening.fixture.handle.engine();
    assert_eq!(engine.connection_count(None).await.unwrap(), 20);
    drop(inside);
    still_serves(&listening).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_the_message_rate_is_closed_with_an_error() {
    let listening = start(|engine| engine.connection_messages_per_second = Some(50)).await;
    let mut calm = connected(&listening, HubProtocol::Json).await;
    let mut rogue = connected(&listening, HubProtocol::Json).await;
    let heard = flood(&mut rogue, &frame(0x81, CALL.as_bytes()), 200).await;
    let told = "text {\"type\":7,\"error\":\"more than 50 messages a second are not allowed\"}\u{1e}";
    assert_eq!(heard, [told, "close 1000 "]);
    // The same in one frame, and with MessagePack.
    let mut rogue = connected(&listening, HubProtocol::Json).await;
    assert_eq!(flood(&mut rogue, &frame(0x81, CALL.repeat(200).as_bytes()), 1).await, [told, "close 1000 "]);
    let mut rogue = connected(&listening, HubProtocol::MessagePack).await;
    let heard = flood(&mut rogue, &frame(0x82, &b"\x08\x96\x01\x80\xc0\xa1x\x90\x90".repeat(200)), 1).await;
    assert_eq!(heard.last().map(String::as_str), Some("close 1000 "));
    calm.send(&frame(0x89, b"x")).await.unwrap();
    assert_eq!(calm.heard().await.unwrap(), "pong x");
    still_serves(&listening).await;
    drop(calm);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_above_the_byte_rate_is_closed_with_an_error() {
    let listening = start(|engine| engine.connection_bytes_per_second = Some(10_000)).await;
    let mut rogue = connected(&listening, HubProtocol::Json).await;
    let large = format!("{{\"type\":1,\"target\":\"x\",\"arguments\":[\"{}\"]}}\u{1e}", "x".repeat(3_000));
    let told = "text {\"type\":7,\"error\":\"more than 10000 bytes a second are not allowed\"}\u{1e}";
    assert_eq!(flood(&mut rogue, &frame(0x81, large.as_bytes()), 10).await, [told, "close 1000 "]);
    // An incomplete message counts too.
    let mut rogue = connected(&listening, HubProtocol::Json).await;
    assert_eq!(flood(&mut rogue, &frame(0x81, &[b'x'; 3_000]), 10).await, [told, "close 1000 "]);
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_user_share_a_rate_and_other_users_are_not_affected() {
    let listening = start(|engine| engine.user_messages_per_second = Some(40)).await;
    let (mut first, mut second) =
        (join(&listening, "chat", "ada").await.unwrap(), join(&listening, "chat", "ada").await.unwrap());
    let mut other = join(&listening, "chat", "bob").await.unwrap();
    // Neither exceeds the rate alone.
    for _ in 0..30 {
        let _ = first.send(&frame(0x81, CALL.as_bytes())).await;
        let _ = second.send(&frame(0x81, CALL.as_bytes())).await;
    }
    let told = "text {\"type\":7,\"error\":\"more than 40 messages a second are not allowed\"}\u{1e}";
    let heard = tokio::select! {
        heard = first.heard_to_close() => heard.unwrap(),
        heard = second.heard_to_close() => heard.unwrap(),
    };
    assert_eq!(heard[0], told);
    other.send(&frame(0x81, CALL.repeat(30).as_bytes())).await.unwrap();
    other.send(&frame(0x89, b"x")).await.unwrap();
    assert_eq!(other.heard().await.unwrap(), "pong x");
    still_serves(&listening).await;
    drop((first, second, other));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cannot_join_groups_above_the_limit() {
    let listening = start(|engine| engine.connection_groups_max = NonZeroU32::new(5).unwrap()).await;
    let http = Http::new(&listening.authority);
    let token = client_token("chat", &[("sub", "ada")]);
    let path = format!("/client/negotiate?hub=chat&negotiateVersion=1&access_token={token}");
    let negotiated = http.send("POST", &path, &[], "").await.unwrap().json().unwrap();
    let (id, secret) =
        (negotiated["connectionId"].as_str().unwrap(), negotiated["connectionToken"].as_str().unwrap());
    let path = format!("/client/?hub=chat&id={secret}&access_token={token}");
    let (mut socket, _) = RawSocket::upgrade(&listening.authority, &path, "").await.unwrap();
    socket.send(&frame(0x81, b"{\"protocol\":\"json\",\"version\":1}\x1e")).await.unwrap();
    assert_eq!(socket.heard().await.unwrap(), "text {}\u{1e}");
    let put = async |group: usize| {
        rest(&listening, "PUT", &format!("/api/v1/hubs/chat/groups/g{group}/connections/{id}")).await
    };
    for group in 0..5 {
        assert_eq!(put(group).await.0, 200);
    }
    let (status, text) = put(5).await;
    assert!(status.is_client_error() && text.contains("TooManyGroups"), "{status}: {text}");
    // Joining a group again does not count, and leaving one allows another.
    assert_eq!(put(0).await.0, 200);
    let path = format!("/api/v1/hubs/chat/groups/g0/connections/{id}");
    assert_eq!(rest(&listening, "DELETE", &path).await.0, 200);
    assert_eq!(put(5).await.0, 200);
    still_serves(&listening).await;
    drop(socket);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_pings_is_closed_if_the_hub_requires_messages() {
    let listening = start(|engine| {
        engine.idle_timeout_ms = NonZeroU64::new(600);
        engine.handshake_timeout_ms = 500;
    })
    .await;
    let mut idle = connected(&listening, HubProtocol::Json).await;
    let mut busy = connected(&listening, HubProtocol::Json).await;
    let ping = frame(0x81, b"{\"type\":6}\x1e");
    let work = async {
        loop {
            let _ = busy.send(&frame(0x81, CALL.as_bytes())).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let _ = idle.send(&ping).await;
    let heard = tokio::select! {
        () = work => unreachable!("it never ends"),
        heard = idle.heard_to_close() => heard.unwrap(),
    };
    let told =
        "text {\"type\":7,\"error\":\"the client sent no message for longer than this hub allows\"}\u{1e}";
    assert_eq!(heard, [told, "close 1000 "]);
    busy.send(&frame(0x89, b"x")).await.unwrap();
    assert_eq!(busy.heard().await.unwrap(), "pong x");
    drop(busy);
    listening.stop().await;
}
