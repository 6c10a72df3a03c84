//! Negotiate and connect, up to the response.

use expect_test::{Expect, expect};
use http::header::AUTHORIZATION;
use realtime::Options;
use serde_json::Value;

use crate::fixture::{Fixture, body, client_token, now, options, request, token};

/// Sends `line` with a bearer token and checks the response.
async fn check(fixture: &Fixture, line: &str, token: &str, expected: &Expect) {
    let mut request = request(line);
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    expected.assert_eq(&fixture.shown(request.body(body("")).unwrap()).await);
}

async fn negotiated(fixture: &Fixture, line: &str, token: &str) -> Value {
    let request = request(line).header(AUTHORIZATION, format!("bearer {token}")).body(body("")).unwrap();
    let shown = fixture.shown(request).await;
    let (status, body) = shown.split_once('\n').unwrap();
    assert_eq!(status, "200", "{shown}");
    serde_json::from_str(body).unwrap()
}

#[tokio::test]
async fn the_negotiate_response_depends_on_the_version() {
    let fixture = Fixture::start(options()).await;
    let token = client_token("chat", &[]);
    let v1 = negotiated(&fixture, "POST /client/negotiate?hub=Chat&negotiateVersion=1", &token).await;
    assert_eq!(v1["negotiateVersion"], 1);
    assert_eq!(v1["connectionId"].as_str().map(str::len), Some(27));
    assert_ne!(v1["connectionId"], v1["connectionToken"]);
    let transports = expect![[
        r#"[{"transferFormats":["Text","Binary"],"transport":"WebSockets"},{"transferFormats":["Text"],"transport":"ServerSentEvents"},{"transferFormats":["Text","Binary"],"transport":"LongPolling"}]"#
    ]];
    let mut offered = v1["availableTransports"].clone();
    offered.sort_all_objects();
    transports.assert_eq(&offered.to_string());
    let v0 = negotiated(&fixture, "POST /client/negotiate?hub=chat", &token).await;
    assert_eq!((&v0["negotiateVersion"], v0.get("connectionToken")), (&Value::from(0), None));
    let error = negotiated(&fixture, "POST /client/negotiate?hub=chat&NegotiateVersion=x", &token).await;
    assert_eq!(error["error"], "the negotiateVersion 'x' is not a whole number");
}

