//! Invalid and misused tokens over the network: at negotiate, at the WebSocket, and at the REST API.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{AccessKey, Algorithm, Claims};
use ring::hmac;
use testkit::{Http, RawSocket};

use super::{options, still_serves};
use crate::fixture::{Fixture, KEY, Listening, client_token, now, token};

const AUDIENCE: &str = "http://localhost/client/?hub=chat";

/// Signs any header and payload with any key, as HS256.
fn signed(header: &str, payload: &str, key: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn payload(audience: &str, more: &str) -> String {
    format!(r#"{{"aud":"{audience}","exp":{}{more}}}"#, now() + 60)
}

/// Status and text of the refusal, which must be the same in all three requests of a client.
async fn refusal(listening: &Listening, token: &str) -> String {
    let http = Http::new(&listening.authority);
    let authorization = format!("Bearer {token}");
    let path = "/client/negotiate?hub=chat&negotiateVersion=1";
    let negotiate = http.send("POST", path, &[("authorization", &authorization)], "").await.unwrap();
    let told = format!("{} {}", negotiate.status.as_u16(), negotiate.text());
    if negotiate.status == 401 {
        assert_eq!(negotiate.headers["www-authenticate"], "Bearer");
    }
    let field = format!("authorization: {authorization}\r\n");
    let (mut socket, head) =
        RawSocket::upgrade(&listening.authority, "/client/?hub=chat", &field).await.unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {}", negotiate.status.as_u16())), "{told} but {head}");
    socket.finish().await.unwrap();
    assert_eq!(format!("{} {}", negotiate.status.as_u16(), socket.text_to_end().await.unwrap()), told);
    let encoded: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("/client/negotiate?hub=chat&negotiateVersion=1&access_token={encoded}");
    let in_query = http.send("POST", &path, &[], "").await.unwrap();
    assert_eq!(format!("{} {}", in_query.status.as_u16(), in_query.text()), told, "in the query");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_not_signed_with_an_access_key_are_refused_everywhere() {
    let listening = Fixture::start(options()).await.listen();
    let good = client_token("chat", &[]);
    let (good_signed, good_signature) = good.rsplit_once('.').unwrap();
    let claims = payload(AUDIENCE, "");
    let bare =
        |header: &str| format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
    let algorithm =
        |name: &str| format!("401 the token's algorithm '{name}' is not accepted; use HS256 or HS512");
    let signature = "401 the token's signature does not match any valid access key".to_owned();
    let malformed = |what: &str| format!("401 the token is malformed: {what}");
    let header = "the header is not a JSON object in base64url";
    let cases: Vec<(String, String)> = vec![
        // Unsigned, in every spelling.
        (bare(r#"{"alg":"none"}"#), algorithm("none")),
        (bare(r#"{"alg":"None"}"#), algorithm("None")),
        (bare(r#"{"alg":"nOnE","typ":"JWT"}"#), algorithm("nOnE")),
        (bare(r#"{"alg":""}"#), algorithm("")),
        (bare("{}"), malformed("the header has no 'alg'")),
        (bare(r#"{"alg":["HS256"]}"#), malformed("the header has no 'alg'")),
        (bare(HS256), signature.clone()),
        // Signed with another key or algorithm.
        (signed(HS256, &claims, "another key"), signature.clone()),
        (signed(HS256, &claims, ""), signature.clone()),
        (signed(r#"{"alg":"HS512"}"#, &claims, KEY), signature.clone()),
        (signed(r#"{"alg":"RS256"}"#, &claims, KEY), algorithm("RS256")),
        (signed(r#"{"alg":"hs256"}"#, &claims, KEY), algorithm("hs256")),
        (signed(&format!(r#"{{"alg":"{}"}}"#, "x".repeat(500)), &claims, KEY), algorithm(&"x".repeat(32))),
        (
            signed(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, &claims, KEY),
            "401 the token's header has 'crit', which names extensions that are not supported".to_owned(),
        ),
        // Keys and key URLs in the token are ignored.
        (
            signed(
                r#"{"alg":"HS256","jwk":{"kty":"oct","k":"YW5vdGhlciBrZXk"},"kid":"../../etc/passwd"}"#,
                &claims,
                "another key",
            ),
            signature.clone(),
        ),
        // Changed after it was signed.
        (format!("{good_signed}.{}", "A".repeat(good_signature.len())), signature.clone()),
        (format!("{good_signed}."), signature.clone()),
        (
            format!(
                "{}.{}.{good_signature}",
                good_signed.split('.').next().unwrap(),
                URL_SAFE_NO_PAD.encode(&claims)
            ),
            signature,
        ),
        (format!("{good}="), malformed("the signature is not base64url")),
        (format!("{good}.x"), malformed("it does not have three parts with dots between")),
        (good_signed.to_owned(), malformed("it does not have three parts with dots between")),
        ("..".to_owned(), malformed(header)),
        (format!("{}.{}", URL_SAFE_NO_PAD.encode("[]"), "e30.AAAA"), malformed(header)),
        (signed(HS256, "[]", KEY), malformed("the payload is not a JSON object in base64url")),
        (signed(HS256, "\u{0}", KEY), malformed("the payload is not a JSON object in base64url")),
    ];
    for (token, expected) in &cases {
        assert_eq!(refusal(&listening, token).await, *expected, "{token}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_another_audience_or_time_are_refused_everywhere() {
    let listening = Fixture::start(options()).await.listen();
    let place =
        |audience: &str| format!("401 the token's audience '{audience}' does not match this resource");
    for audience in [
        "http://localhost/client/?hub=other",
        "http://localhost/client/?hub=chat&hub=other",
        "http://localhost/client/?hub=other&hub=chat",
        "http://localhost/client/?hub=chatt",
        "http://localhost/client/?hub=",
        "http://localhost/client/",
        "http://localhost/server/?hub=chat",
        "http://localhost/api/v1/hubs/chat",
        "http://localhost/xclient/?hub=chat",
        "http://localhost/?x=/client/?hub=chat",
        "/client/?hub=chat",
        "chat",
        "",
    ] {
        let token = signed(HS256, &payload(audience, ""), KEY);
        assert_eq!(refusal(&listening, &token).await, place(audience));
    }
    let without = |claims: String| signed(HS256, &claims, KEY);
    assert_eq!(refusal(&listening, &without(format!(r#"{{"exp":{}}}"#, now() + 60))).await, place(""));
    let aud = format!(r#"{{"aud":"{AUDIENCE}""#);
    for (claims, expected) in [
        (format!("{aud}}}"), "401 the token has no 'exp' claim"),
        (format!(r#"{aud},"exp":null}}"#), "401 the token is malformed: 'exp' is not a number"),
        (format!(r#"{aud},"exp":"{}"}}"#, now() + 60), "401 the token is malformed: 'exp' is not a number"),
        (format!(r#"{aud},"exp":[{}]}}"#, now() + 60), "401 the token is malformed: 'exp' is not a number"),
        (format!(r#"{aud},"exp":0}}"#), "401 the token expired at 0 (Unix time), "),
        (format!(r#"{aud},"exp":-1}}"#), "401 the token expired at 0 (Unix time), "),
        (format!(r#"{aud},"exp":-1e300}}"#), "401 the token expired at 0 (Unix time), "),
        (
            format!(r#"{aud},"exp":{},"nbf":{}}}"#, now() + 7_200, now() + 3_600),
            "401 the token is not valid before ",
        ),
        (format!(r#"{aud},"exp":1600000000.5}}"#), "401 the token expired at 1600000000 (Unix time), "),
    ] {
        // The error has the age of the token, which differs between the requests.
        let token = without(claims.clone());
        let http = Http::new(&listening.authority);
        let path = format!("/client/negotiate?hub=chat&access_token={token}");
        let answer = http.send("POST", &path, &[], "").await.unwrap();
        let told = format!("{} {}", answer.status.as_u16(), answer.text());
        assert!(told.starts_with(expected), "{claims}: {told}");
    }
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_but_valid_tokens_are_accepted() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let far = format!(r#"{{"aud":"{AUDIENCE}","exp":1e300}}"#);
    let several = format!(r#"{{"aud":["x","{AUDIENCE}"],"exp":{}}}"#, now() + 60);
    let fraction = format!(r#"{{"aud":"{AUDIENCE}","exp":{}.75}}"#, now() + 60);
    // A caller whose clock is a little ahead is accepted, and other claims are not checked.
    let (ahead, far_ahead) = (now() + 60, now() + 3_600);
    let future = payload(AUDIENCE, &format!(r#","nbf":{ahead},"iat":{far_ahead},"iss":"nobody""#));
    let cased = payload("HTTPS://Elsewhere:1/prefix/client/?x=1&HUB=CHAT", "");
    for claims in [far, several, fraction, future, cased] {
        let token = signed(HS256, &claims, KEY);
        let path = format!("/client/negotiate?hub=chat&negotiateVersion=1&access_token={token}");
        let answer = http.send("POST", &path, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text());
    }
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_above_the_length_limit_is_refused() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    for (bytes, bytes_max, path) in [
        (4_097, 4_096, "/client/negotiate?hub=chat"),
        (30_000, 4_096, "/client/negotiate?hub=chat"),
        // The URL, encoded, is not counted towards the limit.
        (8_217, 8_192 + 24, "/api/v1/hubs/chat"),
        (30_000, 8_192 + 24, "/api/v1/hubs/chat"),
    ] {
        let authorization = format!("Bearer {}", "a".repeat(bytes));
        let answer = http.send("POST", path, &[("authorization", &authorization)], "{}").await.unwrap();
        let expected = format!("the token has {bytes} bytes, more than the {bytes_max} allowed");
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert!(answer.text().contains(&expected), "{}", answer.text());
    }
    // A head above the limit of the listener does not reach the service.
    let authorization = format!("Bearer {}", "a".repeat(40_000));
    let path = "/client/negotiate?hub=chat";
    let answer = http.send("POST", path, &[("authorization", &authorization)], "").await.unwrap();
    assert_eq!(answer.status, 431);
    still_serves(&listening).await;
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_accepted_only_for_its_own_audience() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let body = r#"{"target":"x","arguments":[]}"#;
    for (audience, path, status) in [
        ("/api/v1/hubs/chat", "/api/v1/hubs/chat", 202),
        ("/api/v1/hubs/chat?excluded=x", "/api/v1/hubs/chat", 202),
        ("/api/v1/hubs/chat", "/api/v1/hubs/other", 401),
        ("/api/v1/hubs/chat", "/api/v1/hubs/chat/users/ada", 401),
        ("/api/v1/hubs/chat/users/ada", "/api/v1/hubs/chat", 401),
        ("/api/v1/hubs/chat/users/ada", "/api/v1/hubs/chat/users/bob", 401),
        ("/api/v1/hubs", "/api/v1/hubs/chat", 401),
        ("/client/?hub=chat", "/api/v1/hubs/chat", 401),
        ("/", "/api/v1/hubs/chat", 401),
    ] {
        let token = token(&format!("http://localhost{audience}"), &[]);
        let authorization = format!("Bearer {token}");
        let fields = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = http.send("POST", path, &fields, body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{audience} at {path}: {}", answer.text());
        if status == 401 {
            assert_eq!(answer.json().unwrap()["code"], "TokenAudience");
        }
    }
    // The token of an app is not accepted in the query: URLs are logged.
    let path = "/api/v1/hubs/chat";
    let query = format!("{path}?access_token={}", token(&format!("http://localhost{path}"), &[]));
    let answer = http.send("POST", &query, &[("content-type", "application/json")], body).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.json().unwrap()["code"].as_str()),
        (401, Some("MissingToken"))
    );
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_tokens_exactly_one_is_used() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let (good, bad) = (client_token("chat", &[]), client_token("other", &[]));
    let at = |query: &str| format!("/client/negotiate?hub=chat&negotiateVersion=1{query}");
    let check = async |query: &str, fields: &[(&str, &str)], status: u16| {
        let answer = http.send("POST", &at(query), fields, "").await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{query} {fields:?}: {}", answer.text());
    };
    // The last of several in the query is used, in any case of the name: clients append theirs to the app's own query.
    check(&format!("&access_token={bad}&Access_Token={good}"), &[], 200).await;
    check(&format!("&access_token={good}&access_token={bad}"), &[], 401).await;
    check(&format!("&ACCESS_TOKEN={good}"), &[], 200).await;
    check(&format!("&access%5Ftoken={good}"), &[], 200).await;
    check(&format!("&access_token=&access_token={good}"), &[], 200).await;
    check(&format!("&access_token={good}&access_token="), &[], 401).await;
    check(&format!("&access_token=%20{good}"), &[], 401).await;
    check(&format!("&access_token={good}%00"), &[], 401).await;
    check("&access_token=%zz%ff%", &[], 401).await;
    // A header without a bearer token counts as absent; one with a bearer token takes precedence over the query.
    check(&format!("&access_token={good}"), &[("authorization", "Basic YTpi")], 200).await;
    check(&format!("&access_token={good}"), &[("authorization", "Bearer")], 200).await;
    check(&format!("&access_token={good}"), &[("authorization", "Bearer x")], 401).await;
    check("", &[("authorization", &format!("BEARER   {good}"))], 200).await;
    check("", &[("authorization", &good)], 401).await;
    // Of two headers the first is used, so that two parsers cannot disagree.
    let (one, two) = (format!("Bearer {good}"), format!("Bearer {bad}"));
    check("", &[("x-first", "1"), ("authorization", &one)], 200).await;
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: h\r\nauthorization: {two}\r\nauthorization: {one}\r\nconnection: close\r\n\r\n",
        at("")
    );
    let mut socket = RawSocket::connect(&listening.authority).await.unwrap();
    socket.send(request.as_bytes()).await.unwrap();
    let answer = socket.text_to_end().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_everywhere() {
    let listening = Fixture::start(options()).await.listen();
    let key = AccessKey::new(KEY).unwrap();
    // Outside the leeway for clocks.
    let ended = identity::sign(&Claims::new(), AUDIENCE, now() - 600, now() - 10, &key, Algorithm::Hs256);
    let told = refusal_text(&listening, &ended).await;
    assert!(told.starts_with(&format!("401 the token expired at {}", now() - 10).as_str()[..30]), "{told}");
    let within = identity::sign(&Claims::new(), AUDIENCE, now() - 600, now() - 1, &key, Algorithm::Hs512);
    assert!(refusal_text(&listening, &within).await.starts_with("200 "));
    listening.stop().await;
}

async fn refusal_text(listening: &Listening, token: &str) -> String {
    let path = format!("/client/negotiate?hub=chat&access_token={token}");
    let answer = Http::new(&listening.authority).send("POST", &path, &[], "").await.unwrap();
    format!("{} {}", answer.status.as_u16(), answer.text())
}
