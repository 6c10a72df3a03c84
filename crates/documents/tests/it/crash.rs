//! Acknowledged writes survive `kill -9`: a child process writes, reports each acknowledgement, and is killed meanwhile.
//! `CHAPPE_SOAK_KILLS` sets the number of kills (default: 5).

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use documents::{Handle, Options, Service};
use prometheus_client::registry::Registry;
use tower::Service as _;
use trace::Tracer;

use crate::client::{Client, request};

const FOLDER: &str = "CHAPPE_DOCUMENTS_CRASH_FOLDER";
const TEST: &str = "crash::acknowledged_writes_survive_kill_9_and_so_do_their_feed_entries";
const DOCS: &str = "/dbs/d/colls/c/docs";
const WRITERS: u32 = 16;

fn open(folder: &Path) -> (Service, Handle) {
    let options = Options { data_dir: folder.to_owned(), ..Options::default() };
    Service::open(options, Tracer::new(16), &mut Registry::default()).expect("the service opens")
}

async fn status(service: &Service, line: &str, body: &str) -> u16 {
    let mut request = request(line, body);
    request.extensions_mut().insert(identity::Principal::InProcess { name: "test" });
    service.clone().call(request).await.expect("the service never fails").status().as_u16()
}

#[test]
fn acknowledged_writes_survive_kill_9_and_so_do_their_feed_entries() {
    match std::env::var_os(FOLDER) {
        Some(folder) => write_until_killed(Path::new(&folder)),
        None => kill_and_check(),
    }
}

/// The child process.
#[tokio::main(worker_threads = 2)]
async fn write_until_killed(folder: &Path) {
    let (service, _handle) = open(folder);
    status(&service, "POST /dbs", r#"{"id":"d"}"#).await;
    status(&service, "POST /dbs/d/colls", r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#).await;
    let run = std::process::id();
    let writer = |number: u32| {
        let service = service.clone();
        async move {
            for count in 0_u64.. {
                let id = format!("{run}-{number}-{count}");
                let body = format!(r#"{{"id":"{id}","pk":"p{number}","copy":"{id}"}}"#);
                if status(&service, &format!("POST {DOCS}"), &body).await == 201 {
                    println!("ack {id}");
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(writer(number))).collect();
    for writer in writers {
        writer.await.expect("a writer ends with the process");
    }
}

fn kill_and_check() {
    let kills: usize = std::env::var("CHAPPE_SOAK_KILLS").map_or(5, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut acknowledged = BTreeSet::new();
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("a test knows its binary"))
            .args(["--exact", TEST, "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        // A different moment each time: after 20, 57, 94, … acknowledgements, at most 419.
        let mut until = 20 + kill * 37 % 400;
        let mut line = String::new();
        while output.read_line(&mut line).expect("the child's output is text") > 0 {
            // The kill may truncate the last line.
            if let Some(id) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("ack ")) {
                acknowledged.insert(id.to_owned());
                until = until.saturating_sub(1);
                if until == 0 {
                    child.kill().expect("the child can be killed");
                }
            }
            line.clear();
        }
        child.wait().expect("the child ends");
        check(folder.path(), &acknowledged);
    }
    assert!(acknowledged.len() >= 20 * kills);
}

/// Every acknowledged item is in the list and in the feed, complete, and the two agree.
#[tokio::main(flavor = "current_thread")]
async fn check(folder: &Path, acknowledged: &BTreeSet<String>) {
    let client = Client::on(open(folder));
    let mut listed = BTreeSet::new();
    let mut continuation = String::new();
    loop {
        let page = client.send(&format!("GET {DOCS} x-ms-max-item-count: -1{continuation}"), "").await;
        for row in page.rows() {
            assert_eq!(row["id"], row["copy"], "a torn item");
            listed.insert(row["id"].as_str().expect("an id").to_owned());
        }
        if page.header("x-ms-continuation").is_empty() {
            break;
        }
        continuation = format!("; x-ms-continuation: {}", page.header("x-ms-continuation"));
    }
    let mut fed = BTreeSet::new();
    let (mut position, mut last) = (String::new(), 0);
    loop {
        let line = format!("GET {DOCS} a-im: Incremental Feed; x-ms-max-item-count: -1{position}");
        let page = client.send(&line, "").await;
        if page.status == 304 {
            break;
        }
        for row in page.rows() {
            let lsn = row["_lsn"].as_u64().expect("an LSN");
            assert!(lsn > last, "LSN {lsn} after {last}");
            last = lsn;
            fed.insert(row["id"].as_str().expect("an id").to_owned());
        }
        position = format!("; if-none-match: {}", page.header("etag"));
    }
    let lost: Vec<_> = acknowledged.difference(&listed).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(listed, fed, "items and feed disagree");
    client.close().await;
}
