use std::sync::Arc;

use expect_test::{Expect, expect};
use identity::AccessKey;
use signalr_protocol::TransportType;
use state::Instance;

use super::*;
use realtime_engine::{ClientContext, ConnectionId, Hub, UserId};

fn client(user: Option<&str>, client_context: Option<(&str, &str)>) -> ClientConnection {
    ClientConnection {
        id: ConnectionId::parse(&"A".repeat(27)).unwrap(),
        hub: Hub::new(Instance::new("test").unwrap(), "chat"),
        user: user.map(UserId::new),
        protocol: HubProtocol::Json,
        client_context: client_context.map(|(claims, query)| {
            Arc::new(ClientContext { claims: claims.into(), query: query.into(), remote: Some(remote()) })
        }),
    }
}

fn remote() -> RemoteEndpoint {
    RemoteEndpoint { transport: TransportType::LongPolling, address: Some("2001:db8::7".parse().unwrap()) }
}

fn check(client: &ClientConnection, category: Category, event: &str, content: Content, expected: Expect) {
    let signature = HeaderValue::from_static("sha256=00");
    let request =
        build(Uri::from_static("http://host/path?code=k"), client, category, event, content, &signature);
    let mut shown = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        shown.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    shown.push_str(&format!("\n{}\n", String::from_utf8_lossy(request.body())));
    expected.assert_eq(&shown);
}

#[test]
fn an_invocation_carries_the_headers_of_its_client() {
    let claims = r#"{"nameid":"jürgen","name":"Müller, Jürgen"}"#;
    let client = client(Some("jürgen"), Some((claims, "hub=chat&x=a%2Cb")));
    let payload = Bytes::from_static(br#"{"type":1,"target":"gr\u00fc\u00dfen","arguments":[]}"#);
    let content = Content::message(HubProtocol::Json, payload, Some("7"));
    check(
        &client,
        Category::Messages,
        "grüßen",
        content,
        expect![[r#"
            POST http://host/path?code=k
            content-type: application/json
            x-asrs-connection-id: AAAAAAAAAAAAAAAAAAAAAAAAAAA
            x-asrs-hub: chat
            x-asrs-category: messages
            x-asrs-event: grüßen
            x-asrs-signature: sha256=00
            x-asrs-user-id: jürgen
            x-chappe-invocation-id: 7
            x-chappe-hub-protocol: json
            x-asrs-user-claims: http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier: jürgen, name: Müller%2C Jürgen, nameid: jürgen
            x-asrs-user-claims-encoded: W3sidHlwZSI6Imh0dHA6Ly9zY2hlbWFzLnhtbHNvYXAub3JnL3dzLzIwMDUvMDUvaWRlbnRpdHkvY2xhaW1zL25hbWVpZGVudGlmaWVyIiwidmFsdWUiOiJqw7xyZ2VuIn0seyJ0eXBlIjoibmFtZSIsInZhbHVlIjoiTcO8bGxlciwgSsO8cmdlbiJ9LHsidHlwZSI6Im5hbWVpZCIsInZhbHVlIjoiasO8cmdlbiJ9XQ==
            x-asrs-client-query: ?hub=chat&x=a%2Cb
            x-chappe-transport: LongPolling
            x-chappe-client-address: 2001:db8::7

            {"type":1,"target":"gr\u00fc\u00dfen","arguments":[]}
        "#]],
    );
}

#[test]
fn connection_events_are_json_for_every_hub_protocol() {
    let client = client(None, None);
    for (content, body) in [
        (Content::connected(), r#"{"type":10}"#),
        (Content::disconnected(None), r#"{"type":11}"#),
        (Content::disconnected(Some("why \"not\"")), r#"{"type":11,"error":"why \"not\""}"#),
    ] {
        assert_eq!((content.content_type, content.body), (JSON, Bytes::from(body)));
    }
    check(
        &client,
        Category::Connections,
        "connected",
        Content::connected(),
        expect![[r#"
            POST http://host/path?code=k
            content-type: application/json
            x-asrs-connection-id: AAAAAAAAAAAAAAAAAAAAAAAAAAA
            x-asrs-hub: chat
            x-asrs-category: connections
            x-asrs-event: connected
            x-asrs-signature: sha256=00
            x-chappe-hub-protocol: json

            {"type":10}
        "#]],
    );
}

#[test]
fn the_content_type_of_a_message_follows_the_clients_protocol() {
    for (protocol, expected) in [(HubProtocol::Json, JSON), (HubProtocol::MessagePack, MESSAGEPACK)] {
        assert_eq!(Content::message(protocol, Bytes::new(), None).content_type, expected);
    }
}

#[test]
fn an_event_cannot_add_a_header() {
    let client = client(Some("a\r\nx-evil: 1"), None);
    let signature = HeaderValue::from_static("sha256=00");
    let address = Uri::from_static("http://host/");
    let request = build(address, &client, Category::Messages, "b\n", Content::connected(), &signature);
    assert_eq!(request.headers()[USER_ID], "a%0D%0Ax-evil: 1");
    assert_eq!(request.headers()[EVENT], "b%0A");
}

/// The vector of the test in the Functions extension.
#[test]
fn each_key_adds_one_signature() {
    let key = |text: &str| AccessKey::new(text).unwrap();
    let keys = KeySet {
        primary: key("7aab239577fd4f24bc919802fb629f5f"),
        others: vec![key("a5f2815d0d0c4b00bd27e832432f91ab")],
        dynamic: Vec::new(),
    };
    let both = concat!(
        "sha256=7767effcb3946f3e1de039df4b986ef02c110b1469d02c0a06f41b3b727ab561,",
        "sha256=d4aefb65547a00a9881fa8ac8bd03d0faf77af9da5205d45c6e57cbda4377760"
    );
    assert_eq!(signature("0f9c97a2f0bf4706afe87a14e0797b11", &keys), both);
    // Two equal keys make one signature.
    let twice = KeySet {
        others: vec![key("a5f2815d0d0c4b00bd27e832432f91ab"), keys.primary.clone()],
        ..keys.clone()
    };
    assert_eq!(signature("0f9c97a2f0bf4706afe87a14e0797b11", &twice), both);
    let first = both.split(',').next().unwrap();
    assert_eq!(signature("0f9c97a2f0bf4706afe87a14e0797b11", &KeySet::single(keys.primary)), first);
}

#[test]
fn a_token_is_a_bearer_that_logs_do_not_show() {
    let mut request = Request::new(Bytes::new());
    authorize(&mut request, "hidden");
    trace(&mut request, "00-1-2-01");
    assert_eq!(request.headers()[AUTHORIZATION], "Bearer hidden");
    assert_eq!(request.headers()[TRACEPARENT], "00-1-2-01");
    assert!(!format!("{request:?}").contains("hidden"));
}
