//! Requests that a page of another site can make a developer's browser send, and headers that only a platform may set, on every
//! port.

use testkit::{ChildProcess, Http, HttpResponse, PATIENCE};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::account::{Account, DATE};
use crate::realtime::token;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const PORTS: [&str; 5] = ["gateway", "functions", "realtime", "documents", "admin"];
const MASTER: &str = "/admin/host/systemkeys/_master";
const HUB: &str = "/api/v1/hubs/chat";
const EVIL: (&str, &str) = ("origin", "https://evil.example");
const NO_CORS: (&str, &str) = ("sec-fetch-site", "cross-site");

/// A programming model without packages.
const MODEL: &str = "
const core = require('@azure/functions-core');
core.setProgrammingModel({
    name: 'stand-in',
    version: '1',
    getInvocationModel: (context) => ({
        getArguments: async () => ({ context, inputs: context.request.inputData.map(({ data }) => data) }),
        invokeFunction: async (given, inputs, callback) => callback(...inputs, given),
        getResponse: async (given, result) => ({ invocationId: given.invocationId, returnValue: result }),
    }),
});
const res = { type: 'http', direction: 'out' };
";

/// Returns the headers of the request.
const HEADERS: &str = "
const req = { type: 'httpTrigger', direction: 'in', authLevel: 'anonymous', route: 'headers' };
core.registerFunction({ name: 'headers', bindings: { req, $return: res } },
    (data) => ({ json: JSON.stringify(data.http.headers) }));
";

/// An app with one function, which needs no packages.
pub(crate) fn app() -> tempfile::TempDir {
    app_with(HEADERS)
}

/// An app with these functions, which needs no packages.
pub(crate) fn app_with(functions: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let code = format!("{MODEL}{functions}");
    let files = [
        ("host.json", r#"{"version":"2.0"}"#),
        ("package.json", r#"{"private":true,"main":"app.js"}"#),
        ("app.js", code.as_str()),
    ];
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file can be written");
    }
    folder
}

async fn start(folder: &std::path::Path, settings: &[&str]) -> ChildProcess {
    let mut arguments = vec!["start", "--data-dir", "data", "--set", "listen.admin=localhost:0"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts")
}

async fn send(http: &Http, method: &str, path: &str, headers: &[(&str, &str)]) -> HttpResponse {
    http.send(method, path, headers, r#"{"value":"planted"}"#).await.expect("it answers")
}

fn is_refused(answer: &HttpResponse, code: &str) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains(code), "{}", answer.text());
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "a foreign page may not read it");
}

