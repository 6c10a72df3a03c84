//! Changes of the configuration while the process runs.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::Request;
use identity::{AccessKey, Algorithm, Claims, DEVELOPMENT_SIGNALR_KEY};
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::{ChildProcess, Http, HubClient, PATIENCE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::account::Account;
use crate::guard::{app, app_with};
use crate::realtime::{connect, token};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

fn configure(folder: &Path, text: &str) {
    std::fs::write(folder.join("chappe.toml"), text).expect("it can be written");
}

async fn start(folder: &Path, more: &[&str]) -> ChildProcess {
    let arguments = [&["start", "--ephemeral", "--set", "reload_on_change=false"][..], more].concat();
    ChildProcess::start(BINARY, folder, &arguments).await.expect("it starts")
}

async fn reload(process: &ChildProcess) -> (u16, Value) {
    let answer =
        process.http("gateway").send("POST", "/chappe/api/reload", &[], "").await.expect("it answers");
    (answer.status.as_u16(), answer.json().expect("JSON"))
}

async fn status(http: &Http, path: &str, headers: &[(&str, &str)]) -> u16 {
    http.send("GET", path, headers, "").await.expect("it answers").status.as_u16()
}

#[tokio::test]
async fn routes_guard_log_level_and_cors_are_applied_and_other_changes_are_named() {
    let app = app();
    std::fs::create_dir(app.path().join("public")).expect("a folder can be made");
    std::fs::write(app.path().join("public/a.txt"), "a").expect("a file can be written");
    configure(app.path(), "[functions]\ncors_origins = [\"https://old.example\"]\n");
    let process = start(app.path(), &[]).await;
    let gateway = process.http("gateway");
    let named = [("host", "dev.example.test")];
    assert_eq!(
        (status(&gateway, "/files/a.txt", &[]).await, status(&gateway, "/healthz", &named).await),
        (404, 403)
    );
    let origin = [("origin", "https://new.example")];
    let before = gateway.send("GET", "/api/headers", &origin, "").await.expect("it answers");
    assert!(!before.headers.contains_key("access-control-allow-origin"));
    configure(
        app.path(),
        "[functions]\ncors_origins = [\"https://new.example\"]\nstart_wait_ms = 5\n[guard]\nhosts = [\"dev.example.test\"]\n\
         [telemetry]\nlevel = \"debug\"\n[[gateway.routes]]\npath = \"/files\"\ndirectory = \"public\"\n",
    );
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    let applied = ["functions.cors_origins", "gateway.routes", "guard.hosts", "telemetry.level"];
    assert_eq!(report["applied"], json!(applied));
    assert_eq!(report["restart"], json!(["functions.start_wait_ms"]));
    assert_eq!(
        (status(&gateway, "/files/a.txt", &[]).await, status(&gateway, "/healthz", &named).await),
        (200, 200)
    );
    let after = gateway.send("GET", "/api/headers", &origin, "").await.expect("it answers");
    assert_eq!(after.headers.get("access-control-allow-origin").expect("it may read"), "https://new.example");
    let (_, again) = reload(&process).await;
    assert_eq!((&again["applied"], &again["restart"]), (&json!([]), &report["restart"]), "still to come");
    let log = process.kill().await.expect("it can be killed");
    assert!(log.contains("these changed options need a restart: functions.start_wait_ms"), "{log}");
}

#[tokio::test]
async fn options_of_functions_take_effect_with_a_new_worker_and_a_client_stays_connected() {
    let app = app_with(
        "const req = (route) => ({ type: 'httpTrigger', direction: 'in', authLevel: 'anonymous', route });
         core.registerFunction({ name: 'one', bindings: { req: req('one'), $return: res } }, () => ({ string: `${process.pid}` }));
         core.registerFunction({ name: 'two', bindings: { req: req('two'), $return: res } }, () => ({ string: 'two' }));",
    );
    configure(app.path(), "[functions]\nfunctions = [\"one\"]\n");
    let process = start(app.path(), &[]).await;
    let gateway = process.http("gateway");
    let worker = async || gateway.get("/api/one").await.expect("it answers").text();
    let first = worker().await;
    assert_eq!(status(&gateway, "/api/two", &[]).await, 404);
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    configure(
        app.path(),
        "[functions]\nfunctions = []\nstart_wait_ms = 5\n[functions.workers]\ninvocations_max = 7\n",
    );
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    assert_eq!(report["applied"], json!(["functions.functions", "functions.workers.invocations_max"]));
    assert_eq!(report["restart"], json!(["functions.start_wait_ms"]));
    assert_eq!(status(&gateway, "/api/two", &[]).await, 200);
    assert_ne!(worker().await, first, "another worker serves the new options");
    still_receives(&process, &mut client).await;
    configure(app.path(), "[functions.workers]\nprocesses_max = 99\n");
    let (code, error) = reload(&process).await;
    assert_eq!(code, 422, "{error}");
    let text = error["error"]["message"].as_str().expect("a text");
    assert!(text.contains("functions.workers.processes_max is 99"), "{text}");
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing_and_reports_the_reason() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    configure(folder.path(), "[guard]\nhosts = [\"dev.example.test\"]\n");
    let process = start(folder.path(), &["--no-functions"]).await;
    let gateway = process.http("gateway");
    configure(folder.path(), "[guard]\nhosts = []\n[realtime]\nmode = \"serverles\"\n");
    let (code, error) = reload(&process).await;
    assert_eq!((code, &error["error"]["code"]), (422, &json!("admin-invalid-configuration")), "{error}");
    let text = error["error"]["message"].as_str().expect("a text");
    assert!(text.contains("chappe.toml") && text.contains("line 4") && text.contains("serverles"), "{text}");
    assert_eq!(
        status(&gateway, "/healthz", &[("host", "dev.example.test")]).await,
        200,
        "the names of before count"
    );
}

#[tokio::test]
async fn one_invalid_option_prevents_the_whole_reload() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    configure(folder.path(), "[guard]\nhosts = [\"old.example.test\"]\n");
    let process = start(folder.path(), &["--no-functions"]).await;
    let gateway = process.http("gateway");
    configure(
        folder.path(),
        "[guard]\nhosts = [\"new.example.test\"]\n[telemetry]\nlevel = \"info,=debug=\"\nformat = \"text\"\n",
    );
    let (code, error) = reload(&process).await;
    assert_eq!(code, 422, "{error}");
    let text = error["error"]["message"].as_str().expect("a text");
    for words in ["chappe.toml:5: telemetry.format", "\"info,=debug=\" is not a log filter"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let admitted = [("old.example.test", 200), ("new.example.test", 403)];
    for (name, expected) in admitted {
        assert_eq!(status(&gateway, "/healthz", &[("host", name)]).await, expected, "{name}");
    }
    let log = process.kill().await.expect("it can be killed");
    assert!(log.contains("was not reloaded and nothing was changed") && !log.contains("\n["), "{log}");
}

/// Sends a message to the hub over REST and waits until the client receives it.
async fn still_receives(process: &ChildProcess, client: &mut HubClient) {
    let path = "/api/v1/hubs/chat";
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), None));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = json!({ "target": "news", "arguments": [] }).to_string();
    let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(client.arguments_of("news").await.expect("a message"), json!([]));
}

