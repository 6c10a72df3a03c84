//! The REST API, as far as it needs no connected client.

mod closing;
mod execute;
mod foreign_text;
mod invoke;
mod keys;
mod login;
mod long_names;
mod memberships;
mod presence;
mod reserved;
mod streams;
mod watch;
mod world;

use bytes::Bytes;
use expect_test::{Expect, expect};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use http_messages::{Budget, BufferedBody, SMALL_BYTES};
use identity::Principal;
use realtime::Options;

use crate::fixture::{Fixture, body, client_token, options, request, token};

/// Sends `line`, with a token for exactly its URL, and checks the response.
async fn check(fixture: &Fixture, line: &str, content: &str, expected: &Expect) {
    let path = line.split_once(' ').unwrap().1;
    let token = token(&format!("http://localhost{path}"), &[]);
    let request = request(line)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(body(content.to_owned()))
        .unwrap();
    expected.assert_eq(&fixture.shown(request).await);
}

const MESSAGE: &str = r#"{"target":"news","arguments":[1]}"#;

#[tokio::test]
async fn a_send_without_receivers_is_accepted() {
    let fixture = Fixture::start(options()).await;
    for line in [
        "POST /api/v1/hubs/chat?excluded=x&excluded=y",
        "POST /api/v1/hubs/chat/users/ada",
        "POST /api/v1/hubs/chat/groups/g",
        "POST /api/v1/hubs/chat/connections/none",
        "POST /api/hubs/chat/:send?api-version=2022-06-01&application=app",
        "POST /api/hubs/chat/users/a%20b/:send?api-version=2024-12-01",
    ] {
        check(&fixture, line, MESSAGE, &expect!["202"]).await;
    }
}

#[tokio::test]
async fn an_object_that_does_not_exist_has_the_code_that_the_sdks_expect() {
    let fixture = Fixture::start(options()).await;
    check(
        &fixture,
        "GET /api/v1/hubs/chat/connections/x",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Warning.Connection.NotExisted
        {"code":"Warning.Connection.NotExisted","message":"the connection does not exist"}"#]],
    )
    .await;
    check(
        &fixture,
        "HEAD /api/hubs/chat/users/x?api-version=1",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Warning.User.NotExisted
        {"code":"Warning.User.NotExisted","message":"the user has no connection"}"#]],
    )
    .await;
    check(
        &fixture,
        "GET /api/v1/hubs/chat/groups/x",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Warning.Group.NotExisted
        {"code":"Warning.Group.NotExisted","message":"the group has no connection"}"#]],
    )
    .await;
    check(
        &fixture,
        "GET /api/hubs/chat/users/x/groups/g?api-version=1",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Info.User.NotInGroup
        {"code":"Info.User.NotInGroup","message":"the user is not in the group"}"#]],
    )
    .await;
    check(
        &fixture,
        "PUT /api/v1/hubs/chat/groups/g/connections/x",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Error.Connection.NotExisted
        {"code":"Error.Connection.NotExisted","message":"the connection does not exist"}"#]],
    )
    .await;
    check(&fixture, "DELETE /api/v1/hubs/chat/connections/x", "", &expect!["202"]).await;
    check(&fixture, "DELETE /api/hubs/chat/connections/x?api-version=1", "", &expect!["200"]).await;
    check(&fixture, "DELETE /api/hubs/chat/connections/x/groups?api-version=1", "", &expect!["200"]).await;
    check(&fixture, "POST /api/hubs/chat/:closeConnections?api-version=1", "", &expect!["204"]).await;
}

