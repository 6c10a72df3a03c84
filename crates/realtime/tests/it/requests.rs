//! The HTTP transports, Server-Sent Events and long polling, method by method.

use std::time::Duration;

use bytes::Bytes;
use expect_test::{Expect, expect};
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http_body_util::BodyExt;
use http_messages::Body;
use realtime::{Options, SendMessage};
use realtime_engine::{CloseRequest, Target};
use serde_json::Value;

use crate::fixture::{Fixture, body, client_token, options, request, shown, token};

const HANDSHAKE: &str = "{\"protocol\":\"json\",\"version\":1}\u{1e}";
const CALL: &str = "{\"type\":1,\"invocationId\":\"7\",\"target\":\"t\",\"arguments\":[]}\u{1e}";

/// A client of an HTTP transport: a token and a connection token.
struct Client<'a> {
    fixture: &'a Fixture,
    token: String,
    id: String,
}

impl<'a> Client<'a> {
    async fn negotiate(fixture: &'a Fixture, claims: &[(&str, &str)]) -> Self {
        let token = client_token("chat", claims);
        let negotiate = request("POST /client/negotiate?hub=chat&negotiateVersion=1");
        let negotiate = negotiate.header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = fixture.send(negotiate.body(body("")).unwrap()).await;
        let answer = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let id = answer["connectionToken"].as_str().unwrap().to_owned();
        Self { fixture, token, id }
    }

    async fn send(&self, method: &str, accept: &str, text: &str) -> http::Response<Body> {
        let request = request(&format!("{method} /client/?hub=chat&id={}", self.id))
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT, accept);
        self.fixture.send(request.body(body(text.to_owned())).unwrap()).await
    }

    async fn shown(&self, method: &str, text: &str) -> String {
        shown(self.send(method, "*/*", text).await).await
    }

    /// What polls return until it contains a text: a poll may arrive before the shard's writes, and time out.
    async fn polls_until(&self, text: &str) -> String {
        let mut got = String::new();
        while !got.contains(text) {
            let answer = self.shown("GET", "").await;
            got += answer.strip_prefix("200").unwrap().trim_start_matches('\n');
        }
        got
    }

    async fn check(&self, method: &str, text: &str, expected: &Expect) {
        expected.assert_eq(&self.shown(method, text).await);
    }
}

async fn publish(fixture: &Fixture, text: &str) {
    let arguments = serde_json::json!([text]).to_string();
    let message = SendMessage {
        hub: "chat",
        to: Target::All,
        excluded: Vec::new(),
        target: "m",
        arguments: &arguments,
        trace: None,
    };
    fixture.handle.send(message).await.unwrap();
}

#[tokio::test]
async fn long_polling_delivers_messages_over_consecutive_polls() {
    let fixture = Fixture::start(Options { poll_interval_ms: 20, ..options() }).await;
    let client = Client::negotiate(&fixture, &[]).await;
    let first = client.send("GET", "*/*", "").await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()[CACHE_CONTROL], "no-cache, no-store");
    assert!(first.into_body().collect().await.unwrap().to_bytes().is_empty(), "the first poll only opens");
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    let answer = client.send("GET", "*/*", "").await;
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/octet-stream");
    assert_eq!(shown(answer).await, "200\n{}\u{1e}");
    client.check("GET", "", &expect!["200"]).await;
    publish(&fixture, "a").await;
    publish(&fixture, "b").await;
    let got = client.polls_until("[\"b\"]").await;
    let message = |text| format!("{{\"type\":1,\"target\":\"m\",\"arguments\":[\"{text}\"]}}\u{1e}");
    assert_eq!(got, message("a") + &message("b"));
    client.check("POST", CALL, &expect!["200"]).await;
    client.polls_until("\"invocationId\":\"7\",\"error\":\"no upstream").await;
    client.check("DELETE", "", &expect!["202"]).await;
    let gone = client.shown("GET", "").await;
    assert_eq!(gone, "404\nNo Connection with that ID");
}

#[tokio::test]
async fn a_handshake_sent_before_the_first_get_is_accepted() {
    let fixture = Fixture::start(Options { poll_interval_ms: 20, ..options() }).await;
    // In parts, too.
    let polling = Client::negotiate(&fixture, &[]).await;
    let (one, two) = HANDSHAKE.split_at(10);
    polling.check("POST", one, &expect!["200"]).await;
    polling.check("POST", two, &expect!["200"]).await;
    polling.check("GET", "", &expect!["200"]).await;
    assert_eq!(polling.polls_until("{}\u{1e}").await, "{}\u{1e}");
    let streaming = Client::negotiate(&fixture, &[]).await;
    streaming.check("POST", HANDSHAKE, &expect!["200"]).await;
    let mut events = streaming.send("GET", "text/event-stream", "").await.into_body();
    event(&mut events).await;
    assert_eq!(event(&mut events).await.as_deref(), Some("data: {}\u{1e}\r\n\r\n"));
    let greedy = Client::negotiate(&fixture, &[]).await;
    let refused = greedy.shown("POST", &"x".repeat(4_097)).await;
    assert!(refused.starts_with("429\n"), "{refused}");
    let unknown = Client { id: "unknown".into(), ..greedy };
    assert_eq!(unknown.shown("POST", HANDSHAKE).await, "404\nNo Connection with that ID");
}

