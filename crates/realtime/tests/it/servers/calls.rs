//! App servers that invoke their clients and wait for the results.

use std::collections::HashSet;

use realtime::{Mode, Options, servers};
use serde_json::json;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{Message, ServerConnectionType};
use testkit::{HubClient, Introduction, ScriptedAppServer};

use super::ends::ping;
use super::{client, client_path, default_mode, introduction, json_client, listen, say, server, x};

/// An invocation of `answer` with an invocation id, in both encodings, framed.
fn call(invocation: &str) -> Vec<(&'static str, Vec<u8>)> {
    let message =
        json!({ "type": 1, "invocationId": invocation, "target": "answer", "arguments": [1] }).to_string();
    vec![("json", (message + "\u{1e}").into_bytes())]
}

async fn invoke(server: &mut ScriptedAppServer, invocation: &str, client: &str) {
    let (name, sent) = (server.name().to_owned(), call(invocation));
    let message = Message::ClientInvocation {
        invocation_id: invocation,
        connection_id: client,
        caller_server_id: &name,
        payloads: super::payloads(&sent),
        extensions: x(),
    };
    server.send(&message).await.unwrap();
}

/// What a caller receives: the result and its protocol, or the error.
async fn outcome(server: &mut ScriptedAppServer, invocation: &str) -> String {
    server
        .until(|message| match message {
            Message::ClientCompletion { invocation_id, protocol, payload, .. }
                if *invocation_id == invocation =>
            {
                Some(format!("{}: {}", protocol.unwrap(), String::from_utf8_lossy(payload)))
            }
            Message::ErrorCompletion { invocation_id, error, .. } if *invocation_id == invocation => {
                Some(format!("error: {}", error.unwrap()))
            }
            _ => None,
        })
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_server_receives_the_result_of_its_own_client() {
    let listening = listen(default_mode()).await;
    let hub = tokio::spawn(server(&listening, "one").await.serve());
    for protocol in [HubProtocol::Json, HubProtocol::MessagePack] {
        let mut ada = HubClient::connect(&listening.authority, &client_path(&[]), protocol).await.unwrap();
        if protocol == HubProtocol::Json {
            say(&mut ada, &json!({ "type": 1, "invocationId": "1", "target": "Ask", "arguments": ["?"] }))
                .await;
            let asked = ada.next_json().await.unwrap();
            assert_eq!((&asked["target"], &asked["arguments"]), (&json!("answer"), &json!(["?"])));
            say(&mut ada, &json!({ "type": 3, "invocationId": asked["invocationId"], "result": 42 })).await;
            assert_eq!(ada.next_json().await.unwrap()["result"], 42);
        } else {
            ada.send(b"\x0c\x96\x01\x80\xa11\xa3Ask\x91\x07\x90").await.unwrap();
            let asked = ada.next().await.unwrap().unwrap();
            // [1, {}, invocation, "answer", [7], []]: the invocation id is returned unchanged.
            let invocation = &asked[3..asked.len() - 10];
            assert!(asked.ends_with(b"\xa6answer\x91\x07\x90"), "{asked:?}");
            let mut completion = vec![0x95, 0x03, 0x80];
            completion.extend_from_slice(invocation);
            completion.extend_from_slice(b"\x03\x2a");
            let mut framed = vec![u8::try_from(completion.len()).unwrap()];
            framed.append(&mut completion);
            ada.send(&framed).await.unwrap();
            assert_eq!(ada.next().await.unwrap().unwrap(), b"\x95\x03\x80\xa11\x03\x2a");
        }
    }
    listening.stop().await;
    hub.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_forwarded_from_the_clients_app_server_to_the_caller() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let (mut ada, id) = json_client(&listening, &mut owner, &[]).await;
    let mut caller = server(&listening, "caller").await;
    let mut bystander = server(&listening, "bystander").await;
    invoke(&mut caller, "i-1", &id).await;
    // The client's app server receives the invocation before the client can complete it; the caller learns which app server has
    // the client.
    let announced = owner.until(|message| match message {
        Message::ClientInvocation { invocation_id, connection_id, caller_server_id, .. } => {
            Some(format!("{invocation_id} {connection_id} {caller_server_id}"))
        }
        _ => None,
    });
    assert_eq!(announced.await.unwrap(), format!("i-1 {id} caller"));
    let mapped = caller.until(|message| match message {
        Message::ServiceMapping { invocation_id, instance_id, .. } => {
            Some(format!("{invocation_id} {instance_id}"))
        }
        _ => None,
    });
    assert_eq!(mapped.await.unwrap(), "i-1 default-0");
    assert_eq!(ada.next_json().await.unwrap()["target"], "answer");
    say(&mut ada, &json!({ "type": 3, "invocationId": "i-1", "result": "yes" })).await;
    let (_, completion) = owner.call().await.unwrap();
    let payload = format!("{completion}\u{1e}");
    let result = |callee| Message::ClientCompletion {
        invocation_id: "i-1",
        connection_id: &id,
        caller_server_id: callee,
        protocol: Some("json"),
        payload: payload.as_bytes(),
        extensions: x(),
    };
    // The result of an app server that does not serve the client is ignored.
    let forged = Message::ErrorCompletion {
        invocation_id: "i-1",
        connection_id: &id,
        caller_server_id: "bystander",
        error: Some("forged"),
        extensions: x(),
    };
    bystander.send(&forged).await.unwrap();
    bystander
        .ask(|ack_id| Message::CheckUserExistenceWithAck { user_id: "x", ack_id, extensions: x() })
        .await
        .unwrap();
    owner.send(&result("owner")).await.unwrap();
    assert_eq!(outcome(&mut caller, "i-1").await, format!("json: {payload}"));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_receive_an_error_if_there_will_be_no_result() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let (mut ada, id) = json_client(&listening, &mut owner, &[]).await;
    let mut caller = server(&listening, "caller").await;
    invoke(&mut caller, "refused", &id).await;
    let refused = Message::ErrorCompletion {
        invocation_id: "refused",
        connection_id: &id,
        caller_server_id: "owner",
        error: Some("it will not"),
        extensions: x(),
    };
    // The service has registered the invocation before the app server completes it.
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "refused");
    owner.send(&refused).await.unwrap();
    assert_eq!(outcome(&mut caller, "refused").await, "error: it will not");
    invoke(&mut caller, "gone", &id).await;
    // The client has received the invocation before it disconnects.
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "gone");
    drop(ada);
    assert_eq!(outcome(&mut caller, "gone").await, "error: the client disconnected before it answered");
    invoke(&mut caller, "nobody", &id).await;
    assert_eq!(outcome(&mut caller, "nobody").await, "error: the connection does not exist");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_with_an_invalid_connection_id_fails_at_once() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    for id in ["no connection has this id 28", ""] {
        invoke(&mut server, "i", id).await;
        let told = server.until(|message| match message {
            Message::ErrorCompletion { invocation_id, connection_id, caller_server_id, error, .. } => {
                assert_eq!((*invocation_id, *caller_server_id), ("i", "one"));
                Some(((*connection_id).to_owned(), error.unwrap().to_owned()))
            }
            Message::ServiceEvent { .. } => panic!("an event answers no call"),
            _ => None,
        });
        let why = "invalid connection id: a connection id has 27 characters of URL-safe base64";
        assert_eq!(told.await.unwrap(), (id.to_owned(), why.to_owned()));
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_the_clients_protocol_cannot_encode_fails_at_once() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let mut caller = server(&listening, "caller").await;
    ping(&mut caller, &["shutdown", "fin:2"]).await;
    let (mut ada, id) = client(&listening, &mut owner, &[], HubProtocol::BlazorPack).await;
    for server in [&mut owner, &mut caller] {
        invoke(server, "i", &id).await;
        let why = "error: the message cannot be encoded in the client's protocol";
        assert_eq!(outcome(server, "i").await, why);
    }
    // The id is free again, and an invocation in the client's protocol is sent.
    let call = b"\x0e\x96\x01\x80\xa1i\xa6answer\x90\x90";
    let message = Message::ClientInvocation {
        invocation_id: "i",
        connection_id: &id,
        caller_server_id: "owner",
        payloads: vec![("blazorpack", call)],
        extensions: x(),
    };
    owner.send(&message).await.unwrap();
    assert_eq!(ada.next().await.unwrap().unwrap(), &call[1..]);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_deferred_until_the_handshake_fails_with_the_client_or_above_the_limit() {
    let listening = listen(default_mode()).await;
    let mut server = server(&listening, "one").await;
    let mut ada =
        HubClient::upgrade(&listening.authority, &client_path(&[]), HubProtocol::Json).await.unwrap();
    ada.send(b"{\"protocol\":\"json\",\"version\":1}\x1e").await.unwrap();
    let (id, _) = server.introduced().await.unwrap();
    for number in 0..65 {
        invoke(&mut server, &number.to_string(), &id).await;
    }
    let full = "error: too many requests wait for the response to the client's handshake";
    assert_eq!(outcome(&mut server, "64").await, full);
    drop(ada);
    let mut ended = HashSet::new();
    for _ in 0..64 {
        let (invocation, why) = server
            .until(|message| match message {
                Message::ErrorCompletion { invocation_id, error, .. } => {
                    Some(((*invocation_id).to_owned(), error.unwrap().to_owned()))
                }
                _ => None,
            })
            .await
            .unwrap();
        assert_eq!(why, "the connection ended before the response to its handshake");
        ended.insert(invocation);
    }
    assert_eq!(ended, (0..64).map(|number| number.to_string()).collect());
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_without_a_result_fails_after_its_timeout() {
    let servers = servers::Options { invocation_timeout_ms: 300, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut owner = server(&listening, "owner").await;
    let (_ada, id) = json_client(&listening, &mut owner, &[]).await;
    let mut caller = server(&listening, "caller").await;
    invoke(&mut caller, "late", &id).await;
    assert_eq!(outcome(&mut caller, "late").await, "error: the client did not send a result in time");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_above_the_limit_are_refused() {
    let servers = servers::Options { invocations_max: 1, ..default_mode().servers };
    let listening = listen(Options { servers, ..default_mode() }).await;
    let mut owner = server(&listening, "owner").await;
    let (_ada, id) = json_client(&listening, &mut owner, &[]).await;
    invoke(&mut owner, "1", &id).await;
    invoke(&mut owner, "2", &id).await;
    let why = "error: too many pending client invocations; the limit is 1 (servers.invocations_max)";
    assert_eq!(outcome(&mut owner, "2").await, why);
    let ended = Message::ClientCompletion {
        invocation_id: "1",
        connection_id: &id,
        caller_server_id: "owner",
        protocol: None,
        payload: b"",
        extensions: x(),
    };
    owner.send(&ended).await.unwrap();
    invoke(&mut owner, "3", &id).await;
    invoke(&mut owner, "3", &id).await;
    assert!(outcome(&mut owner, "3").await.starts_with("error: too many pending client invocations"));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_persistent_transport_invokes_clients_in_serverless_mode() {
    let listening = listen(Options { mode: Mode::Serverless, ..default_mode() }).await;
    let weak = Introduction { connection_type: ServerConnectionType::Weak, ..introduction("sdk") };
    let mut sdk = ScriptedAppServer::connect(&listening.authority, &weak).await.unwrap();
    let exists = |id: String| {
        move |ack_id| {
            let id: &'static str = Box::leak(id.into_boxed_str());
            Message::CheckConnectionExistenceWithAck { connection_id: id, ack_id, extensions: x() }
        }
    };
    let (_, answer) = super::negotiate(&listening, &[]).await;
    let (id, secret) =
        (answer["connectionId"].as_str().unwrap(), answer["connectionToken"].as_str().unwrap());
    let path = client_path(&[]) + "&id=" + secret;
    let mut ada = HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    sdk.ask(exists(id.to_owned())).await.unwrap();
    invoke(&mut sdk, "i-1", id).await;
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "i-1");
    say(&mut ada, &json!({ "type": 3, "invocationId": "i-1", "result": { "a": 1 } })).await;
    let expected = "json: {\"type\":3,\"invocationId\":\"i-1\",\"result\":{\"a\":1}}\u{1e}";
    assert_eq!(outcome(&mut sdk, "i-1").await, expected);
    invoke(&mut sdk, "i-2", id).await;
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "i-2");
    say(&mut ada, &json!({ "type": 3, "invocationId": "i-2", "error": "no" })).await;
    let expected = "json: {\"type\":3,\"invocationId\":\"i-2\",\"error\":\"no\"}\u{1e}";
    assert_eq!(outcome(&mut sdk, "i-2").await, expected);
    drop(ada);
    invoke(&mut sdk, "i-3", "AAAAAAAAAAAAAAAAAAAAAAAAAAA").await;
    assert_eq!(outcome(&mut sdk, "i-3").await, "error: the connection does not exist");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_in_one_protocol_is_translated_for_a_client_of_another() {
    let listening = listen(default_mode()).await;
    let mut owner = server(&listening, "owner").await;
    let (mut ada, id) = client(&listening, &mut owner, &[], HubProtocol::MessagePack).await;
    invoke(&mut owner, "i", &id).await;
    assert_eq!(ada.next().await.unwrap().unwrap(), b"\x96\x01\x80\xa1i\xa6answer\x91\x01\x90");
    listening.stop().await;
}
