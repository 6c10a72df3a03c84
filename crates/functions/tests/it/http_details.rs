//! Details of HTTP for which apps and tools rely on the Azure Functions host; each is in its recordings.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use worker_protocol::{
    InvocationRequest, RetryOptions, RetryStrategy, RpcHttp, RpcHttpCookie, SameSite, TypedData,
};

use crate::fake::{Answer, Host, Seen, Setup, body_of, returned, threw};

fn trigger(level: &str, methods: &[&str], route: &str) -> Vec<Json> {
    let trigger = json!({
        "type": "httpTrigger", "name": "req", "direction": "in", "authLevel": level, "methods": methods, "route": route
    });
    vec![trigger, json!({"type": "http", "name": "$return", "direction": "out"})]
}

fn http_of(request: &InvocationRequest) -> &RpcHttp {
    let TypedData::Http(http) = &request.input_data[0].data else { panic!("an HTTP request") };
    http
}

/// Responds with the address and route values of the request.
async fn address(request: InvocationRequest) -> Answer {
    let http = http_of(&request);
    returned(TypedData::String(format!("{} {:?}", http.url, http.params).into()))
}

/// Responds with its own name.
fn named(name: &'static str) -> impl Fn(InvocationRequest) -> std::future::Ready<Answer> {
    move |_| std::future::ready(returned(TypedData::String(name.to_owned().into())))
}

#[tokio::test]
async fn a_path_is_normalised_before_routing_and_proxying() {
    let host = Setup::default()
        .function("any", &trigger("anonymous", &[], "items/{any}"), address)
        .function("rest", &trigger("anonymous", &[], "rest/{*rest}"), address)
        .start()
        .await;
    for (path, expected) in [
        ("/api/x/../items/a%2Fb", "items/a%2Fb {\"any\": \"a%2Fb\"}"),
        ("/api/%2e%2e/api/items/a%20b", "items/a%20b {\"any\": \"a b\"}"),
        ("/api/items/%zz", "items/%25zz {\"any\": \"%zz\"}"),
        ("/api/rest/%C3%BC/./b/", "rest/%C3%BC/b/ {\"rest\": \"ü/b/\"}"),
    ] {
        let seen = host.send(&format!("GET {path}")).await;
        assert_eq!(seen.body, format!("http://app.test:7071/api/{expected}"), "{path}");
    }
    for path in ["//api/items/x", "/api/items/x//", "/api/items/.."] {
        assert_eq!(host.send(&format!("GET {path}")).await.status, 404, "{path}");
    }
    assert_eq!(host.send("GET /api/items/a%00b").await.text(), "400\nconnection: close");
}

#[tokio::test]
async fn a_header_that_is_not_utf_8_is_rejected() {
    let host = Setup::default().function("f", &trigger("anonymous", &[], "f"), address).start().await;
    let send = async |value: &[u8]| {
        let value = http::HeaderValue::from_bytes(value).expect("a header");
        let request = http::Request::get("http://app.test/api/f").header("x-name", value);
        host.request(request.body(body_of(b"")).expect("a request")).await.status
    };
    assert_eq!(send("café".as_bytes()).await, 200);
    assert_eq!(send(b"caf\xe9").await, 400);
}

#[tokio::test]
async fn the_first_function_by_name_gets_a_request_that_matches_two_and_a_warning_names_the_other() {
    let host = Setup::default()
        .function("b_literal", &trigger("anonymous", &[], "items/new"), named("b_literal"))
        .function("A_any", &trigger("anonymous", &[], "items/{any}"), named("A_any"))
        .function("c_other", &trigger("anonymous", &[], "other"), named("c_other"))
        .start()
        .await;
    assert_eq!(host.send("get /api/items/new").await.body, "A_any");
    let log = host.log();
    let warning = "Warn Requests that match the routes of both 'A_any' (api/items/{any}) and 'b_literal' (api/items/new) go to 'A_any'";
    assert!(log.contains(warning), "{log}");
    assert_eq!(log.matches("Requests that match").count(), 1, "{log}");
}