#[tokio::test]
async fn limits_of_listeners_and_the_log_format_change_and_a_client_stays_connected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    configure(folder.path(), "");
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    let long = "a".repeat(10_000);
    assert_eq!(status(&process.http("gateway"), "/healthz", &[("x-long", &long)]).await, 200);
    // A log line in the first format.
    assert_eq!(reload(&process).await.0, 200);
    configure(
        folder.path(),
        "[edge]\nhead_bytes_max = 8192\ndrain_timeout_ms = 1\n[telemetry]\nformat = \"text\"\n",
    );
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    assert_eq!(report["applied"], json!(["edge.head_bytes_max", "telemetry.format"]));
    assert_eq!(report["restart"], json!(["edge.drain_timeout_ms"]));
    assert_eq!(status(&process.http("gateway"), "/healthz", &[("x-long", &long)]).await, 431);
    still_receives(&process, &mut client).await;
    let log = process.kill().await.expect("it can be killed");
    assert!(log.starts_with('{'), "JSON at first: {log}");
    let text = log.lines().find(|line| line.starts_with('[')).unwrap_or_else(|| panic!("then text: {log}"));
    assert!(text.contains("] the configuration was reloaded applied=edge.head_bytes_max"), "{text}");
}

/// Writes a certificate for localhost and its key to the configured files; returns a copy of the certificate.
fn write_certificate(folder: &Path, copy: &str) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("it can be made");
    for (name, text) in [
        ("cert.pem", made.cert.pem()),
        ("key.pem", made.signing_key.serialize_pem()),
        (copy, made.cert.pem()),
    ] {
        std::fs::write(folder.join(name), text).expect("it can be written");
    }
    folder.join(copy)
}

