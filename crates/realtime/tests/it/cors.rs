//! CORS: pages of any origin may call every path of the service, with any header and method, and read error responses.

use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
};
use testkit::{Http, RawSocket};

use crate::fixture::{Fixture, body, options, request};

const PAGE: &str = "https://app.example";

#[tokio::test]
async fn a_preflight_allows_the_requested_headers_and_method() {
    let fixture = Fixture::start(options()).await;
    for path in [
        "/client/negotiate?hub=chat",
        "/client/?hub=chat&id=x",
        "/api/v1/hubs/chat",
        "/API/hubs/chat/:send",
        "/no/such",
    ] {
        for (method, headers) in [
            ("POST", "traceparent, x-app-tenant"),
            ("DELETE", "authorization"),
            ("PATCH", "x-requested-with"),
        ] {
            let preflight = request(&format!("OPTIONS {path}"))
                .header("origin", PAGE)
                .header("access-control-request-method", method)
                .header("access-control-request-headers", headers);
            let answer = fixture.send(preflight.body(body("")).unwrap()).await;
            assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
            let fields = answer.headers();
            assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
            assert_eq!(fields[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
            assert_eq!(fields[ACCESS_CONTROL_ALLOW_METHODS], method);
            assert_eq!(fields[ACCESS_CONTROL_ALLOW_HEADERS], headers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn error_responses_allow_the_origin_of_the_page() {
    let listening = Fixture::start(options()).await.listen();
    let http = Http::new(&listening.authority);
    let long = "x".repeat(5_000);
    for (method, path, authorization, status) in [
        ("POST", "/client/negotiate?hub=chat", "", 401),
        ("POST", "/client/negotiate?hub=chat", long.as_str(), 413),
        ("GET", "/client/nowhere", "", 404),
        ("GET", "/nowhere", "", 404),
        ("GET", "/server/?hub=chat", "", 401),
        ("POST", "/api/v1/hubs/chat", "", 401),
        ("POST", "/api/v1/nowhere", "", 404),
        ("PATCH", "/api/v1/hubs/chat", "", 405),
    ] {
        let bearer = format!("Bearer {authorization}");
        let mut fields = vec![("origin", PAGE)];
        if !authorization.is_empty() {
            fields.push(("authorization", &bearer));
        }
        let answer = http.send(method, path, &fields, "").await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE, "{method} {path} {status}");
        assert_eq!(answer.headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true", "{method} {path} {status}");
    }
    // This response comes from the listener, which has no CORS rules.
    let mut socket = RawSocket::connect(&listening.authority).await.unwrap();
    let request =
        format!("GET /client/ HTTP/1.1\r\nhost: a/b\r\norigin: {PAGE}\r\nconnection: close\r\n\r\n");
    socket.send(request.as_bytes()).await.unwrap();
    let answer = socket.text_to_end().await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://app.example\r\n"), "{answer}");
    listening.stop().await;
}