/// The status of the response to a request head that is sent unchanged.
async fn status(http: &Http, head: &str) -> String {
    let mut stream = TcpStream::connect(http.authority()).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("the head is taken");
    let mut line = String::new();
    let mut stream = BufReader::new(stream);
    timeout(PATIENCE, stream.read_line(&mut line)).await.expect("in time").expect("an answer");
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn upgrade(path: &str, host: &str, origin: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_call_the_admin_api_of_functions() {
    let app = app();
    // The app's CORS settings allow every origin; administration must not.
    let process = start(app.path(), &["functions.cors_origins=[\"*\"]"]).await;
    let functions = process.http("functions");
    let key =
        |answer: HttpResponse| answer.json().expect("a key")["value"].as_str().expect("a text").to_owned();
    let before = key(functions.get(MASTER).await.expect("it answers"));
    let text = ("content-type", "text/plain");
    let doors = [
        ("POST", MASTER),
        ("PUT", "/admin/host/keys/mine"),
        ("DELETE", "/admin/host/keys/default"),
        ("POST", "/admin/functions/headers"),
        ("GET", MASTER),
        ("GET", "/admin/host/keys"),
        ("GET", "/admin/functions/headers/keys"),
    ];
    for (method, path) in doors {
        for page in [
            EVIL,
            NO_CORS,
            ("origin", "null"),
            ("origin", "http://localhost:3000"),
            ("origin", "http://localhost"),
        ] {
            is_refused(&send(&functions, method, path, &[text, page]).await, "guard-foreign-page");
        }
    }
    let preflight = [EVIL, ("access-control-request-method", "PUT")];
    is_refused(&send(&functions, "OPTIONS", "/admin/host/keys/mine", &preflight).await, "guard-foreign-page");
    assert_eq!(key(functions.get(MASTER).await.expect("it answers")), before, "nothing was planted");
    assert_eq!(functions.get("/admin/host/keys/mine").await.expect("it answers").status, 404);
    // Requests of the page that the process serves, and of programs, are allowed.
    let own = format!("http://{}", functions.authority());
    assert_eq!(send(&functions, "POST", MASTER, &[("origin", own.as_str())]).await.status, 200);
}

#[tokio::test]
async fn unknown_host_names_are_rejected_on_every_port() {
    let app = app();
    let process = start(app.path(), &["guard.hosts=[\"dev.example.test\"]"]).await;
    for port in PORTS {
        let http = process.http(port);
        for path in
            ["/", MASTER, HUB, "/dbs", "/client/negotiate?hub=chat", "/metrics", "/healthz", "/api/headers"]
        {
            for host in ["evil.example", "evil.example:8080", "localhost.evil.example"] {
                for method in ["GET", "POST"] {
                    is_refused(&send(&http, method, path, &[("host", host)]).await, "guard-host-not-allowed");
                }
            }
        }
        for path in ["/client/?hub=chat", "/server/?hub=chat", "/api/headers"] {
            let evil = upgrade(path, "evil.example", "http://evil.example");
            assert_eq!(status(&http, &evil).await, "403", "{port} {path}");
        }
        let absolute = "GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\n\r\n";
        assert_eq!(status(&http, absolute).await, "403", "{port}: the address counts, not the field");
        for host in [
            "localhost",
            "127.0.0.1:1",
            "[::1]",
            "app.localhost",
            "DEV.example.test:9",
            "host.docker.internal",
        ] {
            let answer = send(&http, "GET", "/healthz", &[("host", host)]).await;
            assert!(!answer.text().contains("guard-host-not-allowed"), "{port} {host}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_use_the_emulator_keys() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["run_functions=false"]).await;
    let realtime = process.http("realtime");
    let bearer = format!("Bearer {}", token(&format!("http://localhost{HUB}"), None));
    let signed = ("authorization", bearer.as_str());
    let documents = process.http("documents");
    let account = Account::of(&process);
    let (get, post) = (account.authorization("GET", "/dbs"), account.authorization("POST", "/dbs"));
    let date = ("x-ms-date", DATE);
    for page in [EVIL, NO_CORS, ("origin", "null")] {
        is_refused(&send(&realtime, "POST", HUB, &[signed, page]).await, "guard-foreign-page");
        let answer = send(&documents, "GET", "/dbs", &[("authorization", &get), date, page]).await;
        is_refused(&answer, "guard-foreign-page");
        let answer = send(&documents, "POST", "/dbs", &[("authorization", &post), date, page]).await;
        is_refused(&answer, "guard-foreign-page");
    }
    let server = upgrade("/server/?hub=chat", "localhost", "https://evil.example");
    assert_eq!(status(&realtime, &server).await, "403");
    // A page from this machine counts as one of the developer's programs.
    let local = ("origin", "http://localhost:3000");
    let answer = documents.send("GET", "/dbs", &[("authorization", &get), date, local], "").await;
    assert_eq!(answer.expect("it answers").status, 200);
    let message = r#"{"target":"x","arguments":[]}"#;
    let json = ("content-type", "application/json");
    let answer = realtime.send("POST", HUB, &[signed, local, json], message).await.expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[tokio::test]
async fn clients_of_a_hub_connect_from_pages_of_any_origin() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["run_functions=false"]).await;
    let token = token("http://localhost/client/?hub=chat", None);
    for port in ["realtime", "gateway"] {
        let http = process.http(port);
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), EVIL, NO_CORS];
        let negotiated = send(&http, "POST", "/client/negotiate?hub=chat&negotiateVersion=1", &headers).await;
        assert_eq!(negotiated.status, 200, "{}", negotiated.text());
        assert_eq!(negotiated.headers["access-control-allow-origin"], EVIL.1);
        let path = format!("/client/?hub=chat&access_token={token}");
        assert_eq!(status(&http, &upgrade(&path, "localhost", EVIL.1)).await, "101", "{port}");
        assert_eq!(status(&http, &upgrade("/client/?hub=chat", "localhost", EVIL.1)).await, "401", "{port}");
    }
}

#[tokio::test]
async fn pages_can_call_functions_if_the_cors_settings_allow_it() {
    let app = app();
    let process = start(app.path(), &["functions.cors_origins=[\"http://localhost:3000\"]"]).await;
    for port in ["functions", "gateway"] {
        let http = process.http(port);
        let page = ("origin", "http://localhost:3000");
        let preflight = [page, ("access-control-request-method", "POST"), ("sec-fetch-site", "same-site")];
        let allowed = send(&http, "OPTIONS", "/api/headers", &preflight).await;
        assert_eq!(allowed.headers["access-control-allow-origin"], page.1);
        let answer = send(&http, "POST", "/api/headers", &[page]).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["access-control-allow-origin"]),
            (200, &page.1.parse().expect("a value"))
        );
        // As with Core Tools, a page of another origin gets a response that it cannot read.
        let other = send(&http, "GET", "/api/headers", &[EVIL]).await;
        assert_eq!(other.status, 200, "{}", other.text());
        assert!(!other.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn the_admin_api_accepts_pages_of_its_own_origin_only() {
    const KILL: &str = "/chappe/api/workers/kill";
    let app = app();
    let process = start(app.path(), &[]).await;
    for port in ["gateway", "admin"] {
        let http = process.http(port);
        let pages = [
            EVIL,
            NO_CORS,
            ("origin", "null"),
            ("origin", "http://localhost:3000"),
            ("sec-fetch-site", "same-site"),
        ];
        for page in pages {
            for (method, path) in [("POST", KILL), ("GET", "/chappe/api/info"), ("GET", "/metrics")] {
                is_refused(&send(&http, method, path, &[page]).await, "guard-foreign-page");
            }
        }
        let own = format!("http://{}", http.authority());
        assert_eq!(send(&http, "POST", KILL, &[("origin", own.as_str())]).await.status, 200);
        assert_eq!(send(&http, "POST", KILL, &[]).await.status, 200);
        assert_eq!(send(&http, "GET", "/healthz", &[EVIL]).await.status, 200);
    }
}

#[tokio::test]
async fn an_admin_port_for_other_machines_ends_development_mode() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let process = start(folder.path(), &["run_functions=false", "listen.admin=0.0.0.0:0"]).await;
    let bearer = format!("Bearer {}", token(&format!("http://localhost{HUB}"), None));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let answer =
        process.http("realtime").send("POST", HUB, &headers, r#"{"target":"x","arguments":[]}"#).await;
    assert_eq!(answer.expect("it answers").status, 401, "the public key opens nothing");
    let public = Account::of(&process).send("GET", "/dbs", None, "").await.expect("it answers");
    assert_eq!(public.status, 401, "{}", public.text());
}

#[tokio::test]
async fn keys_created_in_development_mode_are_invalid_outside_of_it() {
    let app = app();
    let process = start(app.path(), &[]).await;
    let functions = process.http("functions");
    for path in [
        MASTER,
        "/admin/host/keys/default",
        "/admin/host/systemkeys/mine",
        "/admin/functions/headers/keys/default",
    ] {
        let planted = functions.send("POST", path, &[], r#"{"value":"planted"}"#).await.expect("it answers");
        assert!(planted.status.is_success(), "{path}: {}", planted.text());
    }
    process.terminate().await.expect("it can be asked to end");
    process.wait().await.expect("it ends");

    let process = start(app.path(), &["listen.admin=0.0.0.0:0"]).await;
    let functions = process.http("functions");
    let planted = functions.send("GET", MASTER, &[("x-functions-key", "planted")], "").await;
    assert_eq!(planted.expect("it answers").status, 401);
    let file = std::fs::read(app.path().join("data/function-keys.json")).expect("the owner is told");
    let told: serde_json::Value = serde_json::from_slice(&file).expect("it is JSON");
    let master = ("x-functions-key", told["masterKey"].as_str().expect("a key"));
    let keys = functions.send("GET", "/admin/host/keys", &[master], "").await.expect("it answers");
    assert_eq!(keys.status, 200, "{}", keys.text());
    assert!(!keys.text().contains("planted"), "{}", keys.text());
    let log = process.kill().await.expect("it can be killed");
    assert!(
        log.contains("made in development mode open nothing here") && log.contains("function-keys.json"),
        "{log}"
    );
}

const VOUCHING: [(&str, &str); 6] = [
    ("X-MS-CLIENT-PRINCIPAL", "forged"),
    ("x_ms_client_principal-id", "forged"),
    ("x.ms.client.principal.name", "forged"),
    ("x-ms_token.aad-id_token", "forged"),
    ("X_ARR_ClientCert", "forged"),
    ("x-arr-ssl", "forged"),
];

#[tokio::test]
async fn trusted_headers_are_accepted_from_a_trusted_proxy_only() {
    let app = app();
    let process = start(app.path(), &["guard.trusted_proxy_secret=\"only the proxy knows\""]).await;
    for port in ["functions", "gateway"] {
        let http = process.http(port);
        let mut headers = VOUCHING.to_vec();
        headers.push(("x-ms-request-id", "kept"));
        for secret in [None, Some("something else that is long")] {
            headers.extend(secret.map(|secret| ("x-chappe-proxy-secret", secret)));
            let seen = send(&http, "GET", "/api/headers", &headers).await;
            assert_eq!(seen.status, 200, "{}", seen.text());
            assert!(
                !seen.text().contains("forged") && seen.text().contains("kept"),
                "{port}: {}",
                seen.text()
            );
        }
        let forwarded = [("x-forwarded-for", "203.0.113.9, 192.0.2.1"), ("x_forwarded_for", "forged")];
        let seen = send(&http, "GET", "/api/headers", &forwarded).await;
        let headers: serde_json::Value = seen.json().expect("the headers");
        let own = headers["x-forwarded-for"].as_str().unwrap_or_default();
        let is_own = own.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        assert!(is_own && headers.get("x_forwarded_for").is_none(), "{port}: {headers}");
        let proxy = [
            ("x-chappe-proxy-secret", "only the proxy knows"),
            ("x-ms-client-principal-id", "ada"),
            ("x_ms_client_principal_id", "forged"),
            forwarded[0],
        ];
        let seen = send(&http, "GET", "/api/headers", &proxy).await;
        let headers: serde_json::Value = seen.json().expect("the headers");
        assert_eq!(headers["x-ms-client-principal-id"], "ada", "{port}: {headers}");
        assert_eq!(headers["x-forwarded-for"], forwarded[0].1, "{port}: a trusted proxy is believed");
        assert!(
            !headers.to_string().contains("forged") && !headers.to_string().contains("only the proxy"),
            "{headers}"
        );
    }
    process.terminate().await.expect("it can be asked to end");
    process.wait().await.expect("it ends");
    let process = start(app.path(), &["guard.trusted_proxies=[\"127.0.0.0/8\", \"::1\"]"]).await;
    let seen = send(&process.http("gateway"), "GET", "/api/headers", &VOUCHING[..1]).await;
    assert!(
        seen.text().contains("forged"),
        "whoever comes from a proxy's address says what it says: {}",
        seen.text()
    );
}

#[tokio::test]
async fn a_rejected_request_is_logged_with_its_reason_host_and_path() {
    let app = app();
    // First through a host name of the attacker and without an origin; then from a page.
    let process = start(app.path(), &["telemetry.format=json"]).await;
    let functions = process.http("functions");
    is_refused(
        &send(&functions, "GET", "/api/x", &[("host", "evil.example")]).await,
        "guard-host-not-allowed",
    );
    is_refused(&send(&functions, "GET", "/admin/host/status", &[EVIL]).await, "guard-foreign-page");
    let log = process.kill().await.expect("it can be killed");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a request was refused")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for said in [r#""reason":"host""#, r#""host":"evil.example""#, r#""path":"/api/x""#] {
        assert!(lines[0].contains(said), "{said} is not in {}", lines[0]);
    }
    assert!(!lines[0].contains("origin") && !lines[0].contains("None"), "{}", lines[0]);
    let origin = format!(r#""origin":"{}""#, EVIL.1);
    assert!(lines[1].contains(r#""reason":"foreign page""#) && lines[1].contains(&origin), "{}", lines[1]);
}