/// Whether the process uses a certificate on a new connection.
async fn shows(process: &ChildProcess, certificate: &Path) -> bool {
    let options = egress::Options {
        native_roots: false,
        extra_root_files: vec![certificate.to_owned()],
        ..egress::Options::default()
    };
    let metrics = egress::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let client = egress::Client::new(&options, &metrics).expect("the certificate can be read");
    let url = process.facts()["httpsUrls"]["gateway"].as_str().expect("it listens");
    let request = Request::get(format!("{url}/healthz")).body(bytes::Bytes::new()).expect("a request");
    client.call(request).await.is_ok_and(|response| response.status() == 200)
}

#[tokio::test]
async fn a_new_certificate_is_used_if_only_its_files_change() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let old = write_certificate(folder.path(), "old.pem");
    configure(folder.path(), "[tls]\ncertificate_file = \"cert.pem\"\nkey_file = \"key.pem\"\n");
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    assert!(shows(&process, &old).await);
    let old_key = std::fs::read(folder.path().join("key.pem")).expect("it is there");
    let new = write_certificate(folder.path(), "new.pem");
    let new_key = std::fs::read(folder.path().join("key.pem")).expect("it is there");

    // Half of a renewal: the certificate without its key.
    std::fs::write(folder.path().join("key.pem"), old_key).expect("it can be written");
    let (code, error) = reload(&process).await;
    let text = error["error"]["message"].as_str().expect("a text");
    assert!(
        code == 422 && text.contains("chappe.toml:2: tls.certificate_file: cannot use the certificate"),
        "{error}"
    );
    assert!(shows(&process, &old).await && !shows(&process, &new).await, "the old one is shown");

    std::fs::write(folder.path().join("key.pem"), new_key).expect("it can be written");
    let (code, report) = reload(&process).await;
    assert_eq!((code, &report["applied"]), (200, &json!(["tls.certificate_file", "tls.key_file"])));
    assert!(shows(&process, &new).await && !shows(&process, &old).await, "new connections get the new one");
    still_receives(&process, &mut client).await;
}

#[tokio::test]
async fn files_that_the_configuration_names_are_watched_like_the_file_itself() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    write_certificate(folder.path(), "old.pem");
    configure(folder.path(), "[tls]\ncertificate_file = \"cert.pem\"\nkey_file = \"key.pem\"\n");
    let process = start(folder.path(), &["--no-functions", "--set", "reload_on_change=true"]).await;
    let new = write_certificate(folder.path(), "new.pem");
    let began = Instant::now();
    while !shows(&process, &new).await {
        assert!(began.elapsed() < PATIENCE, "the new certificate is not shown");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The status of a broadcast over REST that is signed with a key.
async fn broadcast_with(process: &ChildProcess, key: &str) -> u16 {
    let path = "/api/v1/hubs/chat";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (audience, key) = (format!("http://localhost{path}"), AccessKey::new(key).expect("it is not empty"));
    let token = identity::sign(&Claims::new(), &audience, now, now + 600, &key, Algorithm::Hs256);
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = json!({ "target": "news", "arguments": [] }).to_string();
    let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
    answer.status.as_u16()
}

#[tokio::test]
async fn new_keys_are_accepted_old_ones_rejected_and_a_client_stays_connected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (old, new) = ("b2xkIGtleQ==", "bmV3IGtleQ==");
    let keys =
        |key: &str| format!("[realtime]\nprimary_key = \"{key}\"\n[documents]\nprimary_key = \"{key}\"\n");
    configure(folder.path(), &keys(old));
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    let accepted = async |key: &str| {
        let databases = Account::with_key(&process, key).send("GET", "/dbs", None, "").await;
        (broadcast_with(&process, key).await, databases.expect("it answers").status.as_u16())
    };
    assert_eq!((accepted(old).await, accepted(new).await), ((202, 200), (401, 401)));
    assert_eq!(client.arguments_of("news").await.expect("a message"), json!([]));

    configure(folder.path(), &keys("not base64!"));
    let (code, error) = reload(&process).await;
    let text = error["error"]["message"].as_str().expect("a text");
    assert!(code == 422 && text.contains("chappe.toml:4: documents.primary_key"), "{error}");
    assert_eq!((accepted(old).await, accepted(new).await), ((202, 200), (401, 401)), "neither was changed");
    assert_eq!(client.arguments_of("news").await.expect("a message"), json!([]));

    configure(folder.path(), &keys(new));
    let (code, report) = reload(&process).await;
    assert_eq!((code, &report["applied"]), (200, &json!(["documents.primary_key", "realtime.primary_key"])));
    assert_eq!((accepted(old).await, accepted(new).await), ((401, 401), (202, 200)));
    assert_eq!(client.arguments_of("news").await.expect("a message"), json!([]), "it is still connected");
    assert!(!process.kill().await.expect("it can be killed").contains(new), "keys are not logged");
}

