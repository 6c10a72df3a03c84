//! Responses of an upstream, or none; streams; authentication with a token.

use expect_test::expect;
use http::HeaderMap;
use realtime::upstream::Auth;
use serde_json::json;
use signalr_protocol::HubProtocol;
use testkit::Http;

use super::{Stage, call, check, completion, say};
use crate::fixture::token;
use crate::webhook::{ClosedPort, Webhook};

#[tokio::test(flavor = "multi_thread")]
async fn responses_become_completions() {
    let mut stage = Stage::with(|options| {
        options.upstream.answer_bytes_max = 1000.try_into().unwrap();
    })
    .await;
    let mut ada = stage.ada().await;
    let large = format!("{{\"type\":3,\"invocationId\":\"1\",\"result\":\"{}\"}}\u{1e}", "x".repeat(1000));
    for (status, body, expected) in [
        (200, String::new(), expect![[r#"{"type":3,"invocationId":"1"}"#]]),
        (204, String::new(), expect![[r#"{"type":3,"invocationId":"1"}"#]]),
        (
            404,
            String::new(),
            expect![[r#"{"type":3,"invocationId":"1","error":"Invocation failed, status code 404"}"#]],
        ),
        (
            500,
            completion(1),
            expect![[r#"{"type":3,"invocationId":"1","error":"Invocation failed, status code 500"}"#]],
        ),
        (
            200,
            large,
            expect![[r#"{"type":3,"invocationId":"1","error":"Invocation failed, response too large."}"#]],
        ),
        (
            200,
            "{}".to_owned(),
            expect![[
                r#"{"type":3,"invocationId":"1","error":"Invocation failed, the upstream's response is not a whole hub message framed as json"}"#
            ]],
        ),
        (
            200,
            "\u{7}....".to_owned(),
            expect![[
                r#"{"type":3,"invocationId":"1","error":"Invocation failed, the upstream's response is not a whole hub message framed as json"}"#
            ]],
        ),
        (
            200,
            completion(2),
            expect![[
                r#"{"type":3,"invocationId":"1","error":"Invocation failed, the upstream's response is not a completion of this invocation"}"#
            ]],
        ),
    ] {
        say(&mut ada, &call(1, "ask")).await;
        stage.webhook.take(status, body).await;
        check(&mut ada, expected).await;
    }
    // An invocation without an id gets no completion, whatever the response is.
    for (status, body) in [(200, completion(1)), (500, String::new()), (200, "nonsense".to_owned())] {
        say(&mut ada, &json!({ "type": 1, "target": "tell", "arguments": [] })).await;
        stage.webhook.take(status, body).await;
    }
    say(&mut ada, &call(1, "ask")).await;
    stage.webhook.take(200, completion(1)).await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"1","result":1}"#]]).await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_of_an_unreachable_upstream_has_details_only_if_the_token_asks_for_them() {
    let door = ClosedPort::closed();
    let authority = door.authority();
    let stage = Stage::with(|options| {
        options.upstream.templates[0].url_template = format!("http://{authority}/");
    })
    .await;
    let mut ada = stage.ada().await;
    say(&mut ada, &call(1, "ask")).await;
    check(
        &mut ada,
        expect![[
            r#"{"type":3,"invocationId":"1","error":"Invocation failed, the upstream cannot be reached"}"#
        ]],
    )
    .await;
    let mut bob = stage.client(HubProtocol::Json, &[("asrs.s.derror", "True")]).await;
    say(&mut bob, &call(1, "ask")).await;
    let error = bob.next_json().await.unwrap()["error"].as_str().unwrap().to_owned();
    let expected =
        format!("Invocation failed, error: cannot reach the upstream: cannot connect to {authority}");
    assert!(error.starts_with(&expected), "{error}");
    drop((ada, bob));
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_of_a_slow_upstream_times_out() {
    let mut stage = Stage::with(|options| {
        options.upstream.request_timeout_ms = 100.try_into().unwrap();
    })
    .await;
    let mut ada = stage.ada().await;
    say(&mut ada, &call(1, "slow")).await;
    let slow = stage.webhook.next().await;
    check(
        &mut ada,
        expect![[r#"{"type":3,"invocationId":"1","error":"Invocation failed, the upstream did not respond in time"}"#]],
    )
    .await;
    slow.answer(200, completion(1));
    // Its connection is still served.
    say(&mut ada, &call(2, "quick")).await;
    stage.webhook.take(200, completion(2)).await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"2","result":2}"#]]).await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_forwarded_in_both_directions() {
    let mut stage = Stage::start().await;
    let mut ada = stage.ada().await;
    let stream =
        json!({ "type": 4, "invocationId": "1", "target": "count", "arguments": [], "streamIds": ["up"] });
    say(&mut ada, &stream).await;
    let received = stage.webhook.next().await;
    assert_eq!(received.shown(), format!("count {stream}"));
    // Items may be in the response; later ones, and the end, are sent over REST.
    received.answer(200, "{\"type\":2,\"invocationId\":\"1\",\"item\":1}\u{1e}");
    check(&mut ada, expect![[r#"{"type":2,"invocationId":"1","item":1}"#]]).await;
    for message in [
        json!({ "type": 2, "invocationId": "up", "item": { "a": 1 } }),
        json!({ "type": 3, "invocationId": "up" }),
        json!({ "type": 5, "invocationId": "1" }),
    ] {
        say(&mut ada, &message).await;
        let received = stage.webhook.next().await;
        assert_eq!(received.path, "/chat/messages/count?code=k");
        // An upstream without state learns the invocation, and how to send to its client.
        assert_eq!(received.header("x-chappe-invocation-id"), "1");
        assert_eq!(received.header("x-chappe-hub-protocol"), "json");
        assert_eq!(received.shown(), format!("count {message}"));
        received.answer(200, "");
    }
    // A message of a stream that has ended is not forwarded.
    for message in
        [json!({ "type": 5, "invocationId": "1" }), json!({ "type": 2, "invocationId": "up", "item": 1 })]
    {
        say(&mut ada, &message).await;
    }
    say(&mut ada, &json!({ "type": 4, "invocationId": "2", "target": "fail", "arguments": [] })).await;
    assert!(stage.webhook.take(500, "").await.starts_with("fail "));
    check(
        &mut ada,
        expect![[r#"{"type":3,"invocationId":"2","error":"Invocation failed, status code 500"}"#]],
    )
    .await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_sends_the_items_of_a_stream_later_over_rest() {
    let mut stage = Stage::start().await;
    let mut ada = stage.ada().await;
    say(&mut ada, &json!({ "type": 4, "invocationId": "1", "target": "count", "arguments": [] })).await;
    let received = stage.webhook.next().await;
    let id = received.header("x-asrs-connection-id");
    received.answer(204, "");
    let stream = format!("/api/hubs/chat/connections/{id}/streams/1");
    for (operation, body) in [(":send", "{\"n\":1}"), (":complete", "")] {
        let path = format!("{stream}/{operation}?api-version=2024-12-01");
        let authorization = format!("Bearer {}", token(&format!("http://service{path}"), &[]));
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = Http::new(&stage.listening.authority).send("POST", &path, &headers, body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    check(&mut ada, expect![[r#"{"type":2,"invocationId":"1","item":{"n":1}}"#]]).await;
    check(&mut ada, expect![[r#"{"type":3,"invocationId":"1"}"#]]).await;
    drop(ada);
    stage.listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_a_managed_identity_have_a_cached_token() {
    let mut identity = Webhook::start();
    let endpoint = format!("http://{}/msi/token", identity.authority);
    let mut stage = Stage::with(|options| {
        options.upstream.identity_endpoint = Some(endpoint);
        options.upstream.identity_header = Some("secret".to_owned());
        let template = &mut options.upstream.templates[0];
        (template.auth, template.auth_resource) = (Auth::ManagedIdentity, Some("api://app".to_owned()));
    })
    .await;
    let mut ada = stage.ada().await;
    say(&mut ada, &call(1, "ask")).await;
    let asked = identity.next().await;
    assert_eq!(asked.path, "/msi/token?resource=api%3A%2F%2Fapp&api-version=2019-08-01");
    assert_eq!(asked.header("x-identity-header"), "secret");
    asked.answer(400, "no identity");
    let error = "Invocation failed, the upstream cannot be reached";
    assert_eq!(ada.next_json().await.unwrap()["error"], error);
    say(&mut ada, &call(2, "ask")).await;
    identity.take(200, r#"{"access_token":"t0ken","expires_on":"99999999999","resource":"api://app"}"#).await;
    for id in [2, 3] {
        let received = stage.webhook.next().await;
        assert_eq!(received.header("authorization"), "Bearer t0ken");
        received.answer_with(200, HeaderMap::new(), completion(id));
        assert_eq!(ada.next_json().await.unwrap()["result"], id);
        if id == 2 {
            say(&mut ada, &call(3, "ask")).await;
        }
    }
    assert!(identity.has_no_request());
    drop(ada);
    stage.listening.stop().await;
}
