//! `chappe tail`: the live trace of a running process.

use std::process::Stdio;

use signalr_protocol::HubProtocol;
use testkit::ChildProcess;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

use crate::realtime::{connect, token};

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line =
        timeout(testkit::PATIENCE, lines.next_line()).await.expect("a line comes").expect("it is text");
    line.expect("the trace goes on")
}

#[tokio::test]
async fn events_are_printed_as_they_happen() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments = ["start", "--no-functions", "--ephemeral"];
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    let url = format!("http://{}", process.http("gateway").authority());
    let mut tail = Command::new(BINARY);
    tail.args(["tail", "--hub", "chat", "--url", &url]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut tail = tail.spawn().expect("it starts");
    let mut lines = BufReader::new(tail.stdout.take().expect("a pipe")).lines();
    assert!(line(&mut lines).await.starts_with("watching"));
    drop(connect(&process, "other", Some("eve"), HubProtocol::Json).await);
    let mut ada = connect(&process, "chat", Some("ada"), HubProtocol::MessagePack).await;
    let connected = line(&mut lines).await;
    assert!(connected.contains("chat") && connected.contains("ada"), "{connected}");
    assert!(connected.ends_with("connected, messagepack over WebSockets"), "{connected}");
    ada.send(b"\x0b\x96\x01\x80\xa11\xa3say\x90\x90").await.expect("it sends");
    let called = line(&mut lines).await;
    assert!(called.ends_with("called say(), 11 bytes"), "{called}");
    let path = "/api/v1/hubs/chat/users/ada";
    let authorization = format!("Bearer {}", token(&format!("http://localhost{path}"), None));
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = r#"{"target":"news","arguments":[1]}"#;
    let answer = process.http("realtime").send("POST", path, &headers, body).await.expect("it answers");
    assert_eq!(answer.status, 202);
    let sent = line(&mut lines).await;
    assert!(sent.ends_with("news() to user ada, 1 receivers"), "{sent}");
    drop(ada);
    let ended = line(&mut lines).await;
    assert!(ended.ends_with("ended: ConnectionLost"), "{ended}");
}

#[tokio::test]
async fn a_missing_process_is_reported_with_what_to_do() {
    // A port that was free a moment ago, and on which no program listens.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let mut tail = Command::new(BINARY);
    tail.args(["tail", "--url", &format!("http://127.0.0.1:{port}")]);
    let output = timeout(testkit::PATIENCE, tail.output()).await.expect("it ends").expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("start one with `chappe start`"), "{errors}");
}