#[tokio::test]
async fn limits_of_the_realtime_service_change_and_other_clients_stay_connected() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    configure(folder.path(), "");
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut first = connect(&process, "chat", None, HubProtocol::Json).await;
    configure(
        folder.path(),
        "[realtime]\nbody_bytes_max = 10\n[realtime.engine]\nmessage_bytes_max = 200\nconnection_messages_per_second = 2\n\
         connections_max = 2\nshards = 1\n",
    );
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    let applied = ["connection_messages_per_second", "connections_max", "message_bytes_max"];
    let mut applied: Vec<String> = applied.iter().map(|name| format!("realtime.engine.{name}")).collect();
    applied.insert(0, "realtime.body_bytes_max".to_owned());
    assert_eq!(
        (&report["applied"], &report["restart"]),
        (&json!(applied), &json!(["realtime.engine.shards"]))
    );
    assert_eq!(broadcast_with(&process, DEVELOPMENT_SIGNALR_KEY).await, 413, "the body is too large now");
    // Two connections are allowed: the new one may send two messages a second.
    let mut second = connect(&process, "chat", None, HubProtocol::Json).await;
    for _ in 0..10 {
        second.send(b"{\"type\":6}\x1e").await.expect("it is connected");
    }
    let closed = second.next_json().await.expect("a close");
    assert!(
        closed["error"].as_str().is_some_and(|text| text.contains("more than 2 messages a second")),
        "{closed}"
    );
    // The first connection was opened before the change, and has no rate limit.
    for _ in 0..10 {
        first.send(b"{\"type\":6}\x1e").await.expect("it is connected");
    }
    let (_, report) = {
        configure(folder.path(), "");
        reload(&process).await
    };
    assert_eq!(report["restart"], json!([]), "the shards are those of the start again");
    still_receives(&process, &mut first).await;
}

/// The status of a negotiation for a hub.
async fn negotiates(http: &Http, hub: &str, key: &str) -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (audience, key) =
        (format!("http://localhost/client/?hub={hub}"), AccessKey::new(key).expect("it is not empty"));
    let token = identity::sign(&Claims::new(), &audience, now, now + 600, &key, Algorithm::Hs256);
    let authorization = format!("Bearer {token}");
    let (path, headers) =
        (format!("/client/negotiate?hub={hub}"), [("authorization", authorization.as_str())]);
    http.send("POST", &path, &headers, "").await.expect("it answers").status.as_u16()
}

