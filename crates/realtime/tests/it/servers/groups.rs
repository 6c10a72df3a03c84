//! Groups, changed and queried by app servers.

use serde_json::json;
use signalr_protocol::service::{AckStatus, GroupMembers, Message};

use super::{default_mode, heard, json_client, listen, news, payloads, server, x};
use crate::fixture::Fixture;

const OK: AckStatus = AckStatus::Ok;
const NOT_FOUND: AckStatus = AckStatus::NotFound;

#[tokio::test(flavor = "multi_thread")]
async fn memberships_are_changed_and_queried() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (_ada, id) = json_client(&listening, &mut server, &[("sub", "ada")]).await;
    let gone = "AAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let in_group = |user_id: &'static str| {
        move |ack_id| Message::CheckUserInGroupWithAck { user_id, group_name: "red", ack_id, extensions: x() }
    };
    let red = |ack_id| Message::CheckGroupExistenceWithAck { group_name: "red", ack_id, extensions: x() };
    assert_eq!(server.ask(red).await.unwrap().0, NOT_FOUND);
    server
        .send(&Message::JoinGroup { connection_id: &id, group_name: "red", extensions: x() })
        .await
        .unwrap();
    assert_eq!(server.ask(red).await.unwrap().0, OK);
    assert_eq!(server.ask(in_group("ada")).await.unwrap().0, OK);
    assert_eq!(
        server.ask(in_group("bob")).await.unwrap(),
        (NOT_FOUND, "the user is not in the group".into())
    );
    let leave =
        |ack_id| Message::LeaveGroupWithAck { connection_id: &id, group_name: None, ack_id, extensions: x() };
    assert_eq!(server.ask(leave).await.unwrap().0, OK);
    assert_eq!(server.ask(red).await.unwrap().0, NOT_FOUND);
    for connection_id in [gone, "nobody"] {
        let join =
            |ack_id| Message::JoinGroupWithAck { connection_id, group_name: "red", ack_id, extensions: x() };
        assert_eq!(server.ask(join).await.unwrap().0, NOT_FOUND);
        let check =
            |ack_id| Message::CheckConnectionExistenceWithAck { connection_id, ack_id, extensions: x() };
        assert_eq!(server.ask(check).await.unwrap().0, NOT_FOUND);
    }
    let here =
        |ack_id| Message::CheckConnectionExistenceWithAck { connection_id: &id, ack_id, extensions: x() };
    assert_eq!(server.ask(here).await.unwrap().0, OK);
    for (user_id, expected) in [("ada", OK), ("bob", NOT_FOUND)] {
        let check = |ack_id| Message::CheckUserExistenceWithAck { user_id, ack_id, extensions: x() };
        assert_eq!(server.ask(check).await.unwrap().0, expected);
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_stay_in_their_groups_until_they_are_removed() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let join = |group_name: &'static str| {
        move |ack_id| Message::UserJoinGroupWithAck { user_id: "ada", group_name, ack_id, extensions: x() }
    };
    for group in ["red", "blue"] {
        assert_eq!(server.ask(join(group)).await.unwrap().0, OK);
    }
    server
        .send(&Message::UserLeaveGroup { user_id: "ada", group_name: Some("blue"), extensions: x() })
        .await
        .unwrap();
    // A later connection of the user is in the group that remains.
    let (mut ada, _) = json_client(&listening, &mut server, &[("sub", "ada")]).await;
    for (number, group_name) in [(1, "blue"), (2, "red")] {
        let sent = news(number);
        let message = Message::MultiGroupBroadcastData {
            groups: vec![group_name],
            payloads: payloads(&sent),
            extensions: x(),
        };
        server.send(&message).await.unwrap();
    }
    assert_eq!(heard(&mut ada).await, json!([2]));
    let leave =
        |ack_id| Message::UserLeaveGroupWithAck { user_id: "ada", group_name: None, ack_id, extensions: x() };
    assert_eq!(server.ask(leave).await.unwrap().0, OK);
    let red = |ack_id| Message::CheckUserInGroupWithAck {
        user_id: "ada",
        group_name: "red",
        ack_id,
        extensions: x(),
    };
    assert_eq!(server.ask(red).await.unwrap().0, NOT_FOUND);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_group_are_listed_in_pages() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for user in ["ada", "bob", "eve"] {
        let (client, id) = json_client(&listening, &mut server, &[("sub", user)]).await;
        let join = |ack_id| Message::JoinGroupWithAck {
            connection_id: &id,
            group_name: "red",
            ack_id,
            extensions: x(),
        };
        assert_eq!(server.ask(join).await.unwrap().0, OK);
        clients.push(client);
        ids.push((id.clone(), user.to_owned()));
    }
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let asked = token.clone();
        let query = |ack_id| Message::GroupMemberQuery {
            extensions: x(),
            group_name: "red",
            ack_id,
            top: None,
            continuation_token: asked.as_deref(),
            max_page_size: Some(2),
        };
        let (status, _, payload) = server.ask_for(query).await.unwrap();
        assert_eq!(status, OK);
        let payload = payload.unwrap();
        let page = GroupMembers::parse(&payload).unwrap();
        assert!(page.members.len() <= 2);
        found.extend(page.members.iter().map(|(id, user)| ((*id).to_owned(), user.unwrap().to_owned())));
        token = page.continuation_token.map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    let broken = |ack_id| Message::GroupMemberQuery {
        extensions: x(),
        group_name: "red",
        ack_id,
        top: Some(1),
        continuation_token: Some("x"),
        max_page_size: None,
    };
    let text = "the continuation token is not from this service";
    assert_eq!(server.ask(broken).await.unwrap(), (AckStatus::InternalServerError, text.to_owned()));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_added_by_an_app_server_is_in_the_group_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let listening = Fixture::start_in(default_mode(), folder.path()).await.listen();
    let mut one = server(&listening, "one").await;
    let join =
        |ack_id| Message::UserJoinGroupWithAck { user_id: "ada", group_name: "red", ack_id, extensions: x() };
    assert_eq!(one.ask(join).await.unwrap().0, OK);
    listening.stop().await;

    let listening = Fixture::start_in(default_mode(), folder.path()).await.listen();
    let mut two = server(&listening, "two").await;
    let (mut ada, _) = json_client(&listening, &mut two, &[("sub", "ada")]).await;
    let sent = news(1);
    let message =
        Message::MultiGroupBroadcastData { groups: vec!["red"], payloads: payloads(&sent), extensions: x() };
    two.send(&message).await.unwrap();
    assert_eq!(heard(&mut ada).await, json!([1]));
    listening.stop().await;
}
