//! Invocations of clients that are sent to an upstream over HTTP, and its responses; the test plays the upstream.

mod answers;
mod recorded;
mod streamed;

use base64::Engine as _;
use expect_test::{Expect, expect};
use realtime::Options;
use realtime::upstream::TemplateOptions;
use ring::hmac;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::HubClient;

use crate::fixture::{Fixture, KEY, Listening, client_token, options};
use crate::webhook::Webhook;

/// A service whose upstream is a webhook.
pub(crate) struct Stage {
    pub(crate) listening: Listening,
    pub(crate) webhook: Webhook,
}

/// Options with one template for the webhook; invocations only, unless the pattern says otherwise.
pub(crate) fn with_template(webhook: &Webhook, category_pattern: &str) -> Options {
    let mut options = options();
    options.upstream.templates = vec![TemplateOptions {
        url_template: format!("http://{}/{{hub}}/{{category}}/{{event}}?code=k", webhook.authority),
        category_pattern: category_pattern.to_owned(),
        ..TemplateOptions::default()
    }];
    options
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let webhook = Webhook::start();
        let mut options = with_template(&webhook, "messages");
        change(&mut options);
        let listening = Fixture::start(options).await.listen();
        Self { listening, webhook }
    }

    pub(crate) async fn client(&self, protocol: HubProtocol, claims: &[(&str, &str)]) -> HubClient {
        connect(&self.listening, protocol, claims).await
    }

    pub(crate) async fn ada(&self) -> HubClient {
        self.client(HubProtocol::Json, &[("nameid", "ada")]).await
    }
}

/// A client that skips negotiation.
pub(crate) async fn connect(
    listening: &Listening,
    protocol: HubProtocol,
    claims: &[(&str, &str)],
) -> HubClient {
    let token = client_token("chat", claims);
    let path = format!("/client/?hub=chat&color=a%20b&access_token={token}");
    HubClient::connect(&listening.authority, &path, protocol).await.unwrap()
}

/// Sends a JSON hub message.
pub(crate) async fn say(client: &mut HubClient, message: &Value) {
    client.send(format!("{message}\u{1e}").as_bytes()).await.unwrap();
}

pub(crate) fn call(id: u32, target: &str) -> Value {
    json!({ "type": 1, "invocationId": id.to_string(), "target": target, "arguments": [id] })
}

pub(crate) fn completion(id: u32) -> String {
    format!("{{\"type\":3,\"invocationId\":\"{id}\",\"result\":{id}}}\u{1e}")
}

/// Checks the next message of a JSON client.
pub(crate) async fn check(client: &mut HubClient, expected: Expect) {
    expected.assert_eq(&client.next_json().await.unwrap().to_string());
}

