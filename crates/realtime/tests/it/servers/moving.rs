//! Clients that call while they move from one app server to another.

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

/// Calls of one client at a time.
const CALLS: u64 = 2;

/// A process with its server connections.
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

/// Calls all the time, and says how often; every call must have its answer.
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
            let answer = client.next_json().await.with_context(|| format!("call {calls} has no answer"))?;
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

/// A number from the environment, for runs at full count (`cargo xtask soak`).
fn count(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_call_all_the_time_get_every_answer_while_their_servers_change() {
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
        "each call runs once, and none when it cannot be answered"
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

/// Waits for the answer to the announcement of a shutdown.
async fn until_finack(server: &mut ScriptedAppServer) {
    let finack = |message: &Message<'_>| match message {
        Message::Ping { messages } => messages.contains(&"finack").then_some(()),
        _ => None,
    };
    server.until(finack).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_paused_when_it_has_answered_and_gets_nothing_behind_the_pause() {
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
        Message::ConnectionData { .. } => panic!("it comes behind the pause: {message:?}"),
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
async fn a_call_that_is_not_answered_in_time_ends_with_an_error_when_its_client_moves() {
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
    // The old server's answer comes too late; the client goes on with the new one.
    one.complete(&id, "1", &json!(1)).await.unwrap();
    say(&mut ada, &call_of(2)).await;
    two.call().await.unwrap();
    two.complete(&id, "2", &json!(2)).await.unwrap();
    assert_eq!(ada.next_json().await.unwrap()["result"], 2);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_server_that_is_lost_ends_with_an_error_when_its_client_moves() {
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
async fn the_new_server_of_a_client_learns_whose_results_it_will_get() {
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
    // The caller goes on, and only server two is left to take the client.
    ping(&mut three, &["shutdown", "fin:2"]).await;
    until_finack(&mut three).await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut one).await, id);
    acknowledge_pause(&mut one, &id).await;
    assert_eq!(two.until(announced).await.unwrap(), expected);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_server_is_lost_while_it_is_paused_belongs_to_its_new_server() {
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
    // More than is held back, so that the client is not read before the first move has ended.
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
    // Its new server still knows whom it takes along.
    let mut three = server(&listening, "three").await;
    ping(&mut two, &["shutdown", "fin:1"]).await;
    assert_eq!(paused(&mut two).await, id);
    acknowledge_pause(&mut two, &id).await;
    assert_eq!(moved_in(&mut three).await.0, id);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_result_was_too_long_moves_without_waiting_for_it() {
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
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "2", "the first has one answer");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_of_a_server_that_is_lost_while_it_shuts_down_go_on() {
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
    // Some have moved, some are about to, and some are only paused.
    one.die();
    for client in &mut clients {
        say(client, &call_of(1)).await;
        assert_eq!(client.next_json().await.unwrap()["result"], 1);
    }
    listening.stop().await;
    two.await.unwrap().unwrap();
}
