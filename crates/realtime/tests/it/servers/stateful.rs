//! Stateful reconnect of clients of app servers: the service handles sequences, buffers and acks, and the app server only
//! receives the event of the new socket.

use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{ConnectionKind, FlowOperation, Message};
use testkit::{HubClient, Introduction, ScriptedAppServer};

use super::ends::ping;
use super::{client_path, default_mode, introduction, listen, negotiate, say, server};
use crate::fixture::Listening;

/// The path of a client that negotiated stateful reconnect.
async fn promised(listening: &Listening) -> String {
    let (_, answer) = negotiate(listening, &[]).await;
    client_path(&[]) + "&id=" + answer["connectionToken"].as_str().unwrap()
}

async fn upgrade(listening: &Listening, path: &str, protocol: HubProtocol) -> HubClient {
    HubClient::upgrade(&listening.authority, path, protocol).await.unwrap()
}

/// A stateful client whose handshake is complete, and its connection id.
async fn connect(
    listening: &Listening,
    one: &mut ScriptedAppServer,
    path: &str,
    protocol: HubProtocol,
) -> (HubClient, String) {
    let (client, id) =
        tokio::join!(HubClient::connect_as(&listening.authority, path, protocol, 2), one.accept());
    (client.unwrap(), id.unwrap())
}

async fn reconnected(one: &mut ScriptedAppServer) -> String {
    let back = one.until(|message| match message {
        Message::ConnectionReconnect { connection_id, .. } => Some((*connection_id).to_owned()),
        _ => None,
    });
    back.await.unwrap()
}

fn note(number: u32) -> Value {
    json!({ "type": 1, "target": "note", "arguments": [number] })
}

