//! Clients and the app server that handles their messages.

use expect_test::expect;
use realtime::{Mode, Options};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{DataMessageType, Message, ServerConnectionType};
use testkit::{Http, HubClient, Introduction, ScriptedAppServer};
use websocket::Opcode;

use super::{
    client, client_path, close_of, default_mode, introduction, json_client, listen, negotiate, say, server,
    until_negotiate,
};
use crate::fixture::{Listening, client_token};

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_and_invocations_are_forwarded_in_both_directions() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut server, &[("asrs.s.uid", "ada")]).await;
    say(&mut ada, &json!({ "type": 1, "invocationId": "7", "target": "Echo", "arguments": ["é"] })).await;
    let (caller, call) = server.call().await.unwrap();
    assert_eq!(caller, id);
    assert_eq!(call, json!({ "type": 1, "invocationId": "7", "target": "Echo", "arguments": ["é"] }));
    server.complete(&id, "7", &call["arguments"][0]).await.unwrap();
    assert_eq!(ada.next_json().await.unwrap(), json!({ "type": 3, "invocationId": "7", "result": "é" }));
    drop(ada);
    let closed = server.until(|message| match message {
        Message::CloseConnection { connection_id, error_message, .. } => {
            Some(((*connection_id).to_owned(), error_message.map(str::to_owned)))
        }
        _ => None,
    });
    assert_eq!(closed.await.unwrap(), (id, Some(String::new())));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_server_receives_claims_query_and_headers_of_its_client() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let claims = [("sub", "ada"), ("role", "reader"), ("asrs.s.dc", "True")];
    let path = client_path(&claims) + "&asrs.op=%2Fchat&x=1";
    let mut ada = HubClient::upgrade(&listening.authority, &path, HubProtocol::MessagePack).await.unwrap();
    let record = b"{\"protocol\":\"messagepack\",\"version\":1}\x1e";
    ada.send_frame(Opcode::Text, record).await.unwrap();
    let opened = server.until(|message| match message {
        Message::OpenConnection(open) => {
            let claims: Vec<_> = open
                .claims
                .iter()
                .filter(|(kind, _)| !["exp", "iat"].contains(kind))
                .map(|(kind, value)| format!("{kind}={value}"))
                .collect();
            let headers: Vec<_> =
                open.headers.iter().map(|(name, values)| format!("{name}: {}", values.join(","))).collect();
            let headers = headers.join("\n").replace(&listening.authority, "<authority>");
            let (query, protocol) = (open.query_string.unwrap(), open.extensions.protocol.unwrap());
            Some(format!("{}\n{headers}\n{query}\n{protocol}", claims.join(" ")))
        }
        _ => None,
    });
    expect![[r#"
        http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier=ada http://schemas.microsoft.com/ws/2008/06/identity/claims/role=reader asrs.s.dc=True aud=http://localhost/client/?hub=chat sub=ada role=reader
        Asrs-Instance-Id: default-0
        Asrs-Is-Diagnostic-Client: true
        host: <authority>
        x-forwarded-for: 127.0.0.1
        ?hub=chat&asrs.op=%2Fchat&x=1
        messagepack"#]]
    .assert_eq(&opened.await.unwrap());
    let handshake = server.until(|message| match message {
        Message::ConnectionData { payload, extensions, .. } => {
            assert_eq!(extensions.data_message_type, DataMessageType::Handshake);
            Some(payload.to_vec())
        }
        _ => None,
    });
    assert_eq!(handshake.await.unwrap(), record);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_refused_by_the_app_server_has_its_text() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let path = client_path(&[]);
    let refuse = async {
        let (id, _) = server.introduced().await.unwrap();
        server.data(&id, b"{\"error\":\"not today\"}\x1e").await.unwrap();
        let close = Message::CloseConnection {
            connection_id: &id,
            error_message: Some(""),
            headers: vec![],
            extensions: super::x(),
        };
        server.send(&close).await.unwrap();
    };
    let (outcome, ()) =
        tokio::join!(HubClient::connect(&listening.authority, &path, HubProtocol::Json), refuse);
    let text = outcome.err().unwrap().to_string();
    assert_eq!(text, "the handshake was answered {\"error\":\"not today\"}\u{1e}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_forwarded_in_both_directions_and_protocols() {
    let listening = listen(default_mode()).await;
    let hub = tokio::spawn(server(&listening, "one").await.serve());
    let path = client_path(&[]);
    let mut ada = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    say(&mut ada, &json!({ "type": 4, "invocationId": "1", "target": "Count", "arguments": [3] })).await;
    for number in 0..3 {
        let item = json!({ "type": 2, "invocationId": "1", "item": number });
        assert_eq!(ada.next_json().await.unwrap(), item);
    }
    assert_eq!(ada.next_json().await.unwrap()["type"], 3);
    let upload =
        json!({ "type": 1, "invocationId": "2", "target": "Sum", "arguments": [], "streamIds": ["s"] });
    say(&mut ada, &upload).await;
    for number in 1..=4 {
        say(&mut ada, &json!({ "type": 2, "invocationId": "s", "item": number })).await;
    }
    say(&mut ada, &json!({ "type": 3, "invocationId": "s" })).await;
    let sum = json!({ "type": 3, "invocationId": "2", "result": 10.0 });
    assert_eq!(ada.next_json().await.unwrap(), sum);
    let mut bob = HubClient::connect(&listening.authority, &path, HubProtocol::MessagePack).await.unwrap();
    // [4, {}, "1", "Count", [2], []]
    bob.send(b"\x0e\x96\x04\x80\xa11\xa5Count\x91\x02\x90").await.unwrap();
    assert_eq!(bob.next().await.unwrap().unwrap(), b"\x94\x02\x80\xa11\x00");
    assert_eq!(bob.next().await.unwrap().unwrap(), b"\x94\x02\x80\xa11\x01");
    assert_eq!(bob.next().await.unwrap().unwrap(), b"\x95\x03\x80\xa11\x03\xc0");
    listening.stop().await;
    hub.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn blazorpack_messages_are_forwarded_unchanged() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut ada, id) = client(&listening, &mut server, &[], HubProtocol::BlazorPack).await;
    // The service does not parse the content, not even whether it is MessagePack after the length.
    ada.send(b"\x03\xc1\x00\xff").await.unwrap();
    let (from, payload) = server.introduced().await.unwrap();
    assert_eq!((from.as_str(), payload.as_slice()), (id.as_str(), &b"\x03\xc1\x00\xff"[..]));
    server.data(&id, b"\x04\xc1\x01\x02\x03").await.unwrap();
    assert_eq!(ada.next().await.unwrap().unwrap(), b"\xc1\x01\x02\x03");
    let payloads =
        vec![("json", &b"{}\x1e"[..]), ("BlazorPack", b"\x02\x91\x06"), ("blazorpack", b"\x02\xc1\x07")];
    let message = Message::MultiConnectionData { connections: vec![&id], payloads, extensions: super::x() };
    server.send(&message).await.unwrap();
    // The payload name is compared without case, the first of two is used, and it is a ping, which this client skips.
    server.data(&id, b"\x01\xc1").await.unwrap();
    assert_eq!(ada.next().await.unwrap().unwrap(), b"\xc1");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_in_parts_by_the_app_server_reach_the_client_complete() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut server, &[]).await;
    let text = "é".repeat(100_000);
    let message = format!("{{\"type\":1,\"target\":\"news\",\"arguments\":[\"{text}\"]}}\u{1e}");
    // Also cut within a character: a text frame with half of one would end the connection.
    for piece in message.as_bytes().chunks(7_777) {
        let extensions = signalr_protocol::service::Extensions { is_partial: true, ..super::x() };
        let part = Message::ConnectionData { connection_id: &id, payload: piece, extensions };
        server.send(&part).await.unwrap();
    }
    assert_eq!(ada.arguments_of("news").await.unwrap(), json!([text]));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_messages_of_clients_are_split_if_the_app_server_supports_parts() {
    let listening = listen(default_mode()).await;
    for (allow_stateful_reconnects, in_pieces) in [(Some(false), true), (None, false)] {
        let introduction = Introduction { allow_stateful_reconnects, ..introduction("one") };
        let mut server = ScriptedAppServer::connect(&listening.authority, &introduction).await.unwrap();
        let (mut ada, id) = json_client(&listening, &mut server, &[]).await;
        let text = "x".repeat(600_000);
        say(&mut ada, &json!({ "type": 1, "target": "Take", "arguments": [text] })).await;
        let (mut length, mut is_partial) = (0, false);
        while length < text.len() {
            let (bytes, partial) = server
                .until(|message| match message {
                    Message::ConnectionData { payload, extensions, .. } => {
                        Some((payload.len(), extensions.is_partial))
                    }
                    _ => None,
                })
                .await
                .unwrap();
            assert!(!in_pieces || bytes <= 64 * 1024, "{bytes}");
            length += bytes;
            is_partial |= partial;
        }
        assert_eq!(is_partial, in_pieces);
        drop((ada, id, server));
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_app_server_clients_are_refused_before_they_connect() {
    let listening = listen(default_mode()).await;
    let refused = "no app server that may serve this client is connected for hub chat; start one, or set the service's mode to 'serverless'";
    assert_eq!(negotiate(&listening, &[]).await, (500, json!(refused)));
    let outcome = HubClient::connect(&listening.authority, &client_path(&[]), HubProtocol::Json).await;
    assert_eq!(
        outcome.err().unwrap().to_string(),
        "the upgrade was answered HTTP/1.1 500 Internal Server Error"
    );
    let server = server(&listening, "one").await;
    assert_eq!(negotiate(&listening, &[]).await.0, 200);
    let required = [("asrs.s.sn", "two"), ("asrs.s.ssticky", "Required")];
    assert_eq!(negotiate(&listening, &required).await, (500, json!(refused)));
    drop(server);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_app_server_is_lost_before_the_handshake_is_disconnected() {
    let listening = listen(default_mode()).await;
    let server = server(&listening, "one").await;
    let path = client_path(&[]);
    let mut ada = HubClient::upgrade(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    server.die();
    until_negotiate(&listening, 500).await;
    ada.send_frame(Opcode::Text, b"{\"protocol\":\"json\",\"version\":1}\x1e").await.unwrap();
    // Its handshake is not complete, so that a Close message would be invalid; the socket ends.
    assert_eq!(close_of(&mut ada).await, None);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_reconnect_is_negotiated_only_if_the_app_servers_support_it() {
    let listening = listen(default_mode()).await;
    let one = server(&listening, "one").await;
    assert_eq!(negotiate(&listening, &[]).await.1["useStatefulReconnect"], true);
    let old = Introduction { allow_stateful_reconnects: None, ..introduction("two") };
    let two = ScriptedAppServer::connect(&listening.authority, &old).await.unwrap();
    assert_eq!(negotiate(&listening, &[]).await.1["useStatefulReconnect"], json!(null));
    drop((one, two));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_spread_over_app_servers_and_sticky_ones_assigned_to_theirs() {
    let listening = listen(default_mode()).await;
    let mut one = server(&listening, "one").await;
    let mut two = server(&listening, "two").await;
    let preferred = [("asrs.s.sn", "two"), ("asrs.s.ssticky", "Preferred")];
    let elsewhere = [("asrs.s.sn", "three"), ("asrs.s.ssticky", "Preferred")];
    let required = [("asrs.s.sn", "two"), ("asrs.s.ssticky", "Required")];
    let mut clients = vec![
        json_client(&listening, &mut one, &[]).await,
        json_client(&listening, &mut two, &[]).await,
        json_client(&listening, &mut two, &preferred).await,
        json_client(&listening, &mut two, &required).await,
        json_client(&listening, &mut one, &elsewhere).await,
        json_client(&listening, &mut one, &[]).await,
    ];
    clients.clear();
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_in_classic_mode_is_serverless_until_an_app_server_connects() {
    let listening = listen(Options { mode: Mode::Classic, ..default_mode() }).await;
    let path = client_path(&[]);
    let mut alone = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    say(&mut alone, &json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [1] })).await;
    let answer = alone.next_json().await.unwrap();
    assert!(answer["error"].as_str().unwrap().starts_with("no upstream is configured"), "{answer}");
    let mut server = server(&listening, "one").await;
    let (mut ada, id) = json_client(&listening, &mut server, &[]).await;
    say(&mut ada, &json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [1] })).await;
    let (caller, _) = server.call().await.unwrap();
    assert_eq!(caller, id);
    // The client that connected before the app server stays with the upstream.
    say(&mut alone, &json!({ "type": 1, "invocationId": "2", "target": "Echo", "arguments": [1] })).await;
    assert!(alone.next_json().await.unwrap()["error"].is_string());
    server.die();
    // Only after the service has noticed.
    assert_eq!(close_of(&mut ada).await.unwrap()["allowReconnect"], true);
    let mut later = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    say(&mut later, &json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [1] })).await;
    assert!(later.next_json().await.unwrap()["error"].is_string());
    listening.stop().await;
}

/// Negotiates in Classic mode as a client that negotiated with an app server before.
async fn negotiate_at(listening: &Listening, query: &str) -> (u16, String) {
    let authorization = format!("Bearer {}", client_token("chat", &[]));
    let path = format!("/client/negotiate?hub=chat&negotiateVersion=1{query}");
    let http = Http::new(&listening.authority);
    let answer = http.send("POST", &path, &[("authorization", &authorization)], "").await.unwrap();
    (answer.status.as_u16(), answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_classic_mode_a_client_of_an_app_server_waits_for_its_connection() {
    let mut options = Options { mode: Mode::Classic, ..default_mode() };
    options.servers.await_server_timeout_ms = 20_000;
    let listening = listen(options).await;
    let path = client_path(&[]) + "&asrs.op=%2Fchat";
    let negotiation = negotiate_at(&listening, "&asrs.op=%2Fchat");
    let connection = HubClient::connect(&listening.authority, &path, HubProtocol::Json);
    let server = async {
        // Clients without an app server do not wait.
        assert_eq!(negotiate_at(&listening, "").await.0, 200);
        let mut one = server(&listening, "one").await;
        let id = one.accept().await.unwrap();
        (one, id)
    };
    let ((status, text), ada, (mut one, id)) = tokio::join!(negotiation, connection, server);
    assert_eq!(status, 200, "{text}");
    let mut ada = ada.unwrap();
    say(&mut ada, &json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": [1] })).await;
    assert_eq!(one.call().await.unwrap().0, id);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_classic_mode_a_client_of_an_app_server_is_refused_if_none_connects() {
    let mut options = Options { mode: Mode::Classic, ..default_mode() };
    options.servers.await_server_timeout_ms = 50;
    let listening = listen(options).await;
    let (status, text) = negotiate_at(&listening, "&asrs.op=%2Fchat").await;
    assert_eq!(status, 500);
    assert!(
        text.contains("negotiated with an app server (asrs.op), and none is connected for hub chat"),
        "{text}"
    );
    let path = client_path(&[]) + "&asrs.op=%2Fchat";
    let refused = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.err().unwrap();
    assert!(refused.to_string().contains("500"), "{refused}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_serverless_mode_only_server_connections_without_clients_are_accepted() {
    let listening = listen(Options { mode: Mode::Serverless, ..default_mode() }).await;
    let refused = ScriptedAppServer::connect(&listening.authority, &introduction("one")).await.err().unwrap();
    expect!["the service runs in Serverless mode, where app servers carry no clients; set its mode to 'default' or 'classic', or connect with the persistent transport of the management SDK"]
        .assert_eq(&refused.to_string());
    let weak = Introduction { connection_type: ServerConnectionType::Weak, ..introduction("one") };
    let weak = ScriptedAppServer::connect(&listening.authority, &weak).await.unwrap();
    assert_eq!(negotiate(&listening, &[]).await.0, 200);
    drop(weak);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_polling_client_is_served_by_its_app_server() {
    let listening = listen(Options { poll_interval_ms: 50, ..default_mode() }).await;
    let hub = tokio::spawn(server(&listening, "one").await.serve());
    let claims = [("sub", "ada")];
    let (_, answer) = negotiate(&listening, &claims).await;
    let path = format!("/client/?hub=chat&id={}", answer["connectionToken"].as_str().unwrap());
    let authorization = format!("Bearer {}", client_token("chat", &claims));
    let http = Http::new(&listening.authority);
    let send = async |method, body: String| {
        let answer = http.send(method, &path, &[("authorization", &authorization)], body).await.unwrap();
        assert!(answer.status.is_success(), "{}", answer.text());
        answer.text()
    };
    // What polls return until it contains a text.
    let until = async |text: &str| {
        let mut got = String::new();
        while !got.contains(text) {
            got += &send("GET", String::new()).await;
        }
        got
    };
    send("GET", String::new()).await;
    send("POST", "{\"protocol\":\"json\",\"version\":1}\u{1e}".to_owned()).await;
    assert_eq!(until("{}\u{1e}").await, "{}\u{1e}");
    let call = json!({ "type": 1, "invocationId": "1", "target": "Echo", "arguments": ["hello"] });
    send("POST", format!("{call}\u{1e}")).await;
    let completion = until("\"invocationId\"").await;
    let completion: Value = serde_json::from_str(completion.trim_end_matches('\u{1e}')).unwrap();
    assert_eq!(completion, json!({ "type": 3, "invocationId": "1", "result": "hello" }));
    send("DELETE", String::new()).await;
    listening.stop().await;
    hub.await.unwrap().unwrap();
}