#[tokio::test]
async fn a_poll_before_the_handshake_returns_after_the_poll_interval() {
    let fixture = Fixture::start(Options { poll_interval_ms: 20, ..options() }).await;
    let client = Client::negotiate(&fixture, &[]).await;
    client.check("GET", "", &expect!["200"]).await;
    client.check("GET", "", &expect!["200"]).await;
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    assert_eq!(client.polls_until("{}\u{1e}").await, "{}\u{1e}");
}

#[tokio::test]
async fn a_poll_that_offers_an_http2_upgrade_is_handled_as_a_poll() {
    let fixture = Fixture::start(options()).await;
    let client = Client::negotiate(&fixture, &[]).await;
    let line = format!("GET /client/?hub=chat&id={}", client.id);
    let request = request(&line)
        .header(AUTHORIZATION, format!("Bearer {}", client.token))
        .header("upgrade", "h2c")
        .header("connection", "Upgrade, HTTP2-Settings");
    assert_eq!(fixture.shown(request.body(body("")).unwrap()).await, "200");
}

#[tokio::test]
async fn a_newer_poll_supersedes_the_older_one_and_delete_ends_the_newest() {
    let fixture = Fixture::start(Options { poll_interval_ms: 60_000, ..options() }).await;
    let client = Client::negotiate(&fixture, &[]).await;
    client.check("GET", "", &expect!["200"]).await;
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    assert_eq!(client.shown("GET", "").await, "200\n{}\u{1e}");
    let newer = async {
        // The older one is polled first; its messages do not arrive.
        tokio::task::yield_now().await;
        let delete = async {
            tokio::task::yield_now().await;
            client.shown("DELETE", "").await
        };
        tokio::join!(client.shown("GET", ""), delete)
    };
    let (older, (newer, deleted)) = tokio::join!(client.shown("GET", ""), newer);
    assert_eq!([older, newer, deleted], ["204", "204", "202"]);
}

#[tokio::test]
async fn a_close_message_is_delivered_to_a_later_poll() {
    let fixture = Fixture::start(options()).await;
    let client = Client::negotiate(&fixture, &[]).await;
    client.check("GET", "", &expect!["200"]).await;
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    assert_eq!(client.shown("GET", "").await, "200\n{}\u{1e}");
    let hub = fixture.handle.hub("chat").unwrap();
    assert_eq!(
        fixture
            .handle
            .engine()
            .close(
                &hub,
                &Target::All,
                &[],
                &CloseRequest { reason: Some("enough".into()), allow_reconnect: false }
            )
            .await
            .unwrap(),
        1
    );
    assert_eq!(client.polls_until("enough").await, "{\"type\":7,\"error\":\"enough\"}\u{1e}");
    client.check("GET", "", &expect!["204"]).await;
}

#[tokio::test]
async fn a_refused_handshake_is_delivered_to_a_later_poll() {
    let fixture = Fixture::start(options()).await;
    let client = Client::negotiate(&fixture, &[]).await;
    client.check("GET", "", &expect!["200"]).await;
    client.check("POST", "nonsense\u{1e}", &expect!["200"]).await;
    let refused = client.shown("GET", "").await;
    assert!(refused.starts_with("200\n{\"error\":\"the first message must be a handshake"), "{refused}");
    client.check("GET", "", &expect!["204"]).await;
}

/// The next event of a stream.
async fn event(events: &mut Body) -> Option<String> {
    let frame =
        tokio::time::timeout(Duration::from_secs(10), events.frame()).await.expect("an event comes")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap_or_else(|_| Bytes::new()).to_vec()).unwrap())
}

