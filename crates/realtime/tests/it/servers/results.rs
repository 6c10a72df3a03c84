//! Results of clients that would reach their caller before it has registered its invocation.

use std::time::{Duration, Instant};

use serde_json::json;
use signalr_protocol::service::Message;
use testkit::{HubClient, ScriptedAppServer};

use super::{default_mode, json_client, listen, say, server, x};

const FIRST: Duration = Duration::from_millis(300);
const LATER: Duration = Duration::from_millis(60);

fn with_delays() -> realtime::Options {
    let mut options = default_mode();
    options.servers.first_result_delay_ms = 300;
    options.servers.result_delay_ms = 60;
    options
}

/// Invokes `answer` of a client, as the SDK does.
async fn invoke(caller: &mut ScriptedAppServer, invocation: &str, client: &str) {
    let call = json!({ "type": 1, "invocationId": invocation, "target": "answer", "arguments": [] });
    let (name, framed) = (caller.name().to_owned(), format!("{call}\u{1e}"));
    caller
        .send(&Message::ClientInvocation {
            invocation_id: invocation,
            connection_id: client,
            caller_server_id: &name,
            payloads: vec![("json", framed.as_bytes())],
            extensions: x(),
        })
        .await
        .unwrap();
}

/// The client completes each invocation at once.
async fn answer(client: &mut HubClient) {
    let called = client.next_json().await.unwrap();
    assert_eq!(called["target"], "answer");
    say(client, &json!({ "type": 3, "invocationId": called["invocationId"], "result": 1 })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_servers_own_client_is_delayed_and_other_messages_are_not() {
    let listening = listen(with_delays()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let asked = Instant::now();
    invoke(&mut one, "a", &id).await;
    answer(&mut ada).await;
    say(&mut ada, &json!({ "type": 1, "target": "Next", "arguments": [] })).await;
    let (_, next) = one.call().await.unwrap();
    assert_eq!(next["target"], "Next", "it arrives before the result");
    let (_, result) = one.call().await.unwrap();
    assert_eq!((&result["type"], &result["invocationId"]), (&json!(3), &json!("a")));
    assert!(asked.elapsed() >= FIRST, "{:?}", asked.elapsed());
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_results_of_a_server_are_delayed_longer_than_later_ones() {
    let listening = listen(with_delays()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let asked = Instant::now();
    for number in 0..33 {
        invoke(&mut one, &number.to_string(), &id).await;
    }
    for _ in 0..33 {
        answer(&mut ada).await;
    }
    let (_, early) = one.call().await.unwrap();
    assert_eq!(early["invocationId"], "32");
    assert!((LATER..FIRST).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    for _ in 0..32 {
        one.call().await.unwrap();
        assert!(asked.elapsed() >= FIRST, "{:?}", asked.elapsed());
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_and_errors_for_another_server_are_delayed_too() {
    let listening = listen(with_delays()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    let asked = Instant::now();
    invoke(&mut two, "a", &id).await;
    answer(&mut ada).await;
    // The client's own server has registered the invocation, and forwards the result at once.
    let (_, result) = one.call().await.unwrap();
    assert_eq!(result["invocationId"], "a");
    one.send(&Message::ClientCompletion {
        invocation_id: "a",
        connection_id: &id,
        caller_server_id: "two",
        protocol: Some("json"),
        payload: b"{\"type\":3,\"invocationId\":\"a\",\"result\":1}\x1e",
        extensions: x(),
    })
    .await
    .unwrap();
    let completed = |message: &Message<'_>| match message {
        Message::ClientCompletion { invocation_id, .. } => Some((*invocation_id).to_owned()),
        _ => None,
    };
    assert_eq!(two.until(completed).await.unwrap(), "a");
    assert!(asked.elapsed() >= FIRST, "{:?}", asked.elapsed());
    let asked = Instant::now();
    invoke(&mut two, "b", &"A".repeat(27)).await;
    let failed = |message: &Message<'_>| match message {
        Message::ErrorCompletion { invocation_id, .. } => Some((*invocation_id).to_owned()),
        _ => None,
    };
    assert_eq!(two.until(failed).await.unwrap(), "b");
    assert!(asked.elapsed() >= FIRST, "{:?}", asked.elapsed());
    let asked = Instant::now();
    invoke(&mut two, "c", "no connection has this id").await;
    assert_eq!(two.until(failed).await.unwrap(), "c");
    assert!(asked.elapsed() >= FIRST, "{:?}", asked.elapsed());
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_client_that_disconnects_at_once_arrives_before_its_close() {
    let listening = listen(with_delays()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    invoke(&mut one, "a", &id).await;
    answer(&mut ada).await;
    drop(ada);
    let mut told = Vec::new();
    while told.last() != Some(&"end") {
        let what = one.until(|message| match message {
            Message::ConnectionData { .. } => Some("result"),
            Message::CloseConnection { .. } => Some("end"),
            _ => None,
        });
        told.push(what.await.unwrap());
    }
    assert_eq!(told, ["result", "end"]);
    listening.stop().await;
}
