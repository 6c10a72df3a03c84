//! A configuration that changes while the process runs.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::{ChildProcess, Http, PATIENCE};

use crate::guard::app;

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
    assert_eq!((&report["restart"], &report["failed"]), (&json!(["functions.requests_max"]), &json!({})));
    assert_eq!(
        (status(&gateway, "/files/a.txt", &[]).await, status(&gateway, "/healthz", &named).await),
        (200, 200)
    );
    let after = gateway.send("GET", "/api/headers", &origin, "").await.expect("it answers");
    assert_eq!(after.headers.get("access-control-allow-origin").expect("it may read"), "https://new.example");
    let (_, again) = reload(&process).await;
    assert_eq!((&again["applied"], &again["restart"]), (&json!([]), &report["restart"]), "still to come");
    let log = process.kill().await.expect("it can be killed");
    assert!(log.contains("changed options that count after a restart only: functions.requests_max"), "{log}");
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