fn signature(key: &str, connection_id: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let signature = hmac::sign(&key, connection_id.as_bytes());
    let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_is_sent_to_the_upstream_with_all_its_headers() {
    let mut stage = Stage::with(|options| options.secondary_key = Some("the other key".to_owned())).await;
    let claims = [("nameid", "jürgen"), ("name", "Müller, Jürgen"), ("role", "a")];
    let mut client = stage.client(HubProtocol::Json, &claims).await;
    say(&mut client, &call(1, "send it/now")).await;
    let received = stage.webhook.next().await;
    assert_eq!(received.path, "/chat/messages/send%20it%2Fnow?code=k");
    assert_eq!(received.shown(), format!("send it/now {}", call(1, "send it/now")));
    let id = received.header("x-asrs-connection-id");
    let both = format!("{},{}", signature(KEY, &id), signature("the other key", &id));
    assert_eq!(received.header("x-asrs-signature"), both);
    for (name, expected) in [
        ("content-type", "application/json"),
        ("x-asrs-hub", "chat"),
        ("x-asrs-category", "messages"),
        ("x-asrs-user-id", "jürgen"),
        ("x-asrs-client-query", "?hub=chat&color=a%20b"),
        ("x-chappe-invocation-id", "1"),
        ("x-chappe-hub-protocol", "json"),
        ("x-chappe-transport", "WebSockets"),
        ("x-chappe-client-address", "127.0.0.1"),
    ] {
        assert_eq!(received.header(name), expected);
    }
    assert!(trace::TraceContext::parse(&received.header("traceparent")).is_some());
    let classic = received.header("x-asrs-user-claims");
    let (id, role) = (
        "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier",
        "http://schemas.microsoft.com/ws/2008/06/identity/claims/role",
    );
    assert!(
        classic.starts_with(&format!("{id}: jürgen, name: Müller%2C Jürgen, {role}: a, aud: ")),
        "{classic}"
    );
    assert!(classic.ends_with(", nameid: jürgen, role: a"), "{classic}");
    let encoded =
        base64::engine::general_purpose::STANDARD.decode(received.header("x-asrs-user-claims-encoded"));
    let encoded: Value = serde_json::from_slice(&encoded.unwrap()).unwrap();
    assert_eq!(encoded[1], json!({ "type": "name", "value": "Müller, Jürgen" }));
    received.answer(200, completion(1));
    check(&mut client, expect![[r#"{"type":3,"invocationId":"1","result":1}"#]]).await;
    drop(client);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_passed_on_without_their_framing() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(HubProtocol::MessagePack, &[]).await;
    // [1, {}, "7", "add", [1, 2], []]
    client.send(b"\x0d\x96\x01\x80\xa17\xa3add\x92\x01\x02\x90").await.unwrap();
    let received = stage.webhook.next().await;
    assert_eq!(received.header("content-type"), "application/x-msgpack");
    assert_eq!(
        received.shown(),
        "add 960180a137a36164649201 0290".replace(' ', "").replacen("add", "add ", 1)
    );
    // [3, {}, "7", 3, 3]
    received.answer(200, b"\x07\x95\x03\x80\xa17\x03\x03".as_slice());
    assert_eq!(client.next().await.unwrap().unwrap(), b"\x95\x03\x80\xa17\x03\x03");
    drop(client);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_of_one_client_are_sent_in_sequence_and_those_of_others_in_parallel() {
    let mut stage = Stage::start().await;
    let (mut ada, mut bob) = (stage.ada().await, stage.ada().await);
    for id in 1..=3 {
        say(&mut ada, &call(id, "ada")).await;
    }
    let first = stage.webhook.next().await;
    say(&mut bob, &call(9, "bob")).await;
    // While ada's first invocation is running, bob's is too, and ada's second is not.
    assert!(stage.webhook.take(200, completion(9)).await.starts_with("bob "));
    check(&mut bob, expect![[r#"{"type":3,"invocationId":"9","result":9}"#]]).await;
    assert!(stage.webhook.has_no_request());
    assert_eq!(first.shown(), format!("ada {}", call(1, "ada")));
    first.answer(200, completion(1));
    for id in 2..=3 {
        assert_eq!(stage.webhook.take(200, completion(id)).await, format!("ada {}", call(id, "ada")));
    }
    for id in 1..=3 {
        assert_eq!(ada.next_json().await.unwrap()["result"], id);
    }
    drop((ada, bob));
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_no_template_matches_fails_with_what_to_do() {
    let stage = Stage::with(|options| options.upstream.templates[0].event_pattern = "send".to_owned()).await;
    let mut ada = stage.ada().await;
    say(&mut ada, &call(1, "other")).await;
    check(
        &mut ada,
        expect![[r#"{"type":3,"invocationId":"1","error":"no upstream is configured for method 'other' of hub chat; add a template that matches it to realtime.upstream.templates, or a function with a signalRTrigger for it"}"#]],
    )
    .await;
    say(&mut ada, &call(2, &"x".repeat(2000))).await;
    check(
        &mut ada,
        expect![[r#"{"type":3,"invocationId":"2","error":"the name of the method has 2000 bytes, more than the 1024 allowed for upstreams"}"#]],
    )
    .await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_from_a_client_with_too_many_queued_invocations_is_paused_and_none_is_lost() {
    let mut stage =
        Stage::with(|options| options.upstream.connection_queued_max = 2.try_into().unwrap()).await;
    let mut ada = stage.ada().await;
    // Without ids, so that a lost one would not be noticed by the client.
    for number in 0..500 {
        say(&mut ada, &json!({ "type": 1, "target": "note", "arguments": [number] })).await;
    }
    for number in 0..500 {
        let request = stage.webhook.next().await;
        let note: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(note["arguments"][0], number);
        request.answer(204, "");
    }
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_above_the_limit_over_all_clients_are_refused() {
    let mut stage = Stage::with(|options| options.upstream.queued_max = 1.try_into().unwrap()).await;
    let (mut ada, mut bob) = (stage.ada().await, stage.ada().await);
    say(&mut ada, &call(1, "ada")).await;
    let first = stage.webhook.next().await;
    say(&mut bob, &call(2, "bob")).await;
    check(
        &mut bob,
        expect![[
            r#"{"type":3,"invocationId":"2","error":"too many invocations wait for upstreams; try again later"}"#
        ]],
    )
    .await;
    first.answer(200, completion(1));
    assert_eq!(ada.next_json().await.unwrap()["result"], 1);
    drop((ada, bob));
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_with_uploads_may_complete_with_the_last_item() {
    let mut stage = Stage::with(|_| {}).await;
    let mut ada = stage.ada().await;
    let sum = |id: &str, streams: &[&str]| json!({ "type": 1, "invocationId": id, "target": "sum", "arguments": [], "streamIds": streams });
    let item = |stream: &str| json!({ "type": 2, "invocationId": stream, "item": 1 });
    let end = |stream: &str| json!({ "type": 3, "invocationId": stream });
    for message in [
        sum("1", &["a", "b"]),
        item("a"),
        end("a"),
        end("b"),
        sum("2", &["c"]),
        end("c"),
        sum("3", &["d"]),
        item("d"),
        end("d"),
    ] {
        say(&mut ada, &message).await;
    }
    // Status 202 three times; then the completion with the end of the last stream.
    stage.webhook.take(202, "").await;
    stage.webhook.take(204, "").await;
    stage.webhook.take(204, "").await;
    let last = stage.webhook.next().await;
    assert_eq!(last.header("x-chappe-invocation-id"), "1");
    last.answer(200, completion(1));
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"1","result":1}"#]]).await;
    // An empty response to the last item completes the invocation without a result.
    stage.webhook.take(202, "").await;
    stage.webhook.take(204, "").await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"2"}"#]]).await;
    // If the first response completes the invocation, the responses to later items are ignored.
    stage.webhook.take(200, completion(3)).await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"3","result":3}"#]]).await;
    stage.webhook.take(500, "").await;
    stage.webhook.take(204, "").await;
    say(&mut ada, &call(4, "last")).await;
    stage.webhook.take(200, completion(4)).await;
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "4");
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_are_limited() {
    let mut stage = Stage::with(|options| options.upstream.in_flight_max = 1.try_into().unwrap()).await;
    let (mut ada, mut bob) = (stage.ada().await, stage.ada().await);
    say(&mut ada, &call(1, "ada")).await;
    let first = stage.webhook.next().await;
    say(&mut bob, &call(2, "bob")).await;
    // Bob's ping has no response, but the error for the message after his invocation shows that the service has read it.
    say(&mut bob, &call(3, &"x".repeat(2000))).await;
    assert_eq!(bob.next_json().await.unwrap()["invocationId"], "3");
    assert!(stage.webhook.has_no_request());
    first.answer(200, completion(1));
    assert!(stage.webhook.take(200, completion(2)).await.starts_with("bob "));
    assert_eq!(ada.next_json().await.unwrap()["result"], 1);
    assert_eq!(bob.next_json().await.unwrap()["result"], 2);
    drop((ada, bob));
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_sent_before_the_client_disconnected_is_still_delivered() {
    let mut stage = Stage::start().await;
    let mut ada = stage.ada().await;
    for id in 1..=2 {
        say(&mut ada, &call(id, "ada")).await;
    }
    let first = stage.webhook.next().await;
    drop(ada);
    first.answer(200, completion(1));
    assert!(stage.webhook.take(200, completion(2)).await.contains("\"arguments\":[2]"));
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_template_fails_the_start() {
    let mut options = options();
    options.upstream.templates =
        vec![TemplateOptions { url_template: "nowhere".to_owned(), ..TemplateOptions::default() }];
    let error = options.check().unwrap_err();
    assert_eq!(error.to_string(), "upstream template 1: `nowhere` is not an absolute http or https address");
}
