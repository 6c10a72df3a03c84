//! Folders without an app that can run: each error names what is missing. None of these tests needs a worker.

use std::path::Path;

use testkit::ChildProcess;

use crate::configuration::check;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");
const START: [&str; 4] = ["start", "--ephemeral", "--gateway-port", "0"];

fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file can be written");
    }
    folder
}

/// In development mode the host waits for the next change of a file.
#[tokio::test]
async fn a_start_with_broken_files_waits_for_the_next_edit() {
    let folder = app(&[
        ("host.json", "{\"version\": \"2.0\","),
        ("package.json", "{\"main\": \"a.js\"}"),
        ("a.js", ""),
    ]);
    let arguments = ["start", "--ephemeral"];
    let process =
        ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts all the same");
    let answer = process.http("functions").get("/api/x").await.expect("it answers");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("host.json: not valid JSON"), "{}", answer.text());
    // The next error is reported next.
    std::fs::write(folder.path().join("host.json"), "{\"version\": \"1.0\"}").expect("a file can be written");
    let told = async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
        while !process
            .http("functions")
            .get("/")
            .await
            .expect("it answers")
            .text()
            .contains("write \"version\": \"2.0\"")
        {
            tick.tick().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("in time");
    process.kill().await.expect("it can be killed");
}

#[test]
fn invalid_json_is_reported_with_file_and_position() {
    const START: [&str; 6] =
        ["start", "--ephemeral", "--gateway-port", "0", "--set", "functions.hot_reload=false"];
    let broken = app(&[("host.json", "{\"version\": \"2.0\",")]);
    check(broken.path(), &START, 64, &["host.json", "not valid JSON", "line 1"]);
    let old = app(&[("host.json", "{\"version\": \"1.0\"}")]);
    check(old.path(), &START, 64, &["host.json", "\"1.0\"", "write \"version\": \"2.0\""]);
    let settings = app(&[("host.json", "{\"version\": \"2.0\"}"), ("local.settings.json", "{\"Values\": {")]);
    check(settings.path(), &START, 64, &["local.settings.json", "not valid JSON", "line 1"]);
}

#[test]
fn an_unsupported_language_is_reported_with_the_supported_ones() {
    let unset = app(&[("host.json", "{\"version\": \"2.0\"}")]);
    check(
        unset.path(),
        &START,
        64,
        &["FUNCTIONS_WORKER_RUNTIME is not set", "\"node\"", "local.settings.json"],
    );
    let settings = "{\"Values\": {\"FUNCTIONS_WORKER_RUNTIME\": \"cobol\"}}";
    let unknown = app(&[("host.json", "{\"version\": \"2.0\"}"), ("local.settings.json", settings)]);
    check(unknown.path(), &START, 64, &["no worker for language 'cobol'", "built in are node"]);
    let json = [&START[..], &["--json"]].concat();
    check(unknown.path(), &json, 64, &["no worker for language 'cobol'"]);
}

#[tokio::test]
async fn without_node_js_the_other_services_run_and_the_log_says_what_to_install() {
    let folder = app(&[
        ("host.json", "{\"version\": \"2.0\"}"),
        ("package.json", "{\"main\": \"a.js\"}"),
        ("a.js", ""),
    ]);
    let empty = tempfile::tempdir().expect("a folder can be made");
    let path = format!("PATH={}", empty.path().display());
    let env = if Path::new("/usr/bin/env").exists() { "/usr/bin/env" } else { "env" };
    let arguments = [path.as_str(), BINARY, "start", "--ephemeral"];
    let process = ChildProcess::start(env, folder.path(), &arguments).await.expect("it starts all the same");
    let answer = process.http("functions").get("/api/x").await.expect("it answers");
    assert_ne!(answer.status, 200);
    assert_eq!(process.http("gateway").get("/healthz").await.expect("it answers").status, 200);
    let ready = process.http("gateway").get("/readyz").await.expect("it answers");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("function app: it did not start"), "{}", ready.text());
    let log = process.kill().await.expect("it can be killed");
    for words in ["cannot start 'node'", "not on the PATH", "https://nodejs.org"] {
        assert!(log.contains(words), "should say {words:?}: {log}");
    }
}

