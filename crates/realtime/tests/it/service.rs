//! End to end: negotiate, connect over a real listener, and receive messages from apps.

use anyhow::Context;
use expect_test::{Expect, expect};
use realtime::SendMessage;
use realtime_engine::Target;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::{Http, HubClient};
use trace::TraceContext;

use crate::fixture::{Fixture, Listening, client_token, options, token};

/// A connected client and its public id.
struct Client {
    hub: HubClient,
    id: String,
    protocol: HubProtocol,
}

impl Client {
    async fn connect(listening: &Listening, claims: &[(&str, &str)], protocol: HubProtocol) -> Self {
        let (id, secret, token) = negotiate(listening, claims).await.unwrap();
        let path = format!("/client/?hub=chat&id={secret}&access_token={token}");
        let hub = HubClient::connect(&listening.authority, &path, protocol).await.unwrap();
        Self { hub, id, protocol }
    }

    /// The next message: JSON as text, MessagePack as hexadecimal digits.
    async fn received(&mut self) -> String {
        let message = self.hub.next().await.unwrap().unwrap();
        match self.protocol {
            HubProtocol::Json => String::from_utf8(message).unwrap(),
            HubProtocol::MessagePack | HubProtocol::BlazorPack => {
                message.iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }
    }
}

async fn negotiate(
    listening: &Listening,
    claims: &[(&str, &str)],
) -> anyhow::Result<(String, String, String)> {
    let token = client_token("chat", claims);
    let authorization = format!("Bearer {token}");
    let http = Http::new(&listening.authority);
    let path = "/client/negotiate?hub=chat&negotiateVersion=1";
    let answer = http.send("POST", path, &[("authorization", &authorization)], "").await?.json()?;
    let text = |name: &str| answer[name].as_str().map(str::to_owned).context(answer.to_string());
    Ok((text("connectionId")?, text("connectionToken")?, token))
}

/// Sends a REST request with a token for its URL; returns the status.
async fn rest(listening: &Listening, line: &str, body: Value, headers: &[(&str, &str)]) -> u16 {
    let (method, path) = line.split_once(' ').unwrap();
    let authorization = format!("Bearer {}", token(&format!("http://service{path}"), &[]));
    let mut all = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
    all.extend(headers);
    let http = Http::new(&listening.authority);
    http.send(method, path, &all, body.to_string()).await.unwrap().status.as_u16()
}

fn news(number: u64) -> Value {
    json!({ "Target": "news", "Arguments": [number] })
}

async fn check(client: &mut Client, expected: &Expect) {
    expected.assert_eq(&client.received().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_their_receivers_in_both_protocols() {
    let listening = Fixture::start(options()).await.listen();
    let mut ada = Client::connect(&listening, &[("asrs.s.uid", "ada")], HubProtocol::Json).await;
    let mut bob = Client::connect(&listening, &[("nameid", "bob")], HubProtocol::MessagePack).await;
    // Each receiver gets exactly its own messages, in order; an unexpected message would be received next.
    let path = format!("/api/v1/hubs/chat/groups/g/connections/{}", bob.id);
    assert_eq!(rest(&listening, &format!("PUT {path}"), Value::Null, &[]).await, 200);
    assert_eq!(rest(&listening, "POST /api/v1/hubs/chat/users/ada", news(1), &[]).await, 202);
    assert_eq!(rest(&listening, "POST /api/v1/hubs/chat/groups/g", news(2), &[]).await, 202);
    let to_ada = format!("POST /api/hubs/chat/connections/{}/:send?api-version=2022-06-01", ada.id);
    assert_eq!(rest(&listening, &to_ada, news(3), &[]).await, 202);
    let without_ada = format!("POST /api/v1/hubs/chat?excluded={}", ada.id);
    assert_eq!(rest(&listening, &without_ada, news(4), &[]).await, 202);
    assert_eq!(rest(&listening, "POST /api/v1/hubs/other", news(5), &[]).await, 202);
    assert_eq!(rest(&listening, &format!("DELETE {path}"), Value::Null, &[]).await, 200);
    assert_eq!(rest(&listening, "POST /api/v1/hubs/chat/groups/g", news(6), &[]).await, 202);
    assert_eq!(rest(&listening, "POST /api/v1/hubs/Chat", news(7), &[]).await, 202);
    check(&mut ada, &expect![[r#"{"type":1,"target":"news","arguments":[1]}"#]]).await;
    check(&mut ada, &expect![[r#"{"type":1,"target":"news","arguments":[3]}"#]]).await;
    check(&mut ada, &expect![[r#"{"type":1,"target":"news","arguments":[7]}"#]]).await;
    check(&mut bob, &expect!["960180c0a46e657773910290"]).await;
    check(&mut bob, &expect!["960180c0a46e657773910490"]).await;
    check(&mut bob, &expect!["960180c0a46e657773910790"]).await;
    drop((ada, bob));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_reported_and_connections_are_closed_with_a_reason() {
    let listening = Fixture::start(options()).await.listen();
    let mut ada = Client::connect(&listening, &[("sub", "ada")], HubProtocol::Json).await;
    let connection = format!("/api/v1/hubs/chat/connections/{}", ada.id);
    for path in [connection.as_str(), "/api/v1/hubs/chat/users/ada"] {
        assert_eq!(rest(&listening, &format!("GET {path}"), Value::Null, &[]).await, 200);
    }
    assert_eq!(rest(&listening, "GET /api/v1/hubs/chat/users/bob", Value::Null, &[]).await, 404);
    let engine = listening.fixture.handle.engine().clone();
    assert_eq!(engine.connection_count(None).await.unwrap(), 1);
    let close = format!("DELETE {connection}?reason=tidy%20up");
    assert_eq!(rest(&listening, &close, Value::Null, &[]).await, 202);
    check(&mut ada, &expect![[r#"{"type":7,"error":"tidy up","allowReconnect":true}"#]]).await;
    assert_eq!(ada.hub.next().await.unwrap(), None);
    drop(ada);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_connections_of_a_user_are_in_the_groups_of_the_user() {
    let listening = Fixture::start(options()).await.listen();
    let put = "PUT /api/v1/hubs/chat/groups/g/users/ada";
    assert_eq!(rest(&listening, put, Value::Null, &[]).await, 202);
    let mut ada = Client::connect(&listening, &[("sub", "ada")], HubProtocol::Json).await;
    assert_eq!(rest(&listening, "POST /api/v1/hubs/chat/groups/g", news(1), &[]).await, 202);
    check(&mut ada, &expect![[r#"{"type":1,"target":"news","arguments":[1]}"#]]).await;
    drop(ada);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_from_this_process_are_delivered_with_their_trace() {
    let listening = Fixture::start(options()).await.listen();
    let mut ada = Client::connect(&listening, &[], HubProtocol::Json).await;
    let trace = TraceContext::root();
    let message = SendMessage {
        hub: "CHAT",
        to: Target::All,
        excluded: Vec::new(),
        target: "news",
        arguments: r#"[ {"a":1} ]"#,
        trace: Some(trace),
    };
    let handle = listening.fixture.handle.clone();
    handle.send(message.clone()).await.unwrap();
    check(&mut ada, &expect![[r#"{"type":1,"target":"news","arguments":[ {"a":1} ]}"#]]).await;
    let traced = TraceContext::root();
    let traceparent = traced.to_traceparent();
    let status = rest(&listening, "POST /api/v1/hubs/chat", news(2), &[("traceparent", &traceparent)]).await;
    assert_eq!(status, 202);
    check(&mut ada, &expect![[r#"{"type":1,"target":"news","arguments":[2]}"#]]).await;
    for (changed, expected) in [
        (
            SendMessage { hub: "a b", ..message.clone() },
            expect![
                "'a b' is not a valid hub name; use a letter, then at most 127 letters, digits and characters of _`,.[]"
            ],
        ),
        (
            SendMessage { arguments: "{}", ..message.clone() },
            expect!["the arguments of a message must be a JSON array"],
        ),
        (
            SendMessage { target: "", ..message.clone() },
            expect!["the message has no target; name the client method to call"],
        ),
    ] {
        expected.assert_eq(&handle.send(changed).await.unwrap_err().to_string());
    }
    drop(ada);
    let (tracer, _) = listening.stop().await;
    for context in [trace, traced] {
        let spans = tracer.trace(context.trace_id);
        assert_eq!(spans.iter().map(|span| span.name).collect::<Vec<_>>(), ["send"]);
        assert_eq!(spans[0].parent, Some(context.span_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_app_server_blazorpack_is_refused_with_the_reason() {
    let listening = Fixture::start(options()).await.listen();
    let (_, secret, token) = negotiate(&listening, &[]).await.unwrap();
    let path = format!("/client/?hub=chat&id={secret}&access_token={token}");
    let outcome = HubClient::connect(&listening.authority, &path, HubProtocol::BlazorPack).await;
    expect![[r#"the handshake was answered {"error":"the hub protocol 'blazorpack' is not supported; use 'json' or 'messagepack'"}"#]]
        .assert_eq(outcome.err().unwrap().to_string().trim_end_matches('\u{1e}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_token_is_accepted_once_and_only_from_its_user() {
    let listening = Fixture::start(options()).await.listen();
    let check = async |path: &str, expected: Expect| {
        let outcome = HubClient::connect(&listening.authority, path, HubProtocol::Json).await;
        expected.assert_eq(&outcome.map_or_else(|error| error.to_string(), |_| "connected".to_owned()));
    };
    let (_, secret, token) = negotiate(&listening, &[("sub", "ada")]).await.unwrap();
    let path = format!("/client/?hub=chat&id={secret}&access_token=");
    check(
        &(path.clone() + &client_token("chat", &[("sub", "bob")])),
        expect!["the upgrade was answered HTTP/1.1 404 Not Found"],
    )
    .await;
    check(
        &(path.clone() + &client_token("other", &[("sub", "ada")])),
        expect!["the upgrade was answered HTTP/1.1 401 Unauthorized"],
    )
    .await;
    check(&(path.clone() + &token), expect!["connected"]).await;
    check(&(path.clone() + &token), expect!["the upgrade was answered HTTP/1.1 409 Conflict"]).await;
    check(
        &format!("/client/?hub=chat&id=none&access_token={token}"),
        expect!["the upgrade was answered HTTP/1.1 404 Not Found"],
    )
    .await;
    // Without a connection token, negotiation was skipped.
    check(&format!("/client/?hub=chat&access_token={token}"), expect!["connected"]).await;
    // Version 0 has one id as connection id and connection token.
    let authorization = format!("Bearer {token}");
    let http = Http::new(&listening.authority);
    let v0 = http.send("POST", "/client/negotiate?hub=chat", &[("authorization", &authorization)], "").await;
    let id = v0.unwrap().json().unwrap()["connectionId"].as_str().unwrap().to_owned();
    check(&format!("/client/?hub=chat&id={id}&access_token={token}"), expect!["connected"]).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_with_413() {
    let listening = Fixture::start(options()).await.listen();
    let large = json!({ "target": "news", "arguments": ["x".repeat(4 * 1024 * 1024)] });
    assert_eq!(rest(&listening, "POST /api/v1/hubs/chat", large, &[]).await, 413);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_connection_limit_a_client_is_refused_before_the_upgrade() {
    let mut options = options();
    options.engine.connections_max = 1;
    let listening = Fixture::start(options).await.listen();
    let ada = Client::connect(&listening, &[], HubProtocol::Json).await;
    let refused = negotiate(&listening, &[]).await.unwrap_err().to_string();
    expect!["not JSON: the service is at its connection limit; try again later"].assert_eq(&refused);
    let path = format!("/client/?hub=chat&access_token={}", client_token("chat", &[]));
    let refused = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.err().unwrap();
    expect!["the upgrade was answered HTTP/1.1 429 Too Many Requests"].assert_eq(&refused.to_string());
    drop(ada);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_clients_with_reconnect_and_refuses_new_ones() {
    let listening = Fixture::start(options()).await.listen();
    let mut ada = Client::connect(&listening, &[], HubProtocol::Json).await;
    let service = listening.fixture.service.clone();
    let hears = async {
        check(&mut ada, &expect![[r#"{"type":7,"allowReconnect":true}"#]]).await;
        // The service waits for its clients to disconnect.
        drop(ada);
    };
    tokio::join!(listening.stop(), hears);
    let request = crate::fixture::request("POST /client/negotiate?hub=chat").body(crate::fixture::body(""));
    let Ok::<_, std::convert::Infallible>(response) =
        tower::ServiceExt::oneshot(service, request.unwrap()).await;
    let shown = crate::fixture::shown(response).await;
    expect![[r#"
        503
        the service is shutting down; try again in a moment"#]]
    .assert_eq(&shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_sets_the_handshake_timeout() {
    let listening = Fixture::start(options()).await.listen();
    let token = client_token("chat", &[("asrs.s.cht", "1")]);
    let path = format!("/client/?hub=chat&access_token={token}");
    let begun = std::time::Instant::now();
    let mut silent = HubClient::upgrade(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    assert_eq!(silent.next().await.unwrap(), None);
    let took = begun.elapsed().as_secs();
    assert!((1..10).contains(&took), "{took} s; without the claim it would be 15");
    drop(silent);
    listening.stop().await;
}
