//! Clients that invoke methods while they migrate from one app server to another.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{ConnectionKind, FlowOperation, Message};
use testkit::{HubClient, ScriptedAppServer, Served};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ends::{moved_in, ping};
use super::{client_path, default_mode, introduction, json_client, listen, say, server, x};
use crate::fixture::Listening;

/// Server connections of one app server, as its SDK opens them.
const CONNECTIONS: usize = 5;

/// Invocations of one client at a time.
const CALLS: u64 = 2;

/// An app server process with its server connections.
struct Process {
    leave: watch::Sender<bool>,
    connections: JoinSet<anyhow::Result<Served>>,
}

impl Process {
    async fn start(listening: &Listening, name: &str, answers_after: Duration) -> Self {
        let (leave, leaves) = watch::channel(false);
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let server = ScriptedAppServer::connect(&listening.authority, &introduction(name)).await.unwrap();
            connections.spawn(server.serve_as_sdk(answers_after, leaves.clone()));
        }
        Self { leave, connections }
    }

    /// Shuts down, as the SDK does with `GracefulShutdownMode.MigrateClients`.
    async fn leave(self) -> Served {
        let Self { leave, mut connections } = self;
        leave.send(true).unwrap();
        let mut sum = Served::default();
        while let Some(served) = connections.join_next().await {
            let served = served.unwrap().unwrap();
            sum.executed += served.executed;
            sum.thrown_away += served.thrown_away;
        }
        sum
    }
}

/// Invokes without pause, and returns the number of invocations; every one must complete.
async fn call_until(mut client: HubClient, stop: watch::Receiver<bool>) -> anyhow::Result<u64> {
    let mut calls = 0;
    while !*stop.borrow() {
        for number in calls..calls + CALLS {
            let id = number.to_string();
            say(
                &mut client,
                &json!({ "type": 1, "invocationId": id, "target": "Echo", "arguments": [number] }),
            )
            .await;
        }
        let mut answered = Vec::new();
        for _ in 0..CALLS {
            let answer =
                client.next_json().await.with_context(|| format!("invocation {calls} has no completion"))?;
            ensure!(answer["error"].is_null(), "{answer}");
            ensure!(answer["invocationId"].as_str() == Some(&*answer["result"].to_string()), "{answer}");
            answered.push(answer["result"].as_u64().context("no number")?);
        }
        answered.sort_unstable();
        ensure!(answered == (calls..calls + CALLS).collect::<Vec<_>>(), "{answered:?}");
        calls += CALLS;
    }
    Ok(calls)
}

