//! Tokens and keys that are issued to apps, and account keys that change while clients are connected.

use std::path::Path;

use expect_test::{Expect, expect};
use http::header::AUTHORIZATION;
use identity::{AccessKey, Algorithm, Claims};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol::Json;

use super::world::World;
use crate::fixture::{Fixture, KEY, body, client_token, now, options, request, shown};

const KEYS: &str = "/chappe/api/realtime/keys";

/// A token for an audience, signed with `key`.
fn signed(key: &str, audience: &str) -> String {
    let key = AccessKey::new(key).unwrap();
    identity::sign(&Claims::new(), audience, now(), now() + 60, &key, Algorithm::Hs256)
}

/// Changes the account keys, through the request that the admin API passes on.
async fn rotate(fixture: &Fixture, key: &str, wanted: &str) -> (u16, Value) {
    let request = request(&format!("POST {KEYS}"))
        .header(AUTHORIZATION, format!("Bearer {}", signed(key, &format!("http://gateway{KEYS}"))))
        .body(body(wanted.to_owned()))
        .unwrap();
    let answer = shown(fixture.handle.answer_key_rotation(request).await).await;
    let status = answer[..3].parse().unwrap();
    (status, serde_json::from_str(answer.lines().last().unwrap()).unwrap_or(Value::Null))
}