#[tokio::test]
async fn an_event_stream_lasts_until_the_service_or_the_client_closes_it() {
    let fixture = Fixture::start(options()).await;
    let client = Client::negotiate(&fixture, &[]).await;
    let response = client.send("GET", "text/event-stream", "").await;
    assert_eq!(
        (response.status(), &response.headers()[CONTENT_TYPE]),
        (StatusCode::OK, &"text/event-stream".parse().unwrap())
    );
    let mut events = response.into_body();
    assert_eq!(event(&mut events).await.as_deref(), Some(":\r\n\r\n"));
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    assert_eq!(event(&mut events).await.as_deref(), Some("data: {}\u{1e}\r\n\r\n"));
    publish(&fixture, "x").await;
    let expected = "data: {\"type\":1,\"target\":\"m\",\"arguments\":[\"x\"]}\u{1e}\r\n\r\n";
    assert_eq!(event(&mut events).await.as_deref(), Some(expected));
    let twice = shown(client.send("GET", "text/event-stream", "").await).await;
    assert!(twice.starts_with("409\n"), "{twice}");
    let changed = client.shown("GET", "").await;
    assert!(changed.starts_with("400\nthe connection uses another transport"), "{changed}");
    let deleted = client.shown("DELETE", "").await;
    assert!(deleted.starts_with("400\n"), "{deleted}");
    client.check("POST", "{\"type\":7}\u{1e}", &expect!["200"]).await;
    assert_eq!(event(&mut events).await, None);

    let other = Client::negotiate(&fixture, &[]).await;
    let mut events = other.send("GET", "text/event-stream", "").await.into_body();
    event(&mut events).await;
    other.check("POST", HANDSHAKE, &expect!["200"]).await;
    event(&mut events).await;
    drop(events);
    // A client that closes its stream is disconnected at once.
    while other.shown("POST", "{\"type\":6}\u{1e}").await == "200" {}
    let hub = fixture.handle.hub("chat").unwrap();
    assert_eq!(fixture.handle.engine().connection_count(Some(&hub)).await.unwrap(), 0);
}

#[tokio::test]
async fn each_request_needs_the_clients_own_access_and_connection_token() {
    let fixture = Fixture::start(options()).await;
    let mut client = Client::negotiate(&fixture, &[("nameid", "ada")]).await;
    client.check("GET", "", &expect!["200"]).await;
    let own = std::mem::replace(&mut client.token, client_token("chat", &[("nameid", "ben")]));
    assert!(client.shown("POST", HANDSHAKE).await.starts_with("404\n"));
    client.token = client_token("other", &[("nameid", "ada")]);
    assert!(client.shown("POST", HANDSHAKE).await.starts_with("401\n"));
    client.token = own;
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    let too_much = "x".repeat(1024 * 1024 + 9);
    assert!(client.shown("POST", &too_much).await.starts_with("413\n"));
    client.id.clear();
    assert!(client.shown("POST", HANDSHAKE).await.starts_with("400\nConnection ID required"));
    let without = request("POST /client/?hub=chat").header(AUTHORIZATION, format!("Bearer {}", client.token));
    let without = fixture.shown(without.body(body(HANDSHAKE)).unwrap()).await;
    assert!(without.starts_with("400\nConnection ID required"), "{without}");
}

#[tokio::test]
async fn a_transport_that_the_token_does_not_allow_is_refused() {
    let fixture = Fixture::start(options()).await;
    let sse_only = [("asrs.s.htt", "2")];
    let token = client_token("chat", &sse_only);
    let negotiate =
        request("POST /client/negotiate?hub=chat").header(AUTHORIZATION, format!("Bearer {token}"));
    let answer = fixture.shown(negotiate.body(body("")).unwrap()).await;
    let transports = answer.split("\"availableTransports\":").nth(1).unwrap();
    expect![[r#"[{"transport":"ServerSentEvents","transferFormats":["Text"]}]}"#]].assert_eq(transports);
    let client = Client::negotiate(&fixture, &sse_only).await;
    let polled = client.shown("GET", "").await;
    assert!(polled.starts_with("404\nthe transport LongPolling is not allowed"), "{polled}");
}

#[tokio::test]
async fn a_client_refreshes_its_token_while_connected() {
    let fixture = Fixture::start(options()).await;
    let soon = (crate::fixture::now() + 100).to_string();
    let claims = [("nameid", "ada"), ("asrs.s.coae", "True"), ("asrs.s.aeo", soon.as_str())];
    let client = Client::negotiate(&fixture, &claims).await;
    client.check("GET", "", &expect!["200"]).await;
    client.check("POST", HANDSHAKE, &expect!["200"]).await;
    assert_eq!(client.shown("GET", "").await, "200\n{}\u{1e}");
    let refresh = async |id: &str, token: &str| {
        let request = request(&format!("POST /client/refresh?hub=chat{id}"));
        fixture.shown(request.header(AUTHORIZATION, format!("Bearer {token}")).body(body("")).unwrap()).await
    };
    let id = format!("&id={}", client.id);
    let answer = refresh(&id, &client.token).await;
    let answer: Value = serde_json::from_str(answer.strip_prefix("200\n").unwrap()).unwrap();
    // The token itself expires before the authentication does.
    assert!((50..=60).contains(&answer["tokenLifetimeSeconds"].as_u64().unwrap()), "{answer}");
    let other = client_token("chat", &[("nameid", "ben")]);
    assert!(refresh(&id, &other).await.starts_with("403\n{\"error\":\"permission_change_rejected\""));
    assert!(refresh("&id=x", &client.token).await.starts_with("404\n{\"error\":\"connection_not_found\""));
    assert!(refresh("", &client.token).await.starts_with("400\n{\"error\":\"missing_connection_token\""));
    let foreign = token("http://localhost/client/?hub=other", &[]);
    assert!(refresh(&id, &foreign).await.contains("{\"error\":\"invalid_token\""));
}
