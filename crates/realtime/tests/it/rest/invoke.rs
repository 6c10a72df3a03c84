//! `:invoke`: an invocation of one client's method, and its result.

use std::time::Duration;

use expect_test::expect;
use serde_json::{Value, json};
use signalr_protocol::{Completion, CompletionResult, HubMessage, HubProtocol, parse};
use testkit::HttpResponse;

use super::world::{Client, World};
use crate::fixture::{Fixture, options};

/// Invokes `target` of a client, which completes it with `result` (a value in its protocol, or an error).
async fn invoke(
    world: &World,
    client: &mut Client,
    protocol: HubProtocol,
    headers: &[(&str, &str)],
    result: CompletionResult<'_>,
) -> HttpResponse {
    let line = format!("POST connections/{}/:invoke", client.id);
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    let body = json!({ "target": "ask", "arguments": ["name", 1] }).to_string();
    let answering = async {
        let message = client.hub.next().await.unwrap().unwrap();
        let HubMessage::Invocation(invocation) = parse(protocol, &message).unwrap() else {
            panic!("no invocation: {message:?}")
        };
        assert_eq!(invocation.target, "ask");
        let id = invocation.invocation_id.expect("it waits for a result").into_owned();
        let completion = Completion { headers: Vec::new(), invocation_id: id.into(), result };
        let mut framed = Vec::new();
        HubMessage::Completion(completion).encode(protocol, &mut framed);
        client.hub.send(&framed).await.unwrap();
    };
    tokio::join!(world.call_with(&line, &all, body), answering).0
}

