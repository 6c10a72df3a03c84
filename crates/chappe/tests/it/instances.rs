//! Several services of one kind in one process.

use testkit::ChildProcess;

use crate::account::Account;
use crate::guard::app;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

/// The same app, with another response.
fn other_app() -> tempfile::TempDir {
    let app = app();
    let file = app.path().join("app.js");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let text = text.replace("JSON.stringify(data.http.headers)", "JSON.stringify('the other one')");
    std::fs::write(&file, text).expect("it can be written");
    app
}

#[tokio::test]
async fn two_functions_hosts_run_two_apps_behind_two_gateways() {
    let (first, second) = (app(), other_app());
    let app = format!("functions.side.app={:?}", second.path());
    let arguments = [
        "start",
        "--ephemeral",
        "--set",
        &app,
        "--set",
        "gateway.side.listen=localhost:0",
        "--set",
        r#"gateway.side.routes=[{path="/api",service="functions.side"}]"#,
    ];
    let process = ChildProcess::start(BINARY, first.path(), &arguments).await.expect("it starts");
    for (service, expected) in
        [("functions", "user-agent"), ("functions.side", "the other one"), ("gateway.side", "the other one")]
    {
        let headers = [("user-agent", "x")];
        let answer =
            process.http(service).send("GET", "/api/headers", &headers, "").await.expect("it answers");
        assert!(answer.status == 200 && answer.text().contains(expected), "{service}: {}", answer.text());
    }
    let gateway = process.http("gateway");
    let info = gateway.get("/chappe/api/info").await.expect("it answers");
    let info = info.json().expect("JSON");
    let pids = [&info["workers"], &info["services"]["functions.side"]["workers"]];
    assert!(pids[0].is_array() && pids[1].is_array() && pids[0] != pids[1], "{info}");
    let path = "/chappe/api/functions.side/workers/kill";
    let killed = gateway.send("POST", path, &[], "").await.expect("it answers");
    assert_eq!(killed.json().expect("JSON")["killed"], *pids[1]);
    process.terminate().await.expect("it can be asked to end");
    let (code, log) = process.wait().await.expect("it ends");
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test]
async fn documents_of_a_named_service_have_their_own_folder_backup_and_listing() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments =
        ["start", "--no-functions", "--data-dir", "data", "--set", "documents.archive.listen=localhost:0"];
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    let archive = Account::named(&process, "documents.archive");
    archive.container().await;
    assert_eq!(archive.put("1", 10).await.expect("it answers").status, 201);
    let default = Account::of(&process).send("GET", "/dbs", None, "").await.expect("it answers");
    assert!(
        default.text().contains("\"_count\":0"),
        "the default service has none of it: {}",
        default.text()
    );
    process.terminate().await.expect("it can be asked to end");
    process.wait().await.expect("it ends");
    let database = "instances/documents.archive/documents.sqlite";
    assert!(folder.path().join("data").join(database).is_file());
    let backup = ["backup", "copy", "--data-dir", "data"];
    let (code, text) = ChildProcess::fail(BINARY, folder.path(), &backup).await.expect("it runs");
    assert_eq!(code, Some(0), "{text}");
    assert!(folder.path().join("copy").join(database).is_file());
    std::fs::remove_file(folder.path().join("data").join(database)).expect("it can be removed");
    let (code, text) = ChildProcess::fail(BINARY, folder.path(), &arguments).await.expect("it runs");
    assert!(code == Some(1) && text.contains("--accept-loss=documents.archive"), "{text}");
}
