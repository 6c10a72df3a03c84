//! Clients that request much and read nothing.

use std::path::Path;
use std::time::Duration;

use tempfile::tempdir;
use testkit::{ChildProcess, Heard, Http, PATIENCE, RawHttp2};
use tokio::time::{Instant, timeout};

use super::{BINARY, Witness, megabytes};

/// Connections of the attacker.
const CONNECTIONS: usize = 8;

/// Requests on each connection: the limit.
const STREAMS: usize = 200;

/// Most files that the process may open: far fewer than there are requests.
const FILES: usize = 400;

/// Most memory for the attack, in megabytes: about ten kilobytes for each 20 MB response, and the tasks of a debug build.
const MEMORY_MB_MAX: u64 = 64;

const LARGE_BYTES: usize = 20 * 1024 * 1024;

/// The gateway with static files, and few descriptors.
async fn start(folder: &Path) -> ChildProcess {
    let public = folder.join("public");
    std::fs::create_dir(&public).expect("a folder can be made");
    std::fs::write(public.join("large.bin"), vec![b'x'; LARGE_BYTES]).expect("a file can be written");
    std::fs::write(public.join("small.txt"), "small").expect("a file can be written");
    let route = "[[gateway.routes]]\npath = \"/files\"\ndirectory = \"public\"\n";
    std::fs::write(folder.join("chappe.toml"), route).expect("a file can be written");
    let settings = ["edge.write_timeout_ms=5000", "edge.http2_ping_interval_ms=1000"];
    let ports = ["gateway", "realtime", "documents"].map(|name| format!("listen.{name}=localhost:0"));
    let settings = settings.into_iter().chain(ports.iter().map(String::as_str));
    let script = format!("ulimit -n {FILES}; exec \"$0\" \"$@\"");
    let arguments: Vec<&str> = ["-c", &script, BINARY, "start", "--no-functions", "--ephemeral"]
        .into_iter()
        .chain(settings.flat_map(|setting| ["--set", setting]))
        .collect();
    ChildProcess::start_as_configured("/bin/sh", folder, &arguments).await.expect("it starts")
}

/// Sends as many requests on one connection as the limit allows, grants no window, and answers pings until every stream was reset.
/// Returns how many were.
async fn attack(authority: String) -> usize {
    let mut client = RawHttp2::connect(&authority, 0).await.expect("it is accepted");
    for _ in 0..STREAMS {
        client.get("/files/large.bin").await.expect("it is taken");
    }
    let mut reset = 0;
    while reset < STREAMS {
        match client.heard().await.expect("it hears") {
            Heard::Reset(_, RawHttp2::CANCEL) => reset += 1,
            Heard::Head(_, false) => {}
            other => panic!("{other:?} after {reset} were reset"),
        }
    }
    reset
}

/// A request on each port is answered promptly.
async fn every_port_answers(ports: &[(&str, Http)]) {
    for (path, http) in ports {
        let answer = timeout(Duration::from_secs(5), http.get(path)).await.expect("it answers in time");
        assert!(answer.is_ok_and(|answer| answer.status.as_u16() < 500), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_without_progress_do_not_block_other_clients() {
    let folder = tempdir().expect("a folder can be made");
    let process = start(folder.path()).await;
    let mut witness = Witness::connect(&process).await;
    let gateway = process.http("gateway");
    let ports = [
        ("/files/small.txt", process.http("gateway")),
        ("/api/health", process.http("realtime")),
        ("/", process.http("documents")),
    ];
    every_port_answers(&ports).await;
    let before = megabytes(&process);
    let began = Instant::now();
    let attackers: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(attack(gateway.authority().to_owned()))).collect();
    let (mut most, mut rounds) = (before, 0);
    while !attackers.iter().all(tokio::task::JoinHandle::is_finished) {
        assert!(began.elapsed() < PATIENCE, "streams are still open");
        every_port_answers(&ports).await;
        witness.is_served(&process).await;
        most = most.max(megabytes(&process));
        rounds += 1;
    }
    assert!(rounds > 3, "everybody else was served {rounds} times during the attack");
    for attacker in attackers {
        assert_eq!(attacker.await.expect("every stream was reset with CANCEL"), STREAMS);
    }
    match (before, most) {
        (Some(before), Some(most)) => {
            println!("{} unread answers: {before} MB before, at most {most} MB", CONNECTIONS * STREAMS);
            assert!(most - before <= MEMORY_MB_MAX, "{before} MB before, {most} MB during the attack");
        }
        _ => println!("memory not checked: this system does not tell"),
    }
    let metrics = gateway.get("/metrics").await.expect("it answers").text();
    let cut = "chappe_edge_answers_cut_total{listener=\"gateway\",reason=\"Stalled\"} 1600";
    assert!(metrics.contains(cut), "{metrics}");
    // A client that reads receives all of the same file.
    let answer = gateway.get("/files/large.bin").await.expect("it answers");
    assert_eq!(answer.body.len(), LARGE_BYTES);
    let log = process.kill().await.expect("it can be killed");
    assert!(!log.contains("cannot accept") && !log.contains("panicked"), "{log}");
}
