//! Options of connectors, from `[connect.<name>]` in the file to the behaviour of functions.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{DEVELOPMENT_COSMOS_KEY, DEVELOPMENT_SIGNALR_KEY};
use serde_json::Value;
use testkit::{ChildProcess, Http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::account::Account;
use crate::configuration::check;
use crate::guard::app_with;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

/// One function for each connector, and one that sends to a SignalR service of another host.
const FUNCTIONS: &str = "
const http = (route) => ({ type: 'httpTrigger', direction: 'in', authLevel: 'anonymous', route });
core.registerFunction({ name: 'negotiate', bindings: { req: http('negotiate'), $return: res,
    info: { type: 'signalRConnectionInfo', direction: 'in', hubName: 'chat' } } },
    (request, info) => ({ json: JSON.stringify(info.json ?? info.string ?? info) }));
core.registerFunction({ name: 'rows', bindings: { req: http('rows'), $return: res,
    rows: { type: 'cosmosDB', direction: 'in', databaseName: 'd', containerName: 'c', connection: 'Cosmos' } } },
    () => ({ json: '\"read\"' }));
core.registerFunction({ name: 'send', bindings: { req: http('send'),
    $return: { type: 'signalR', direction: 'out', hubName: 'chat', connectionStringSetting: 'Remote' } } },
    () => ({ json: JSON.stringify({ target: 'news', arguments: [] }) }));
";

/// Responds to the first request with 503, to later ones with 202; returns the address.
async fn busy_service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("a bound listener has an address").to_string();
    tokio::spawn(async move {
        for status in ["503 Service Unavailable", "202 Accepted", "202 Accepted"] {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = vec![0; 64 * 1024];
            // One read is enough: head and body of the small request arrive together, or the body is not needed.
            let _ = stream.read(&mut request).await;
            let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(response.as_bytes()).await;
        }
    });
    address
}

/// Starts the app with a configuration; the setting `Remote` names `remote`.
async fn start(configuration: &str, remote: &str) -> (tempfile::TempDir, ChildProcess) {
    let app = app_with(FUNCTIONS);
    let settings = serde_json::json!({ "Values": {
        "FUNCTIONS_WORKER_RUNTIME": "node",
        "AzureSignalRConnectionString": format!("Endpoint=http://localhost;Port=8888;AccessKey={DEVELOPMENT_SIGNALR_KEY};Version=1.0;"),
        "Cosmos": format!("AccountEndpoint=http://localhost:8081/;AccountKey={DEVELOPMENT_COSMOS_KEY};"),
        "Remote": format!("Endpoint=http://{remote};AccessKey=secret;Version=1.0;"),
    } });
    let files = [("chappe.toml", configuration), ("local.settings.json", &settings.to_string())];
    for (name, content) in files {
        std::fs::write(app.path().join(name), content).expect("a file can be written");
    }
    let process = ChildProcess::start(BINARY, app.path(), &["start", "--ephemeral"]).await;
    let process = process.expect("it starts");
    let account = Account::of(&process);
    account.container().await;
    for id in ["1", "2"] {
        assert_eq!(account.put(id, 1).await.expect("it answers").status, 201);
    }
    (app, process)
}

async fn status(functions: &Http, path: &str) -> u16 {
    functions.get(path).await.expect("it answers").status.as_u16()
}

/// How long the token that `negotiate` returned is valid, in seconds.
async fn token_lifetime(functions: &Http) -> u64 {
    let response = functions.get("/api/negotiate").await.expect("it answers");
    let info = response.json().expect("JSON");
    let token = info["accessToken"].as_str().unwrap_or_else(|| panic!("a token: {info}"));
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("a JSON web token")).expect("base64");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    let time = |name: &str| payload[name].as_u64().expect("a time");
    time("exp") - time("iat")
}

#[tokio::test]
async fn connectors_without_options_behave_as_the_azure_extensions() {
    let (_app, process) = start("", &busy_service().await).await;
    let functions = process.http("functions");
    assert_eq!(token_lifetime(&functions).await, 3600);
    assert_eq!(status(&functions, "/api/rows").await, 200);
    assert_eq!(status(&functions, "/api/send").await, 500, "a busy service fails the invocation");
}

#[tokio::test]
async fn connector_options_apply_to_functions() {
    let configuration = "[connect.signalr]\nclient_token_lifetime_s = 120\nretries_max = 1\nretry_delay_ms = 1\n\
                         [connect.cosmosdb]\nquery_rows_max = 1\n";
    let (_app, process) = start(configuration, &busy_service().await).await;
    let functions = process.http("functions");
    assert_eq!(token_lifetime(&functions).await, 120);
    assert_eq!(status(&functions, "/api/rows").await, 500, "the container has two rows");
    assert!((200..300).contains(&status(&functions, "/api/send").await), "the second request is accepted");
    let log = process.kill().await.expect("it can be killed");
    assert!(
        log.contains("has more than 1 rows; restrict it, or raise connect.cosmosdb.query_rows_max"),
        "{log}"
    );
}

#[test]
fn invalid_connector_options_are_rejected_with_their_location() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let wrong = [
        ("connect.cosmosdb.query_row_max=1", "did you mean `query_rows_max`?"),
        ("connect.cosmosbd.query_rows_max=1", "did you mean `cosmosdb`?"),
        ("connect.signalr.client_token_lifetime_s=0", "expected a nonzero u64"),
        ("connect=1", "expected a table of connectors, such as [connect.cosmosdb]"),
        ("connect.cosmosdb.response_bytes_max=200000000", "bodies.memory_bytes_max"),
        (
            "connect.cosmosdb.lease_renew_interval_ms=60000",
            "[connect.cosmosdb]: lease_renew_interval_ms is 60000",
        ),
        ("connect.signalr.retry_delay_ms=60001", "[connect.signalr]: retry_delay_ms is 60001"),
    ];
    for (setting, words) in wrong {
        check(folder.path(), &["check", "--no-functions", "--set", setting], 64, &[words]);
    }
}
