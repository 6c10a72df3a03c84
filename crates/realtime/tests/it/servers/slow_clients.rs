//! Clients that read more slowly than their own hub sends.

use serde_json::{Value, json};
use signalr_protocol::service::{FlowOperation, Message};
use testkit::{HubClient, ScriptedAppServer};

use super::{client_path, close_of, default_mode, json_client, listen, news, payloads, say, server, x};

/// A text of `letters` letters.
fn text(letters: usize) -> String {
    "x".repeat(letters)
}

/// An invocation of `news` with a number and a text, framed.
fn numbered(number: u64, letters: usize) -> Vec<u8> {
    let call = json!({ "type": 1, "target": "news", "arguments": [number, text(letters)] });
    format!("{call}\u{1e}").into_bytes()
}

/// Sends to one client, as the SDK does for `Clients.Client(id)`.
async fn send_to(server: &mut ScriptedAppServer, client: &str, framed: &[u8]) {
    let message = Message::MultiConnectionData {
        connections: vec![client],
        payloads: vec![("json", framed)],
        extensions: x(),
    };
    server.send(&message).await.unwrap();
}

/// Sends messages of 100 kB until the service requests a pause; returns their number.
async fn send_until_paused(server: &mut ScriptedAppServer, client: &str) -> u64 {
    let mut count = 0;
    loop {
        send_to(server, client, &numbered(count, 100_000)).await;
        count += 1;
        // The service sends the pause before the response to the next ping.
        server.send(&Message::Ping { messages: vec!["echo", "1"] }).await.unwrap();
        let is_paused = server.until(|message| match message {
            Message::ConnectionFlowControl { operation: FlowOperation::Pause, .. } => Some(true),
            Message::Ping { messages } => messages.contains(&"echo").then_some(false),
            _ => None,
        });
        if is_paused.await.unwrap() {
            return count;
        }
        assert!(count < 1000, "its client reads nothing");
    }
}

async fn flow(server: &mut ScriptedAppServer) -> FlowOperation {
    server
        .until(|message| match message {
            Message::ConnectionFlowControl { operation, .. } => Some(*operation),
            _ => None,
        })
        .await
        .unwrap()
}

