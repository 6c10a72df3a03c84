//! Group commit, full queues, drain, and a full disk.

use documents::{Error, Options, Service};
use prometheus_client::registry::Registry;
use trace::Tracer;

use crate::client::Client;

const CONTAINER: &str = r#"{"id":"c","partitionKey":{"paths":["/pk"]}}"#;
const DOCS: &str = "/dbs/d/colls/c/docs";

/// The value of one line of the metrics.
fn metric(client: &Client, name: &str) -> f64 {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &client.registry).expect("metrics are text");
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_writes_share_a_transaction() {
    let client = Client::with_container(CONTAINER).await;
    let groups_before = metric(&client, "documents_commit_group_requests_count");
    let writes = (0..400).map(|number| {
        // Every tenth write is invalid; the others in the transaction must not be affected.
        let id = if number % 10 == 9 { "taken".to_owned() } else { format!("i{number}") };
        tokio::spawn(client.start(&format!("POST {DOCS}"), &format!(r#"{{"id":"{id}","pk":"x"}}"#)))
    });
    let mut statuses = Vec::new();
    for write in writes.collect::<Vec<_>>() {
        let answered = write.await.expect("no panic").expect("the service never fails");
        statuses.push(answered.status().as_u16());
    }
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!((count(201), count(409)), (361, 39));
    let groups = metric(&client, "documents_commit_group_requests_count") - groups_before;
    assert!(groups < 400.0, "400 writes took {groups} transactions");
    assert_eq!(client.query("SELECT VALUE COUNT(1) FROM c").await, "361");
    let feed = client.send(&format!("GET {DOCS} a-im: Incremental Feed; x-ms-max-item-count: -1"), "").await;
    let lsns: Vec<u64> = feed.rows().iter().filter_map(|row| row["_lsn"].as_u64()).collect();
    assert_eq!(lsns.len(), 361);
    assert!(lsns.is_sorted_by(|one, other| one < other));
}

#[tokio::test]
async fn writes_beyond_the_queue_limit_are_429() {
    let client = Client::with(|options| {
        options.body_bytes_max = 1024;
        options.write_queue_bytes_max = 1024;
    });
    client.container(CONTAINER).await;
    // All are sent before the first can be on disk, and the queue has capacity for only one at a time.
    let mut waiting = Vec::new();
    for id in 0..50 {
        let item = format!(r#"{{"id":"{id}","pk":"x","v":"{}"}}"#, "v".repeat(800));
        waiting.push(client.start(&format!("POST {DOCS}"), &item));
    }
    let (mut stored, mut refused) = (0, 0);
    for answer in futures_util::future::join_all(waiting).await {
        let answer = answer.expect("the service never fails");
        match answer.status().as_u16() {
            201 => stored += 1,
            429 => {
                assert!(answer.headers().contains_key("x-ms-retry-after-ms"));
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(stored >= 1 && refused >= 1, "{stored} stored, {refused} refused");
    assert_eq!(client.query("SELECT VALUE COUNT(1) FROM c").await, stored.to_string());
}

#[tokio::test]
async fn a_write_on_a_full_disk_is_507_and_stores_nothing() {
    let client = Client::with(|options| options.database_bytes_max = Some(1 << 20));
    client.container(CONTAINER).await;
    let put = async |id: usize, bytes: usize| {
        let item = format!(r#"{{"id":"{id}","pk":"x","v":"{}"}}"#, "v".repeat(bytes));
        client.send(&format!("POST {DOCS}"), &item).await
    };
    let mut stored = 0;
    let refused = loop {
        let answer = put(stored, 100_000).await;
        if answer.status != 201 {
            break answer;
        }
        stored += 1;
    };
    assert_eq!((refused.status, refused.json()["code"].as_str()), (507, Some("InsufficientStorage")));
    assert!(refused.error().contains("disk"), "{}", refused.body);
    assert!(stored > 3);
    // Stored items are complete and can be read, and deleting frees space.
    assert_eq!(client.query("SELECT VALUE COUNT(1) FROM c").await, stored.to_string());
    for id in [0, 1] {
        let delete = format!("DELETE {DOCS}/{id} x-ms-documentdb-partitionkey: [\"x\"]");
        assert_eq!(client.send(&delete, "").await.status, 204);
    }
    assert_eq!(put(0, 100_000).await.status, 201);
    let feed = client.send(&format!("GET {DOCS} a-im: Incremental Feed"), "").await;
    assert_eq!(feed.rows().len(), stored - 1);
}

#[tokio::test]
async fn after_the_drain_requests_are_rejected_and_data_is_stored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = Options { data_dir: folder.path().to_owned(), ..Options::default() };
    let open = || Service::open(options.clone(), Tracer::new(1), &mut Registry::default());
    let (service, handle) = open().expect("the first opens");
    assert!(matches!(open(), Err(Error::InUse { .. })));
    handle.drain().await;
    handle.drain().await;
    drop((service, handle));
    let (_service, handle) = open().expect("the folder is free again");
    handle.drain().await;
}

#[tokio::test]
async fn a_newer_format_and_invalid_options_are_rejected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let connection = rusqlite::Connection::open(folder.path().join("documents.sqlite")).expect("a new file");
    connection.pragma_update(None, "user_version", 99).expect("the pragma is known");
    drop(connection);
    let open = |options| Service::open(options, Tracer::new(1), &mut Registry::default()).map(drop);
    let options = Options { data_dir: folder.path().to_owned(), ..Options::default() };
    let error = open(options).expect_err("format 99 is unknown");
    assert!(
        matches!(error, Error::File(checked_files::OpenDatabaseError::Format { found: 99, .. })),
        "{error}"
    );
    let key = Options { primary_key: Some("not base64!".to_owned()), ..Options::default() };
    assert!(open(key).expect_err("a bad key").to_string().contains("primary_key"));
    let account = Options { account: "localhost".to_owned(), ..Options::default() };
    assert!(matches!(open(account), Err(Error::Option { name: "account", .. })));
}
