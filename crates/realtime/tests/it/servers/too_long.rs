//! Messages of app servers above the size limit: they are refused, and the connection with all its clients stays open.

use realtime::{Options, servers};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{AckStatus, Message};
use testkit::{HubClient, ScriptedAppServer};

use super::{client, close_of, default_mode, heard, json_client, listen, say, server, x};
use crate::fixture::Listening;

async fn listen_for_short_ones() -> Listening {
    let servers = servers::Options { message_bytes_max: 100_000, ..default_mode().servers };
    listen(Options { servers, ..default_mode() }).await
}

/// The next event: its object, its kind, and its text.
async fn event(one: &mut ScriptedAppServer) -> (i32, String, i32, String) {
    let event = one.until(|message| match message {
        Message::ServiceEvent { object, id, kind, message, .. } => {
            let text = |text: &Option<&str>| text.unwrap_or_default().to_owned();
            Some((*object, text(id), *kind, text(message)))
        }
        _ => None,
    });
    event.await.unwrap()
}

fn why(kind: u32, bytes: usize) -> String {
    format!(
        "a message of type {kind} has {bytes} bytes, more than the 100000 allowed (servers.message_bytes_max)"
    )
}

/// Checks that the connection still carries its client.
async fn lives(one: &mut ScriptedAppServer, client: &mut HubClient, id: &str) {
    one.data(id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"on\"]}\x1e").await.unwrap();
    assert_eq!(heard(client).await, json!(["on"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_completion_fails_only_its_invocation() {
    let listening = listen_for_short_ones().await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    say(&mut ada, &json!({ "type": 1, "invocationId": "7", "target": "Much", "arguments": [] })).await;
    one.call().await.unwrap();
    // As .NET formats it, the type first.
    let filler = "x".repeat(200_000);
    let completion = format!("{{\"type\":3,\"invocationId\":\"7\",\"result\":\"{filler}\"}}\u{1e}");
    one.data(&id, completion.as_bytes()).await.unwrap();
    let answer = ada.next_json().await.unwrap();
    assert_eq!((&answer["type"], &answer["invocationId"]), (&json!(3), &json!("7")));
    let text = answer["error"].as_str().unwrap();
    assert!(text.starts_with("a message of type 6 has 200"), "{text}");
    let (object, about, kind, message) = event(&mut one).await;
    assert_eq!((object, about, kind, message.as_str()), (1, id.clone(), 1, text));
    lives(&mut one, &mut ada, &id).await;
    let (mut bob, bob_id) = client(&listening, &mut one, &[], HubProtocol::MessagePack).await;
    one.tell(&bob_id, &json!({ "type": 3, "invocationId": "8", "result": filler })).await.unwrap();
    let answer = bob.next().await.unwrap().unwrap();
    assert_eq!(&answer[..7], b"\x95\x03\x80\xa18\x01\xd9", "an error");
    lives(&mut one, &mut ada, &id).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_message_with_an_ack_or_result_is_rejected_in_it() {
    let listening = listen_for_short_ones().await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let filler = vec![b'x'; 200_000];
    let payloads = vec![("json", &filler[..])];
    let broadcast = Message::BroadcastData { excluded: vec![], payloads: payloads.clone(), extensions: x() };
    one.send(&broadcast).await.unwrap();
    let (object, about, kind, _) = event(&mut one).await;
    assert_eq!((object, about.as_str(), kind), (4, "c-one", 1));
    let excluded = vec!["A".repeat(27); 5000];
    let (status, text) = one
        .ask(|ack_id| Message::CloseUserConnectionsWithAck {
            user_id: "ada",
            reason: None,
            ack_id,
            excluded: excluded.iter().map(String::as_str).collect(),
            extensions: x(),
        })
        .await
        .unwrap();
    assert_eq!(status, AckStatus::InternalServerError);
    assert!(text.starts_with("a message of type 32 has 14"), "{text}");
    let name = one.name().to_owned();
    let call = Message::ClientInvocation {
        invocation_id: "1",
        connection_id: &id,
        caller_server_id: &name,
        payloads,
        extensions: x(),
    };
    one.send(&call).await.unwrap();
    let failed = one.until(|message| match message {
        Message::ErrorCompletion { invocation_id, error, .. } => {
            Some(((*invocation_id).to_owned(), error.map(str::to_owned)))
        }
        _ => None,
    });
    let (invocation, error) = failed.await.unwrap();
    assert_eq!(invocation, "1");
    assert!(error.unwrap().starts_with("a message of type 34 has 200"));
    lives(&mut one, &mut ada, &id).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_part_closes_only_its_client() {
    let listening = listen_for_short_ones().await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let (mut bob, bob_id) = json_client(&listening, &mut one, &[]).await;
    one.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"").await.unwrap();
    let filler = vec![b'x'; 100_000];
    one.data(&id, &filler).await.unwrap();
    let closed = close_of(&mut ada).await.unwrap();
    assert_eq!(closed["error"], Value::from("the app server sent a message that cannot be read"));
    // The fields besides the payload have 36 bytes.
    assert_eq!(event(&mut one).await.3, why(6, filler.len() + 36));
    lives(&mut one, &mut bob, &bob_id).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_handshake_is_refused() {
    let listening = listen_for_short_ones().await;
    let mut one =
        ScriptedAppServer::upgrade(&listening.authority, &super::introduction("one")).await.unwrap();
    let filler = "x".repeat(200_000);
    one.send(&Message::Ping { messages: vec!["echo", &filler] }).await.unwrap();
    let refused = one.until(|message| match message {
        Message::HandshakeResponse { error_message, .. } => error_message.map(str::to_owned),
        _ => None,
    });
    assert_eq!(refused.await.unwrap(), "the first message of a server connection must be a HandshakeRequest");
    listening.stop().await;
}