/// The status of a send signed with `key`.
async fn send(world: &World, key: &str) -> u16 {
    let request = request("POST /api/v1/hubs/chat")
        .header(AUTHORIZATION, format!("Bearer {}", signed(key, "http://x/api/v1/hubs/chat")))
        .body(body(r#"{"target":"news","arguments":[]}"#))
        .unwrap();
    world.listening.fixture.send(request).await.status().as_u16()
}

async fn start_in(folder: &Path) -> World {
    let options = realtime::Options { secondary_key: Some("second".to_owned()), ..options() };
    World { listening: Fixture::start_in(options, folder).await.listen() }
}

#[tokio::test(flavor = "multi_thread")]
async fn account_keys_change_while_clients_stay_connected() {
    let folder = tempfile::tempdir().unwrap();
    let world = start_in(folder.path()).await;
    let mut ada = world.connect(Some("ada"), Json).await;
    let fixture = &world.listening.fixture;
    let (status, keys) = rotate(fixture, KEY, r#"{"renew":["secondary"]}"#).await;
    assert_eq!((status, &keys["primary"]), (200, &json!(KEY)));
    let second = keys["secondary"].as_str().unwrap().to_owned();
    assert_eq!(
        (send(&world, KEY).await, send(&world, "second").await, send(&world, &second).await),
        (202, 401, 202)
    );
    let (status, keys) = rotate(fixture, &second, r#"{"primary":"third"}"#).await;
    assert_eq!((status, keys), (200, json!({ "primary": "third", "secondary": second })));
    // The client connected with a token of a replaced key. It stays connected; another client with the same token is refused.
    assert_eq!(send(&world, KEY).await, 401);
    assert_eq!(send(&world, "third").await, 202);
    assert_eq!(ada.hub.arguments_of("news").await.unwrap(), json!([]));
    let late = client_token("chat", &[]);
    let negotiate =
        request("POST /client/negotiate?hub=chat").header(AUTHORIZATION, format!("Bearer {late}"));
    assert_eq!(fixture.send(negotiate.body(body("")).unwrap()).await.status(), 401);
    // Tokens issued by this process are signed with the new key.
    let access = fixture
        .handle
        .client_access("chat", Some("bob"), &Claims::new(), std::time::Duration::from_secs(60), "http://x")
        .unwrap();
    drop(world.connect_with(&access.access_token, Json).await);
    drop(ada);
    world.stop().await;
    // Keys that were set while running are used after a restart with the same configuration.
    let world = start_in(folder.path()).await;
    assert_eq!(
        (send(&world, KEY).await, send(&world, "third").await, send(&world, &second).await),
        (401, 202, 202)
    );
    world.stop().await;
}

#[tokio::test]
async fn a_key_change_needs_a_current_key_and_a_valid_new_one() {
    let fixture = Fixture::start(options()).await;
    let check = async |key: &str, wanted: &str, expected: Expect| {
        let (status, answer) = rotate(&fixture, key, wanted).await;
        expected.assert_eq(&format!("{status} {}", answer["message"].as_str().unwrap_or_default()));
    };
    check(
        "foreign",
        r#"{"renew":["primary"]}"#,
        expect!["401 the token's signature does not match any valid access key"],
    )
    .await;
    check(KEY, "", expect!["400 the body is invalid: EOF while parsing a value at line 1 column 0"]).await;
    check(
        KEY,
        r#"{"renew":["third"]}"#,
        expect![
            "400 the body is invalid: unknown variant `third`, expected `primary` or `secondary` at line 1 column 17"
        ],
    )
    .await;
    check(KEY, r#"{"primary":""}"#, expect!["400 the access key is empty"]).await;
    check(
        KEY,
        r#"{"renew":["primary"],"primary":"x"}"#,
        expect!["400 a key can be renewed or set, not both"],
    )
    .await;
    check(
        KEY,
        &json!({ "secondary": identity::DEVELOPMENT_SIGNALR_KEY }).to_string(),
        expect![
            "400 the secondary key is published with the emulators and protects nothing; choose another one"
        ],
    )
    .await;
    check(KEY, r#"{"drop":true}"#, expect!["400 the body is invalid: unknown field `drop`, expected one of `renew`, `primary`, `secondary` at line 1 column 7"]).await;
    // A token for another URL is refused.
    let request = request(&format!("POST {KEYS}"))
        .header(AUTHORIZATION, format!("Bearer {}", signed(KEY, "http://x/api/v1/hubs/chat")))
        .body(body("{}"))
        .unwrap();
    assert_eq!(fixture.handle.answer_key_rotation(request).await.status(), 401);
    // None of these requests has changed the keys.
    let (status, keys) = rotate(&fixture, KEY, "{}").await;
    assert_eq!((status, keys), (200, json!({ "primary": KEY, "secondary": null })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_token_is_accepted_from_its_client() {
    let world = World::start().await;
    let line = "POST :generateToken?userId=ada%20l&minutesToExpire=5&role=webpubsub.joinLeaveGroup";
    let answer = world.expect(200, line, Value::Null).await;
    let token = answer.json().unwrap()["token"].as_str().unwrap().to_owned();
    let claims = payload(&token);
    let end = claims["exp"].as_u64().unwrap();
    assert!(end.abs_diff(now() + 300) < 30, "{claims}");
    assert_eq!(
        (&claims["asrs.s.uid"], &claims["role"]),
        (&json!("ada l"), &json!("webpubsub.joinLeaveGroup"))
    );
    let audience = claims["aud"].as_str().unwrap();
    assert_eq!(audience, format!("http://{}/client/?hub=chat", world.listening.authority));
    let mut ada = world.connect_with(&token, Json).await;
    world.expect(202, "POST users/ada%20l/:send", json!({ "target": "hello" })).await;
    assert_eq!(ada.hub.arguments_of("hello").await.unwrap(), json!([]));
    drop(ada);
    let token = world.expect(200, "POST :generateToken", Value::Null).await.json().unwrap();
    let claims = payload(token["token"].as_str().unwrap());
    assert!(
        claims["exp"].as_u64().unwrap().abs_diff(now() + 3_600) < 30 && claims.get("asrs.s.uid").is_none()
    );
    for minutes in ["0", "-1", "x", "1.5", "527041"] {
        let refused =
            world.expect(400, &format!("POST :generateToken?minutesToExpire={minutes}"), Value::Null).await;
        assert_eq!(refused.headers["x-ms-error-code"], "InvalidMinutesToExpire");
    }
    let long = "x".repeat(6_000);
    let refused = world.expect(400, &format!("POST :generateToken?userId={long}"), Value::Null).await;
    assert_eq!(refused.headers["x-ms-error-code"], "TokenTooLong");
    world.stop().await;
}

/// The payload of a token.
pub(super) fn payload(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