#[tokio::test]
async fn of_two_functions_with_one_route_and_method_the_second_by_name_is_in_error() {
    let host = Setup::default()
        .setting("AzureWebJobs.aa_off.Disabled", "1")
        .function("aa_off", &trigger("anonymous", &["GET"], "dup"), named("aa_off"))
        .function("dup_b", &trigger("anonymous", &["GET", "PUT"], "DUP"), named("dup_b"))
        .function("dup_a", &trigger("anonymous", &["GET"], "dup"), named("dup_a"))
        .function("dup_post", &trigger("anonymous", &["POST"], "dup"), named("dup_post"))
        .start()
        .await;
    assert_eq!(host.send("GET /api/dup").await.body, "dup_a");
    assert_eq!(host.send("POST /api/dup").await.body, "dup_post");
    assert_eq!(
        host.send("GET /admin/functions/dup_b/status").await.body,
        r#"{"errors":["The route specified conflicts with the route defined by function 'dup_a'."]}"#
    );
}

#[tokio::test]
async fn a_percent_sign_in_a_route_is_literal() {
    let host = Setup::default()
        .setting("PLACE", "here")
        .function("f", &trigger("anonymous", &[], "%PLACE%/{x}"), address)
        .function("g", &trigger("anonymous", &[], "%MISSING%"), named("g"))
        .start()
        .await;
    let seen = host.send("GET /api/%25PLACE%25/1").await;
    assert_eq!(seen.body, "http://app.test:7071/api/%25PLACE%25/1 {\"x\": \"1\"}");
    assert_eq!(host.send("GET /api/here/1").await.status, 404);
    assert_eq!(host.send("GET /api/%25MISSING%25").await.body, "g", "no setting is missing");
}

/// Responds with the query and the metadata, as JSON.
async fn query_and_metadata(request: InvocationRequest) -> Answer {
    let metadata: BTreeMap<&String, String> =
        request.trigger_metadata.iter().map(|(name, value)| (name, format!("{value:?}"))).collect();
    let seen = json!({"query": http_of(&request).query, "metadata": metadata});
    returned(TypedData::Json(seen.to_string().into()))
}

