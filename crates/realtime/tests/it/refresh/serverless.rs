//! Clients of upstreams, which their app refreshes over REST or over a server connection of type Weak.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use signalr_protocol::service::{
    AckStatus, Extensions, Message, ServerConnectionType, UnixTime, parse_claims_payload,
};
use testkit::{HubClient, Introduction, ScriptedAppServer};

use super::requests::Requests;
use super::{
    FIRST_TOKEN_S, call, close_of, ending_token, negotiate, next_token, path_of, refresh_options, say,
    token_until, until_expired,
};
use crate::fixture::{Fixture, Listening, body, now, request, token};
use crate::webhook::Webhook;

const ROLE: &str = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role";
const NAME: &str = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier";
const ADA: [(&str, &str); 2] = [("asrs.s.uid", "ada"), ("role", "reader")];

/// An operation below `connections/`: status, code and body.
async fn rest(fixture: &Fixture, line: &str, asked: &Value) -> (u16, String, Value) {
    rest_with(fixture, line, asked.to_string().into()).await
}

async fn rest_with(fixture: &Fixture, line: &str, asked: Bytes) -> (u16, String, Value) {
    let (method, operation) = line.split_once(' ').unwrap();
    let path = format!("/api/hubs/chat/connections/{operation}");
    let token = token(&format!("http://service{path}"), &[]);
    let request = request(&format!("{method} {path}?api-version=2026-07-01"))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json");
    let response = fixture.send(request.body(body(asked)).unwrap()).await;
    let status = response.status().as_u16();
    let code = response.headers().get("x-ms-error-code").map(|code| code.to_str().unwrap().to_owned());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, code.unwrap_or_default(), serde_json::from_slice(&bytes).unwrap_or_default())
}

/// The claims in a response.
fn claims_of(answer: &Value) -> Vec<(String, String)> {
    let text = |claim: &Value, name: &str| claim[name].as_str().unwrap().to_owned();
    let claims = answer["claims"].as_array().unwrap_or_else(|| panic!("{answer}"));
    claims.iter().map(|claim| (text(claim, "type"), text(claim, "value"))).collect()
}

async fn websocket(listening: &Listening, token: &str) -> (HubClient, String) {
    let secret = negotiate(&listening.fixture, token, "&negotiateVersion=1").await;
    let path = path_of(&secret, token);
    (HubClient::connect(&listening.authority, &path, HubProtocol::Json).await.unwrap(), secret)
}

