//! Damaged and incomplete files: intact data is returned, nothing is written, nothing is created again.

use std::path::Path;

use documents::{Error, Options, Service};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use trace::Tracer;

use crate::client::Client;

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";
const ITEMS: usize = 60;

fn open(folder: &Path, accept_loss: bool) -> Client {
    Client::with(|options| {
        options.data_dir = folder.to_owned();
        options.accept_loss = accept_loss;
    })
}

/// The state after a kill with [`ITEMS`] acknowledged items; in the write-ahead log, or in the database file.
async fn killed(is_in_log: bool) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let client = open(folder.path(), false);
    client.container(CONTAINER).await;
    for number in 0..ITEMS {
        let item =
            format!(r#"{{"id":"i{number}","pk":"x","v":"{}"}}"#, format!("value {number} ").repeat(100));
        assert_eq!(client.send(&format!("POST {DOCS}"), &item).await.status, 201);
    }
    if !is_in_log {
        client.close().await;
        return folder;
    }
    let image = tempfile::tempdir().expect("a temporary folder");
    for name in ["documents.sqlite", "documents.sqlite-wal", "documents.mark"] {
        std::fs::copy(folder.path().join(name), image.path().join(name)).expect("the file can be copied");
    }
    client.close().await;
    image
}

fn refused(folder: &Path) -> Error {
    let options = Options { data_dir: folder.to_owned(), ..Options::default() };
    let opened = Service::open(options, Tracer::new(1), &mut Registry::default());
    opened.map(drop).expect_err("the service must not open")
}

fn read(number: usize) -> String {
    format!(r#"GET {DOCS}/i{number} x-ms-documentdb-partitionkey: ["x"]"#)
}

async fn assert_read_only(client: &Client) {
    let refused = client.send(&format!("POST {DOCS}"), r#"{"id":"new","pk":"x"}"#).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("DataDamaged")));
    assert!(refused.error().contains("chappe check --data"), "{}", refused.body);
    let told = client.handle.damage().expect("the operator is told");
    assert!(told.contains("documents.sqlite"), "{told}");
    let mut metrics = String::new();
    prometheus_client::encoding::text::encode(&mut metrics, &client.registry).expect("metrics are text");
    assert!(metrics.contains("documents_read_only 1"), "{metrics}");
}

#[tokio::test]
async fn a_read_of_a_damaged_item_fails_and_ends_writing() {
    let folder = killed(false).await;
    let path = folder.path().join("documents.sqlite");
    let mut bytes = std::fs::read(&path).expect("the file can be read");
    let value = b"value 40 value 40";
    let at = bytes.windows(value.len()).position(|window| window == value).expect("the item is there");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("the file can be written");
    assert!(!documents::verify(folder.path()).expect("it can be checked").is_empty());
    let client = open(folder.path(), false);
    assert_eq!(client.send(&read(3), "").await.status, 200);
    assert_eq!(client.send(&format!("POST {DOCS}"), r#"{"id":"before","pk":"x"}"#).await.status, 201);
    let damaged = client.send(&read(40), "").await;
    assert_eq!((damaged.status, damaged.json()["code"].as_str()), (503, Some("DataDamaged")));
    assert_read_only(&client).await;
    assert_eq!(client.send(&read(3), "").await.status, 200);
    client.close().await;
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_opened_read_only() {
    let folder = killed(true).await;
    let log = folder.path().join("documents.sqlite-wal");
    let bytes = std::fs::read(&log).expect("there is a log");
    std::fs::write(&log, &bytes[..bytes.len() / 2]).expect("the log can be cut");
    let client = open(folder.path(), false);
    assert_eq!(client.send(&read(3), "").await.status, 200);
    assert_read_only(&client).await;
    client.close().await;
    // The rest of the log is kept for a repair.
    assert_eq!(std::fs::metadata(&log).expect("the log is there").len(), bytes.len() as u64 / 2);
    let accepting = open(folder.path(), true);
    assert_eq!(accepting.send(&format!("POST {DOCS}"), r#"{"id":"new","pk":"x"}"#).await.status, 201);
    accepting.close().await;
}

#[tokio::test]
async fn a_missing_empty_or_truncated_file_is_rejected_and_the_log_is_kept() {
    for what in ["missing", "empty", "halved"] {
        let folder = killed(true).await;
        let (path, log) =
            (folder.path().join("documents.sqlite"), folder.path().join("documents.sqlite-wal"));
        let bytes = std::fs::read(&path).expect("the file can be read");
        match what {
            "missing" => std::fs::remove_file(&path).expect("the file is there"),
            "empty" => std::fs::write(&path, []).expect("the file can be written"),
            _ => {
                std::fs::remove_file(&log).expect("the log is there");
                std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("the file can be written");
            }
        }
        // SQLite may leave an empty file.
        let content = || std::fs::read(&log).unwrap_or_default();
        let before = content();
        let error = refused(folder.path()).to_string();
        assert!(error.contains("--accept-loss=documents"), "{what}: {error}");
        assert_eq!(content(), before, "{what}: the log was changed");
    }
}
