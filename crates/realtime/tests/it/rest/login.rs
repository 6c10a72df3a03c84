//! Apps that log in at a provider instead of using an account key, and the keys that are issued to them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use identity::{AccessKey, Algorithm, Claims, DynamicKey};
use realtime::{OpenIdOptions, Options};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol::Json;
use testkit::LoginProvider;

use super::world::{World, app_token};
use crate::fixture::{Fixture, KEY, body, now, options, request, token};

const ISSUER: &str = "https://login.example/tenant/";
const AUDIENCE: &str = "https://signalr.azure.com";

fn with_provider(folder: &Path, provider: &LoginProvider, openid: OpenIdOptions) -> Options {
    let file = folder.join("keys.json");
    std::fs::write(&file, provider.key_set().to_string()).unwrap();
    let openid = OpenIdOptions { issuer: ISSUER.to_owned(), key_set_file: Some(file), ..openid };
    Options { openid: Some(openid), ..options() }
}

fn app() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 60, "oid": "app-1", "roles": [] })
}

/// The claims of an app with one change.
fn changed(name: &str, value: Value) -> Value {
    let mut claims = app();
    claims[name] = value;
    claims
}

/// The status and the code of the response to a request with this token.
async fn ask(fixture: &Fixture, line: &str, token: &str) -> (u16, String, Value) {
    let request = request(line)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(body(r#"{"target":"news","arguments":[]}"#))
        .unwrap();
    let (head, body) = fixture.send(request).await.into_parts();
    let code = head.headers.get("x-ms-error-code").map_or("", |code| code.to_str().unwrap()).to_owned();
    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
    (head.status.as_u16(), code, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

const SEND: &str = "POST /api/v1/hubs/chat";
const GET_KEY: &str = "GET /api/v1/auth/accessKey";

async fn key(fixture: &Fixture, line: &str, token: &str) -> DynamicKey {
    let (status, _, answer) = ask(fixture, line, token).await;
    assert_eq!(status, 200, "{answer}");
    let text = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let expires_at = now() + 60;
    DynamicKey { id: text("KeyId").into(), key: AccessKey::new(text("AccessKey")).unwrap(), expires_at }
}

fn client(key: &DynamicKey) -> String {
    let claims: Claims = [("asrs.s.uid", "ada")].into_iter().collect();
    identity::sign_dynamic(&claims, "http://x/client/?hub=chat", now(), now() + 60, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_logs_in_can_send_and_receives_a_key_for_its_clients() {
    let folder = tempfile::tempdir().unwrap();
    let provider = LoginProvider::new(ISSUER);
    let openid = OpenIdOptions { callers: vec!["app-1".to_owned()], ..OpenIdOptions::default() };
    let options = with_provider(folder.path(), &provider, openid);
    let world =
        World { listening: Fixture::start_in(options.clone(), &folder.path().join("state")).await.listen() };
    let fixture = &world.listening.fixture;
    for algorithm in ["RS256", "ES256"] {
        let token = provider.token(algorithm, &app());
        assert_eq!(ask(fixture, SEND, &token).await.0, 202, "{algorithm}");
    }
    let token = provider.token("RS256", &app());
    let given = key(fixture, GET_KEY, &token).await;
    // Both paths, with and without a version, return the same key until the next one is due.
    for line in ["GET /api/auth/accessKey", "GET /api/auth/accesskey?api-version=2024-12-01"] {
        let again = key(fixture, line, &token).await;
        assert_eq!((&again.id, again.key.expose()), (&given.id, given.key.expose()));
    }
    // Its clients connect with tokens of the key, and it signs its own requests with it.
    let mut ada = world.connect_with(&client(&given), Json).await;
    let own = identity::sign_dynamic(&Claims::new(), "http://x/api/v1/hubs/chat", now(), now() + 60, &given);
    assert_eq!(ask(fixture, SEND, &own).await.0, 202);
    assert_eq!(ada.hub.arguments_of("news").await.unwrap(), json!([]));
    // A caller that only has such a key is not issued the next one.
    let own =
        identity::sign_dynamic(&Claims::new(), "http://x/api/v1/auth/accessKey", now(), now() + 60, &given);
    assert_eq!(ask(fixture, GET_KEY, &own).await.0, 401);
    drop(ada);
    world.stop().await;
    let world = World { listening: Fixture::start_in(options, &folder.path().join("state")).await.listen() };
    drop(world.connect_with(&client(&given), Json).await);
    world.stop().await;
}

#[tokio::test]
async fn tokens_that_the_provider_has_not_signed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let provider = LoginProvider::new(ISSUER);
    let openid = OpenIdOptions { callers: vec!["app-1".to_owned()], ..OpenIdOptions::default() };
    let fixture = Fixture::start(with_provider(folder.path(), &provider, openid)).await;
    let check = async |token: String, status: u16, code: &str| {
        for line in [SEND, GET_KEY] {
            let (found, found_code, answer) = ask(&fixture, line, &token).await;
            assert_eq!((found, found_code.as_str()), (status, code), "{line}: {answer}");
        }
    };
    check(provider.token("RS256", &changed("aud", json!("https://graph.example"))), 401, "TokenAudience")
        .await;
    check(provider.token("RS256", &changed("iss", json!("https://evil.example/"))), 401, "TokenIssuer").await;
    check(provider.token("RS256", &changed("exp", json!(now() - 60))), 401, "TokenExpired").await;
    check(provider.token("RS256", &changed("nbf", json!(now() + 3_600))), 401, "TokenNotYetValid").await;
    check(provider.token("RS256", &changed("oid", json!("app-2"))), 403, "CallerNotAllowed").await;
    let header = |extra: Value| {
        let mut header = json!({ "alg": "RS256", "typ": "JWT", "kid": "rsa" });
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        header
    };
    check(
        provider.sign("RS256", &header(json!({ "crit": ["b64"], "b64": false })), &app()),
        401,
        "TokenAlgorithm",
    )
    .await;
    check(provider.sign("RS256", &header(json!({ "kid": "gone" })), &app()), 401, "TokenSignature").await;
    // Signed with one key, and naming the other.
    check(provider.sign("ES256", &header(json!({})), &app()), 401, "TokenSignature").await;
    check(
        provider.sign("RS256", &header(json!({ "alg": "ES256", "kid": "ec" })), &app()),
        401,
        "TokenSignature",
    )
    .await;
    // The public key used as a secret.
    let public = provider.key_set()["keys"][0]["n"].as_str().unwrap().to_owned();
    for secret in [public.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(&public).unwrap()] {
        for algorithm in ["HS256", "RS256"] {
            let head = header(json!({ "alg": algorithm }));
            check(hand_made(&head, &app(), &secret), 401, "TokenSignature").await;
        }
    }
    let none = hand_made(&json!({ "alg": "none" }), &app(), b"");
    let (unsigned, _) = none.rsplit_once('.').unwrap();
    check(format!("{unsigned}."), 401, "TokenAlgorithm").await;
    // A client needs a token signed with a key of the service.
    let client = request("POST /client/negotiate?hub=chat")
        .header(AUTHORIZATION, format!("Bearer {}", provider.token("RS256", &app())));
    assert_eq!(fixture.send(client.body(body("")).unwrap()).await.status(), 401);
}

/// A token with any header, signed with a secret.
fn hand_made(head: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(head), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let signature = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[tokio::test]
async fn the_roles_of_a_token_limit_the_operations_of_an_app() {
    let folder = tempfile::tempdir().unwrap();
    let provider = LoginProvider::new(ISSUER);
    let openid = OpenIdOptions { roles_required: true, ..OpenIdOptions::default() };
    let fixture = Fixture::start(with_provider(folder.path(), &provider, openid)).await;
    let list = "GET /api/v1/hubs/chat/users";
    for (role, allowed) in [
        ("SignalR REST API Owner", [true, true, false]),
        ("SignalR REST API Reader", [false, true, false]),
        ("SignalR App Server", [false, false, true]),
        ("SignalR Service Owner", [true, true, true]),
        ("Reader", [false, false, false]),
    ] {
        for claims in [changed("roles", json!(["x", role])), changed("role", json!(role))] {
            let token = provider.token("ES256", &claims);
            for (line, allowed) in [SEND, list, GET_KEY].into_iter().zip(allowed) {
                let (status, code, answer) = ask(&fixture, line, &token).await;
                let expected = if allowed { "" } else { "RoleMissing" };
                assert_eq!((status < 300, code.as_str()), (allowed, expected), "{role} {line}: {answer}");
            }
        }
    }
    // Account keys do not need roles.
    assert_eq!(ask(&fixture, SEND, &token("http://x/api/v1/hubs/chat", &[])).await.0, 202);
}

#[tokio::test]
async fn keys_of_the_provider_are_read_from_its_url_and_cached() {
    let provider = LoginProvider::new(ISSUER);
    let answers = testkit_keys(&provider).await;
    let openid = OpenIdOptions {
        issuer: ISSUER.to_owned(),
        key_set_url: Some(format!("http://{}/keys", answers.authority)),
        any_caller: true,
        ..OpenIdOptions::default()
    };
    let fixture = Fixture::start(Options { openid: Some(openid), ..options() }).await;
    assert_eq!(ask(&fixture, SEND, &provider.token("RS256", &app())).await.0, 202);
    assert_eq!(ask(&fixture, SEND, &provider.token("ES256", &app())).await.0, 202);
    assert_eq!(answers.asked(), 1, "the keys are cached");
    // Invented key ids do not cause further requests to the provider.
    let invented = json!({ "alg": "RS256", "kid": "invented" });
    for _ in 0..5 {
        assert_eq!(ask(&fixture, SEND, &provider.sign("RS256", &invented, &app())).await.1, "TokenSignature");
    }
    assert_eq!(answers.asked(), 1, "they were read a moment ago");
    answers.stop.send(()).unwrap();
    answers.serving.await.unwrap();
    assert_eq!(
        ask(&fixture, SEND, &provider.token("RS256", &app())).await.0,
        202,
        "the provider may be down"
    );
    let openid = OpenIdOptions {
        issuer: ISSUER.to_owned(),
        key_set_url: Some(format!("http://{}/keys", answers.authority)),
        any_caller: true,
        ..OpenIdOptions::default()
    };
    let fixture = Fixture::start(Options { openid: Some(openid), ..options() }).await;
    let (status, code, _) = ask(&fixture, SEND, &provider.token("RS256", &app())).await;
    assert_eq!((status, code.as_str()), (503, "LoginUnavailable"), "the provider cannot be reached");
    assert_eq!(ask(&fixture, SEND, &token("http://x/api/v1/hubs/chat", &[])).await.0, 202);
}

/// An HTTP server with a provider's keys.
struct Answers {
    authority: String,
    count: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

impl Answers {
    fn asked(&self) -> usize {
        self.count.load(std::sync::atomic::Ordering::SeqCst)
    }
}

async fn testkit_keys(provider: &LoginProvider) -> Answers {
    let (keys, count) =
        (provider.key_set().to_string(), std::sync::Arc::<std::sync::atomic::AtomicUsize>::default());
    let counted = std::sync::Arc::clone(&count);
    let service = tower::service_fn(move |_: http::Request<http_messages::Body>| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let answer = http::Response::new(body(keys.clone()));
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let listener = edge::Listener::bind("keys", "127.0.0.1:0".parse().unwrap()).unwrap();
    let authority = listener.local_addr().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        listener.serve(service, async { drop(stopped.await) }).await.unwrap();
    });
    Answers { authority, count, stop, serving }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_forged_dynamic_keys_are_refused() {
    let world = World::start().await;
    let fixture = &world.listening.fixture;
    // Without a login provider, only the holder of an account key is issued one.
    let given = key(fixture, GET_KEY, &app_token("/api/v1/auth/accessKey")).await;
    drop(world.connect_with(&client(&given), Json).await);
    let negotiate = async |token: String| {
        let request =
            request("POST /client/negotiate?hub=chat").header(AUTHORIZATION, format!("Bearer {token}"));
        fixture.send(request.body(body("")).unwrap()).await.status().as_u16()
    };
    assert_eq!(negotiate(client(&given)).await, 200);
    let gone = DynamicKey { id: "gone".into(), ..given.clone() };
    assert_eq!(negotiate(client(&gone)).await, 401);
    // A dynamic key's id with another key, and the key without its id.
    let forged = DynamicKey { key: AccessKey::new("guess").unwrap(), ..given.clone() };
    assert_eq!(negotiate(client(&forged)).await, 401);
    let forged = DynamicKey { key: AccessKey::new(KEY).unwrap(), ..given.clone() };
    assert_eq!(negotiate(client(&forged)).await, 401);
    let unnamed = identity::sign(
        &Claims::new(),
        "http://x/client/?hub=chat",
        now(),
        now() + 60,
        &given.key,
        Algorithm::Hs256,
    );
    assert_eq!(negotiate(unnamed).await, 401);
    // A client token of a dynamic key is valid for one hub only, and not before or after its time.
    let other =
        identity::sign_dynamic(&Claims::new(), "http://x/client/?hub=other", now(), now() + 60, &given);
    assert_eq!(negotiate(other).await, 401);
    let late =
        identity::sign_dynamic(&Claims::new(), "http://x/client/?hub=chat", now() - 60, now() - 30, &given);
    assert_eq!(negotiate(late).await, 401);
    let claims = json!({ "aud": "http://x/client/?hub=chat", "exp": now() + 7_200, "nbf": now() + 3_600 });
    let head = json!({ "alg": "HS256", "kid": &given.id });
    let early = hand_made(&head, &claims, given.key.expose().as_bytes());
    assert_eq!(negotiate(early).await, 401);
    let claims = json!({ "aud": "http://x/client/?hub=chat", "exp": now() + 60 });
    for (head, status) in [
        (json!({ "alg": "HS256", "kid": &given.id }), 200),
        (json!({ "alg": "HS256", "kid": &given.id, "crit": ["exp"] }), 401),
        (json!({ "alg": "RS256", "kid": &given.id }), 401),
        (json!({ "alg": "none", "kid": &given.id }), 401),
    ] {
        let token = hand_made(&head, &claims, given.key.expose().as_bytes());
        assert_eq!(negotiate(token).await, status, "{head}");
    }
    world.stop().await;
}
