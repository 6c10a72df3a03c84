//! How server connections and their clients end, and migrate.

use std::collections::BTreeSet;

use realtime_engine::Target;
use serde_json::json;
use signalr_protocol::service::{ConnectionKind, FlowOperation, Message, ping_value};
use testkit::{Introduction, ScriptedAppServer};

use super::{
    close_of, default_mode, heard, introduction, json_client, listen, negotiate, news, payloads, say, server,
    x,
};

/// The value of a ping with this key.
async fn pinged(server: &mut ScriptedAppServer, key: &str) -> String {
    server
        .until(|message| match message {
            Message::Ping { messages } => ping_value(messages, key).map(str::to_owned),
            _ => None,
        })
        .await
        .unwrap()
}

pub(super) async fn ping(server: &mut ScriptedAppServer, messages: &[&str]) {
    server.send(&Message::Ping { messages: messages.to_vec() }).await.unwrap();
}

/// A client that has migrated: the headers that name the other server, and the handshake that introduces it.
pub(super) async fn moved_in(server: &mut ScriptedAppServer) -> (String, Option<String>, Vec<u8>) {
    let (id, from) = server
        .until(|message| match message {
            Message::OpenConnection(open) => {
                let from = open.headers.iter().find(|(name, _)| *name == "Asrs-Migrate-From");
                Some((open.connection_id.to_owned(), from.map(|(_, values)| values[0].to_owned())))
            }
            _ => None,
        })
        .await
        .unwrap();
    let (introduced, record) = server.introduced().await.unwrap();
    assert_eq!(introduced, id);
    (id, from, record)
}

