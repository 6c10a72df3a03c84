//! Connection events over HTTP: in order, retried, as dead letters, and late after a crash.

use std::time::Duration;

use expect_test::{Expect, expect};
use http::{HeaderMap, HeaderValue};
use realtime::Options;
use serde_json::json;
use signalr_protocol::HubProtocol;
use testkit::HubClient;

use crate::fixture::{Fixture, Listening, client_token};
use crate::upstream::{call, completion, connect, say, with_template};
use crate::webhook::{ClosedPort, Webhook};

fn events_options(webhook: &Webhook) -> Options {
    let mut options = with_template(webhook, "*");
    options.events.backoff_first_ms = 1.try_into().unwrap();
    options.events.backoff_max_ms = 5.try_into().unwrap();
    options
}

/// Sends a close frame, and waits for that of the service.
pub(crate) async fn leave(mut client: HubClient) {
    client.send(b"{\"type\":7}\x1e").await.unwrap();
    while client.next().await.unwrap().is_some() {}
}

pub(crate) async fn dead_letters(listening: &Listening, expected: Expect) {
    let page = listening.fixture.handle.dead_letters(None, 100).await.unwrap();
    let shown: String = page
        .letters
        .iter()
        .map(|letter| {
            let (event, hub, user) = (&letter.event, &letter.hub, letter.user_id.as_deref());
            let reason = letter.reason.as_deref().unwrap_or("-");
            format!("{event} {hub} {} {reason} {} {}\n", user.unwrap_or("-"), letter.attempts, letter.cause)
        })
        .collect();
    expected.assert_eq(&shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_precedes_the_invocations_of_a_client_and_disconnected_follows_them() {
    let mut webhook = Webhook::start();
    let listening = Fixture::start(events_options(&webhook)).await.listen();
    let mut ada = connect(&listening, HubProtocol::Json, &[("nameid", "ada")]).await;
    say(&mut ada, &json!({ "type": 1, "target": "send", "arguments": [] })).await;
    let connected = webhook.next().await;
    assert_eq!(connected.path, "/chat/connections/connected?code=k");
    assert_eq!(connected.shown(), r#"connected {"type":10}"#);
    assert_eq!(connected.header("x-asrs-category"), "connections");
    assert_eq!(connected.header("x-asrs-user-id"), "ada");
    let id = connected.header("x-asrs-connection-id");
    // The invocation waits until the upstream has received `connected`.
    assert!(webhook.has_no_request());
    connected.answer(200, "");
    assert_eq!(webhook.take(200, "").await, r#"send {"type":1,"target":"send","arguments":[]}"#);
    leave(ada).await;
    let disconnected = webhook.next().await;
    assert_eq!(disconnected.shown(), r#"disconnected {"type":11}"#);
    assert_eq!(disconnected.header("x-asrs-connection-id"), id);
    disconnected.answer(200, "");
    dead_letters(&listening, expect![""]).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_retried_until_the_upstream_is_back() {
    let mut webhook = Webhook::start();
    let listening = Fixture::start(events_options(&webhook)).await.listen();
    let ada = connect(&listening, HubProtocol::Json, &[]).await;
    for status in [500, 503, 429] {
        assert_eq!(webhook.take(status, "").await, r#"connected {"type":10}"#);
    }
    let asked = webhook.next().await;
    let after: HeaderMap = [(http::header::RETRY_AFTER, HeaderValue::from_static("0"))].into_iter().collect();
    asked.answer_with(503, after, "");
    assert_eq!(webhook.take(200, "").await, r#"connected {"type":10}"#);
    drop(ada);
    assert!(webhook.take(500, "").await.starts_with("disconnected "));
    assert!(webhook.take(200, "").await.starts_with("disconnected "));
    dead_letters(&listening, expect![""]).await;
    listening.stop().await;
}

/// Connection events are sent to one webhook and invocations to another, so that the test can wait for either.
struct Apart {
    events: Webhook,
    calls: Webhook,
    options: Options,
}

impl Apart {
    fn new() -> Self {
        let (events, calls) = (Webhook::start(), Webhook::start());
        let mut options = events_options(&events);
        options.upstream.templates[0].category_pattern = "connections".to_owned();
        options.upstream.templates.extend(with_template(&calls, "messages").upstream.templates);
        options.events.attempts_max = 1_000_000.try_into().unwrap();
        Self { events, calls, options }
    }
}

/// Invokes a method, and checks that it completes.
async fn ask(client: &mut HubClient, calls: &mut Webhook, id: u32) {
    say(client, &call(id, "ask")).await;
    assert!(calls.take(200, completion(id)).await.starts_with("ask "));
    assert_eq!(client.next_json().await.unwrap()["result"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_are_sent_after_the_first_connected_failed() {
    for status in [500, 503, 429, 404] {
        let Apart { mut events, mut calls, options } = Apart::new();
        let listening = Fixture::start(options).await.listen();
        let mut ada = connect(&listening, HubProtocol::Json, &[]).await;
        say(&mut ada, &call(1, "ask")).await;
        let first = events.next().await;
        // The invocation waits for the first attempt only.
        assert!(calls.has_no_request());
        first.answer(status, "");
        assert!(calls.take(200, completion(1)).await.starts_with("ask "));
        assert_eq!(ada.next_json().await.unwrap()["result"], 1);
        if status != 404 {
            // While a later attempt is running, and after it has failed as well.
            let second = events.next().await;
            ask(&mut ada, &mut calls, 2).await;
            second.answer(status, "");
            ask(&mut ada, &mut calls, 3).await;
            leave(ada).await;
            assert_eq!(events.take(200, "").await, r#"connected {"type":10}"#);
        } else {
            leave(ada).await;
        }
        assert_eq!(events.take(200, "").await, r#"disconnected {"type":11}"#);
        listening.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_are_sent_when_no_template_matches_connected() {
    let (door, Apart { mut events, mut calls, mut options }) = (ClosedPort::closed(), Apart::new());
    options.upstream.templates[0].url_template = format!("http://{}/", door.authority());
    let listening = Fixture::start(options).await.listen();
    let mut ada = connect(&listening, HubProtocol::Json, &[]).await;
    ask(&mut ada, &mut calls, 1).await;
    leave(ada).await;
    door.open(&events);
    assert_eq!(events.take(200, "").await, r#"connected {"type":10}"#);
    assert_eq!(events.take(200, "").await, r#"disconnected {"type":11}"#);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_fail_at_once_after_the_first_connected_found_the_upstream_down() {
    let (door, webhook) = (ClosedPort::closed(), Webhook::start());
    let mut options = events_options(&webhook);
    options.upstream.templates[0].url_template = format!("http://{}/", door.authority());
    options.events.attempts_max = 1_000_000.try_into().unwrap();
    options.upstream.wait_timeout_ms = 1_000_000.try_into().unwrap();
    options.upstream.connected_wait_timeout_ms = 1_000_000.try_into().unwrap();
    let listening = Fixture::start(options).await.listen();
    let mut ada = connect(&listening, HubProtocol::Json, &[]).await;
    for id in 1..=3 {
        say(&mut ada, &call(id, "ask")).await;
        let error = &ada.next_json().await.unwrap()["error"];
        assert_eq!(error, "Invocation failed, the upstream cannot be reached");
    }
    drop(ada);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_are_sent_after_connected_timed_out() {
    // By the request timeout, and by the time limit for which invocations wait.
    for (request_ms, connected_wait_ms) in [(100, 1_000_000), (1_000_000, 100)] {
        let Apart { mut events, mut calls, mut options } = Apart::new();
        options.upstream.request_timeout_ms = request_ms.try_into().unwrap();
        options.upstream.connected_wait_timeout_ms = connected_wait_ms.try_into().unwrap();
        options.upstream.wait_timeout_ms = 1_000_000.try_into().unwrap();
        let listening = Fixture::start(options).await.listen();
        let mut ada = connect(&listening, HubProtocol::Json, &[]).await;
        let unanswered = events.next().await;
        for id in 1..=3 {
            // The webhook responds within the request timeout, or the invocation would fail.
            say(&mut ada, &call(id, "ask")).await;
            calls.take(200, completion(id)).await;
            assert_eq!(ada.next_json().await.unwrap()["invocationId"], id.to_string());
        }
        unanswered.answer(200, "");
        drop(ada);
        while !events.take(200, "").await.starts_with("disconnected ") {}
        listening.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_was_down_receives_the_missed_events() {
    let (door, mut webhook) = (ClosedPort::closed(), Webhook::start());
    let mut options = events_options(&webhook);
    options.upstream.templates[0].url_template = format!("http://{}/", door.authority());
    options.events.attempts_max = 1_000_000.try_into().unwrap();
    let listening = Fixture::start(options).await.listen();
    let ada = connect(&listening, HubProtocol::Json, &[]).await;
    leave(ada).await;
    door.open(&webhook);
    assert_eq!(webhook.take(200, "").await, r#"connected {"type":10}"#);
    assert_eq!(webhook.take(200, "").await, r#"disconnected {"type":11}"#);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_or_never_delivered_becomes_a_dead_letter() {
    let mut webhook = Webhook::start();
    let mut options = events_options(&webhook);
    options.events.attempts_max = 3.try_into().unwrap();
    let listening = Fixture::start(options).await.listen();
    let mut ada = connect(&listening, HubProtocol::Json, &[("nameid", "ada")]).await;
    // Refused: a retry would be refused too.
    assert!(webhook.take(404, "").await.starts_with("connected "));
    // Invocations are sent without it.
    say(&mut ada, &json!({ "type": 1, "target": "send", "arguments": [] })).await;
    assert!(webhook.take(200, "").await.starts_with("send "));
    leave(ada).await;
    for _ in 0..3 {
        assert!(webhook.take(500, "").await.starts_with("disconnected "));
    }
    // The drain waits for running jobs, and so for the dead letter.
    let handle = listening.fixture.handle.clone();
    let mut page = handle.dead_letters(None, 100).await.unwrap();
    while page.letters.len() < 2 {
        tokio::task::yield_now().await;
        page = handle.dead_letters(None, 100).await.unwrap();
    }
    dead_letters(
        &listening,
        expect![[r#"
            connected chat ada - 1 the upstream responded with status 404
            disconnected chat ada ClientClosed 3 the upstream responded with status 500
        "#]],
    )
    .await;
    let (_, registry) = listening.stop().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"realtime_connection_events_total{listener="upstream",event="connected",outcome="dead_letter"} 1"#,
        r#"realtime_connection_events_total{listener="upstream",event="disconnected",outcome="dead_letter"} 1"#,
        r#"realtime_upstream_requests_total{category="messages",outcome="answered"} 1"#,
        r#"realtime_upstream_requests_total{category="connections",outcome="status"} 4"#,
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_delivers_disconnected_for_all_clients() {
    let mut webhook = Webhook::start();
    let listening = Fixture::start(events_options(&webhook)).await.listen();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(connect(&listening, HubProtocol::Json, &[]).await);
    }
    let mut ids = Vec::new();
    for _ in 0..5 {
        let connected = webhook.next().await;
        ids.push(connected.header("x-asrs-connection-id"));
        connected.answer(200, "");
    }
    let leaving = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { while client.next().await.unwrap().is_some() {} }));
    let leaving: Vec<_> = leaving.collect();
    let stopping = tokio::spawn(listening.stop());
    let mut ended = Vec::new();
    for _ in 0..5 {
        let disconnected = webhook.next().await;
        ended.push(disconnected.header("x-asrs-connection-id"));
        disconnected.answer(200, "");
    }
    ids.sort();
    ended.sort();
    assert_eq!(ids, ended);
    stopping.await.unwrap();
    for client in leaving {
        client.await.unwrap();
    }
}

#[test]
fn after_a_crash_disconnected_is_delivered_for_open_connections() {
    let folder = tempfile::tempdir().unwrap();
    let outer = tokio::runtime::Runtime::new().unwrap();
    let _guard = outer.enter();
    let mut webhook = Webhook::start();
    let options = events_options(&webhook);
    // The first process has its own runtime, which is dropped without a drain.
    let inner = tokio::runtime::Runtime::new().unwrap();
    let (path, first_options) = (folder.path().to_owned(), options.clone());
    let (listening, ada) = inner.block_on(async move {
        let fixture = Fixture::start_in(first_options, &path).await;
        let listening = fixture.listen();
        let token = client_token("chat", &[("nameid", "ada")]);
        let path = format!("/client/?hub=chat&access_token={token}");
        let ada = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
        (listening, ada)
    });
    let id = outer.block_on(async {
        let connected = webhook.next().await;
        let id = connected.header("x-asrs-connection-id");
        connected.answer(200, "");
        id
    });
    inner.shutdown_timeout(Duration::from_secs(10));
    outer.block_on(async {
        listening.fixture.store.close().await;
        let fixture = Fixture::start_in(options, folder.path()).await;
        let late = webhook.next().await;
        assert_eq!(
            late.shown(),
            r#"disconnected {"type":11,"error":"the process that held the connection was lost"}"#
        );
        assert_eq!(late.header("x-asrs-connection-id"), id);
        assert_eq!(late.header("x-asrs-user-id"), "ada");
        assert_eq!(late.header("x-chappe-transport"), "WebSockets");
        assert_eq!(late.header("x-chappe-client-address"), "127.0.0.1");
        assert!(late.header("x-asrs-user-claims").contains("nameid: ada"));
        late.answer(200, "");
        fixture.join.drain(Duration::from_secs(10)).await;
    });
    drop((listening, ada));
}