#[tokio::test]
async fn admin_operations_of_functions_report_that_functions_are_disabled() {
    let folder = app(&[]);
    let arguments = ["start", "--ephemeral", "--no-functions"];
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    let gateway = process.http("gateway");
    for (method, path) in [
        ("POST", "/chappe/api/workers/kill"),
        ("GET", "/chappe/api/logs"),
        ("POST", "/chappe/api/functions/workers/kill"),
        ("GET", "/chappe/api/functions/logs"),
    ] {
        let response = gateway.send(method, path, &[], "").await.expect("it answers");
        let error = response.json().expect("JSON");
        assert_eq!((response.status.as_u16(), &error["error"]["code"]), (409, &"admin-service-off".into()));
        let text = error["error"]["message"].as_str().expect("a text");
        assert!(text.contains("--no-functions") && text.contains("run_functions"), "{path}: {text}");
    }
    assert_eq!(gateway.get("/chappe/api/nothing").await.expect("it answers").status, 404);
}

#[test]
fn the_demo_rejects_a_folder_with_other_content() {
    let folder = app(&[]);
    std::fs::create_dir(folder.path().join("mine")).expect("a folder can be made");
    std::fs::write(folder.path().join("mine/letter.txt"), "dear").expect("a file can be written");
    let arguments = ["demo", "--folder", "mine", "--ephemeral"];
    check(folder.path(), &arguments, 64, &["mine is not the example", "--folder"]);
    let left = std::fs::read_dir(folder.path().join("mine")).expect("it can be read").count();
    assert_eq!(left, 1, "nothing was added to it");
}

/// A test has no terminal to confirm at.
#[test]
fn the_demo_writes_nothing_into_the_current_folder_without_confirmation() {
    let folder = app(&[]);
    let words = ["examples/live-documents", "--yes", "--folder"];
    check(folder.path(), &["demo", "--ephemeral"], 64, &words);
    let left = std::fs::read_dir(folder.path()).expect("it can be read").count();
    assert_eq!(left, 0, "nothing was written");
}

#[tokio::test]
async fn the_demo_with_yes_writes_the_example() {
    let folder = app(&[]);
    let path = format!("PATH={}", folder.path().display());
    let arguments = [path.as_str(), BINARY, "demo", "--yes", "--ephemeral"];
    let (code, text) = ChildProcess::fail("env", folder.path(), &arguments).await.expect("it can be run");
    // Without npm the demo ends here.
    assert_eq!(code, Some(64), "{text}");
    assert!(folder.path().join("examples/live-documents/host.json").exists(), "{text}");
}

#[tokio::test]
async fn the_demo_without_npm_says_what_to_install() {
    let folder = app(&[]);
    let path = format!("PATH={}", folder.path().display());
    let arguments = [path.as_str(), BINARY, "demo", "--folder", "demo", "--ephemeral"];
    let (code, text) = ChildProcess::fail("env", folder.path(), &arguments).await.expect("it can be run");
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("`npm` was not found") && text.contains("Node.js 20"), "{text}");
    assert!(text.contains("code: demo-no-node"), "{text}");
    assert!(folder.path().join("demo/host.json").exists(), "the example is there for the next try");
}

#[tokio::test]
async fn the_port_in_local_settings_is_used() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port can be bound");
    let port = probe.local_addr().expect("a bound listener has an address").port();
    drop(probe);
    let settings = format!(
        "{{\"Values\": {{\"FUNCTIONS_WORKER_RUNTIME\": \"node\"}}, \"Host\": {{\"LocalHttpPort\": {port}}}}}"
    );
    let app = app(&[("host.json", "{\"version\": \"2.0\"}"), ("local.settings.json", &settings)]);
    let free = ["gateway", "realtime", "documents"].map(|name| format!("listen.{name}=localhost:0"));
    let mut arguments = vec!["start", "--ephemeral"];
    arguments.extend(free.iter().flat_map(|port| ["--set", port]));
    let process = ChildProcess::start_as_configured(BINARY, app.path(), &arguments).await.expect("it starts");
    assert_eq!(process.facts()["urls"]["functions"], format!("http://localhost:{port}"));
}