/// Where a client migrates, by the CloseConnection for its old server.
async fn moved_out(server: &mut ScriptedAppServer) -> (String, Option<String>) {
    server
        .until(|message| match message {
            Message::CloseConnection { connection_id, headers, .. } => {
                let to = headers.iter().find(|(name, _)| *name == "Asrs-Migrate-To");
                Some(((*connection_id).to_owned(), to.map(|(_, values)| values[0].to_owned())))
            }
            _ => None,
        })
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_lost_server_are_closed_with_reconnect_and_others_are_not() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    let (mut bob, _) = json_client(&listening, &mut two, &[]).await;
    one.die();
    let close = json!({ "type": 7, "error": "ServerOffline", "allowReconnect": true });
    assert_eq!(close_of(&mut ada).await, Some(close));
    let sent = news(1);
    let broadcast = Message::BroadcastData { excluded: vec![], payloads: payloads(&sent), extensions: x() };
    two.send(&broadcast).await.unwrap();
    assert_eq!(heard(&mut bob).await, json!([1]));
    // It reconnects, to the server that is left.
    json_client(&listening, &mut two, &[]).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_connection_whose_task_panics_is_removed_and_others_are_served() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    let (mut bob, _) = json_client(&listening, &mut two, &[]).await;
    listening.fixture.supervisor.panic_next("server connection");
    ping(&mut one, &["servers", "fault"]).await;
    // Its socket ends, and its clients are closed with reconnect, as if the server had been lost.
    while one.next().await.is_ok_and(|message| message.is_some()) {}
    let close = json!({ "type": 7, "error": "ServerOffline", "allowReconnect": true });
    assert_eq!(close_of(&mut ada).await, Some(close));
    let sent = news(1);
    let broadcast = Message::BroadcastData { excluded: vec![], payloads: payloads(&sent), extensions: x() };
    two.send(&broadcast).await.unwrap();
    assert_eq!(heard(&mut bob).await, json!([1]));
    // No client is assigned to the connection that has ended, and its server may reconnect.
    for _ in 0..3 {
        json_client(&listening, &mut two, &[]).await;
    }
    let mut again = server(&listening, "one").await;
    again.send(&broadcast).await.unwrap();
    assert_eq!(heard(&mut bob).await, json!([1]));
    assert_eq!(listening.fixture.supervisor.not_ready(), []);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_migrate_without_a_visible_change_when_their_server_shuts_down() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[("sub", "ada")]).await;
    let mut two = server(&listening, "two").await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(pinged(&mut one, "shutdown").await, "finack");
    let paused = one.until(|message| match message {
        Message::ConnectionFlowControl { connection_id, connection_type, operation, .. } => {
            Some(((*connection_id).to_owned(), *connection_type, *operation))
        }
        _ => None,
    });
    assert_eq!(paused.await.unwrap(), (id.clone(), ConnectionKind::Client, FlowOperation::Pause));
    // The last message of the old server, and then the acknowledgement of the pause.
    one.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"old\"]}\x1e").await.unwrap();
    let held = Message::ConnectionFlowControl {
        connection_id: &id,
        connection_type: ConnectionKind::Client,
        operation: FlowOperation::PauseAck,
        extensions: x(),
    };
    one.send(&held).await.unwrap();
    assert_eq!(moved_out(&mut one).await, (id.clone(), Some("two".to_owned())));
    let (moved, from, record) = moved_in(&mut two).await;
    assert_eq!((moved.as_str(), from.as_deref()), (id.as_str(), Some("one")));
    assert_eq!(record, b"{\"protocol\":\"json\",\"version\":1}\x1e");
    // Messages of the old server are ignored now.
    one.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"too late\"]}\x1e").await.unwrap();
    one.ask(|ack_id| Message::CheckUserExistenceWithAck { user_id: "ada", ack_id, extensions: x() })
        .await
        .unwrap();
    say(&mut ada, &json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [5] })).await;
    let (caller, call) = two.call().await.unwrap();
    assert_eq!((caller.as_str(), &call["arguments"]), (id.as_str(), &json!([5])));
    two.complete(&id, "1", &json!(5)).await.unwrap();
    assert_eq!(heard(&mut ada).await, json!(["old"]));
    assert_eq!(ada.next_json().await.unwrap()["result"], 5);
    // The end of the old server does not affect it any more, and new clients are assigned elsewhere.
    one.die();
    json_client(&listening, &mut two, &[]).await;
    two.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"new\"]}\x1e").await.unwrap();
    assert_eq!(heard(&mut ada).await, json!(["new"]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_migrate_and_their_next_invocations_complete() {
    let listening = listen(default_mode()).await;
    // An SDK without flow control: it does not acknowledge a pause, and is not sent one.
    let old = Introduction { allow_stateful_reconnects: None, ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &old).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(json_client(&listening, &mut one, &[]).await.0);
    }
    let two = tokio::spawn(server(&listening, "two").await.serve());
    let three = tokio::spawn(server(&listening, "three").await.serve());
    ping(&mut one, &["shutdown", "fin:1"]).await;
    let mut to = BTreeSet::new();
    for _ in 0..40 {
        to.insert(moved_out(&mut one).await.1.unwrap());
    }
    assert_eq!(to, BTreeSet::from(["two".to_owned(), "three".to_owned()]));
    for (number, client) in clients.iter_mut().enumerate() {
        let call = json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [number] });
        say(client, &call).await;
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.next_json().await.unwrap()["result"], number);
    }
    drop(clients);
    listening.stop().await;
    two.await.unwrap().unwrap();
    three.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_cannot_migrate_stay_until_their_server_ends() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let required = [("asrs.s.sn", "one"), ("asrs.s.ssticky", "Required")];
    let (mut ada, id) = json_client(&listening, &mut one, &required).await;
    let two = server(&listening, "two").await;
    let call = |number| json!({ "type": 1, "invocationId": number, "target": "Echo", "arguments": [] });
    say(&mut ada, &call("1")).await;
    assert_eq!(one.call().await.unwrap().1["invocationId"], "1");
    ping(&mut one, &["shutdown", "fin:1"]).await;
    assert_eq!(pinged(&mut one, "shutdown").await, "finack");
    // It is not paused, and its invocations do not wait for the one that is not complete.
    say(&mut ada, &call("2")).await;
    let called = one.until(|message| match message {
        Message::ConnectionFlowControl { .. } => panic!("it cannot move"),
        Message::ConnectionData { payload, .. } => Some(String::from_utf8_lossy(payload).into_owned()),
        _ => None,
    });
    assert!(called.await.unwrap().contains("\"invocationId\":\"2\""));
    one.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"still here\"]}\x1e").await.unwrap();
    assert_eq!(heard(&mut ada).await, json!(["still here"]));
    one.die();
    assert_eq!(close_of(&mut ada).await.unwrap()["allowReconnect"], true);
    drop(two);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_stay_with_a_server_that_shuts_down_if_there_is_no_other() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    ping(&mut one, &["shutdown", "fin:1"]).await;
    let resumed = one.until(|message| match message {
        Message::ConnectionFlowControl { operation: FlowOperation::Resume, connection_id, .. } => {
            Some((*connection_id).to_owned())
        }
        _ => None,
    });
    assert_eq!(resumed.await.unwrap(), id);
    say(&mut ada, &json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [] })).await;
    assert_eq!(one.call().await.unwrap().1["invocationId"], "1");
    one.complete(&id, "1", &json!("still here")).await.unwrap();
    assert_eq!(ada.next_json().await.unwrap()["result"], "still here");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shuts_down_may_close_its_clients_or_wait_for_them() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    ping(&mut one, &["shutdown", "fin:2"]).await;
    assert_eq!(pinged(&mut one, "shutdown").await, "finack");
    assert_eq!(negotiate(&listening, &[]).await.0, 500, "no new clients");
    one.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[1]}\x1e").await.unwrap();
    assert_eq!(heard(&mut ada).await, json!([1]));
    ping(&mut one, &["shutdown", "fin:0"]).await;
    assert_eq!(pinged(&mut one, "shutdown").await, "finack");
    assert_eq!(close_of(&mut ada).await, Some(json!({ "type": 7, "allowReconnect": true })));
    assert_eq!(moved_out(&mut one).await, (id, None));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_migrate_from_a_lost_server_that_allowed_it() {
    let listening = listen(default_mode()).await;
    let any = Introduction { migration_level: 2, ..introduction("one") };
    let mut one = ScriptedAppServer::connect(&listening.authority, &any).await.unwrap();
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let mut two = server(&listening, "two").await;
    one.die();
    assert_eq!(moved_in(&mut two).await.0, id);
    two.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[2]}\x1e").await.unwrap();
    assert_eq!(heard(&mut ada).await, json!([2]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_to_a_ping_depends_on_its_key() {
    let mut options = default_mode();
    options.servers.keep_alive_ms = 50;
    options.engine.connections_max = 77;
    let listening = listen(options).await;
    let mut one = server(&listening, "one").await;
    // The service also pings by itself, so that the SDK sees that it is alive.
    let empty = one.until(|message| match message {
        Message::Ping { messages } => Some(messages.is_empty()),
        _ => None,
    });
    assert!(empty.await.unwrap());
    ping(&mut one, &["echo", "12"]).await;
    assert_eq!(pinged(&mut one, "echo").await, "12");
    ping(&mut one, &["status", ""]).await;
    assert_eq!(pinged(&mut one, "status").await, "0");
    let (_ada, _) = json_client(&listening, &mut one, &[]).await;
    let _two = server(&listening, "two").await;
    ping(&mut one, &["status", "1"]).await;
    let status = one.until(|message| match message {
        Message::Ping { messages } if ping_value(messages, "status").is_some() => {
            Some(messages.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    });
    assert_eq!(status.await.unwrap(), "status 1 clientcount 1 servercount 2 capacity 77");
    ping(&mut one, &["servers", ""]).await;
    let servers = pinged(&mut one, "servers").await;
    let (ticks, names) = servers.split_once(':').unwrap();
    assert!(ticks.parse::<u64>().unwrap() > 638_000_000_000_000_000, "{ticks}");
    assert_eq!(names, "one;two");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_each_client_and_then_the_server_connections() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[]).await;
    let ending = tokio::spawn(async move { listening.stop().await });
    let close = close_of(&mut ada).await.unwrap();
    assert_eq!(close["allowReconnect"], true);
    drop(ada);
    assert_eq!(moved_out(&mut one).await, (id, None));
    assert_eq!(pinged(&mut one, "offline").await, "default-0");
    assert_eq!(one.closed().await.unwrap(), Some((1001, "the service is shutting down".to_owned())));
    drop(one);
    ending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_and_app_servers_send_to_the_same_clients() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    let message = realtime::SendMessage {
        hub: "chat",
        to: Target::All,
        excluded: Vec::new(),
        target: "news",
        arguments: "[8]",
        trace: None,
    };
    listening.fixture.handle.send(message).await.unwrap();
    assert_eq!(heard(&mut ada).await, json!([8]));
    listening.stop().await;
}