#[tokio::test]
async fn a_user_is_in_a_group_without_being_connected() {
    let fixture = Fixture::start(options()).await;
    check(&fixture, "PUT /api/v1/hubs/chat/groups/g/users/ada?ttl=60", "", &expect!["202"]).await;
    check(&fixture, "GET /api/v1/hubs/chat/groups/g/users/ada", "", &expect!["200"]).await;
    check(
        &fixture,
        "GET /api/v1/hubs/other/groups/g/users/ada",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Info.User.NotInGroup
        {"code":"Info.User.NotInGroup","message":"the user is not in the group"}"#]],
    )
    .await;
    check(&fixture, "DELETE /api/v1/hubs/chat/groups/g/users/ada", "", &expect!["202"]).await;
    check(
        &fixture,
        "HEAD /api/v1/hubs/chat/groups/g/users/ada",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Info.User.NotInGroup
        {"code":"Info.User.NotInGroup","message":"the user is not in the group"}"#]],
    )
    .await;
    check(&fixture, "PUT /api/hubs/chat/users/ada/groups/g?api-version=1", "", &expect!["200"]).await;
    check(&fixture, "DELETE /api/hubs/chat/users/ada/groups?api-version=1", "", &expect!["204"]).await;
    check(
        &fixture,
        "HEAD /api/hubs/chat/users/ada/groups/g?api-version=1",
        "",
        &expect![[r#"
        404
        x-ms-error-code: Info.User.NotInGroup
        {"code":"Info.User.NotInGroup","message":"the user is not in the group"}"#]],
    )
    .await;
    check(
        &fixture,
        "PUT /api/v1/hubs/chat/groups/g/users/ada?ttl=x",
        "",
        &expect![[r#"
            400
            x-ms-error-code: InvalidTtl
            {"code":"InvalidTtl","message":"ttl must be a whole number of seconds, such as ttl=3600","target":"ttl"}"#]],
    )
    .await;
    check(&fixture, "PUT /api/v1/hubs/chat/groups/g/users/ada?ttl=0", "", &expect!["202"]).await;
    check(&fixture, "PUT /api/v1/hubs/chat/groups/%20/users/ada", "", &expect![[r#"
        400
        x-ms-error-code: InvalidGroup
        {"code":"InvalidGroup","message":"invalid group name; use 1 to 1024 characters, not only white space"}"#]]).await;
}

/// A memory budget that is used up while the second value exists.
async fn exhausted_budget() -> (Budget, Vec<BufferedBody>) {
    let options = http_messages::Options {
        memory_bytes_max: 1024 * 1024,
        wait_ms: 20,
        ..http_messages::Options::default()
    };
    let bodies = Budget::new(options, &std::env::temp_dir(), http_messages::Metrics::default());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut taken = Full::new(Bytes::from(vec![0; SMALL_BYTES]));
        held.push(bodies.read(&mut taken, SMALL_BYTES).await.expect("there is room"));
    }
    (bodies, held)
}

#[tokio::test]
async fn a_body_without_capacity_gets_503_with_retry_after() {
    let (bodies, held) = exhausted_budget().await;
    let folder = tempfile::tempdir().expect("a folder");
    let fixture = Fixture::start_with(options(), folder.path(), bodies).await;
    check(&fixture, "POST /api/v1/hubs/chat", MESSAGE, &expect![[r#"
        503
        x-ms-error-code: NoRoomForBody
        {"code":"NoRoomForBody","message":"the body waited 0.02 seconds for memory: other bodies use all that is allowed (the limits are under [bodies])"}"#]]).await;
    let token = token("http://localhost/api/v1/hubs/chat", &[]);
    let again = request("POST /api/v1/hubs/chat").header(AUTHORIZATION, format!("Bearer {token}"));
    let refused = fixture.send(again.body(body(MESSAGE.to_owned())).unwrap()).await;
    assert_eq!(refused.headers()["retry-after"], "5");
    drop(held);
    check(&fixture, "POST /api/v1/hubs/chat", MESSAGE, &expect!["202"]).await;
}

#[tokio::test]
async fn an_invalid_request_is_refused_with_the_reason() {
    let fixture = Fixture::start(Options { body_bytes_max: 64, ..options() }).await;
    check(&fixture, "POST /api/v1/hubs/chat", "{", &expect![[r#"
        400
        x-ms-error-code: InvalidBody
        {"code":"InvalidBody","message":"the body is not {\"target\": ..., \"arguments\": [...]}: a comma or the end of the object is expected at byte 1"}"#]]).await;
    check(
        &fixture,
        "POST /api/v1/hubs/chat",
        &" ".repeat(65),
        &expect![[r#"
            413
            x-ms-error-code: BodyTooLarge
            {"code":"BodyTooLarge","message":"the body has more than the 64 bytes allowed"}"#]],
    )
    .await;
    check(&fixture, "POST /api/v1/hubs/1chat", MESSAGE, &expect![[r#"
        400
        x-ms-error-code: InvalidHub
        {"code":"InvalidHub","message":"'1chat' is not a valid hub name; use a letter, then at most 127 letters, digits and characters of _`,.[]"}"#]]).await;
    check(&fixture, "POST /api/hubs/chat/:send", MESSAGE, &expect![[r#"
        400
        x-ms-error-code: MissingApiVersion
        {"code":"MissingApiVersion","message":"the query has no api-version; add for example api-version=2022-06-01, or use a path below /api/v1","target":"api-version"}"#]]).await;
    check(
        &fixture,
        "PATCH /api/v1/hubs/chat",
        "",
        &expect![[r#"
            405
            allow: POST
            x-ms-error-code: MethodNotAllowed
            {"code":"MethodNotAllowed","message":"this address accepts POST only"}"#]],
    )
    .await;
    check(&fixture, "POST /api/v2/hubs/chat", "", &expect![[r#"
        404
        x-ms-error-code: NotFound
        {"code":"NotFound","message":"there is no operation at '/api/v2/hubs/chat'; operations are below /api/v1/hubs/<hub> and /api/hubs/<hub>"}"#]]).await;
    check(&fixture, "GET /elsewhere", "", &expect![[r#"
        404
        x-ms-error-code: NotFound
        {"code":"NotFound","message":"there is nothing at '/elsewhere'; clients connect at /client/?hub=<hub>, app servers at /server/?hub=<hub>, apps send at /api/v1/hubs/<hub>"}"#]]).await;
}

#[tokio::test]
async fn a_send_without_a_valid_app_token_is_refused() {
    let fixture = Fixture::start(options()).await;
    let check = async |token: Option<String>, expected: Expect| {
        let mut request = request("POST /api/v1/hubs/chat");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        expected.assert_eq(&fixture.shown(request.body(body(MESSAGE)).unwrap()).await);
    };
    check(None, expect![[r#"
        401
        www-authenticate: Bearer
        x-ms-error-code: MissingToken
        {"code":"MissingToken","message":"an access token is required, as 'Authorization: Bearer <token>', signed with an access key for the address of the request"}"#]]).await;
    check(Some(client_token("chat", &[])), expect![[r#"
        401
        www-authenticate: Bearer
        x-ms-error-code: TokenAudience
        {"code":"TokenAudience","message":"the token's audience 'http://localhost/client/?hub=chat' does not match this resource"}"#]]).await;
    check(Some(token("http://a/api/v1/hubs/other", &[])), expect![[r#"
        401
        www-authenticate: Bearer
        x-ms-error-code: TokenAudience
        {"code":"TokenAudience","message":"the token's audience 'http://a/api/v1/hubs/other' does not match this resource"}"#]]).await;
    check(Some(token("http://a/api/v1/hubs/chat", &[])), expect!["202"]).await;
}

#[tokio::test]
async fn a_caller_with_a_principal_of_this_process_needs_no_token() {
    let fixture = Fixture::start(options()).await;
    let check = async |principal: Principal, status: u16| {
        let request = request("POST /api/v1/hubs/chat").extension(principal).body(body(MESSAGE)).unwrap();
        assert_eq!(fixture.send(request).await.status(), status);
    };
    check(Principal::InProcess { name: "functions" }, 202).await;
    check(Principal::AccessKey(Default::default()), 202).await;
    // Neither a client of a hub nor the holder of a function key is an app of this service.
    check(Principal::FunctionKey { name: "default".into() }, 401).await;
    let claims = identity::Claims::new();
    let client = identity::ClientIdentity { hub: "chat".to_owned(), user_id: None, claims };
    check(Principal::Client(client.into()), 401).await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let fixture = Fixture::start(options()).await;
    for path in ["/api/v1/health", "/api/health"] {
        let request = request(&format!("HEAD {path}")).body(body("")).unwrap();
        assert_eq!(fixture.send(request).await.status(), 200);
    }
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status() {
    let fixture = Fixture::start(options()).await;
    check(&fixture, "POST /api/v1/hubs/chat/users/ada", MESSAGE, &expect!["202"]).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &fixture.registry).unwrap();
    let line = r#"realtime_requests_total{operation="send_user",status="202"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn users_leave_groups_in_both_api_versions() {
    let fixture = Fixture::start(options()).await;
    let put = "PUT /api/v1/hubs/chat/groups/g/users/ada";
    let absent = expect![[r#"
        404
        x-ms-error-code: Info.User.NotInGroup
        {"code":"Info.User.NotInGroup","message":"the user is not in the group"}"#]];
    for (leave, status) in [
        ("DELETE /api/v1/hubs/chat/groups/g/users/ada", expect!["202"]),
        ("DELETE /api/hubs/chat/users/ada/groups/g?api-version=2022-06-01", expect!["204"]),
        ("DELETE /api/v1/hubs/chat/users/ada/groups", expect!["200"]),
        ("DELETE /api/hubs/chat/users/ada/groups?api-version=2022-06-01", expect!["204"]),
    ] {
        check(&fixture, put, "", &expect!["202"]).await;
        check(&fixture, "GET /api/v1/hubs/chat/groups/g/users/ada", "", &expect!["200"]).await;
        check(&fixture, leave, "", &status).await;
        check(&fixture, "GET /api/v1/hubs/chat/groups/g/users/ada", "", &absent).await;
    }
}