fn shown(answer: &HttpResponse) -> String {
    format!("{} {}", answer.status.as_u16(), answer.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_has_the_clients_result_as_json() {
    let world = World::start().await;
    let mut ada = world.connect(Some("ada"), HubProtocol::Json).await;
    let value = CompletionResult::Value(br#"{"name":"Ada","n":[1,2.5,null]}"#.as_slice().into());
    let answer = invoke(&world, &mut ada, HubProtocol::Json, &[], value).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    expect![[r#"200 {"result":{"name":"Ada","n":[1,2.5,null]}}"#]].assert_eq(&shown(&answer));
    let answer = invoke(&world, &mut ada, HubProtocol::Json, &[], CompletionResult::Void).await;
    expect!["200 {}"].assert_eq(&shown(&answer));
    let failed = CompletionResult::Error("I have no name".into());
    let answer = invoke(&world, &mut ada, HubProtocol::Json, &[], failed).await;
    expect![[r#"400 {"code":"ClientInvocationFailed","message":"I have no name","target":"connectionId"}"#]]
        .assert_eq(&shown(&answer));
    let mut bob = world.connect(Some("bob"), HubProtocol::MessagePack).await;
    // {"ok": true, "bin": bytes}
    let value = CompletionResult::Value(b"\x82\xa2ok\xc3\xa3bin\xc4\x02\x01\x02".as_slice().into());
    let answer = invoke(&world, &mut bob, HubProtocol::MessagePack, &[], value).await;
    expect![[r#"200 {"result":{"ok":true,"bin":"AQI="}}"#]].assert_eq(&shown(&answer));
    // A key that JSON cannot express.
    let value = CompletionResult::Value(b"\x81\x90\x01".as_slice().into());
    let answer = invoke(&world, &mut bob, HubProtocol::MessagePack, &[], value).await;
    expect![[r#"400 {"code":"ClientInvocationFailed","message":"the client's result cannot be expressed in JSON: a key of a map is neither text nor a number"}"#]].assert_eq(&shown(&answer));
    drop((ada, bob));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_octets_returns_the_clients_framed_completion() {
    let world = World::start().await;
    let octets = [("accept", "application/json;q=0.5, application/octet-stream")];
    for (protocol, value) in
        [(HubProtocol::Json, br#"["a"]"#.as_slice()), (HubProtocol::MessagePack, b"\x91\xa1a")]
    {
        let mut client = world.connect(None, protocol).await;
        for result in [
            CompletionResult::Value(value.into()),
            CompletionResult::Void,
            CompletionResult::Error("no".into()),
        ] {
            let answer = invoke(&world, &mut client, protocol, &octets, result.clone()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.headers["content-type"], "application/octet-stream");
            assert_eq!(answer.headers["x-protocol"], protocol.name());
            let (message, used) =
                signalr_protocol::next_message(protocol, &answer.body, usize::MAX >> 1).unwrap().unwrap();
            assert_eq!(used, answer.body.len());
            let HubMessage::Completion(completion) = parse(protocol, message).unwrap() else {
                panic!("no completion")
            };
            assert_eq!(completion.result, result);
        }
        drop(client);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_framed_by_the_sender_returns_its_result() {
    let world = World::start().await;
    let mut bob = world.connect(Some("bob"), HubProtocol::MessagePack).await;
    // Encoded for JSON clients only; this client receives it in its own protocol, with an id.
    let framed = b"\x81\xa4json\xc4\x29{\"type\":1,\"target\":\"ask\",\"arguments\":[]}\x1e";
    let line = format!("POST connections/{}/:invoke", bob.id);
    let octets = [("content-type", "application/octet-stream")];
    let answering = async {
        let message = bob.hub.next().await.unwrap().unwrap();
        let HubMessage::Invocation(call) = parse(HubProtocol::MessagePack, &message).unwrap() else {
            panic!()
        };
        let id = call.invocation_id.unwrap().into_owned();
        let result = CompletionResult::Value([0x07].as_slice().into());
        let mut framed = Vec::new();
        HubMessage::Completion(Completion { headers: Vec::new(), invocation_id: id.into(), result })
            .encode(HubProtocol::MessagePack, &mut framed);
        bob.hub.send(&framed).await.unwrap();
    };
    let (answer, ()) = tokio::join!(world.call_with(&line, &octets, framed.as_slice()), answering);
    expect![[r#"200 {"result":7}"#]].assert_eq(&shown(&answer));
    drop(bob);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_without_a_result_returns_the_reason() {
    let options = realtime::Options { invoke_timeout_ms: 200, ..options() };
    let world = World { listening: Fixture::start(options).await.listen() };
    let body = || json!({ "target": "ask", "arguments": [] });
    let absent = world.expect(404, "POST connections/x/:invoke", body()).await;
    assert_eq!(absent.headers["x-ms-error-code"], "Error.Connection.NotExisted");
    let mut ada = world.connect(Some("ada"), HubProtocol::Json).await;
    let line = format!("POST connections/{}/:invoke", ada.id);
    for wrong in [json!({ "arguments": [] }), json!({ "target": "ask", "arguments": {} }), Value::Null] {
        let answer = world.expect(400, &line, wrong).await;
        assert_eq!(answer.headers["x-ms-error-code"], "InvalidBody");
    }
    let started = std::time::Instant::now();
    // The SDK repeats requests with a status above 500, and this must not be repeated.
    let slow = world.expect(500, &line, body()).await;
    assert_eq!(slow.headers["x-ms-error-code"], "InvocationTimeout");
    assert!(started.elapsed() >= Duration::from_millis(200));
    // The client received the invocation, and its late result is ignored.
    let call = ada.hub.next_json().await.unwrap();
    let late = json!({ "type": 3, "invocationId": call["invocationId"], "result": 1 });
    ada.hub.send(format!("{late}\u{1e}").as_bytes()).await.unwrap();
    world.mark().await;
    assert_eq!(ada.until_mark().await, "");
    let leaving = async {
        ada.hub.next().await.unwrap();
        world.expect(200, &format!("DELETE connections/{}", ada.id), Value::Null).await;
    };
    let (gone, ()) = tokio::join!(world.call(&line, body()), leaving);
    assert_eq!(
        (gone.status.as_u16(), gone.headers["x-ms-error-code"].as_bytes()),
        (404, b"Error.Connection.NotExisted".as_slice())
    );
    drop(ada);
    world.stop().await;
}