#[tokio::test]
async fn a_refused_token_has_the_reason_in_the_response() {
    let fixture = Fixture::start(options()).await;
    let good = client_token("chat", &[]);
    let at = "POST /client/negotiate?hub=chat&negotiateVersion=1";
    check(
        &fixture,
        at,
        "",
        &expect![[r#"
        401
        www-authenticate: Bearer
        an access token is required, as 'Authorization: Bearer <token>' or as access_token in the query"#]],
    )
    .await;
    check(
        &fixture,
        at,
        &client_token("other", &[]),
        &expect![[r#"
        401
        www-authenticate: Bearer
        the token's audience 'http://localhost/client/?hub=other' does not match this resource"#]],
    )
    .await;
    check(
        &fixture,
        at,
        &token("http://localhost/api/v1/hubs/chat", &[]),
        &expect![[r#"
        401
        www-authenticate: Bearer
        the token's audience 'http://localhost/api/v1/hubs/chat' does not match this resource"#]],
    )
    .await;
    check(
        &fixture,
        at,
        "a.b.c",
        &expect![[r#"
        401
        www-authenticate: Bearer
        the token is malformed: the header is not a JSON object in base64url"#]],
    )
    .await;
    let forged = good.split_at(good.len() - 5).0.to_owned() + "AAAAA";
    check(
        &fixture,
        at,
        &forged,
        &expect![[r#"
        401
        www-authenticate: Bearer
        the token's signature does not match any valid access key"#]],
    )
    .await;
    check(
        &fixture,
        at,
        &"a".repeat(4_097),
        &expect![[r#"
        413
        the token has 4097 bytes, more than the 4096 allowed"#]],
    )
    .await;
}

#[tokio::test]
async fn an_unknown_path_or_method_is_refused_with_the_valid_ones() {
    let fixture = Fixture::start(options()).await;
    let good = client_token("chat", &[]);
    check(
        &fixture,
        "GET /client/negotiate?hub=chat",
        &good,
        &expect![[r#"
        405
        allow: POST, OPTIONS
        this address accepts POST, OPTIONS only"#]],
    )
    .await;
    check(
        &fixture,
        "POST /client/negotiate",
        &good,
        &expect![[r#"
        400
        the query has no hub; add hub=<name>"#]],
    )
    .await;
    check(
        &fixture,
        "POST /client/negotiate?hub=chat&hub=chat",
        &good,
        &expect![[r#"
        400
        the query names more than one hub"#]],
    )
    .await;
    check(&fixture, "POST /client/negotiate?hub=9", &good, &expect![[r#"
        400
        '9' is not a valid hub name; use a letter, then at most 127 letters, digits and characters of _`,.[]"#]]).await;
    check(
        &fixture,
        "POST /client/other?hub=chat",
        &good,
        &expect![[r#"
        404
        unknown path; clients negotiate at /client/negotiate and connect at /client/"#]],
    )
    .await;
}

#[tokio::test]
async fn an_expired_token_has_its_own_error() {
    let fixture = Fixture::start(Options { token_leeway_s: 0, ..options() }).await;
    let key = identity::AccessKey::new(crate::fixture::KEY).unwrap();
    let audience = "http://localhost/client/?hub=chat";
    let claims = identity::Claims::new();
    let expired = identity::sign(&claims, audience, now(), 1_600_000_000, &key, Default::default());
    let request =
        request("POST /client/negotiate?hub=chat").header(AUTHORIZATION, format!("Bearer {expired}"));
    let shown = fixture.shown(request.body(body("")).unwrap()).await;
    assert!(
        shown.starts_with("401\nwww-authenticate: Bearer\nthe token expired at 1600000000 (Unix time), "),
        "{shown}"
    );
}

#[tokio::test]
async fn pages_of_any_origin_may_negotiate() {
    let fixture = Fixture::start(options()).await;
    let preflight = request("OPTIONS /client/negotiate?hub=chat")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .body(body(""))
        .unwrap();
    expect![[r#"
        204
        access-control-allow-origin: https://app.example
        access-control-allow-credentials: true"#]]
    .assert_eq(&fixture.shown(preflight).await);
    let refused = request("POST /client/negotiate?hub=chat").header("origin", "null").body(body("")).unwrap();
    expect![[r#"
        401
        www-authenticate: Bearer
        access-control-allow-origin: null
        access-control-allow-credentials: true
        an access token is required, as 'Authorization: Bearer <token>' or as access_token in the query"#]]
    .assert_eq(&fixture.shown(refused).await);
}

#[tokio::test]
async fn requests_without_a_connection_token_or_with_another_method_are_refused() {
    let fixture = Fixture::start(options()).await;
    let token = client_token("chat", &[]);
    check(
        &fixture,
        "GET /client/?hub=chat",
        &token,
        &expect![[r#"
            400
            Connection ID required"#]],
    )
    .await;
    check(
        &fixture,
        "GET /client/?hub=chat&id=none",
        &token,
        &expect![[r#"
        404
        No Connection with that ID"#]],
    )
    .await;
    let answer = negotiated(&fixture, "POST /client/negotiate?hub=chat&negotiateVersion=1", &token).await;
    let id = answer["connectionToken"].as_str().unwrap();
    check(&fixture, &format!("GET /client/?hub=chat&id={id}"), &token, &expect!["200"]).await;
    check(&fixture, &format!("POST /client/?hub=chat&id={id}"), &token, &expect!["200"]).await;
    check(&fixture, &format!("DELETE /client?hub=chat&id={id}"), &token, &expect!["202"]).await;
    check(
        &fixture,
        &format!("PUT /client/?hub=chat&id={id}"),
        &token,
        &expect![[r#"
            405
            allow: GET, POST, DELETE, OPTIONS
            this address accepts GET, POST, DELETE, OPTIONS only"#]],
    )
    .await;
}

#[tokio::test]
async fn negotiations_above_the_limit_are_refused() {
    let fixture = Fixture::start(Options { negotiations_max: 1, ..options() }).await;
    let token = client_token("chat", &[]);
    negotiated(&fixture, "POST /client/negotiate?hub=chat", &token).await;
    check(
        &fixture,
        "POST /client/negotiate?hub=chat",
        &token,
        &expect![[r#"
        429
        too many clients have negotiated and not connected; try again in a moment"#]],
    )
    .await;
}

#[tokio::test]
async fn a_strict_audience_names_the_host() {
    let fixture = Fixture::start(Options { audience_host_strict: true, ..options() }).await;
    negotiated(
        &fixture,
        "POST /client/negotiate?hub=chat",
        &token("http://localhost:8888/client/?hub=chat", &[]),
    )
    .await;
    check(
        &fixture,
        "POST /client/negotiate?hub=chat",
        &client_token("chat", &[]),
        &expect![[r#"
        401
        www-authenticate: Bearer
        the token's audience 'http://localhost/client/?hub=chat' does not match this resource"#]],
    )
    .await;
}

#[tokio::test]
async fn an_issued_client_token_is_accepted_and_has_the_user() {
    let fixture = Fixture::start(options()).await;
    let claims: identity::Claims = [("aud", "mine"), ("role", "admin")].into_iter().collect();
    let minute = std::time::Duration::from_secs(60);
    let access =
        fixture.handle.client_access("Chat", Some("ada"), &claims, minute, "http://localhost:8080/").unwrap();
    assert_eq!(access.url, "http://localhost:8080/client/?hub=chat");
    negotiated(&fixture, "POST /client/negotiate?hub=chat", &access.access_token).await;
    let long: identity::Claims = [("long", "x".repeat(4_000))].into_iter().collect();
    let refused = fixture.handle.client_access("chat", None, &long, minute, "http://h").unwrap_err();
    expect!["the client's token would have 5520 bytes, more than the 4096 allowed; give it fewer claims"]
        .assert_eq(&refused.to_string());
}

#[tokio::test]
async fn a_token_in_the_header_has_precedence_over_one_in_the_query() {
    let fixture = Fixture::start(options()).await;
    let (good, other) = (client_token("chat", &[]), client_token("other", &[]));
    let at = |token: &str| format!("POST /client/negotiate?hub=chat&negotiateVersion=1&access_token={token}");
    negotiated(&fixture, &at(&other), &good).await;
    let request = request(&at(&good)).header(AUTHORIZATION, format!("Bearer {other}"));
    let shown = fixture.shown(request.body(body("")).unwrap()).await;
    assert!(shown.starts_with("401\n"), "{shown}");
}
