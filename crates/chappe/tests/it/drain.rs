//! The process ends within its limit, even if a part of it is blocked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{ChildProcess, PATIENCE};
use tokio::io::AsyncReadExt;

use crate::realtime::token;

const BINARY: &str = env!("CARGO_BIN_EXE_chappe");

/// The limits of both parts; five seconds are added for storage.
const SETTINGS: [&str; 4] = ["--set", "drain_timeout_ms=500", "--set", "edge.drain_timeout_ms=500"];

/// The longest total time, including a reserve for a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_does_not_drain_is_named_and_the_process_exits() {
    // A collector that accepts connections and never responds.
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("telemetry.otlp_endpoint=http://{}", collector.local_addr().expect("bound"));
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let silence = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = collector.accept().await {
            let mut first = [0];
            if stream.read_exact(&mut first).await.is_ok() {
                asked.send(()).expect("the test waits");
            }
            held.push(stream);
        }
    });
    let folder = tempfile::tempdir().expect("a folder can be made");
    let arguments: Vec<&str> =
        ["start", "--no-functions", "--ephemeral", "--set", &endpoint].into_iter().chain(SETTINGS).collect();
    let process = ChildProcess::start(BINARY, folder.path(), &arguments).await.expect("it starts");
    // A span to export.
    let authorization = format!("Bearer {}", token("http://localhost/api/v1/hubs/chat", None));
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json"),
        ("traceparent", traced),
    ];
    let body = r#"{"target":"seen","arguments":[]}"#;
    let answer = process.http("realtime").send("POST", "/api/v1/hubs/chat", &fields, body).await;
    assert_eq!(answer.expect("it answers").status, 202);
    tokio::time::timeout(PATIENCE, was_asked.recv()).await.expect("in time").expect("it exports");
    let began = Instant::now();
    process.terminate().await.expect("it can be asked to end");
    let (code, log) = process.wait().await.expect("it ends");
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("not drained within 6 s: still waiting for the export of spans"), "{log}");
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    silence.abort();
}

/// Starts the binary with a log pipe that is not read.
fn start_unread(folder: &Path) -> (Child, String) {
    let ports = ["gateway", "realtime", "documents"].map(|name| format!("listen.{name}=localhost:0"));
    let ports = ports.iter().flat_map(|port| ["--set", port]);
    let mut child = Command::new(BINARY)
        .args(["start", "--no-functions", "--ephemeral", "--json", "--set", "telemetry.level=trace"])
        .args(SETTINGS)
        .args(ports)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a ready line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let address = ready["urls"]["gateway"].as_str().expect("an address").trim_start_matches("http://");
    (child, address.to_owned())
}

#[test]
fn a_blocked_runtime_does_not_prevent_the_exit() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (mut child, address) = start_unread(folder.path());
    // Until no request is answered any more, because every thread blocks on the full log pipe.
    let request = b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (began, mut unanswered) = (Instant::now(), Vec::new());
    while unanswered.len() < 20 {
        assert!(began.elapsed() < PATIENCE, "it goes on although nobody reads its log");
        let mut stream = TcpStream::connect(&address).expect("the kernel accepts");
        stream.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
        stream.write_all(request).expect("sent");
        let mut answer = [0];
        match std::io::Read::read(&mut stream, &mut answer) {
            Ok(_) => {}
            Err(_late) => unanswered.push(stream),
        }
    }
    let id = child.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &id]).status().expect("kill can be run");
    assert!(asked.success());
    let (ended, end) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || ended.send(child.wait().map(|status| status.code())));
    match end.recv_timeout(LIMIT) {
        Ok(code) => assert_eq!(code.expect("it can be waited for"), Some(1)),
        Err(_late) => {
            // The test has not yet waited for this child, so its process id is still valid.
            let _ = Command::new("kill").args(["-KILL", &id]).status();
            panic!("it still runs");
        }
    }
    waiting.join().expect("joined").expect("the test waited");
}
