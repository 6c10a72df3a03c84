use bytes::Bytes;
use expect_test::{Expect, expect};
use http::{HeaderValue, Method};
use state::Instance;

use super::*;
use crate::names::{group, hub};

fn instance() -> Instance {
    Instance::new("test").expect("the name is valid")
}

fn check_route(request: &str, expected: &Expect) {
    let (method, path) = request.split_once(' ').unwrap();
    let shown = match route(&Method::from_bytes(method.as_bytes()).unwrap(), path) {
        Ok(Routed { api, hub, operation }) => format!("{api:?} {hub} {operation:?}"),
        Err(rejection) => {
            let header = rejection.header.map(|header| format!(" [{}]", header.1.to_str().unwrap()));
            format!("{} {}{}", rejection.status.as_u16(), rejection.message, header.unwrap_or_default())
        }
    };
    expected.assert_eq(&shown);
}

#[test]
fn both_versions_of_the_api_route_to_the_same_operations() {
    check_route("POST /api/v1/hubs/chat", &expect!["V1 chat Send(All)"]);
    check_route("POST /api/hubs/chat/:send", &expect!["Dated chat Send(All)"]);
    check_route("POST /api/hubs/chat/groups/a%2Fb/%3Asend", &expect![[r#"Dated chat Send(Group("a/b"))"#]]);
    check_route("POST /api/v1/hubs/chat/users/ada/", &expect![[r#"V1 chat Send(User("ada"))"#]]);
    check_route("HEAD /api/hubs/chat/connections/x", &expect![[r#"Dated chat Exists(Connection("x"))"#]]);
    check_route("DELETE /api/v1/hubs/chat/connections/x", &expect![[r#"V1 chat Close(Connection("x"))"#]]);
    check_route(
        "POST /api/hubs/chat/groups/g/:closeConnections",
        &expect![[r#"Dated chat Close(Group("g"))"#]],
    );
    let joins = expect![[r#"V1 chat ConnectionJoins { connection: "x", group: "g" }"#]];
    check_route("PUT /api/v1/hubs/chat/groups/g/connections/x", &joins);
    check_route("PUT /api/v1/hubs/chat/connections/x/groups/g", &joins);
    let user = expect![[r#"Dated chat UserInGroup { user: "u", group: "g" }"#]];
    check_route("GET /api/hubs/chat/users/u/groups/g", &user);
    check_route("HEAD /api/hubs/chat/groups/g/users/u", &user);
    check_route(
        "DELETE /api/hubs/chat/users/u/groups",
        &expect![[r#"Dated chat UserLeavesAll { user: "u" }"#]],
    );
    check_route("POST /api/hubs/chat/:execute", &expect!["Dated chat Execute"]);
    check_route("POST /api/hubs/chat/:generateToken", &expect!["Dated chat GenerateToken"]);
    check_route(
        "POST /api/hubs/chat/connections/x/:invoke",
        &expect![[r#"Dated chat Invoke { connection: "x" }"#]],
    );
    check_route(
        "POST /api/hubs/chat/connections/x/streams/1%2F2/:send",
        &expect![[r#"Dated chat StreamItem { connection: "x", stream: "1/2" }"#]],
    );
    check_route(
        "POST /api/hubs/chat/connections/x/streams/1/:complete",
        &expect![[r#"Dated chat StreamEnd { connection: "x", stream: "1" }"#]],
    );
    check_route(
        "GET /api/hubs/chat/groups/g/connections",
        &expect![[r#"Dated chat ListConnections(Group("g"))"#]],
    );
    check_route(
        "GET /api/hubs/chat/users/u/connections",
        &expect![[r#"Dated chat ListConnections(User("u"))"#]],
    );
    check_route("GET /api/hubs/chat/connections", &expect!["Dated chat ListConnections(All)"]);
    check_route("GET /api/hubs/chat/users", &expect!["Dated chat ListUsers"]);
    check_route("GET /api/hubs/chat/groups", &expect!["Dated chat ListGroups"]);
    check_route("GET /api/hubs/chat/:count", &expect!["Dated chat Count"]);
    check_route("GET /api/hubs/chat/:watch", &expect!["Dated chat Watch"]);
    check_route("GET /api/auth/accessKey", &expect!["Dated  AccessKey"]);
    check_route("GET /api/v1/auth/accesskey", &expect!["V1  AccessKey"]);
    check_route("HEAD /api/v1/health", &expect!["V1  Health"]);
}

#[test]
fn an_unknown_path_is_404_and_a_wrong_method_is_405() {
    check_route(
        "GET /api/v1/hub/chat",
        &expect![
            "404 there is no operation at '/api/v1/hub/chat'; operations are below /api/v1/hubs/<hub> and /api/hubs/<hub>"
        ],
    );
    check_route(
        "PUT /api/v1/hubs/chat/groups/g",
        &expect!["405 this address accepts POST, GET, HEAD only [POST, GET, HEAD]"],
    );
    check_route("GET /api/v1/hubs/chat", &expect!["405 this address accepts POST only [POST]"]);
    for path in ["/api", "/api/v1/hubs", "/api/v1/hubs/chat//x"] {
        assert_eq!(route(&Method::POST, path).unwrap_err().status, 404, "{path}");
    }
}

#[test]
fn a_path_that_is_not_utf8_has_its_own_error() {
    let rejection = route(&Method::POST, "/api/v1/hubs/chat/users/%ff").unwrap_err();
    assert_eq!((rejection.status.as_u16(), rejection.error.code), (400, "InvalidPath"));
}

#[test]
fn the_case_of_fixed_segments_is_ignored_but_not_that_of_names() {
    check_route("POST /API/V1/Hubs/Chat/Groups/Groups/:SEND", &expect![[r#"V1 Chat Send(Group("Groups"))"#]]);
    check_route(
        "POST /Api/hubs/chat/CONNECTIONS/Users/Streams/:send/:Complete",
        &expect![[r#"Dated chat StreamEnd { connection: "Users", stream: ":send" }"#]],
    );
    check_route("GET /api/V1/HEALTH", &expect!["V1  Health"]);
}

#[test]
fn a_hub_name_follows_the_pattern_with_the_application_as_prefix() {
    let check = |query: &str, expected: &Expect| {
        let hub = hub_of_client(&Query::parse(Some(query)), &instance());
        let shown = hub.map_or_else(|rejection| rejection.message, |hub| hub.name().to_owned());
        expected.assert_eq(&shown);
    };
    check("hub=Chat", &expect!["chat"]);
    check("HUB=a%60,.%5B%5D_9&x=1", &expect!["a`,.[]_9"]);
    check("x=1", &expect!["the query has no hub; add hub=<name>"]);
    check("hub=a&hub=a", &expect!["the query names more than one hub"]);
    let no_hub = |name: &str| {
        format!(
            "'{name}' is not a valid hub name; use a letter, then at most 127 letters, digits and characters of _`,.[]"
        )
    };
    for name in ["", "1a", "a-b", "a b", &"a".repeat(129)] {
        let refused = hub(name, &instance()).unwrap_err().to_string();
        assert_eq!(refused, no_hub(&name.chars().take(128).collect::<String>()));
    }
    assert!(hub(&"a".repeat(128), &instance()).is_ok());
    let rest = hub_of_rest("Chat", &Query::parse(Some("application=App")), &instance()).unwrap();
    assert_eq!(rest.name(), "app_chat");
    assert!(hub_of_rest("chat", &Query::parse(Some("application=a-b")), &instance()).is_err());
}

#[test]
fn a_group_name_above_the_length_limit_is_refused() {
    assert!(group(" a ").is_ok() && group(&"ü".repeat(1_024)).is_ok());
    assert!(group("").is_err() && group(" \t").is_err() && group(&"a".repeat(1_025)).is_err());
}

#[test]
fn queries_are_decoded_and_their_names_compared_without_case() {
    let query = Query::parse(Some("a=1&Excluded=x%20y&excluded=z+w&&flag"));
    assert_eq!(query.all("EXCLUDED").collect::<Vec<_>>(), ["x y", "z w"]);
    assert_eq!((query.get("flag"), query.get("none")), (Some(""), None));
}

#[test]
fn the_last_token_and_the_last_id_of_a_query_are_used() {
    let query = Query::parse(Some("access_token=app&id=app&hub=chat&id=ours&Access_Token=ours"));
    assert_eq!((query.access_token(), query.id()), (Some("ours"), Some("ours")));
    let empty = Query::parse(Some("id=&access_token="));
    assert_eq!((empty.access_token(), empty.id()), (None, None));
}

fn check_message(content_type: &'static str, body: &'static [u8], expected: &Expect) {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let shown = match Payload::read(&headers, &Bytes::from_static(body)).and_then(Payload::message) {
        Ok(message) => format!("{message:?}"),
        Err(rejection) => format!("{} {}", rejection.status.as_u16(), rejection.message),
    };
    expected.assert_eq(&shown);
}

#[test]
fn json_bodies_are_parsed_with_property_names_in_any_case() {
    let json = "application/json; charset=utf-8";
    check_message(
        json,
        br#"{"Target":"t","Arguments":[1, {"a":2}]}"#,
        &expect![[
            r#"OutgoingMessage(Invocation { invocation_id: None, target: "t", arguments: "[1, {\"a\":2}]" })"#
        ]],
    );
    check_message(
        "",
        br#"{"arguments":null,"x":{},"target":"t"}"#,
        &expect![[r#"OutgoingMessage(Invocation { invocation_id: None, target: "t", arguments: "[]" })"#]],
    );
    check_message(
        json,
        br#"{"rawBytes":null,"rawOnly":false,"target":"t"}"#,
        &expect![[r#"OutgoingMessage(Invocation { invocation_id: None, target: "t", arguments: "[]" })"#]],
    );
    check_message(
        json,
        br#"{"arguments":[]}"#,
        &expect!["400 the message has no target; name the client method to call"],
    );
    check_message(
        json,
        br#"{"target":"t","arguments":{}}"#,
        &expect!["400 the arguments of a message must be a JSON array"],
    );
    check_message(
        json,
        br#"{"target":7}"#,
        &expect![[r#"400 the body is not {"target": ..., "arguments": [...]}: target must be a string"#]],
    );
    check_message(
        json,
        b"hello",
        &expect![[
            r#"400 the body is not {"target": ..., "arguments": [...]}: a value is expected at byte 0"#
        ]],
    );
    check_message(
        "application/x-www-form-urlencoded",
        b"a=1",
        &expect![
            "415 the content type of a message is application/json, application/x-msgpack or application/octet-stream"
        ],
    );
    let deep = format!("{{\"target\":\"t\",\"arguments\":{}{}}}", "[".repeat(128), "]".repeat(128));
    check_message(json, deep.leak().as_bytes(), &expect!["400 the value nests deeper than 127 levels"]);
}

#[test]
fn framed_payloads_pass_unchanged_and_a_missing_protocol_is_translated() {
    let octets = "application/octet-stream";
    let json = b"\x81\xa4json\xc4\x27{\"type\":1,\"target\":\"t\",\"arguments\":[]}\x1e";
    check_message(
        octets,
        json,
        &expect![[
            r#"OutgoingMessage(Ready { json: Some(b"{\"type\":1,\"target\":\"t\",\"arguments\":[]}\x1e"), messagepack: None, blazorpack: None })"#
        ]],
    );
    check_message(
        octets,
        b"\x81\xabmessagepack\xc4\x08\x07\x95\x01\x80\xc0\xa1t\x90",
        &expect![[
            r#"OutgoingMessage(Ready { json: None, messagepack: Some(b"\x07\x95\x01\x80\xc0\xa1t\x90"), blazorpack: None })"#
        ]],
    );
    check_message(
        octets,
        b"\x81\xa4json\xc4\x0b{\"type\":6}\x1e",
        &expect!["400 the 'json' message is not an invocation without an id"],
    );
    check_message(
        octets,
        b"\x81\xabmessagepack\xc4\x0b\x0a\x95\x01\x80\xc0\xa1t\x91\x81\x90\x01",
        &expect!["400 a key of a map is neither text nor a number"],
    );
    // A BlazorPack payload, or the same one twice, makes no difference to clients of the other protocols.
    check_message(
        octets,
        b"\x82\xa4json\xc4\x2f{\"type\":1,\"target\":\"t\",\"arguments\":[\"\\ud800\"]}\x1e\xaablazorpack\xc4\x08\x07\x95\x01\x80\xc0\xa1t\x90",
        &expect![[r#"OutgoingMessage(Ready { json: Some(b"{\"type\":1,\"target\":\"t\",\"arguments\":[\"\\ud800\"]}\x1e"), messagepack: None, blazorpack: Some(b"\x07\x95\x01\x80\xc0\xa1t\x90") })"#]],
    );
    let number = b"{\"type\":1,\"target\":\"t\",\"arguments\":[1e999]}\x1e";
    let twice = [b"\x82\xa4json\xc4\x2c", &number[..], b"\xa4JSON\xc4\x2c", number].concat();
    check_message(
        octets,
        twice.leak(),
        &expect![[
            r#"OutgoingMessage(Ready { json: Some(b"{\"type\":1,\"target\":\"t\",\"arguments\":[1e999]}\x1e"), messagepack: None, blazorpack: None })"#
        ]],
    );
    check_message(
        octets,
        b"{}",
        &expect!["400 the body is not a MessagePack map of protocol name to message"],
    );
}

/// Allocations to parse a body and build its message: its fields, and the copies. Exact for the pinned compiler and a debug
/// build.
const BODY_ALLOCATIONS: u64 = 5;

#[test]
fn a_body_is_parsed_with_few_allocations() {
    let body = Bytes::from(format!(r#"{{"target":"m","arguments":["{}"]}}"#, "x".repeat(85)));
    let headers = HeaderMap::new();
    let mut message = None;
    let counted = allocation_counter::measure(|| {
        message = Payload::read(&headers, &body).and_then(Payload::message).ok();
    });
    assert!(message.is_some(), "the body is valid");
    assert_eq!(counted.count_total, BODY_ALLOCATIONS);
}
