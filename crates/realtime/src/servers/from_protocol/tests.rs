use expect_test::{Expect, expect};
use signalr_protocol::service::{Extensions, Payloads, UnixTime};

use super::*;

const ADA: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAA";
const BOB: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAE";

fn x() -> Extensions<'static> {
    Extensions::default()
}

fn payloads() -> Payloads<'static> {
    vec![("JSON", b"{}\x1e"), ("messagepack", b""), ("blazorpack", b"\x02\x91\x06"), ("other", b"x")]
}

fn check(message: Message<'_>, expected: &Expect) {
    expected
        .assert_eq(&format!("{:?}", parse_request(message)).replace("ConnectionId", "").replace('"', "'"));
}

#[test]
fn a_send_has_the_receivers_that_the_message_names() {
    let multi =
        |connections| Message::MultiConnectionData { connections, payloads: payloads(), extensions: x() };
    check(
        multi(vec![ADA, "nobody", BOB]),
        &expect![[
            r#"Send(Send { targets: [Connection((AAAAAAAAAAAAAAAAAAAAAAAAAAA)), Connection((AAAAAAAAAAAAAAAAAAAAAAAAAAE))], excluded: [], excluded_users: [], filter: None, message: OutgoingMessage(Ready { json: Some(b'{}\x1e'), messagepack: None, blazorpack: Some(b'\x02\x91\x06') }) })"#
        ]],
    );
    check(
        multi(vec!["nobody"]),
        &expect![[
            r#"Invalid(InvalidRequest { ack: None, object: 1, id: 'nobody', kind: 1, text: 'a connection id has 27 characters of URL-safe base64' })"#
        ]],
    );
    let group = Message::GroupBroadcastData {
        group_name: "red",
        excluded: vec![ADA, "nobody"],
        payloads: vec![],
        extensions: x(),
        excluded_users: vec!["bob"],
        caller_user_id: None,
    };
    check(
        group,
        &expect![
            "Send(Send { targets: [Group(GroupName('red'))], excluded: [(AAAAAAAAAAAAAAAAAAAAAAAAAAA)], excluded_users: [UserId('bob')], filter: None, message: OutgoingMessage(Ready { json: None, messagepack: None, blazorpack: None }) })"
        ],
    );
    let several =
        Message::MultiGroupBroadcastData { groups: vec![" ", "red"], payloads: vec![], extensions: x() };
    check(
        several,
        &expect![
            "Send(Send { targets: [Group(GroupName('red'))], excluded: [], excluded_users: [], filter: None, message: OutgoingMessage(Ready { json: None, messagepack: None, blazorpack: None }) })"
        ],
    );
}

#[test]
fn a_send_with_an_invalid_filter_is_an_invalid_request() {
    let broadcast = |filter| Message::BroadcastData {
        excluded: vec![],
        payloads: payloads(),
        extensions: Extensions { filter: Some(filter), ..x() },
    };
    check(
        broadcast("userId eq 7"),
        &expect![
            "Invalid(InvalidRequest { ack: None, object: 4, id: 'userId eq 7', kind: 1, text: 'a message was not sent: the filter at character 1: 'userId eq 7' compares a text with a number' })"
        ],
    );
    let ServerRequest::Send(send) = parse_request(broadcast("userId eq 'ada'")) else {
        panic!("the filter is valid")
    };
    assert_eq!(*send.filter.unwrap(), Filter::parse("userId eq 'ada'").unwrap());
}