#[tokio::test]
async fn limits_of_hubs_and_watchers_change_and_a_connected_client_counts() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    configure(folder.path(), "");
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    let realtime = process.http("realtime");
    assert_eq!(negotiates(&realtime, "chat", DEVELOPMENT_SIGNALR_KEY).await, 200);
    configure(
        folder.path(),
        "[realtime]\nwatchers_max = 0\n[realtime.engine]\nidle_timeout_ms = 3600000\nread_buffer_bytes = 4096\n\
         [realtime.engine.hubs.chat]\nconnections_max = 1\n",
    );
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    let applied = [
        "realtime.engine.hubs.chat.connections_max",
        "realtime.engine.idle_timeout_ms",
        "realtime.watchers_max",
    ];
    assert_eq!(
        (&report["applied"], &report["restart"]),
        (&json!(applied), &json!(["realtime.engine.read_buffer_bytes"]))
    );
    assert_eq!(negotiates(&realtime, "chat", DEVELOPMENT_SIGNALR_KEY).await, 429, "one client is connected");
    assert_eq!(negotiates(&realtime, "other", DEVELOPMENT_SIGNALR_KEY).await, 200);
    let gateway = process.http("gateway");
    assert_eq!(status(&gateway, "/chappe/api/realtime/tail", &[]).await, 429, "no watcher is allowed");
    still_receives(&process, &mut client).await;
    configure(folder.path(), "");
    assert_eq!(reload(&process).await.0, 200);
    assert_eq!(negotiates(&realtime, "chat", DEVELOPMENT_SIGNALR_KEY).await, 200);
}

/// The process ids of the workers of the default functions host.
async fn workers(process: &ChildProcess) -> Value {
    let info = process.http("gateway").get("/chappe/api/info").await.expect("it answers");
    info.json().expect("JSON")["workers"].clone()
}

/// The status of a read of the document databases that is signed with a key.
async fn reads_databases(process: &ChildProcess, service: &str, key: &str) -> u16 {
    let answer = Account::with_key_at(process, service, key).send("GET", "/dbs", None, "").await;
    answer.expect("it answers").status.as_u16()
}

/// A path of the realtime service that needs no token.
const HEALTH: &str = "/api/v1/health";

