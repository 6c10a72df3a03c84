//! Messages of clients that are longer than the service buffers.

use std::time::Duration;

use realtime::Options;
use serde_json::json;
use signalr_protocol::service::Message;
use testkit::{Http, HubClient, Introduction, RawSocket, ScriptedAppServer};

use super::{default_mode, introduction, json_client, listen, negotiate, say, server};
use crate::fixture::client_token;

/// Receives a message of a client in its parts: its bytes, and the number of parts.
async fn take(one: &mut ScriptedAppServer) -> (Vec<u8>, usize) {
    let (mut all, mut pieces) = (Vec::new(), 0);
    loop {
        let (bytes, is_partial) = one
            .until(|message| match message {
                Message::ConnectionData { payload, extensions, .. } => {
                    Some((payload.to_vec(), extensions.is_partial))
                }
                _ => None,
            })
            .await
            .unwrap();
        assert!(bytes.len() <= 64 * 1024, "{}", bytes.len());
        all.extend(bytes);
        pieces += 1;
        if !is_partial {
            return (all, pieces);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_many_mebibytes_is_forwarded_as_it_arrives() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    let message = json!({ "type": 1, "target": "take", "arguments": ["é".repeat(5_000_000)] });
    let text = format!("{message}\u{1e}");
    let (sent, (got, pieces)) = tokio::join!(ada.send(text.as_bytes()), take(&mut one));
    sent.unwrap();
    assert!(got == text.as_bytes() && pieces > 100, "{} bytes in {pieces} pieces", got.len());
    say(&mut ada, &json!({ "type": 6 })).await;
    assert_eq!(take(&mut one).await, (b"{\"type\":6}\x1e".to_vec(), 1));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_size_limit_closes_its_client_with_1009() {
    let mut options = default_mode();
    options.engine.forwarded_message_bytes_max = 3_000_000;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let text = "x".repeat(3_000_001);
    // The service may have closed the connection before everything is sent.
    let _ = ada.send(text.as_bytes()).await;
    let closed = one.until(|message| match message {
        Message::CloseConnection { connection_id, error_message, .. } => {
            Some(((*connection_id).to_owned(), error_message.map(str::to_owned)))
        }
        _ => None,
    });
    let why = "a message is larger than the allowed 3000000 bytes";
    assert_eq!(closed.await.unwrap(), (id, Some(why.to_owned())));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_support_for_parts_receives_whole_messages_up_to_a_smaller_limit() {
    let listening = listen(default_mode()).await;
    let old = Introduction { allow_stateful_reconnects: None, ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &old).await.unwrap();
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let message = json!({ "type": 1, "target": "take", "arguments": ["x".repeat(1_000_000)] });
    say(&mut ada, &message).await;
    assert_eq!(one.call().await.unwrap(), (id, message));
    let _ = ada.send(&[b'x'; 1024 * 1024 + 1]).await;
    let closed = one.until(|message| match message {
        Message::CloseConnection { error_message, .. } => error_message.map(str::to_owned),
        _ => None,
    });
    assert_eq!(closed.await.unwrap(), "a message is larger than the allowed 1048576 bytes");
    listening.stop().await;
}

/// Sends the header of a frame and a part of its payload, and waits until the server has received that.
async fn begin(ada: &mut HubClient, one: &mut ScriptedAppServer, frame: &[u8]) -> usize {
    let half = frame.len() / 2;
    ada.send_raw(&frame[..half]).await.unwrap();
    let mut begun = 0;
    while begun < half - 20 {
        begun += one
            .until(|message| match message {
                Message::ConnectionData { payload, .. } => Some(payload.len()),
                _ => None,
            })
            .await
            .unwrap();
    }
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_migrates_within_a_message_sends_it_whole_to_the_new_server() {
    let mut options = default_mode();
    options.servers.move_timeout_ms = 50;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    let message =
        format!("{{\"type\":1,\"target\":\"t\",\"arguments\":[\"{}\"]}}\u{1e}", "x".repeat(200_000));
    let frame = websocket::masked_frame(websocket::Opcode::Text, message.as_bytes(), [0; 4]);
    begin(&mut ada, &mut one, &frame).await;
    one.send(&Message::Ping { messages: vec!["shutdown", "fin:1"] }).await.unwrap();
    assert_eq!(two.introduced().await.unwrap().0, id);
    ada.send_raw(&frame[frame.len() / 2..]).await.unwrap();
    let (_, call) = two.call().await.unwrap();
    assert_eq!(call["arguments"][0].as_str().unwrap().len(), 200_000);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_within_a_message_too_long_to_buffer_stays_with_its_server() {
    const BYTES: usize = 3 << 20;
    let mut options = default_mode();
    options.servers.move_timeout_ms = 50;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    let frame = websocket::masked_frame(websocket::Opcode::Text, &[b'x'; BYTES], [0; 4]);
    let begun = begin(&mut ada, &mut one, &frame).await;
    one.send(&Message::Ping { messages: vec!["shutdown", "fin:1"] }).await.unwrap();
    let moved = tokio::time::timeout(Duration::from_millis(300), two.introduced()).await;
    assert!(moved.is_err(), "{id} has moved");
    ada.send_raw(&frame[frame.len() / 2..]).await.unwrap();
    let (rest, _) = take(&mut one).await;
    assert_eq!(begun + rest.len(), BYTES);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_request_is_forwarded_in_parts_and_an_interrupted_one_closes_its_client() {
    let mut options = Options { poll_interval_ms: 50, ..default_mode() };
    options.engine.forwarded_message_bytes_max = 4_000_000;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let claims = [("sub", "ada")];
    let (_, answer) = negotiate(&listening, &claims).await;
    let path = format!("/client/?hub=chat&id={}", answer["connectionToken"].as_str().unwrap());
    let authorization = format!("Bearer {}", client_token("chat", &claims));
    let http = Http::new(&listening.authority);
    let send = async |method, body: Vec<u8>| {
        http.send(method, &path, &[("authorization", &authorization)], body).await.unwrap().status.as_u16()
    };
    assert_eq!(send("GET", Vec::new()).await, 200);
    assert_eq!(send("POST", b"{\"protocol\":\"json\",\"version\":1}\x1e".to_vec()).await, 200);
    let id = one.accept().await.unwrap();
    let text =
        format!("{}\u{1e}", json!({ "type": 1, "target": "take", "arguments": ["x".repeat(3_000_000)] }));
    let (status, (got, pieces)) = tokio::join!(send("POST", text.clone().into_bytes()), take(&mut one));
    assert_eq!((status, got == text.as_bytes(), pieces > 40), (200, true, true));
    assert_eq!(send("POST", vec![b'x'; 5_000_000]).await, 413);
    // A body that ends before its content length.
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\ncontent-length: 3000000\r\n\r\n"
    );
    let mut raw = RawSocket::connect(&listening.authority).await.unwrap();
    raw.send(head.as_bytes()).await.unwrap();
    raw.send(&[b'x'; 200_000]).await.unwrap();
    let begun = one.until(|message| match message {
        Message::ConnectionData { extensions, .. } => extensions.is_partial.then_some(()),
        _ => None,
    });
    begun.await.unwrap();
    drop(raw);
    let closed = one.until(|message| match message {
        Message::CloseConnection { connection_id, .. } => Some((*connection_id).to_owned()),
        _ => None,
    });
    assert_eq!(closed.await.unwrap(), id);
    assert_eq!(send("POST", b"{\"type\":6}\x1e".to_vec()).await, 404);
    listening.stop().await;
}