#[test]
fn a_membership_has_the_lifetime_of_its_message() {
    let join = |ttl| Message::UserJoinGroupWithAck {
        user_id: "ada",
        group_name: "red",
        ack_id: 3,
        extensions: Extensions { ttl, ..x() },
    };
    let expected = |lifetime: &str| {
        format!(
            "Change {{ member: User(UserId('ada')), group: Some(GroupName('red')), membership: Join, lifetime: {lifetime}, ack: Some(3) }}"
        )
    };
    for (ttl, lifetime) in
        [(None, "Always"), (Some(0), "Present"), (Some(-5), "Present"), (Some(60), "For(60s)")]
    {
        let shown = format!("{:?}", parse_request(join(ttl))).replace('"', "'");
        assert_eq!(shown, expected(lifetime));
    }
    check(
        Message::UserLeaveGroup { user_id: "ada", group_name: None, extensions: x() },
        &expect![
            "Change { member: User(UserId('ada')), group: None, membership: Leave, lifetime: Always, ack: None }"
        ],
    );
    check(
        Message::JoinGroupWithAck { connection_id: "nobody", group_name: "red", ack_id: 4, extensions: x() },
        &expect![
            "Invalid(InvalidRequest { ack: Some(4), object: 1, id: 'nobody', kind: 1, text: 'a connection id has 27 characters of URL-safe base64' })"
        ],
    );
    check(
        Message::JoinGroupWithAck { connection_id: ADA, group_name: " ", ack_id: 5, extensions: x() },
        &expect![
            "Invalid(InvalidRequest { ack: Some(5), object: 3, id: ' ', kind: 1, text: 'invalid group name; use 1 to 1024 characters, not only white space' })"
        ],
    );
}

#[test]
fn an_empty_close_reason_becomes_none() {
    let close = |error_message| Message::CloseConnection {
        connection_id: ADA,
        error_message,
        headers: vec![],
        extensions: x(),
    };
    check(
        close(Some("")),
        &expect![
            "Close { whom: Connection((AAAAAAAAAAAAAAAAAAAAAAAAAAA)), excluded: [], reason: None, ack: None }"
        ],
    );
    check(
        close(Some("over")),
        &expect![
            "Close { whom: Connection((AAAAAAAAAAAAAAAAAAAAAAAAAAA)), excluded: [], reason: Some('over'), ack: None }"
        ],
    );
    check(
        Message::CloseGroupConnectionsWithAck {
            group_name: "red",
            reason: None,
            ack_id: 9,
            excluded: vec![BOB],
            extensions: x(),
        },
        &expect![
            "Close { whom: Group(GroupName('red')), excluded: [(AAAAAAAAAAAAAAAAAAAAAAAAAAE)], reason: None, ack: Some(9) }"
        ],
    );
}

#[test]
fn the_key_of_a_ping_decides_the_request() {
    let check = |messages: &[&str], expected: Ping| match parse_request(Message::Ping {
        messages: messages.to_vec(),
    }) {
        ServerRequest::Ping(ping) => assert_eq!(ping, expected, "{messages:?}"),
        other => panic!("{other:?}"),
    };
    check(&[], Ping::Alive);
    check(&["#clientInHub", "3", "#client", "4"], Ping::Alive);
    check(&["d-m", "1"], Ping::Alive);
    check(&["status", ""], Ping::Status);
    check(&["status", "1"], Ping::Status);
    check(&["servers", ""], Ping::Servers);
    check(&["echo", "7"], Ping::Echo("7".into()));
    check(&["shutdown", "fin:0"], Ping::Shutdown(Shutdown::Drop));
    check(&["shutdown", "fin:1"], Ping::Shutdown(Shutdown::Migrate));
    check(&["offline", "fin:2"], Ping::Shutdown(Shutdown::Wait));
    check(&["shutdown", "finack"], Ping::Alive);
}

#[test]
fn messages_that_only_the_service_sends_are_ignored() {
    let event = Message::ServiceEvent { object: 1, id: None, kind: 1, message: None, extensions: x() };
    for message in [Message::Unknown(99), event, Message::ServiceError { error_message: None }] {
        assert!(matches!(parse_request(message), ServerRequest::Ignored));
    }
}

#[test]
fn a_refresh_without_an_expiry_leaves_it_unchanged() {
    let refresh = |seconds| Message::RefreshAuth {
        connection_token: "secret",
        claims: vec![("role", "a")],
        expire_time: Some(UnixTime { seconds, nanoseconds: 0 }),
        ack_id: 1,
        extensions: x(),
    };
    check(
        refresh(5),
        &expect![
            "Refresh { token: 'secret', claims: [('role', 'a')], expires_at: Some(UnixTime { seconds: 5, nanoseconds: 0 }), ack: 1 }"
        ],
    );
    check(
        refresh(253_402_300_799),
        &expect!["Refresh { token: 'secret', claims: [('role', 'a')], expires_at: None, ack: 1 }"],
    );
}
