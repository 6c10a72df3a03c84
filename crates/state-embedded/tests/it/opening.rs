//! Opening a data directory: by one process only, with a known format, and with clear errors otherwise.

use state_embedded::{OpenStoreError, Options, Store};

use crate::backend::options;

fn refused(directory: impl AsRef<std::path::Path>) -> OpenStoreError {
    match Store::open(directory, &options()) {
        Ok(_) => panic!("the store must not open"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_directory_in_use_is_rejected_with_the_process_id() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("state");
    let store = Store::open(&path, &options()).expect("the store opens");
    let error = refused(&path);
    assert!(
        matches!(&error, OpenStoreError::InUse { owner, .. } if *owner == format!("process {}", std::process::id()))
    );
    assert!(error.to_string().contains("stop that process"), "{error}");
    store.close().await;
    drop(Store::open(&path, &options()).expect("a closed store leaves no lock"));
}

#[test]
fn a_newer_format_is_rejected_and_unchanged() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    drop(Store::open(directory.path(), &options()).expect("an empty directory is taken"));
    let format = directory.path().join("format");
    let newer = "chappe-state 4\nsomething this version does not know\n";
    std::fs::write(&format, newer).expect("the file can be written");
    let error = refused(&directory);
    assert!(matches!(error, OpenStoreError::NewerFormat { found: 4, known: 3, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&format).expect("the file is there"), newer);
}

#[test]
fn a_directory_with_other_files_is_rejected_and_unchanged() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::write(directory.path().join("letter.txt"), "dear").expect("the file can be written");
    let error = refused(&directory);
    assert!(matches!(error, OpenStoreError::NotOurs { .. }), "{error}");
    std::fs::remove_file(directory.path().join("letter.txt")).expect("the file is there");
    std::fs::write(directory.path().join("format"), [0xff, 0xfe]).expect("the file can be written");
    let error = refused(&directory);
    assert!(matches!(error, OpenStoreError::NotOurs { .. }), "{error}");
}

#[test]
fn a_file_in_place_of_the_directory_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    let error = refused(file.path().join("state"));
    assert!(matches!(error, OpenStoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

/// No user, not even root, can create a directory there.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_without_permission_is_named() {
    let error = refused("/sys/chappe-state");
    assert!(
        matches!(error, OpenStoreError::Permission { .. } | OpenStoreError::ReadOnly { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("/sys/chappe-state"), "{error}");
}

#[tokio::test]
async fn an_ephemeral_store_removes_its_directory() {
    let store = Store::ephemeral(&Options::default()).expect("the store opens");
    let directory = store.directory().to_owned();
    let (instance, name) = (state::Instance::new("a").expect("valid"), state::Name::new("n").expect("valid"));
    store.journal().append(&instance, &name, vec![state::Record::new("x")]).await.expect("append works");
    assert!(directory.exists());
    drop(store);
    assert!(!directory.exists());
}

#[tokio::test]
async fn calls_to_a_closed_store_fail_and_its_waits_end() {
    let store = Store::ephemeral(&options()).expect("the store opens");
    let (instance, name) = (state::Instance::new("a").expect("valid"), state::Name::new("n").expect("valid"));
    let (journal, registry, lease) = (store.journal(), store.registry(), store.lease());
    let end = journal.append(&instance, &name, Vec::new()).await.expect("append works");
    let mut watch = registry.watch(&instance, "").await.expect("watch works");
    let waiting = tokio::spawn({
        let (journal, instance, name) = (journal.clone(), instance.clone(), name.clone());
        async move { journal.wait(&instance, &name, end).await }
    });
    let changes = tokio::spawn(async move { watch.next().await });
    store.close().await;
    assert!(waiting.await.expect("no panic").is_err());
    assert!(changes.await.expect("no panic").is_none());
    let appended = journal.append(&instance, &name, vec![state::Record::new("x")]).await;
    assert!(matches!(appended, Err(state::AppendError::Closed { .. })), "{appended:?}");
    assert!(registry.list(&instance, "", None, 1).await.is_err());
    assert!(registry.watch(&instance, "").await.is_err());
    assert!(lease.acquire(&instance, &name, "o", std::time::Duration::from_secs(1)).await.is_err());
}

#[test]
fn metrics_have_their_documented_names() {
    let store = Store::ephemeral(&options()).expect("the store opens");
    let mut registry = prometheus_client::registry::Registry::default();
    store.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("metrics can be written");
    for name in
        ["state_journal_flushes_total 0", "state_registry_writes_total 0", "state_lease_acquisitions_total 0"]
    {
        assert!(text.contains(name), "{name} is missing in\n{text}");
    }
}

#[test]
fn unknown_settings_are_rejected() {
    let unknown = serde_json::from_str::<Options>(r#"{"journal": {"segment_size": 1}}"#);
    assert!(unknown.expect_err("the key is unknown").to_string().contains("segment_size"));
    let known: Options = serde_json::from_str(r#"{"journal": {"segment_bytes": 65536}}"#).expect("known");
    assert_eq!((known.journal.segment_bytes, known.registry.reads_max), (65536, 1024));
}
