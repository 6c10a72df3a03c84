//! Sends, closes and existence checks of app servers.

use realtime::{Mode, Options};
use serde_json::json;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{AckStatus, Extensions, Message, ServerConnectionType};
use testkit::{HubClient, Introduction, ScriptedAppServer};

use super::{
    client, client_path, close_of, default_mode, heard, introduction, json_client, listen, news, payloads,
    say, server, x,
};

const OK: AckStatus = AckStatus::Ok;
const NOT_FOUND: AckStatus = AckStatus::NotFound;

#[tokio::test(flavor = "multi_thread")]
async fn sends_to_all_users_groups_and_connections_reach_their_receivers() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, ada_id) = json_client(&listening, &mut one, &[("sub", "ada")]).await;
    let mut two = server(&listening, "two").await;
    let (mut bob, bob_id) = client(&listening, &mut two, &[("sub", "bob")], HubProtocol::MessagePack).await;
    // Sent by the server without these clients; each client receives exactly its own messages, in order.
    let mut three = server(&listening, "three").await;
    let join = |ack_id| Message::JoinGroupWithAck {
        connection_id: &bob_id,
        group_name: "red",
        ack_id,
        extensions: x(),
    };
    assert_eq!(three.ask(join).await.unwrap().0, OK);
    let sent: Vec<_> = (1..=9).map(news).collect();
    let payloads = |number: usize| payloads(&sent[number - 1]);
    let messages = [
        Message::BroadcastData { excluded: vec![], payloads: payloads(1), extensions: x() },
        Message::BroadcastData { excluded: vec![&bob_id, "nobody"], payloads: payloads(2), extensions: x() },
        Message::UserData { user_id: "ada", payloads: payloads(3), extensions: x() },
        Message::MultiUserData { users: vec!["bob", "nobody"], payloads: payloads(4), extensions: x() },
        Message::GroupBroadcastData {
            group_name: "red",
            excluded: vec![],
            payloads: payloads(5),
            extensions: x(),
            excluded_users: vec!["ada"],
            caller_user_id: Some("ada"),
        },
        Message::GroupBroadcastData {
            group_name: "red",
            excluded: vec![],
            payloads: payloads(6),
            extensions: x(),
            excluded_users: vec!["bob"],
            caller_user_id: None,
        },
        Message::MultiGroupBroadcastData {
            groups: vec!["blue", "red"],
            payloads: payloads(7),
            extensions: x(),
        },
        Message::MultiConnectionData {
            connections: vec![&ada_id, "nobody"],
            payloads: payloads(8),
            extensions: x(),
        },
        Message::BroadcastData { excluded: vec![], payloads: payloads(9), extensions: x() },
    ];
    for message in &messages {
        three.send(message).await.unwrap();
    }
    for number in [1, 2, 3, 8, 9] {
        assert_eq!(heard(&mut ada).await, json!([number]));
    }
    for number in [1, 4, 5, 7, 9] {
        let message = bob.next().await.unwrap().unwrap();
        assert_eq!(message, [b"\x96\x01\x80\xc0\xa4news\x91", &[number][..], b"\x90"].concat());
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_filter_reaches_only_the_selected_connections() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut server, &[("sub", "ada")]).await;
    let (mut bob, bob_id) = json_client(&listening, &mut server, &[("sub", "bob")]).await;
    let join = |ack_id| Message::JoinGroupWithAck {
        connection_id: &bob_id,
        group_name: "red",
        ack_id,
        extensions: x(),
    };
    assert_eq!(server.ask(join).await.unwrap().0, OK);
    let sent: Vec<_> = (1..=4).map(news).collect();
    let filtered = |filter| Extensions { filter: Some(filter), ..x() };
    let broadcast = |number: usize, extensions| Message::BroadcastData {
        excluded: vec![],
        payloads: payloads(&sent[number - 1]),
        extensions,
    };
    server.send(&broadcast(1, filtered("userId eq 'ada'"))).await.unwrap();
    let to_group = Message::GroupBroadcastData {
        group_name: "red",
        excluded: vec![],
        payloads: payloads(&sent[1]),
        extensions: filtered("startswith(userId, 'b')"),
        excluded_users: vec![],
        caller_user_id: None,
    };
    server.send(&to_group).await.unwrap();
    // A message with an invalid filter must not be sent to all.
    server.send(&broadcast(3, filtered("userId eq"))).await.unwrap();
    let told = server.until(|message| match message {
        Message::ServiceEvent { id: Some(id), message: Some(text), .. } => Some(format!("{id}: {text}")),
        _ => None,
    });
    let told = told.await.unwrap();
    assert!(told.starts_with("userId eq: a message was not sent: the filter at character"), "{told}");
    server.send(&broadcast(4, x())).await.unwrap();
    assert_eq!(heard(&mut ada).await, json!([1]));
    assert_eq!(heard(&mut bob).await, json!([2]));
    for client in [&mut ada, &mut bob] {
        assert_eq!(heard(client).await, json!([4]));
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_close_one_client_or_many_at_once() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, ada_id) = json_client(&listening, &mut one, &[("sub", "ada")]).await;
    let (mut bob, bob_id) = json_client(&listening, &mut one, &[("sub", "bob")]).await;
    let (mut eve, _) = json_client(&listening, &mut one, &[("sub", "eve")]).await;
    let mut two = server(&listening, "two").await;
    let close = |reason| Message::CloseConnection {
        connection_id: &ada_id,
        error_message: Some(reason),
        headers: vec![],
        extensions: x(),
    };
    two.send(&close("enough")).await.unwrap();
    assert_eq!(close_of(&mut ada).await, Some(json!({ "type": 7, "error": "enough" })));
    // The server of the client receives a CloseConnection.
    let told = one.until(|message| match message {
        Message::CloseConnection { connection_id, .. } => Some((*connection_id).to_owned()),
        _ => None,
    });
    assert_eq!(told.await.unwrap(), ada_id);
    let close = |ack_id| Message::CloseConnectionWithAck {
        connection_id: &ada_id,
        reason: None,
        ack_id,
        extensions: x(),
    };
    assert_eq!(two.ask(close).await.unwrap().0, NOT_FOUND);
    let close = |ack_id| Message::CloseConnectionsWithAck {
        reason: Some("all out"),
        ack_id,
        excluded: vec![&bob_id],
        extensions: x(),
    };
    assert_eq!(two.ask(close).await.unwrap().0, OK);
    assert_eq!(close_of(&mut eve).await, Some(json!({ "type": 7, "error": "all out" })));
    let close = |ack_id| Message::CloseUserConnectionsWithAck {
        user_id: "bob",
        reason: None,
        ack_id,
        excluded: vec![],
        extensions: x(),
    };
    assert_eq!(two.ask(close).await.unwrap().0, OK);
    assert_eq!(close_of(&mut bob).await, Some(json!({ "type": 7 })));
    let of_two = |user| [("sub", user), ("asrs.s.sn", "two"), ("asrs.s.ssticky", "Required")];
    let (mut max, max_id) = json_client(&listening, &mut two, &of_two("max")).await;
    let (mut kim, kim_id) = json_client(&listening, &mut two, &of_two("kim")).await;
    for connection_id in [&max_id, &kim_id] {
        let join =
            |ack_id| Message::JoinGroupWithAck { connection_id, group_name: "red", ack_id, extensions: x() };
        assert_eq!(two.ask(join).await.unwrap().0, OK);
    }
    let close = |ack_id| Message::CloseGroupConnectionsWithAck {
        group_name: "red",
        reason: Some("red is over"),
        ack_id,
        excluded: vec![&kim_id],
        extensions: x(),
    };
    assert_eq!(two.ask(close).await.unwrap().0, OK);
    assert_eq!(close_of(&mut max).await, Some(json!({ "type": 7, "error": "red is over" })));
    let sent = news(1);
    let to_kim = Message::UserData { user_id: "kim", payloads: payloads(&sent), extensions: x() };
    two.send(&to_kim).await.unwrap();
    assert_eq!(heard(&mut kim).await, json!([1]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_closed_by_its_server_receives_one_close_message() {
    let listening = listen(default_mode()).await;
    let hub = tokio::spawn(server(&listening, "one").await.serve());
    let mut ada =
        HubClient::connect(&listening.authority, &client_path(&[]), HubProtocol::Json).await.unwrap();
    say(&mut ada, &json!({ "type": 1, "target": "Abort", "arguments": [] })).await;
    assert_eq!(ada.next_json().await.unwrap(), json!({ "type": 7 }));
    assert_eq!(ada.next().await.unwrap(), None);
    listening.stop().await;
    hub.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_about_a_client_are_deferred_until_its_handshake_completes() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let path = client_path(&[]);
    let connecting = HubClient::connect(&listening.authority, &path, HubProtocol::Json);
    let introduced = async {
        let (id, _) = one.introduced().await.unwrap();
        // On the server's own connection, and on another one of its process.
        let mut other = server(&listening, "one").await;
        let (first, second) = (news(1), news(2));
        let direct = Message::MultiConnectionData {
            connections: vec![&id],
            payloads: payloads(&first),
            extensions: x(),
        };
        other.send(&direct).await.unwrap();
        let join =
            Message::JoinGroupWithAck { connection_id: &id, group_name: "red", ack_id: 77, extensions: x() };
        one.send(&join).await.unwrap();
        let check =
            |ack_id| Message::CheckGroupExistenceWithAck { group_name: "red", ack_id, extensions: x() };
        assert_eq!(one.ask(check).await.unwrap().0, NOT_FOUND);
        assert_eq!(other.ask(check).await.unwrap().0, NOT_FOUND);
        one.data(&id, b"{}\x1e").await.unwrap();
        let joined = one.until(|message| match message {
            Message::Ack { ack_id: 77, status, .. } => Some(*status),
            _ => None,
        });
        assert_eq!(joined.await.unwrap(), OK);
        let to_group = Message::MultiGroupBroadcastData {
            groups: vec!["red"],
            payloads: payloads(&second),
            extensions: x(),
        };
        other.send(&to_group).await.unwrap();
        other
    };
    let (ada, _other) = tokio::join!(connecting, introduced);
    let mut ada = ada.unwrap();
    assert_eq!(heard(&mut ada).await, json!([1]));
    assert_eq!(heard(&mut ada).await, json!([2]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deferred_requests_fail_if_the_client_disconnects_before_its_handshake_completes() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let mut ada =
        HubClient::upgrade(&listening.authority, &client_path(&[]), HubProtocol::Json).await.unwrap();
    ada.send_frame(websocket::Opcode::Text, b"{\"protocol\":\"json\",\"version\":1}\x1e").await.unwrap();
    let (id, _) = server.introduced().await.unwrap();
    let join =
        Message::JoinGroupWithAck { connection_id: &id, group_name: "red", ack_id: 5, extensions: x() };
    server.send(&join).await.unwrap();
    drop(ada);
    let answer = server.until(|message| match message {
        Message::Ack { ack_id: 5, status, .. } => Some(*status),
        _ => None,
    });
    assert_eq!(answer.await.unwrap(), NOT_FOUND);
    listening.stop().await;
}

/// Responds to a client's close as the SDK does, with bytes after it; returns the events that follow until the response to an
/// echo.
async fn events_after_bytes_for(server: &mut ScriptedAppServer, id: &str) -> Vec<(i32, String)> {
    server.data(id, b"{\"type\":3,\"invocationId\":\"1\"}\x1e").await.unwrap();
    server.data(id, b"{\"type\":7}\x1e").await.unwrap();
    server.send(&Message::Ping { messages: vec!["echo", "behind"] }).await.unwrap();
    let mut events = Vec::new();
    let behind = server.until(|message| match message {
        Message::ServiceEvent { id, kind, .. } => {
            events.push((*kind, id.unwrap().to_owned()));
            None
        }
        Message::Ping { messages } => messages.contains(&"behind").then_some(()),
        _ => None,
    });
    behind.await.unwrap();
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_for_an_unknown_client_cause_an_event_but_not_for_one_that_just_disconnected() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut server, &[]).await;
    say(&mut ada, &json!({ "type": 7 })).await;
    drop(ada);
    let closed = server.until(|message| match message {
        Message::CloseConnection { connection_id, .. } => Some((*connection_id).to_owned()),
        _ => None,
    });
    assert_eq!(closed.await.unwrap(), id);
    assert_eq!(events_after_bytes_for(&mut server, &id).await, []);
    let (mut bob, id) = json_client(&listening, &mut server, &[]).await;
    let close = Message::CloseConnection {
        connection_id: &id,
        error_message: Some(""),
        headers: vec![],
        extensions: x(),
    };
    server.send(&close).await.unwrap();
    assert!(close_of(&mut bob).await.is_some());
    assert_eq!(events_after_bytes_for(&mut server, &id).await, []);
    let nobody = "AAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(events_after_bytes_for(&mut server, nobody).await, [(2, nobody.to_owned())]);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_persistent_transport_sends_and_queries_in_serverless_mode() {
    let listening = listen(Options { mode: Mode::Serverless, ..default_mode() }).await;
    let weak = Introduction { connection_type: ServerConnectionType::Weak, ..introduction("sdk") };
    let mut sdk = ScriptedAppServer::connect(&listening.authority, &weak).await.unwrap();
    let path = client_path(&[("sub", "ada")]);
    let mut ada = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    let join =
        |ack_id| Message::UserJoinGroupWithAck { user_id: "ada", group_name: "red", ack_id, extensions: x() };
    assert_eq!(sdk.ask(join).await.unwrap().0, OK);
    let sent = news(3);
    let message =
        Message::MultiGroupBroadcastData { groups: vec!["red"], payloads: payloads(&sent), extensions: x() };
    sdk.send(&message).await.unwrap();
    assert_eq!(heard(&mut ada).await, json!([3]));
    let check = |ack_id| Message::CheckUserExistenceWithAck { user_id: "ada", ack_id, extensions: x() };
    assert_eq!(sdk.ask(check).await.unwrap().0, OK);
    let close = |ack_id| Message::CloseUserConnectionsWithAck {
        user_id: "ada",
        reason: Some("bye"),
        ack_id,
        excluded: vec![],
        extensions: x(),
    };
    assert_eq!(sdk.ask(close).await.unwrap().0, OK);
    assert_eq!(close_of(&mut ada).await, Some(json!({ "type": 7, "error": "bye" })));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_cannot_invoke_reserved_methods() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut server, &[("sub", "ada")]).await;
    let forged = "{\"type\":1,\"target\":\"Chappe.position\",\"arguments\":[null,\"1-9\"]}\u{1e}";
    let call = forged.replacen("\"target\"", "\"invocationId\":\"7\",\"target\"", 1);
    let name = server.name().to_owned();
    let good = news(1);
    let mut both = forged.as_bytes().to_vec();
    both.extend(&good[0].1);
    let messages = [
        Message::BroadcastData {
            excluded: vec![],
            payloads: vec![("json", forged.as_bytes())],
            extensions: x(),
        },
        Message::UserData {
            user_id: "ada",
            payloads: vec![("messagepack", &good[1].1), ("json", forged.as_bytes())],
            extensions: x(),
        },
        Message::ConnectionData { connection_id: &id, payload: &both, extensions: x() },
    ];
    for message in &messages {
        server.send(message).await.unwrap();
        let told = server.until(|message| match message {
            Message::ServiceEvent { message: Some(text), .. } => Some((*text).to_owned()),
            _ => None,
        });
        assert!(told.await.unwrap().contains("are called by the service only"));
    }
    server
        .send(&Message::ClientInvocation {
            invocation_id: "7",
            connection_id: &id,
            caller_server_id: &name,
            payloads: vec![("json", call.as_bytes())],
            extensions: x(),
        })
        .await
        .unwrap();
    let failed = server.until(|message| match message {
        Message::ErrorCompletion { invocation_id: "7", error: Some(error), .. } => Some((*error).to_owned()),
        _ => None,
    });
    assert!(failed.await.unwrap().contains("are called by the service only"));
    // The valid message has arrived, and no other.
    assert_eq!(ada.next_json().await.unwrap(), json!({ "type": 1, "target": "news", "arguments": [1] }));
    let last = news(2);
    server
        .send(&Message::BroadcastData { excluded: vec![], payloads: payloads(&last), extensions: x() })
        .await
        .unwrap();
    assert_eq!(ada.next_json().await.unwrap()["arguments"], json!([2]));
    listening.stop().await;
}