#[tokio::test]
async fn options_of_named_services_change_and_those_of_the_default_ones_stay() {
    let (app, side) = (app(), app_with(
        "const bindings = { req: { type: 'httpTrigger', direction: 'in', authLevel: 'anonymous', route: 'one' }, $return: res };
         core.registerFunction({ name: 'one', bindings }, () => ({ string: `${process.pid}` }));
         core.registerFunction({ name: 'two', bindings: { ...bindings, req: { ...bindings.req, route: 'two' } } }, () => ({ string: 'two' }));",
    ));
    let (old, new) = ("b2xkIGtleQ==", "bmV3IGtleQ==");
    let file = |key: &str, functions: &str, route: &str, hubs: &str| {
        configure(
            app.path(),
            &format!(
                "[realtime.chat]\nlisten = \"localhost:0\"\nprimary_key = \"{key}\"\n{hubs}\
                 [documents.archive]\nlisten = \"localhost:0\"\nprimary_key = \"{key}\"\n\
                 [functions.side]\nlisten = \"localhost:0\"\napp = {:?}\nfunctions = [{functions}]\n\
                 [gateway.mobile]\nlisten = \"localhost:0\"\n\
                 [[gateway.mobile.routes]]\npath = \"{route}\"\nservice = \"realtime.chat\"\n",
                side.path()
            ),
        );
    };
    file(old, "\"one\"", "/old", "");
    let process = start(app.path(), &[]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    let (chat, side_host, mobile) =
        (process.http("realtime.chat"), process.http("functions.side"), process.http("gateway.mobile"));
    assert_eq!(status(&mobile, HEALTH, &[]).await, 404, "its path leads to functions");
    let worker = side_host.get("/api/one").await.expect("it answers").text();
    let default_worker = workers(&process).await;
    assert_eq!(
        (negotiates(&chat, "chat", old).await, reads_databases(&process, "documents.archive", old).await),
        (200, 200)
    );
    let hubs = "[realtime.chat.engine.hubs.full]\nconnections_max = 1\n";
    file(new, "\"one\", \"two\"", HEALTH, hubs);
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    let applied = [
        "documents.archive.primary_key",
        "functions.side.functions",
        "gateway.mobile.routes",
        "realtime.chat.engine.hubs.full.connections_max",
        "realtime.chat.primary_key",
    ];
    assert_eq!((&report["applied"], &report["restart"]), (&json!(applied), &json!([])));
    for (key, expected) in [(old, 401), (new, 200)] {
        assert_eq!(negotiates(&chat, "chat", key).await, expected, "{key}");
        assert_eq!(reads_databases(&process, "documents.archive", key).await, expected, "{key}");
    }
    assert_eq!((status(&mobile, HEALTH, &[]).await, status(&mobile, "/api/headers", &[]).await), (200, 200));
    assert_eq!(status(&side_host, "/api/two", &[]).await, 200);
    assert_ne!(side_host.get("/api/one").await.expect("it answers").text(), worker, "a new generation");
    assert_eq!(workers(&process).await, default_worker, "the default host keeps its generation");
    assert_eq!(negotiates(&process.http("realtime"), "chat", DEVELOPMENT_SIGNALR_KEY).await, 200);
    still_receives(&process, &mut client).await;
}

/// An upstream that responds with 200 to every request, and records the paths.
async fn upstream(notes: mpsc::UnboundedSender<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("a bound listener has an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let notes = notes.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                // The test may have ended.
                let _ = notes.send(path);
                let response = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(response.as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn new_upstream_templates_apply_to_connected_clients() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (notes, mut noted) = mpsc::unbounded_channel();
    let address = upstream(notes).await;
    let file = |path: &str| {
        let template = json!({ "UrlTemplate": format!("http://{address}/{path}/{{event}}") });
        let text = json!({ "UpstreamSettings": { "Templates": [template] } }).to_string();
        std::fs::write(folder.path().join("upstreams.json"), text).expect("it can be written");
    };
    file("old");
    let base =
        "[realtime]\nmode = \"serverless\"\n[realtime.upstream]\ntemplates_file = \"upstreams.json\"\n";
    configure(folder.path(), base);
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    let call = b"{\"type\":1,\"target\":\"hello\",\"arguments\":[]}\x1e";
    let mut next_call = async |noted: &mut mpsc::UnboundedReceiver<String>| {
        client.send(call).await.expect("it is connected");
        loop {
            let path = timeout(PATIENCE, noted.recv()).await.expect("in time").expect("a request");
            // Connection events are sent to the same upstream.
            if path.ends_with("/hello") {
                return path;
            }
        }
    };
    assert_eq!(next_call(&mut noted).await, "/old/hello");
    file("new");
    let (code, report) = reload(&process).await;
    assert_eq!((code, &report["applied"]), (200, &json!(["realtime.upstream.templates_file"])), "{report}");
    assert_eq!(next_call(&mut noted).await, "/new/hello");
    let first = format!("{base}templates = [{{ url_template = \"http://{address}/first/{{event}}\" }}]\n");
    configure(folder.path(), &first);
    let (_, report) = reload(&process).await;
    assert_eq!(report["applied"], json!(["realtime.upstream.templates"]));
    assert_eq!(next_call(&mut noted).await, "/first/hello");
    configure(folder.path(), &first.replace("{event}", "{evnt}"));
    let (code, error) = reload(&process).await;
    let text = error["error"]["message"].as_str().expect("a text");
    assert!(code == 422 && text.contains("chappe.toml:5: [realtime]: upstream template 1"), "{error}");
    assert_eq!(next_call(&mut noted).await, "/first/hello");
}

/// Waits until a host name of the process is admitted.
async fn is_admitted(gateway: &Http, name: &str) {
    let began = Instant::now();
    while status(gateway, "/healthz", &[("host", name)]).await != 200 {
        assert!(began.elapsed() < PATIENCE, "{name} is not admitted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn sighup_and_a_file_change_reload() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    configure(folder.path(), "");
    let process = start(folder.path(), &["--no-functions"]).await;
    configure(folder.path(), "[guard]\nhosts = [\"one.example.test\"]\n");
    let id = process.id().expect("it runs").to_string();
    let told = std::process::Command::new("kill").args(["-HUP", &id]).status().expect("kill can be run");
    assert!(told.success());
    is_admitted(&process.http("gateway"), "one.example.test").await;
    let process = start(folder.path(), &["--no-functions", "--set", "reload_on_change=true"]).await;
    configure(folder.path(), "[guard]\nhosts = [\"another.example.test\"]\n");
    is_admitted(&process.http("gateway"), "another.example.test").await;
}
