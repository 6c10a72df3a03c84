//! App servers that violate the protocol, and callers that are not app servers.

use expect_test::{Expect, expect};
use realtime::{Options, servers};
use signalr_protocol::service::{Message, ServerConnectionType, ServiceHandshakeRequest};
use testkit::{Http, Introduction, ScriptedAppServer};
use websocket::Opcode;

use super::{default_mode, introduction, json_client, listen, server, x};
use crate::fixture::{Listening, client_token, token};

/// Checks why a token is refused for a server connection.
async fn check_token(listening: &Listening, token: String, expected: &Expect) {
    let introduction = Introduction { token: token.clone(), ..introduction("one") };
    let refused =
        ScriptedAppServer::connect(&listening.authority, &introduction).await.err().unwrap().to_string();
    assert!(refused.contains("401"), "{refused}");
    let http = Http::new(&listening.authority);
    let authorization = format!("Bearer {token}");
    let answer =
        http.send("GET", "/server/?hub=chat", &[("authorization", &authorization)], "").await.unwrap();
    expected.assert_eq(&answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_for_servers_of_this_hub_is_refused() {
    let listening = listen(default_mode()).await;
    check_token(
        &listening,
        client_token("chat", &[]),
        &expect!["the token's audience 'http://localhost/client/?hub=chat' does not match this resource"],
    )
    .await;
    check_token(
        &listening,
        token("http://localhost/server/?hub=other", &[]),
        &expect!["the token's audience 'http://localhost/server/?hub=other' does not match this resource"],
    )
    .await;
    check_token(
        &listening,
        token("http://localhost/api/v1/hubs/chat", &[]),
        &expect!["the token's audience 'http://localhost/api/v1/hubs/chat' does not match this resource"],
    )
    .await;
    let mut forged = token("http://localhost/server/?hub=chat", &[]);
    forged.truncate(forged.len() - 4);
    forged += "AAAA";
    check_token(&listening, forged, &expect!["the token's signature does not match any valid access key"])
        .await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_server_connection_request_is_refused_with_the_reason() {
    let listening = listen(default_mode()).await;
    let http = Http::new(&listening.authority);
    let authorization = format!("Bearer {}", token("http://localhost/server/?hub=chat", &[]));
    let check = async |method: &str, path: &str, with_token: bool, expected: Expect| {
        let headers = [("authorization", authorization.as_str())];
        let headers = if with_token { &headers[..] } else { &[] };
        let answer = http.send(method, path, headers, "").await.unwrap();
        expected.assert_eq(&format!("{} {}", answer.status.as_u16(), answer.text()));
    };
    check("GET", "/server/?hub=chat", false, expect!["401 an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address /server/?hub=<hub>"]).await;
    check("GET", "/server/", true, expect!["400 the query has no hub; add hub=<name>"]).await;
    check("POST", "/server/?hub=chat", true, expect!["405 this address accepts GET only"]).await;
    check(
        "GET",
        "/server/more?hub=chat",
        true,
        expect!["404 unknown path; app servers connect at /server/?hub=<hub>"],
    )
    .await;
    check(
        "GET",
        "/server/?hub=chat",
        true,
        expect!["426 the request does not ask for an upgrade to websocket"],
    )
    .await;
    listening.stop().await;
}

/// Checks the error and the close frame for a server that sends this after its handshake.
async fn check_violation(listening: &Listening, opcode: Opcode, payload: &[u8], expected: &Expect) {
    let mut one = server(listening, "one").await;
    one.send_frame(opcode, payload).await.unwrap();
    let error = one.until(|message| match message {
        Message::ServiceError { error_message } => Some(error_message.unwrap().to_owned()),
        _ => None,
    });
    let error = error.await.unwrap();
    let (code, reason) = one.closed().await.unwrap().unwrap();
    assert!(error.starts_with(&reason), "{error} / {reason}");
    expected.assert_eq(&format!("{code} {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_close_only_their_own_connection_with_the_reason() {
    let servers = servers::Options { message_bytes_max: 10_000, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut other = server(&listening, "other").await;
    let violations: [(Opcode, &[u8], Expect); 4] = [
        (Opcode::Text, b"{}", expect!["1002 the service protocol needs binary WebSocket messages, not text"]),
        (
            Opcode::Binary,
            b"\x03\x92\x06\xc0",
            expect!["1002 a service message cannot be read: 'connectionId': a string is expected"],
        ),
        (
            Opcode::Binary,
            b"\x01\x80",
            expect![
                "1002 a service message cannot be read: it is not a MessagePack array that begins with the number of a message type: an array is expected"
            ],
        ),
        (
            Opcode::Binary,
            b"\xff\xff\xff\xff\xff",
            expect![
                "1002 the length prefix of a service message is invalid: the length prefix of a MessagePack message is not a number of at most 0x7fffffff"
            ],
        ),
    ];
    for (opcode, payload, expected) in &violations {
        check_violation(&listening, *opcode, payload, expected).await;
    }
    // Messages before the violation take effect, and other connections are not affected.
    let (_ada, id) = json_client(&listening, &mut other, &[]).await;
    let mut bytes = Vec::new();
    Message::JoinGroup { connection_id: &id, group_name: "red", extensions: x() }.encode(&mut bytes);
    bytes.extend_from_slice(b"\x01\x80");
    let mut one = server(&listening, "one").await;
    one.send_frame(Opcode::Binary, &bytes).await.unwrap();
    one.closed().await.unwrap();
    let check = |ack_id| Message::CheckGroupExistenceWithAck { group_name: "red", ack_id, extensions: x() };
    assert_eq!(other.ask(check).await.unwrap().0, signalr_protocol::service::AckStatus::Ok);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_server_handshake_is_refused_with_the_reason() {
    let servers = servers::Options { handshake_timeout_ms: 200, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let check = async |message: Option<Message<'_>>, expected: Expect| {
        let mut one = ScriptedAppServer::upgrade(&listening.authority, &introduction("one")).await.unwrap();
        if let Some(message) = message {
            one.send(&message).await.unwrap();
        }
        let answer = one.until(|message| match message {
            Message::HandshakeResponse { error_message, .. } => Some(error_message.unwrap().to_owned()),
            _ => None,
        });
        expected.assert_eq(&answer.await.unwrap());
        assert_eq!(one.closed().await.unwrap().unwrap().0, 1008);
    };
    let request = |version| ServiceHandshakeRequest {
        version,
        connection_type: ServerConnectionType::Default,
        target: None,
        migration_level: 0,
        extensions: x(),
        allow_stateful_reconnects: None,
    };
    check(None, expect!["no handshake within 200 ms (servers.handshake_timeout_ms)"]).await;
    check(
        Some(Message::Ping { messages: vec![] }),
        expect!["the first message of a server connection must be a HandshakeRequest"],
    )
    .await;
    check(
        Some(Message::HandshakeRequest(request(3))),
        expect!["version 3 of the service protocol is not supported; use version 1"],
    )
    .await;
    let on_demand = ServiceHandshakeRequest {
        connection_type: ServerConnectionType::OnDemand,
        target: Some("elsewhere"),
        ..request(1)
    };
    check(
        Some(Message::HandshakeRequest(on_demand)),
        expect!["the service instance 'elsewhere' does not exist; it has ended or restarted"],
    )
    .await;
    let mut silent = ScriptedAppServer::upgrade(&listening.authority, &introduction("one")).await.unwrap();
    silent.send_frame(Opcode::Text, b"hello").await.unwrap();
    assert_eq!(silent.closed().await.unwrap().unwrap().0, 1008);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_connection_times_out_and_its_clients_reconnect() {
    let servers = servers::Options { timeout_ms: 300, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, _) = json_client(&listening, &mut one, &[]).await;
    assert_eq!(super::close_of(&mut ada).await.unwrap()["error"], "ServerOffline");
    assert_eq!(one.closed().await.unwrap(), Some((1008, String::new())));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_connection_above_the_limit_is_refused() {
    let servers = servers::Options { connections_max: 1, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let one = server(&listening, "one").await;
    let refused = ScriptedAppServer::connect(&listening.authority, &introduction("two")).await.err().unwrap();
    assert_eq!(refused.to_string(), "the upgrade was answered HTTP/1.1 429 Too Many Requests");
    drop(one);
    let again = async {
        while ScriptedAppServer::connect(&listening.authority, &introduction("two")).await.is_err() {}
    };
    tokio::time::timeout(testkit::PATIENCE, again)
        .await
        .expect("the closed connection does not count any more");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_cannot_send_to_clients_of_another_hub() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut one, &[("sub", "ada")]).await;
    let other_hub = Introduction::new("other", "one", token("http://localhost/server/?hub=other", &[]));
    let mut other = ScriptedAppServer::connect(&listening.authority, &other_hub).await.unwrap();
    other.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"foreign\"]}\x1e").await.unwrap();
    let close = |ack_id| Message::CloseConnectionWithAck {
        connection_id: &id,
        reason: None,
        ack_id,
        extensions: x(),
    };
    let not_found = signalr_protocol::service::AckStatus::NotFound;
    assert_eq!(other.ask(close).await.unwrap().0, not_found);
    let claims = |ack_id| Message::GetConnectionClaims { connection_token: &id, ack_id, extensions: x() };
    assert_eq!(other.ask(claims).await.unwrap().0, not_found);
    one.data(&id, b"{\"type\":1,\"target\":\"news\",\"arguments\":[\"own\"]}\x1e").await.unwrap();
    assert_eq!(super::heard(&mut ada).await, serde_json::json!(["own"]));
    listening.stop().await;
}
