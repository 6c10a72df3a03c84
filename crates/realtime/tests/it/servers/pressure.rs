//! Servers and clients that read more slowly than messages are sent to them.

use realtime::{Options, servers};
use serde_json::json;
use signalr_protocol::service::{Message, ping_value};

use super::{default_mode, json_client, listen, say, server, x};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_slowly_receives_everything_in_order() {
    const MESSAGES: u64 = 3_000;
    let servers = servers::Options { pending_bytes_max: 64 * 1024, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    let (mut bob, _) = json_client(&listening, &mut one, &[]).await;
    let filler = "x".repeat(4_000);
    // More than all buffers together, so that both senders block while the server reads nothing.
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let message = json!({ "type": 1, "target": "Take", "arguments": ["ada", number, filler] });
            say(&mut ada, &message).await;
            let message = json!({ "type": 1, "target": "Take", "arguments": ["bob", number, filler] });
            say(&mut bob, &message).await;
        }
        (ada, bob)
    });
    let hinted = one.until(|message| match message {
        Message::Ping { messages } => ping_value(messages, "target").map(str::to_owned),
        _ => None,
    });
    // It receives the request for another connection, because one seems to be too few.
    assert_eq!(hinted.await.unwrap(), "default-0");
    let mut next = std::collections::HashMap::from([("ada".to_owned(), 0), ("bob".to_owned(), 0)]);
    for received in 0..2 * MESSAGES {
        if received % 100 == 0 {
            // As the SDK does: a server that sends nothing for too long is disconnected.
            one.send(&Message::Ping { messages: vec![] }).await.unwrap();
        }
        let (_, call) = one.call().await.unwrap();
        let next = next.get_mut(call["arguments"][0].as_str().unwrap()).unwrap();
        assert_eq!(call["arguments"][1], *next);
        *next += 1;
    }
    let clients = sending.await.unwrap();
    drop(clients);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_with_many_busy_clients_stays_connected() {
    const CLIENTS: usize = 40;
    const BYTES: usize = 1_000_000;
    // Above four times as much, the connection is closed.
    let servers = servers::Options { pending_bytes_max: 128 * 1024, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut one = server(&listening, "one").await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(json_client(&listening, &mut one, &[]).await.0);
    }
    let filler = "x".repeat(BYTES);
    let sending: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let message = json!({ "type": 1, "target": "Take", "arguments": [filler] });
            tokio::spawn(async move {
                say(&mut client, &message).await;
                client
            })
        })
        .collect();
    // It reads nothing before every client has sent as much as the buffers accept.
    let hinted = one.until(|message| match message {
        Message::Ping { messages } => ping_value(messages, "target").map(str::to_owned),
        _ => None,
    });
    hinted.await.unwrap();
    let mut bytes = 0;
    for _ in 0..CLIENTS {
        one.send(&Message::Ping { messages: vec![] }).await.unwrap();
        bytes += one.call().await.unwrap().1["arguments"][0].as_str().unwrap().len();
    }
    assert_eq!(bytes, CLIENTS * BYTES);
    for client in sending {
        client.await.unwrap();
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_faster_than_shards_deliver_loses_nothing() {
    const MESSAGES: u64 = 20_000;
    let mut options = default_mode();
    // One command in each queue, and enough pending bytes for everything at the client.
    options.engine.commands_max = 1;
    options.engine.pending_bytes_max = 64 * 1024 * 1024;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let message = format!("{{\"type\":1,\"target\":\"news\",\"arguments\":[{number}]}}\u{1e}");
            if number % 2 == 0 {
                one.data(&id, message.as_bytes()).await.unwrap();
                continue;
            }
            let payloads = vec![("json", message.as_bytes())];
            let broadcast = Message::BroadcastData { excluded: vec![], payloads, extensions: x() };
            one.send(&broadcast).await.unwrap();
        }
        one
    });
    for number in 0..MESSAGES {
        assert_eq!(super::heard(&mut ada).await, json!([number]));
    }
    let mut one = sending.await.unwrap();
    let status = one.until(|message| match message {
        Message::ServiceEvent { object: 4, kind: 3, id, .. } => id.map(str::to_owned),
        _ => None,
    });
    assert_eq!(status.await.unwrap(), "c-one", "the server received the hint that it sends too fast");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_reads_is_disconnected_and_its_clients_are_closed() {
    let servers =
        servers::Options { pending_bytes_max: 16 * 1024, timeout_ms: 500, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    // It keeps sending, so that it does not time out, and reads no response.
    let asking = tokio::spawn(async move {
        let filler = "x".repeat(50_000);
        loop {
            let echo = Message::Ping { messages: vec!["echo", &filler] };
            if one.send(&echo).await.is_err() {
                return one;
            }
        }
    });
    assert_eq!(super::close_of(&mut ada).await.unwrap()["error"], "ServerOffline");
    let one = asking.await.unwrap();
    drop(one);
    listening.stop().await;
}