/// The next message that is not an acknowledgement.
async fn next(client: &mut HubClient) -> Value {
    loop {
        let message = client.next_json().await.unwrap();
        if message["type"] != 8 {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_both_sides_are_delivered_once_and_in_order_after_a_reconnect() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (mut ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    say(&mut ada, &note(1)).await;
    say(&mut ada, &note(2)).await;
    for number in [1, 2] {
        assert_eq!(one.call().await.unwrap(), (id.clone(), note(number)));
        one.tell(&id, &note(10 + number)).await.unwrap();
        assert_eq!(next(&mut ada).await, note(10 + number));
    }
    say(&mut ada, &json!({ "type": 8, "sequenceId": 1 })).await;
    drop(ada);
    // The service may or may not have noticed that the socket is lost.
    one.tell(&id, &note(13)).await.unwrap();
    let mut ada = upgrade(&listening, &path, HubProtocol::Json).await;
    assert_eq!(reconnected(&mut one).await, id);
    let sequence = next(&mut ada).await;
    assert_eq!(sequence["type"], 9);
    // The ack may have been lost with the socket.
    let first = sequence["sequenceId"].as_u64().unwrap();
    assert!([1, 2].contains(&first), "{first}");
    for number in first..=3 {
        assert_eq!(next(&mut ada).await, note(10 + u32::try_from(number).unwrap()));
    }
    // It repeats the second message, whose ack it has not received.
    say(&mut ada, &json!({ "type": 9, "sequenceId": 2 })).await;
    for number in [2, 3] {
        say(&mut ada, &note(number)).await;
    }
    say(&mut ada, &json!({ "type": 6 })).await;
    assert_eq!(
        one.call().await.unwrap(),
        (id.clone(), note(3)),
        "nothing is delivered twice, and no Sequence is forwarded"
    );
    one.tell(&id, &note(14)).await.unwrap();
    assert_eq!(next(&mut ada).await, note(14));
    let ack = loop {
        let message = ada.next_json().await.unwrap();
        if message["type"] == 8 {
            break message;
        }
    };
    assert_eq!(ack["sequenceId"], 3);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blazorpack_messages_are_numbered_by_their_type() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (mut ada, id) = connect(&listening, &mut one, &path, HubProtocol::BlazorPack).await;
    // Several messages in one frame, and one in two: [1, ...], a ping, [1, ...] in halves.
    let calls: [&[u8]; 2] = [b"\x04\x93\x01\xc0\x01", b"\x04\x93\x01\xc0\x02"];
    ada.send(&[calls[0], b"\x02\x91\x06", &calls[1][..2]].concat()).await.unwrap();
    ada.send(&calls[1][2..]).await.unwrap();
    let mut got = Vec::new();
    while got.len() < 13 {
        got.extend(one.introduced().await.unwrap().1);
    }
    assert_eq!(got, [calls[0], b"\x02\x91\x06", calls[1]].concat());
    one.data(&id, b"\x04\x93\x01\xc0\x07\x02\x91\x06").await.unwrap();
    drop(ada);
    let mut ada = upgrade(&listening, &path, HubProtocol::BlazorPack).await;
    assert_eq!(reconnected(&mut one).await, id);
    assert_eq!(ada.next().await.unwrap().unwrap(), b"\x92\x09\x01");
    assert_eq!(ada.next().await.unwrap().unwrap(), b"\x93\x01\xc0\x07");
    // It starts again with its second message, which was received before, and has a third one.
    ada.send(b"\x03\x92\x09\x02").await.unwrap();
    ada.send(&[calls[1], b"\x04\x93\x01\xc0\x03"].concat()).await.unwrap();
    assert_eq!(said(&mut one).await, b"\x04\x93\x01\xc0\x03");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_that_was_interrupted_is_received_again_from_its_start() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (mut ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    let text =
        format!("{}\u{1e}", json!({ "type": 1, "target": "take", "arguments": ["x".repeat(300_000)] }));
    let (half, short) = (&text.as_bytes()[..150_000], format!("{}\u{1e}", note(1)));
    // A short message before it, in the same frame, is complete.
    ada.send(&[short.as_bytes(), half].concat()).await.unwrap();
    let (mut whole, mut begun) = (Vec::new(), 0);
    while begun < half.len() {
        let (bytes, is_partial) = piece(&mut one).await;
        if is_partial {
            begun += bytes.len();
        } else {
            whole.extend(bytes);
        }
    }
    assert_eq!((whole, begun), (short.into_bytes(), half.len()));
    drop(ada);
    let mut ada = upgrade(&listening, &path, HubProtocol::Json).await;
    assert_eq!(reconnected(&mut one).await, id);
    say(&mut ada, &json!({ "type": 9, "sequenceId": 2 })).await;
    ada.send(text.as_bytes()).await.unwrap();
    assert_eq!(said(&mut one).await.len(), text.len());
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_sends_pings_to_the_app_server_while_a_client_reconnects() {
    let mut options = default_mode();
    options.engine.keep_alive_ms = 300;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    drop(ada);
    // One at once, and more for as long as it is disconnected.
    for _ in 0..3 {
        let (from, bytes) = one.introduced().await.unwrap();
        assert_eq!((from, bytes.as_slice()), (id.clone(), PINGS[0]));
    }
    listening.stop().await;
}

/// Pings, framed.
const PINGS: [&[u8]; 2] = [b"{\"type\":6}\x1e", b"\x02\x91\x06"];

/// The next message of a client, other than pings, assembled from its parts.
async fn said(one: &mut ScriptedAppServer) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let (bytes, is_partial) = piece(one).await;
        if !PINGS.contains(&bytes.as_slice()) {
            all.extend(bytes);
            if !is_partial {
                return all;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_faster_than_acks_is_paused_and_nothing_is_lost() {
    const COUNT: u32 = 30;
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (mut ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    say(&mut ada, &json!({ "type": 6 })).await;
    drop(ada);
    assert_eq!(reconnected(&mut one).await, id, "the service has noticed");
    // Three times the buffer for broadcasts, for a client that is disconnected.
    let filler = "x".repeat(100_000);
    let long = |number: u32| json!({ "type": 1, "target": "news", "arguments": [number, filler] });
    for number in 0..COUNT {
        one.tell(&id, &long(number)).await.unwrap();
    }
    assert_eq!(flow(&mut one).await, FlowOperation::Pause);
    let mut ada = upgrade(&listening, &path, HubProtocol::Json).await;
    assert_eq!(next(&mut ada).await, json!({ "type": 9, "sequenceId": 1 }));
    for number in 0..COUNT {
        assert_eq!(next(&mut ada).await, long(number));
    }
    say(&mut ada, &json!({ "type": 9, "sequenceId": 1 })).await;
    // It has read everything, and the server stays paused until it acknowledges.
    say(&mut ada, &json!({ "type": 8, "sequenceId": COUNT })).await;
    while flow(&mut one).await != FlowOperation::Resume {}
    one.tell(&id, &note(1)).await.unwrap();
    assert_eq!(next(&mut ada).await, note(1));
    listening.stop().await;
}

/// The next flow control message of the service.
async fn flow(one: &mut ScriptedAppServer) -> FlowOperation {
    let asked = one.until(|message| match message {
        Message::ConnectionFlowControl { operation, .. } => Some(*operation),
        _ => None,
    });
    asked.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_migrates_to_another_server_while_it_reconnects() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (mut ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    say(&mut ada, &note(1)).await;
    assert_eq!(one.call().await.unwrap(), (id.clone(), note(1)));
    let mut two = server(&listening, "two").await;
    drop(ada);
    one.tell(&id, &note(11)).await.unwrap();
    assert_eq!(reconnected(&mut one).await, id, "the service has noticed");
    one.send(&Message::Ping { messages: vec!["shutdown", "fin:1"] }).await.unwrap();
    // The server has no more messages for its client.
    let paused = one.until(|message| match message {
        Message::ConnectionFlowControl { operation: FlowOperation::Pause, .. } => Some(()),
        _ => None,
    });
    paused.await.unwrap();
    let ack = Message::ConnectionFlowControl {
        connection_id: &id,
        connection_type: ConnectionKind::Client,
        operation: FlowOperation::PauseAck,
        extensions: super::x(),
    };
    one.send(&ack).await.unwrap();
    let (moved, record) = two.introduced().await.unwrap();
    assert_eq!((moved, record.ends_with(b"\x1e")), (id.clone(), true));
    two.tell(&id, &note(12)).await.unwrap();
    let mut ada = upgrade(&listening, &path, HubProtocol::Json).await;
    assert_eq!(next(&mut ada).await, json!({ "type": 9, "sequenceId": 1 }));
    for number in [11, 12] {
        assert_eq!(next(&mut ada).await, note(number));
    }
    say(&mut ada, &json!({ "type": 9, "sequenceId": 1 })).await;
    for number in [1, 2] {
        say(&mut ada, &note(number)).await;
    }
    assert_eq!(two.call().await.unwrap(), (id, note(2)), "the first one had reached the other server");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_old_sdk_receives_no_reconnect_message() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    let (ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    let old = Introduction { allow_stateful_reconnects: None, ..introduction("two") };
    let mut two = ScriptedAppServer::connect(&listening.authority, &old).await.unwrap();
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(two.introduced().await.unwrap().0, id);
    drop(ada);
    let mut ada = upgrade(&listening, &path, HubProtocol::Json).await;
    assert_eq!(next(&mut ada).await["type"], 9);
    // The service pings for the client after the reconnect; a reconnect message would be before that.
    let spoken = two.until(|message| match message {
        Message::ConnectionReconnect { .. } => panic!("its SDK would end the connection"),
        Message::ConnectionData { payload, .. } => Some(payload.to_vec()),
        _ => None,
    });
    assert_eq!(spoken.await.unwrap(), b"{\"type\":6}\x1e");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_a_server_sends_before_it_closes_a_client_arrive_before_the_close() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = promised(&listening).await;
    // It has sent nothing yet, so that sequenced messages wait for it.
    let (mut ada, id) = connect(&listening, &mut one, &path, HubProtocol::Json).await;
    one.tell(&id, &note(1)).await.unwrap();
    one.tell(&id, &json!({ "type": 7, "error": "enough" })).await.unwrap();
    one.send(&Message::CloseConnection {
        connection_id: &id,
        error_message: Some(""),
        headers: Vec::new(),
        extensions: super::x(),
    })
    .await
    .unwrap();
    assert_eq!(next(&mut ada).await, note(1));
    assert_eq!(next(&mut ada).await["error"], "enough");
    listening.stop().await;
}

/// The next bytes of a client, and whether more of the same message follows.
async fn piece(one: &mut ScriptedAppServer) -> (Vec<u8>, bool) {
    let found = one.until(|message| match message {
        Message::ConnectionData { payload, extensions, .. } => {
            Some((payload.to_vec(), extensions.is_partial))
        }
        _ => None,
    });
    found.await.unwrap()
}
