//! A configuration that changes while the process runs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use http::Request;
use serde_json::{Value, json};
use signalr_protocol::HubProtocol;
use testkit::{ChildProcess, Http, HubClient, PATIENCE};

use crate::guard::app;
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
async fn routes_guard_level_and_cors_change_at_once_and_the_rest_is_named() {
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
        "[functions]\ncors_origins = [\"https://new.example\"]\nrequests_max = 5\n[guard]\nhosts = [\"dev.example.test\"]\n\
         [telemetry]\nlevel = \"debug\"\n[[gateway.routes]]\npath = \"/files\"\ndirectory = \"public\"\n",
    );
    let (code, report) = reload(&process).await;
    assert_eq!(code, 200, "{report}");
    let applied = ["functions.cors_origins", "gateway.routes", "guard.hosts", "telemetry.level"];
    assert_eq!(report["applied"], json!(applied));
    assert_eq!(report["restart"], json!(["functions.requests_max"]));
    assert_eq!(
        (status(&gateway, "/files/a.txt", &[]).await, status(&gateway, "/healthz", &named).await),
        (200, 200)
    );
    let after = gateway.send("GET", "/api/headers", &origin, "").await.expect("it answers");
    assert_eq!(after.headers.get("access-control-allow-origin").expect("it may read"), "https://new.example");
    let (_, again) = reload(&process).await;
    assert_eq!((&again["applied"], &again["restart"]), (&json!([]), &report["restart"]), "still to come");
    let log = process.kill().await.expect("it can be killed");
    assert!(log.contains("these changed options need a restart: functions.requests_max"), "{log}");
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing_and_says_why() {
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
async fn one_option_that_cannot_be_applied_keeps_all_others_as_they_were() {
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

/// Sends a message to the hub over REST and waits until the client has it.
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

/// Writes a certificate for localhost with its key to the files that the configuration names; gives a copy of the certificate.
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

/// Whether the process shows a certificate, on a new connection.
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
async fn a_new_certificate_is_shown_when_only_its_files_change() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let old = write_certificate(folder.path(), "old.pem");
    configure(folder.path(), "[tls]\ncertificate_file = \"cert.pem\"\nkey_file = \"key.pem\"\n");
    let process = start(folder.path(), &["--no-functions"]).await;
    let mut client = connect(&process, "chat", None, HubProtocol::Json).await;
    assert!(shows(&process, &old).await);
    let old_key = std::fs::read(folder.path().join("key.pem")).expect("it is there");
    let new = write_certificate(folder.path(), "new.pem");
    let new_key = std::fs::read(folder.path().join("key.pem")).expect("it is there");

    // Half of the renewal: the certificate without its key.
    std::fs::write(folder.path().join("key.pem"), old_key).expect("it can be written");
    let (code, error) = reload(&process).await;
    let text = error["error"]["message"].as_str().expect("a text");
    assert!(
        code == 422 && text.contains("chappe.toml:2: tls.certificate_file: use the certificate"),
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

/// Waits until a name of the process is admitted.
async fn is_admitted(gateway: &Http, name: &str) {
    let began = Instant::now();
    while status(gateway, "/healthz", &[("host", name)]).await != 200 {
        assert!(began.elapsed() < PATIENCE, "{name} is not admitted");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_and_a_change_of_the_file_reload_too() {
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