/// A number from the environment, for long runs (`cargo xtask soak`).
fn count(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invocation_completes_while_app_servers_come_and_go() {
    let (clients, rounds) = (count("CHAPPE_SOAK_CLIENTS", 20), count("CHAPPE_SOAK_MOVES", 3));
    let answers_after = Duration::from_millis(10);
    let listening = listen(default_mode()).await;
    let mut process = Process::start(&listening, "server-0", answers_after).await;
    let (stop, stopped) = watch::channel(false);
    let mut calling = JoinSet::new();
    for _ in 0..clients {
        let client = HubClient::connect(&listening.authority, &client_path(&[]), HubProtocol::Json).await;
        calling.spawn(call_until(client.unwrap(), stopped.clone()));
    }
    let (mut executed, mut thrown_away) = (0, 0);
    for round in 1..=rounds {
        let next = Process::start(&listening, &format!("server-{round}"), answers_after).await;
        let served = std::mem::replace(&mut process, next).leave().await;
        executed += served.executed;
        thrown_away += served.thrown_away;
    }
    stop.send(true).unwrap();
    let mut calls = 0;
    while let Some(called) = calling.join_next().await {
        calls += called.unwrap().unwrap();
    }
    executed += process.leave().await.executed;
    println!("{clients} clients made {calls} calls while their servers changed {rounds} times");
    assert_eq!(
        (executed, thrown_away),
        (calls, 0),
        "each invocation runs once, and only if it can be completed"
    );
    assert!(calls >= CALLS * clients as u64 * rounds as u64, "{calls}");
    listening.stop().await;
}

/// Waits until a client is paused.
async fn paused(server: &mut ScriptedAppServer) -> String {
    server
        .until(|message| match message {
            Message::ConnectionFlowControl { connection_id, operation: FlowOperation::Pause, .. } => {
                Some((*connection_id).to_owned())
            }
            _ => None,
        })
        .await
        .unwrap()
}

async fn acknowledge_pause(server: &mut ScriptedAppServer, client: &str) {
    server
        .send(&Message::ConnectionFlowControl {
            connection_id: client,
            connection_type: ConnectionKind::Client,
            operation: FlowOperation::PauseAck,
            extensions: x(),
        })
        .await
        .unwrap();
}

fn call_of(id: u32) -> Value {
    json!({ "type": 1, "invocationId": id.to_string(), "target": "Echo", "arguments": [id] })
}

/// Waits for the response to the announcement of a shutdown.
async fn until_finack(server: &mut ScriptedAppServer) {
    let finack = |message: &Message<'_>| match message {
        Message::Ping { messages } => messages.contains(&"finack").then_some(()),
        _ => None,
    };
    server.until(finack).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_paused_after_its_completions_and_receives_nothing_after_the_pause() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    say(&mut ada, &call_of(1)).await;
    assert_eq!(one.call().await.unwrap().1["invocationId"], "1");
    let mut two = server(&listening, "two").await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    until_finack(&mut one).await;
    let early =
        one.ask(|ack_id| Message::CheckUserExistenceWithAck { user_id: "ada", ack_id, extensions: x() });
    early.await.unwrap();
    one.complete(&id, "1", &json!(1)).await.unwrap();
    assert_eq!(paused(&mut one).await, id);
    let note = json!({ "type": 1, "target": "Note", "arguments": [] });
    for message in [&call_of(2), &note, &call_of(3)] {
        say(&mut ada, message).await;
    }
    acknowledge_pause(&mut one, &id).await;
    let to = one.until(|message| match message {
        Message::ConnectionData { .. } => panic!("a message after the pause: {message:?}"),
        Message::CloseConnection { headers, .. } => {
            Some(headers.iter().any(|(name, to)| *name == "Asrs-Migrate-To" && to[..] == ["two"]))
        }
        _ => None,
    });
    assert!(to.await.unwrap());
    assert_eq!(moved_in(&mut two).await.0, id);
    for expected in [json!("2"), Value::Null, json!("3")] {
        assert_eq!(two.call().await.unwrap().1["invocationId"], expected);
    }
    two.complete(&id, "2", &json!(2)).await.unwrap();
    two.complete(&id, "3", &json!(3)).await.unwrap();
    for number in 1..=3 {
        assert_eq!(ada.next_json().await.unwrap()["result"], number);
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_not_complete_in_time_fails_when_its_client_migrates() {
    let mut options = default_mode();
    options.servers.move_timeout_ms = 50;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    say(&mut ada, &call_of(1)).await;
    one.call().await.unwrap();
    let mut two = server(&listening, "two").await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut one).await, id);
    acknowledge_pause(&mut one, &id).await;
    assert_eq!(moved_in(&mut two).await.0, id);
    let answer = ada.next_json().await.unwrap();
    assert_eq!((&answer["type"], &answer["invocationId"]), (&json!(3), &json!("1")));
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("before it completed this invocation"), "{error}");
    // The old server's completion is too late; the client continues with the new one.
    one.complete(&id, "1", &json!(1)).await.unwrap();
    say(&mut ada, &call_of(2)).await;
    two.call().await.unwrap();
    two.complete(&id, "2", &json!(2)).await.unwrap();
    assert_eq!(ada.next_json().await.unwrap()["result"], 2);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_of_a_lost_server_fails_when_its_client_migrates() {
    let listening = listen(default_mode()).await;
    let any = testkit::Introduction { migration_level: 2, ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &any).await.unwrap();
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    say(&mut ada, &call_of(1)).await;
    one.call().await.unwrap();
    let mut two = server(&listening, "two").await;
    one.die();
    assert_eq!(moved_in(&mut two).await.0, id);
    let answer = ada.next_json().await.unwrap();
    assert!(answer["error"].as_str().unwrap().contains("lost"), "{answer}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_server_of_a_client_receives_its_pending_client_invocations() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (_ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    let mut three = server(&listening, "three").await;
    let ask = b"{\"type\":1,\"invocationId\":\"i\",\"target\":\"ask\",\"arguments\":[]}\x1e".as_slice();
    three
        .send(&Message::ClientInvocation {
            invocation_id: "i",
            connection_id: &id,
            caller_server_id: "three",
            payloads: vec![("json", ask)],
            extensions: x(),
        })
        .await
        .unwrap();
    let announced = |message: &Message<'_>| match message {
        Message::ClientInvocation { invocation_id, caller_server_id, .. } => {
            Some(((*invocation_id).to_owned(), (*caller_server_id).to_owned()))
        }
        _ => None,
    };
    let expected = ("i".to_owned(), "three".to_owned());
    assert_eq!(one.until(announced).await.unwrap(), expected);
    // The caller stays connected, and only server two can serve the client.
    ping(&mut three, &["shutdown", "fin:2"]).await;
    until_finack(&mut three).await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut one).await, id);
    acknowledge_pause(&mut one, &id).await;
    assert_eq!(two.until(announced).await.unwrap(), expected);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_server_is_lost_during_the_pause_migrates_to_another() {
    const MESSAGES: u64 = 20;
    let mut options = default_mode();
    options.servers.pause_timeout_ms = 60_000;
    let listening = listen(options).await;
    let any = testkit::Introduction { migration_level: 2, ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &any).await.unwrap();
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut one).await, id);
    // More than is held back, so that reading from the client is paused until the first migration has ended.
    let filler = "x".repeat(50_000);
    for number in 0..MESSAGES {
        let note = json!({ "type": 1, "target": "Note", "arguments": [number, filler] });
        say(&mut ada, &note).await;
    }
    one.die();
    assert_eq!(moved_in(&mut two).await.0, id);
    for number in 0..MESSAGES {
        assert_eq!(two.call().await.unwrap().1["arguments"][0], number);
    }
    // Its new server still knows which clients it serves.
    let mut three = server(&listening, "three").await;
    ping(&mut two, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut two).await, id);
    acknowledge_pause(&mut two, &id).await;
    assert_eq!(moved_in(&mut three).await.0, id);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_an_oversized_completion_migrates_without_waiting_for_it() {
    let mut options = default_mode();
    options.servers.message_bytes_max = 100_000;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    say(&mut ada, &call_of(1)).await;
    one.call().await.unwrap();
    let filler = "x".repeat(200_000);
    let completion = format!("{{\"type\":3,\"invocationId\":\"1\",\"result\":\"{filler}\"}}\u{1e}");
    one.data(&id, completion.as_bytes()).await.unwrap();
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "1");
    let mut two = server(&listening, "two").await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut one).await, id);
    acknowledge_pause(&mut one, &id).await;
    assert_eq!(moved_in(&mut two).await.0, id);
    say(&mut ada, &call_of(2)).await;
    two.call().await.unwrap();
    two.complete(&id, "2", &json!(2)).await.unwrap();
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "2", "the first has one completion");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_of_a_server_lost_during_its_shutdown_stay_connected() {
    const CLIENTS: usize = 40;
    let listening = listen(default_mode()).await;
    let any = testkit::Introduction { migration_level: 2, ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &any).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(json_client(&listening, &mut one, &[]).await.0);
    }
    let two = tokio::spawn(server(&listening, "two").await.serve());
    ping(&mut one, &["shutdown", "fin:1"]).await;
    for _ in 0..CLIENTS / 2 {
        let id = paused(&mut one).await;
        acknowledge_pause(&mut one, &id).await;
    }
    // Some have migrated, some are about to, and some are only paused.
    one.die();
    for client in &mut clients {
        say(client, &call_of(1)).await;
        assert_eq!(client.next_json().await.unwrap()["result"], 1);
    }
    listening.stop().await;
    two.await.unwrap().unwrap();
}