/// The numbers of the next `count` invocations of `news`.
async fn numbers(client: &mut HubClient, count: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let arguments = client.arguments_of("news").await.unwrap();
        numbers.push(arguments[0].as_u64().unwrap());
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_late_receives_a_stream_of_200000_integers() {
    const COUNT: u64 = 200_000;
    const ITEMS_AT_ONCE: usize = 50;
    let item = |number: u64| format!("{{\"type\":2,\"invocationId\":\"1\",\"item\":{number}}}");
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    say(&mut ada, &json!({ "type": 4, "invocationId": "1", "target": "Count", "arguments": [COUNT] })).await;
    one.call().await.unwrap();
    for from in (0..COUNT).step_by(ITEMS_AT_ONCE) {
        let items = (from..from + ITEMS_AT_ONCE as u64).map(|number| item(number) + "\u{1e}");
        one.data(&id, items.collect::<String>().as_bytes()).await.unwrap();
    }
    one.complete(&id, "1", &Value::Null).await.unwrap();
    for number in 0..COUNT {
        let received = ada.next().await.unwrap().expect("the client is still connected");
        assert_eq!(received, item(number).as_bytes());
    }
    assert_eq!(ada.next_json().await.unwrap()["type"], 3);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_late_receives_twenty_messages_of_500_kb() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    for number in 0..20 {
        send_to(&mut one, &id, &numbered(number, 500_000)).await;
    }
    assert_eq!(numbers(&mut ada, 20).await, (0..20).collect::<Vec<_>>());
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_late_receives_a_message_of_6_mb_and_later_ones() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    one.data(&id, &numbered(1, 6_000_000)).await.unwrap();
    one.data(&id, &numbered(2, 1)).await.unwrap();
    // A broadcast has its own limit, and does not cause the overflow.
    let sent = news(3);
    one.send(&Message::BroadcastData { excluded: vec![], payloads: payloads(&sent), extensions: x() })
        .await
        .unwrap();
    assert_eq!(numbers(&mut ada, 3).await, [1, 2, 3]);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_may_send_single_messages_to_its_slow_client() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let sent = send_until_paused(&mut one, &id).await;
    // During a pause, the server may send one message.
    assert_eq!(flow(&mut one).await, FlowOperation::Resume);
    assert_eq!(flow(&mut one).await, FlowOperation::Pause);
    send_to(&mut one, &id, &numbered(sent, 1)).await;
    assert_eq!(numbers(&mut ada, sent + 1).await, (0..=sent).collect::<Vec<_>>());
    // The client has read everything: the pause ends.
    while last_flow_before_answer(&mut one).await != Some(FlowOperation::Resume) {}
    assert_eq!(last_flow_before_answer(&mut one).await, None);
    listening.stop().await;
}

/// The last flow control message before the response to a ping.
async fn last_flow_before_answer(server: &mut ScriptedAppServer) -> Option<FlowOperation> {
    server.send(&Message::Ping { messages: vec!["echo", "1"] }).await.unwrap();
    let mut last = None;
    server
        .until(|message| match message {
            Message::ConnectionFlowControl { operation, .. } => {
                last = Some(*operation);
                None
            }
            Message::Ping { messages } => messages.contains(&"echo").then_some(()),
            _ => None,
        })
        .await
        .unwrap();
    last
}

/// The service's event for a client whose buffer is full, and the reason of the close.
async fn overflow(server: &mut ScriptedAppServer, client: &str) -> (String, String) {
    let event = server.until(|message| match message {
        Message::ServiceEvent { object: 1, id: Some(id), kind: 3, message: Some(why), .. }
            if *id == client =>
        {
            Some((*why).to_owned())
        }
        _ => None,
    });
    let why = event.await.unwrap();
    let closed = server.until(|message| match message {
        Message::CloseConnection { connection_id, error_message, .. } if *connection_id == client => {
            Some(error_message.unwrap_or_default().to_owned())
        }
        _ => None,
    });
    (why, closed.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_for_too_long_is_closed_and_both_sides_receive_the_reason() {
    let mut options = default_mode();
    options.engine.own_stalled_timeout_ms = 300;
    options.engine.close_timeout_ms = 10_000;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    send_until_paused(&mut one, &id).await;
    let (why, closed) = overflow(&mut one, &id).await;
    assert!(why.contains("has read nothing for 300 ms (engine.own_stalled_timeout_ms)"), "{why}");
    assert_eq!(closed, why);
    let expected = json!({ "type": 7, "error": why, "allowReconnect": true });
    assert_eq!(close_of(&mut ada).await, Some(expected), "it reads again");
    drop(ada);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_too_many_pending_bytes_is_closed_and_both_sides_receive_the_reason() {
    let mut options = default_mode();
    options.engine.own_pending_bytes_max = 3_000_000;
    options.engine.close_timeout_ms = 10_000;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut sent = send_until_paused(&mut one, &id).await;
    // Messages to a connection by its id are not affected by a pause.
    for _ in 0..40 {
        send_to(&mut one, &id, &numbered(sent, 100_000)).await;
        sent += 1;
    }
    let (why, closed) = overflow(&mut one, &id).await;
    assert!(
        why.contains("more than 3000000 bytes are pending for this client (engine.own_pending_bytes_max)"),
        "{why}"
    );
    assert_eq!(closed, why);
    assert_eq!(close_of(&mut ada).await.unwrap()["error"], why);
    drop(ada);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_broadcasts_is_disconnected_without_a_close() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    send_until_paused(&mut one, &id).await;
    let call = numbered(9, 300_000);
    let mut count = 0;
    loop {
        count += 1;
        let payloads = vec![("json", call.as_slice())];
        one.send(&Message::BroadcastData { excluded: vec![], payloads, extensions: x() }).await.unwrap();
        one.send(&Message::Ping { messages: vec!["echo", "1"] }).await.unwrap();
        let closed = one.until(|message| match message {
            Message::CloseConnection { .. } => Some(true),
            Message::Ping { messages } => messages.contains(&"echo").then_some(false),
            _ => None,
        });
        if closed.await.unwrap() {
            break;
        }
        assert!(count < 100, "more than `pending_bytes_max` of broadcasts wait");
    }
    // The client receives only what was in the socket buffer; there is no Close.
    let end = async { while let Ok(Some(_)) = ada.next().await {} };
    tokio::time::timeout(testkit::PATIENCE, end).await.unwrap();
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_of_http_transports_pause_their_server_too() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (_, answer) = super::negotiate(&listening, &[]).await;
    let path = client_path(&[]) + "&id=" + answer["connectionToken"].as_str().unwrap();
    let http = testkit::Http::new(&listening.authority);
    let first = http.send("GET", &path, &[], "").await.unwrap();
    assert_eq!(first.status, 200);
    http.send("POST", &path, &[], "{\"protocol\":\"json\",\"version\":1}\u{1e}").await.unwrap();
    let id = one.accept().await.unwrap();
    let sent = send_until_paused(&mut one, &id).await;
    let mut received = String::new();
    let last = format!("\"arguments\":[{},", sent - 1);
    while !received.contains(&last) {
        let polled = http.send("GET", &path, &[], "").await.unwrap();
        received.push_str(&polled.text());
    }
    for number in 0..sent {
        assert!(received.contains(&format!("\"arguments\":[{number},")), "{number}");
    }
    while flow(&mut one).await != FlowOperation::Resume {}
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_bytes_of_all_slow_clients_are_limited_over_all_transports() {
    for polls in [false, true] {
        let mut options = default_mode();
        options.engine.own_pending_bytes_total = 3_000_000;
        options.engine.shards = std::num::NonZeroU16::new(1);
        let listening = listen(options).await;
        let mut one = server(&listening, "one").await;
        let http = testkit::Http::new(&listening.authority);
        let (client, id) = if polls {
            let (_, answer) = super::negotiate(&listening, &[]).await;
            let path = client_path(&[]) + "&id=" + answer["connectionToken"].as_str().unwrap();
            http.send("GET", &path, &[], "").await.unwrap();
            http.send("POST", &path, &[], "{\"protocol\":\"json\",\"version\":1}\u{1e}").await.unwrap();
            (None, one.accept().await.unwrap())
        } else {
            let (ada, id) = json_client(&listening, &mut one, &[]).await;
            (Some(ada), id)
        };
        let sent = send_until_paused(&mut one, &id).await;
        for number in sent..sent + 40 {
            send_to(&mut one, &id, &numbered(number, 100_000)).await;
        }
        let (why, closed) = overflow(&mut one, &id).await;
        assert!(why.contains("more than 3000000 bytes are pending for slow clients"), "{why}");
        assert_eq!(closed, why);
        drop(client);
        listening.stop().await;
    }
}
