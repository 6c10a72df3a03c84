//! The gateway from outside: a request in, a text out.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use http::{HeaderName, Method, Request};
use http_body_util::{BodyExt, Full};
use prometheus_client::registry::Registry;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::Route;

fn body(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

/// A service that returns the request it received.
fn echo() -> UpstreamService {
    UpstreamService::new(service_fn(|request: Request<Body>| async move {
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        Ok(Response::new(body(format!("echo {} [{}]", request.uri().path(), names.join(" ")))))
    }))
}

fn gateway(folder: &std::path::Path) -> Service {
    let routes =
        vec![Route::to_service("/api", "functions"), Route::to_directory("/", folder.join("public"))];
    let upstreams = BTreeMap::from([("functions".to_owned(), echo())]);
    let started = start(&Options { routes }, Dependencies { upstreams }, &mut Registry::default());
    started.expect("the routes are right").0
}

async fn ask(gateway: &Service, request: Request<Body>) -> String {
    let Ok(response) = gateway.clone().oneshot(request).await;
    let (head, content) = response.into_parts();
    let content = content.collect().await.expect("the body can be read").to_bytes();
    let mut text = format!("{}\n", head.status.as_u16());
    for name in ["content-type", "content-length", "allow"] {
        if let Some(value) = head.headers.get(name) {
            text += &format!("{name}: {}\n", value.to_str().expect("a header is text"));
        }
    }
    text + &String::from_utf8_lossy(&content) + "\n"
}

#[tokio::main(flavor = "current_thread")]
async fn check(method: Method, path: &str, headers: &[(&str, &str)], expected: Expect) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let public = folder.path().join("public");
    std::fs::create_dir_all(public.join("deep")).expect("a folder can be made");
    std::fs::write(public.join("index.html"), "<p>home").expect("a file can be written");
    std::fs::write(public.join("deep/app.js"), "run()").expect("a file can be written");
    std::fs::write(public.join(".env"), "secret").expect("a file can be written");
    std::fs::write(folder.path().join("secret.txt"), "secret").expect("a file can be written");
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), public.join("link.txt"))
        .expect("a link can be made");
    let mut request = Request::builder().method(method).uri(format!("http://localhost:8080{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body(String::new())).expect("the request is right");
    expected.assert_eq(&ask(&gateway(folder.path()), request).await);
}

#[test]
fn services_receive_the_complete_path() {
    check(
        Method::POST,
        "/api/cards?x=1",
        &[("accept", "*/*")],
        expect![[r#"
        200
        echo /api/cards [accept]
    "#]],
    );
}

#[test]
fn a_folder_is_answered_with_its_index_file() {
    check(
        Method::GET,
        "/",
        &[],
        expect![[r#"
        200
        content-type: text/html; charset=utf-8
        content-length: 7
        <p>home
    "#]],
    );
    check(
        Method::HEAD,
        "/deep/app.js",
        &[],
        expect![[r#"
        200
        content-type: text/javascript; charset=utf-8
        content-length: 5

    "#]],
    );
}

#[test]
fn files_outside_the_folder_are_not_served() {
    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/link.txt",
        "/.env",
        "/deep",
        "/no.txt",
        "/%00",
        "/a%5c..%5cb",
    ] {
        check(
            Method::GET,
            path,
            &[],
            expect![[r#"
            404
            content-type: application/json
            {"error":{"code":"gateway-no-file","message":"There is no such file in the folder that this route serves."}}
        "#]],
        );
    }
}

#[test]
fn a_post_to_a_file_is_405() {
    check(
        Method::POST,
        "/index.html",
        &[],
        expect![[r#"
        405
        content-type: application/json
        allow: GET, HEAD
        {"error":{"code":"gateway-file-method","message":"Files are only read: use GET or HEAD."}}
    "#]],
    );
}

#[test]
fn a_conditional_request_for_an_unchanged_file_gets_304() {
    check(
        Method::GET,
        "/index.html",
        &[("if-none-match", "*")],
        expect![[r#"
        304

    "#]],
    );
}

#[tokio::test]
async fn a_reload_replaces_the_routes_and_rejects_invalid_ones() {
    let options = Options { routes: vec![Route::to_service("/api", "functions")] };
    let upstreams = BTreeMap::from([("functions".to_owned(), echo())]);
    let (service, handle, _join) =
        start(&options, Dependencies { upstreams }, &mut Registry::default()).expect("the route is right");
    let get = |path: &'static str| Request::get(path).body(body(String::new())).expect("a request");
    assert!(ask(&service, get("/api/x")).await.starts_with("200"));
    let moved = Options { routes: vec![Route::to_service("/v2", "functions")] };
    let replace = handle.prepare_routes(&moved).expect("the route is right");
    assert!(ask(&service, get("/api/x")).await.starts_with("200"), "nothing is replaced yet");
    replace();
    assert!(ask(&service, get("/v2/x")).await.starts_with("200"));
    assert!(ask(&service, get("/api/x")).await.starts_with("404"), "the old route is gone");
    let wrong = Options { routes: vec![Route::to_service("/v3", "orders")] };
    assert!(handle.prepare_routes(&wrong).is_err());
    assert!(ask(&service, get("/v2/x")).await.starts_with("200"), "the last right routes stay");
}

#[test]
fn invalid_routes_are_rejected_at_load() {
    let compile = |route: Route| {
        let options = Options { routes: vec![route.clone(), Route::to_directory("/", "public")] };
        let upstreams = BTreeMap::from([("functions".to_owned(), echo())]);
        start(&options, Dependencies { upstreams }, &mut Registry::default())
            .expect_err("the route is wrong")
            .to_string()
    };
    let both = Route { directory: Some("x".into()), ..Route::to_service("/a", "functions") };
    let found = [
        compile(Route::to_service("api", "functions")),
        compile(both),
        compile(Route::to_service("/a", "function")),
        compile(Route::to_service("/", "functions")),
        Options { routes: vec![Route::to_directory("/a", "x"), Route::to_directory("/a/", "y")] }
            .targets(&[])
            .expect_err("the path is there twice")
            .to_string(),
    ];
    expect![[r#"
        the route path "api" must start with '/' and hold neither '?' nor '#'
        the route "/a" must name exactly one of `service` and `directory`
        the route "/a" leads to the service "function", which does not run here; there are: functions
        two routes have the path "/"; keep one of them
        two routes have the path "/a/"; keep one of them"#]]
    .assert_eq(&found.join("\n"));
}