#[tokio::test]
async fn query_values_are_joined_and_metadata_contains_the_last_one() {
    let host = Setup::default()
        .function("f", &trigger("anonymous", &[], "f/{id:int}"), query_and_metadata)
        .start()
        .await;
    let seen = host.send("GET /api/f/7?a=1&A=2&b=%FF\ncontent-type: text/plain\nx-own: 1").await;
    let seen: Json = serde_json::from_str(&seen.body).expect("JSON");
    assert_eq!(seen["query"], json!({"A": "1,2", "b": "%FF"}));
    let metadata = &seen["metadata"];
    assert_eq!((&metadata["A"], &metadata["id"]), (&json!("String(\"2\")"), &json!("String(\"7\")")));
    assert_eq!(metadata["Query"], r#"Json("{\"A\":\"2\",\"b\":\"%FF\"}")"#);
    assert_eq!(metadata["Headers"], r#"Json("{\"Content-Type\":\"text/plain\",\"x-own\":\"1\"}")"#);
    let seen = host.send("POST /api/f/7\n\n{\"Name\": 1, \"other\": 2, \"name\": 3}").await;
    let seen: Json = serde_json::from_str(&seen.body).expect("JSON");
    let metadata = &seen["metadata"];
    assert_eq!((&metadata["Name"], metadata.get("name")), (&json!("String(\"3\")"), None));
}

/// A host with known keys: `master`, `hostkey`, `sys` and, for the function `f`, `fnkey`.
async fn host_with_keys() -> Host {
    let setup = Setup::default()
        .options(|options| options.enable_auth = true)
        .function("f", &trigger("function", &[], "f"), |request| async move {
            let identities = &http_of(&request).identities;
            let [identity] = identities.as_slice() else { panic!("{identities:?}") };
            let claims: Vec<_> = identity.claims.iter().map(|claim| claim.value.as_str()).collect();
            returned(TypedData::String(format!("{:?} {claims:?}", identity.authentication_type).into()))
        })
        .function("free", &trigger("anonymous", &[], "free"), |request| async move {
            returned(TypedData::String(
                format!("{:?}", http_of(&request).identities[0].authentication_type).into(),
            ))
        });
    let registry = setup.store.registry();
    let host = setup.start().await;
    assert_eq!(host.send("GET /admin/host/status?code=x").await.status, 401);
    let instance = state::Instance::new("functions-app").expect("a valid name");
    let key = state::Key::new("keys/exposed/host").expect("a valid key");
    let stored = registry.get(&instance, &key).await.expect("readable").expect("drawn");
    let stored: Json = serde_json::from_slice(&stored.value).expect("JSON");
    let drawn = stored["masterKey"].as_str().expect("text").to_owned();
    for (path, value) in [
        ("host/systemkeys/_master", "master"),
        ("host/functionkeys/default", "hostkey"),
        ("host/systemkeys/sys1", "sys"),
        ("functions/f/keys/default", "fnkey"),
    ] {
        let code = if value == "master" { &drawn } else { "master" };
        let put = put_key(&host, path, code, &json!({ "value": value })).await;
        assert!(put.status < 300, "{path}: {}", put.status);
    }
    host
}

async fn put_key(host: &Host, path: &str, code: &str, body: &Json) -> Seen {
    host.send(&format!("PUT /admin/{path}?code={code}\ncontent-type: application/json\n\n{body}")).await
}

#[tokio::test]
async fn the_identity_of_a_caller_names_its_key() {
    let host = host_with_keys().await;
    let seen = async |code: &str| host.send(&format!("GET /api/f?code={code}")).await.body;
    assert_eq!(seen("fnkey").await, r#"Some("WebJobsAuthLevel") ["Function", "true", "default"]"#);
    assert_eq!(seen("hostkey").await, r#"Some("WebJobsAuthLevel") ["Function", "true", "default"]"#);
    assert_eq!(seen("master").await, r#"Some("WebJobsAuthLevel") ["Admin", "true", "master"]"#);
    assert_eq!(host.send("GET /api/f?code=sys").await.status, 401);
    assert_eq!(host.send("GET /api/free?code=sys").await.body, "Some(\"WebJobsAuthLevel\")");
    assert_eq!(host.send("GET /api/free?code=wrong").await.body, "None");
}

#[tokio::test]
async fn admin_responds_401_without_a_key_and_403_with_a_lesser_key() {
    let host = host_with_keys().await;
    for path in ["/admin/host/status", "/ADMIN/Host/Keys/", "/runtime/webhooks/x"] {
        let answer = async |code: &str, header: &str| {
            let seen = host.send(&format!("GET {path}?code={code}{header}")).await;
            let challenge =
                seen.headers.get("www-authenticate").map(|value| value.to_str().unwrap_or_default());
            (seen.status, challenge.unwrap_or_default().to_owned())
        };
        assert_eq!(answer("", "").await, (401, "Bearer".to_owned()), "{path}");
        assert_eq!(answer("fnkey", "").await, (401, "Bearer".to_owned()), "{path}");
        let token = answer("", "\nauthorization: Bearer x").await;
        assert_eq!(token, (401, "Bearer error=\"invalid_token\"".to_owned()), "{path}");
        assert_eq!(answer("hostkey", "").await, (403, String::new()), "{path}");
        assert_eq!(answer("sys", "").await, (403, String::new()), "{path}");
    }
    assert_eq!(host.send("GET /runtime/webhooks/x?code=master").await.status, 404);
    assert_eq!(host.send("GET /runtime/webhooks").await.status, 404);
}

#[tokio::test]
async fn keys_in_admin_have_links_and_need_values() {
    let host = host_with_keys().await;
    let created = put_key(&host, "functions/f/keys/k1", "master", &json!({"value": "v1"})).await;
    let href = "http://app.test:7071/admin/functions/f/keys/k1";
    assert_eq!((created.status, created.headers["location"].to_str().ok()), (201, Some(href)));
    let expected = json!({"name": "k1", "value": "v1", "links": [{"rel": "self", "href": href}]});
    assert_eq!(serde_json::from_str::<Json>(&created.body).ok(), Some(expected));
    let empty = put_key(&host, "functions/f/keys/k2", "master", &json!({})).await;
    assert_eq!((empty.status, empty.body.as_str()), (400, "Invalid key value"));
    assert_eq!(
        host.send("PUT /admin/functions/f/keys/k2?code=master\n\n{\"value\":\"v\"}").await.status,
        415
    );
    assert_eq!(host.send("POST /admin/functions/f/keys/k2?code=master").await.status, 201);
    assert_eq!(host.send("GET /admin/host/keys/_master?code=master").await.status, 404);
    let removed = host.send("DELETE /admin/host/systemkeys/_master?code=master").await;
    assert_eq!((removed.status, removed.body.as_str()), (400, "Cannot delete System Key."));
}

#[tokio::test]
async fn starting_a_function_by_name_requires_json() {
    let host = Setup::default().function("f", &trigger("anonymous", &[], "f"), named("f")).start().await;
    let start = async |headers: &str, body: &str| {
        host.send(&format!("POST /admin/functions/f{headers}\n\n{body}")).await.status
    };
    assert_eq!(start("", "{\"input\":\"x\"}").await, 415);
    assert_eq!(start("\ncontent-type: text/plain", "{}").await, 415);
    let json = "\ncontent-type: application/json; charset=utf-8";
    assert_eq!(start(json, "{bad").await, 400);
    assert_eq!(start(json, "null").await, 400);
    assert_eq!(start(json, "{}").await, 202);
}

#[tokio::test]
async fn admin_reports_status_config_and_processes() {
    let host = Setup::default().function("f", &trigger("anonymous", &[], "f"), named("f")).start().await;
    assert_eq!(
        host.send("GET /Admin/Host/Ping/").await.text(),
        "200\ncache-control: no-store,no-cache\npragma: no-cache"
    );
    for request in ["DELETE /admin/host/ping", "POST /admin/host/status", "GET /admin/host"] {
        assert_eq!(host.send(request).await.status, 404, "{request}");
    }
    for request in ["HEAD /", "POST /", "GET /admin/warmup", "GET /admin/instance/http-health"] {
        assert_eq!(host.send(request).await.status, 200, "{request}");
    }
    let json = async |path: &str| {
        serde_json::from_str::<Json>(&host.send(&format!("GET {path}")).await.body).expect("JSON")
    };
    let drain = json!({"state": "Disabled", "outstandingInvocations": 0, "outstandingRetries": 0});
    assert_eq!(json("/admin/host/drain/status").await, drain);
    assert_eq!(json("/admin/host/config").await["extensions"]["http"]["routePrefix"], "api");
    assert_eq!(json("/admin/host/processes").await["processes"][0]["processId"], std::process::id());
    assert_eq!(json("/admin/host/status").await.get("errors"), None);
}

#[tokio::test]
async fn an_unknown_path_below_admin_is_routed_to_functions() {
    let host = Setup::default()
        .host_json(r#"{"version":"2.0","extensions":{"http":{"routePrefix":""}}}"#)
        .options(|options| options.enable_auth = true)
        .function("all", &trigger("anonymous", &[], "{*path}"), address)
        .start()
        .await;
    for path in ["", "admin", "admin/x", "robots.txt"] {
        assert_eq!(host.send(&format!("GET /{path}")).await.status, 200, "{path}");
    }
    assert_eq!(host.send("GET /admin/host/status").await.status, 401);
}

async fn response(http: RpcHttp) -> String {
    let host = Setup::default()
        .host_json(
            r#"{"version":"2.0","extensions":{"http":{"customHeaders":{"X-Own":"host","X-More":"host"}}}}"#,
        )
        .function("f", &trigger("anonymous", &[], "f"), move |_| {
            std::future::ready(returned(TypedData::Http(Box::new(http.clone()))))
        })
        .start()
        .await;
    host.send("GET /api/f").await.text()
}

#[tokio::test]
async fn a_header_of_the_function_overrides_the_custom_header_and_no_content_type_is_added() {
    let mut http = RpcHttp { body: TypedData::Bytes("x".into()), ..RpcHttp::default() };
    http.headers.insert("x-own".to_owned(), "function".to_owned());
    assert_eq!(response(http).await, "200\nx-own: function\nx-more: host\n\nx");
    for status in ["204", "302", "304"] {
        let http = RpcHttp {
            status_code: status.to_owned(),
            body: TypedData::Bytes(bytes::Bytes::new()),
            ..RpcHttp::default()
        };
        assert_eq!(response(http).await, format!("{status}\nx-own: host\nx-more: host"));
    }
}

#[tokio::test]
async fn cookies_have_a_path_and_the_attributes_in_the_order_of_the_azure_host() {
    let plain = RpcHttpCookie { name: "a".to_owned(), value: "1".to_owned(), ..RpcHttpCookie::default() };
    let full = RpcHttpCookie {
        name: "full".to_owned(),
        value: "v w;=".to_owned(),
        domain: Some("example.com".to_owned()),
        path: Some("/p".to_owned()),
        expires: Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_893_553_445)),
        secure: Some(true),
        http_only: Some(true),
        same_site: SameSite::Strict,
        max_age: Some(60.9),
    };
    let seen = response(RpcHttp { cookies: vec![plain, full], ..RpcHttp::default() }).await;
    let expected = "set-cookie: a=1; path=/\n\
        set-cookie: full=v%20w%3B%3D; expires=Wed, 02 Jan 2030 03:04:05 GMT; max-age=60; domain=example.com; path=/p; secure; \
        samesite=strict; httponly\n";
    assert!(seen.contains(expected), "{seen}");
    let bad = RpcHttpCookie { name: "x y".to_owned(), ..RpcHttpCookie::default() };
    assert!(response(RpcHttp { cookies: vec![bad], ..RpcHttp::default() }).await.starts_with("500"));
}

#[tokio::test]
async fn a_retry_policy_repeats_an_http_function() {
    let host = Setup::default()
        .function("f", &trigger("anonymous", &[], "f"), |request: InvocationRequest| async move {
            let retry = request.retry_context.expect("a context from the first try on");
            match retry.retry_count {
                2 => returned(TypedData::String(
                    format!("after {} of {}", retry.retry_count, retry.max_retry_count).into(),
                )),
                _ => threw("not yet"),
            }
        })
        .metadata(|metadata| {
            metadata.retry_options = Some(RetryOptions {
                max_retry_count: 5,
                retry_strategy: RetryStrategy::FixedDelay,
                delay_interval: Some(std::time::Duration::from_millis(1)),
                ..RetryOptions::default()
            });
        })
        .start()
        .await;
    assert_eq!(host.send("GET /api/f").await.body, "after 2 of 5");
    let log = host.log();
    assert!(log.contains("Warn The retry policy also applies to HTTP functions: f."), "{log}");
}

#[tokio::test]
async fn trace_state_and_baggage_reach_the_worker() {
    let host = Setup::default()
        .function("f", &trigger("anonymous", &[], "f"), |request: InvocationRequest| async move {
            let context = request.trace_context;
            returned(TypedData::String(format!("{} {:?}", context.trace_state, context.baggage).into()))
        })
        .start()
        .await;
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let seen = host
        .send(&format!(
            "GET /api/f\n{parent}\ntracestate: a=b\ntracestate: c=d\nbaggage: user=%C3%A4;p=1, x = y"
        ))
        .await;
    assert_eq!(seen.body, "a=b,c=d {\"user\": \"ä\", \"x\": \"y\"}");
    assert_eq!(host.send("GET /api/f\ntracestate: a=b").await.body, " {}", "no state without a parent");
}

#[tokio::test]
async fn a_route_with_a_reserved_prefix_is_an_error() {
    let host = Setup::default()
        .function("ar", &trigger("anonymous", &[], "Admin/x"), named("ar"))
        .function("ok", &trigger("anonymous", &[], "administer"), named("ok"))
        .start()
        .await;
    assert_eq!(host.send("GET /api/admin/x").await.status, 404);
    assert_eq!(host.send("GET /api/administer").await.body, "ok");
    let log = host.log();
    let line =
        "The 'ar' function is in error: The specified route conflicts with one or more built in routes";
    assert!(log.contains(line), "{log}");
}