/// A time as the SDK formats it.
fn time(unix_s: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(unix_s).unwrap()).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshed_clients_of_upstreams_stay_connected_after_their_first_token_expired() {
    let listening = Fixture::start(refresh_options()).await.listen();
    let fixture = &listening.fixture;
    let expires_at = now() + FIRST_TOKEN_S;
    let first = ending_token(&ADA, expires_at);
    let (mut unrefreshed, _) = websocket(&listening, &first).await;
    let (mut websocket, secret) = websocket(&listening, &first).await;
    let mut requests = Vec::new();
    for by_events in [true, false] {
        let mut client = Requests::begin(fixture, first.clone(), by_events).await;
        client.until("{}").await;
        requests.push(client);
    }
    let later = now() + 600;
    let mut next = String::new();
    for secret in requests.iter().map(|client| &client.secret).chain([&secret]) {
        let asked = json!({ "connectionToken": secret, "expireTime": time(later), "claims": null });
        let (status, _, answer) = rest(fixture, "POST :refreshAuth", &asked).await;
        let claims = claims_of(&answer);
        assert_eq!(status, 200);
        assert!(claims.contains(&("asrs.s.aeo".to_owned(), later.to_string())), "{claims:?}");
        next = next_token(&claims);
    }
    assert_eq!(close_of(&mut unrefreshed).await["allowReconnect"], true);
    until_expired(expires_at).await;
    for client in &mut requests {
        assert_eq!((client.post("").await, client.poll().await), (401, 401));
        client.token.clone_from(&next);
        client.say(&call("chappe.leaveGroup", "g")).await;
        client.until("\"invocationId\":\"7\"").await;
    }
    say(&mut websocket, &call("chappe.leaveGroup", "g")).await;
    assert_eq!(websocket.next_json().await.unwrap()["invocationId"], "7");
    drop(requests);
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_reconnect_is_accepted_with_the_refreshed_token() {
    let listening = Fixture::start(refresh_options()).await.listen();
    let first = ending_token(&ADA, now() + FIRST_TOKEN_S);
    let more = "&negotiateVersion=1&useStatefulReconnect=true";
    let secret = negotiate(&listening.fixture, &first, more).await;
    let path = path_of(&secret, &first);
    let mut client = HubClient::upgrade(&listening.authority, &path, HubProtocol::Json).await.unwrap();
    // With version 2 a client uses the stateful reconnect that negotiate offered.
    say(&mut client, &json!({ "protocol": "json", "version": 2 })).await;
    assert_eq!(client.next_json().await.unwrap(), json!({}));
    let asked = json!({ "connectionToken": secret, "expireTime": time(now() + 600) });
    let (_, _, answer) = rest(&listening.fixture, "POST :refreshAuth", &asked).await;
    let next = next_token(&claims_of(&answer));
    drop(client);
    let upgrade = async |token: &str| {
        HubClient::upgrade(&listening.authority, &path_of(&secret, token), HubProtocol::Json).await
    };
    let refused = async |token: &str| upgrade(token).await.err().map(|error| error.to_string());
    let ended = async { while negotiate_status(&listening.fixture, &first).await != 401 {} };
    tokio::time::timeout(testkit::PATIENCE, ended).await.unwrap();
    let error = refused(&first).await.unwrap();
    assert!(error.contains("401"), "{error}");
    let error = refused(&token_until(&[("asrs.s.uid", "bob")], now() + 60)).await.unwrap();
    assert!(error.contains("404"), "{error}");
    let mut again = upgrade(&next).await.unwrap();
    say(&mut again, &json!({ "type": 9, "sequenceId": 1 })).await;
    assert_eq!(again.next_json().await.unwrap()["type"], 9);
    listening.stop().await;
}

async fn negotiate_status(fixture: &Fixture, token: &str) -> u16 {
    let request = request("POST /client/negotiate?hub=chat&negotiateVersion=1");
    let request = request.header(AUTHORIZATION, format!("Bearer {token}")).body(body("")).unwrap();
    fixture.send(request).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshed_claims_are_sent_to_the_upstream_and_their_roles_apply() {
    let mut webhook = Webhook::start();
    let mut options = crate::upstream::with_template(&webhook, "messages");
    options.token_leeway_s = 0;
    let listening = Fixture::start(options).await.listen();
    let (mut ada, secret) = websocket(&listening, &token_until(&ADA, now() + 60)).await;
    say(&mut ada, &call("before", "x")).await;
    assert!(webhook.next().await.header("x-asrs-user-claims").contains("role: reader"));
    ada.next_json().await.unwrap();
    say(&mut ada, &call("chappe.joinGroup", "g")).await;
    assert!(ada.next_json().await.unwrap()["error"].is_string());
    let claims = json!([{ "type": NAME, "value": "ada" }, { "type": ROLE, "value": "chappe.joinLeaveGroup" },
        { "type": "city", "value": "Ulm" }]);
    let asked = json!({ "connectionToken": secret, "expireTime": time(now() + 600), "claims": claims });
    let (status, _, answer) = rest(&listening.fixture, "POST :refreshAuth", &asked).await;
    assert_eq!(status, 200, "{answer}");
    say(&mut ada, &call("after", "x")).await;
    let claims = webhook.next().await.header("x-asrs-user-claims");
    assert!(
        claims.contains(&format!("{ROLE}: chappe.joinLeaveGroup")) && claims.contains("city: Ulm"),
        "{claims}"
    );
    assert!(!claims.contains("reader"), "{claims}");
    ada.next_json().await.unwrap();
    say(&mut ada, &call("chappe.joinGroup", "g")).await;
    let joined = ada.next_json().await.unwrap();
    assert!(joined["error"].is_null(), "{joined}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_returned_to_post_and_query_requests() {
    let listening = Fixture::start(refresh_options()).await.listen();
    let (_ada, secret) = websocket(&listening, &token_until(&ADA, now() + 60)).await;
    for method in ["POST", "QUERY"] {
        let asked = json!({ "connectionToken": secret });
        let (status, _, answer) = rest(&listening.fixture, &format!("{method} claims"), &asked).await;
        let expected = [("asrs.s.uid", "ada"), (ROLE, "reader"), ("role", "reader")];
        let expected = expected.map(|(kind, value)| (kind.to_owned(), value.to_owned()));
        assert_eq!((status, claims_of(&answer)), (200, expected.to_vec()));
    }
    let wrong = rest(&listening.fixture, "GET claims", &json!({ "connectionToken": secret })).await;
    assert_eq!((wrong.0, wrong.1.as_str()), (405, "MethodNotAllowed"));
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_refresh_is_refused_with_its_code_and_changes_nothing() {
    let listening = Fixture::start(refresh_options()).await.listen();
    let fixture = &listening.fixture;
    let (mut ada, secret) = websocket(&listening, &ending_token(&ADA, now() + 60)).await;
    let before = rest(fixture, "POST claims", &json!({ "connectionToken": secret })).await;
    let check = async |line: &str, asked: Value, status: u16, code: &str| {
        let answer = rest(fixture, line, &asked).await;
        assert_eq!((answer.0, answer.1.as_str()), (status, code), "{line} {asked}: {}", answer.2);
    };
    let bob = json!([{ "type": NAME, "value": "bob" }]);
    let past = json!({ "connectionToken": secret, "expireTime": time(1), "claims": bob });
    check("POST :refreshAuth", past, 403, "ConnectionUserMismatch").await;
    for line in ["POST :refreshAuth", "POST claims"] {
        for unknown in ["unknown", &"A".repeat(27)] {
            check(line, json!({ "connectionToken": unknown }), 404, "ConnectionNotFound").await;
        }
        check(line, json!({}), 400, "MissingConnectionToken").await;
        check(line, json!([]), 400, "InvalidBody").await;
    }
    let soon = json!({ "connectionToken": secret, "expireTime": "soon" });
    check("POST :refreshAuth", soon, 400, "InvalidExpireTime").await;
    check("PUT :refreshAuth", json!({}), 405, "MethodNotAllowed").await;
    let after = rest(fixture, "POST claims", &json!({ "connectionToken": secret })).await;
    assert_eq!(before, after);
    say(&mut ada, &call("chappe.leaveGroup", "g")).await;
    assert_eq!(ada.next_json().await.unwrap()["invocationId"], "7");
    drop(ada);
    // After the connection has closed, its token identifies no connection.
    let gone =
        async { while rest(fixture, "POST claims", &json!({ "connectionToken": secret })).await.0 != 404 {} };
    tokio::time::timeout(testkit::PATIENCE, gone).await.unwrap();
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_persistent_transport_refreshes_clients_of_upstreams_too() {
    let listening = Fixture::start(refresh_options()).await.listen();
    let (_ada, secret) = websocket(&listening, &ending_token(&ADA, now() + 60)).await;
    let introduction = Introduction {
        connection_type: ServerConnectionType::Weak,
        ..Introduction::new("chat", "management", token("http://localhost/server/?hub=chat", &[]))
    };
    let mut management = ScriptedAppServer::connect(&listening.authority, &introduction).await.unwrap();
    let get = |ack_id| Message::GetConnectionClaims {
        connection_token: &secret,
        ack_id,
        extensions: Extensions::default(),
    };
    let (status, _, payload) = management.ask_for(get).await.unwrap();
    let payload = payload.unwrap();
    let claims = parse_claims_payload(&payload).unwrap();
    assert!(status == AckStatus::Ok && claims.contains(&(ROLE, "reader")), "{claims:?}");
    let later = i64::try_from(now() + 600).unwrap();
    let refresh = |ack_id| Message::RefreshAuth {
        connection_token: &secret,
        claims: vec![(NAME, "ada"), (ROLE, "writer")],
        expire_time: Some(UnixTime { seconds: later, nanoseconds: 0 }),
        ack_id,
        extensions: Extensions::default(),
    };
    let (status, _, payload) = management.ask_for(refresh).await.unwrap();
    let payload = payload.unwrap();
    let claims = parse_claims_payload(&payload).unwrap();
    let later = later.to_string();
    let expected = [("asrs.s.uid", "ada"), ("asrs.s.aeo", later.as_str()), (NAME, "ada"), (ROLE, "writer")];
    assert!(status == AckStatus::Ok && expected.iter().all(|claim| claims.contains(claim)), "{claims:?}");
    assert!(!claims.iter().any(|(_, value)| *value == "reader"), "{claims:?}");
    listening.stop().await;
}
