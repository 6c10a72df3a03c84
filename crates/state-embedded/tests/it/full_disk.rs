//! A full disk: refused cleanly, and usable again when there is room.
//!
//! The test starts its own binary as a child in a mount namespace of its own, with a small file system in memory. Where
//! the system does not allow that, the test says that it did not run.

use std::path::Path;
use std::process::Command;

use state::{AppendError, Durability, Expect, Instance, Key, Name, Offset, Position, Record, RegistryError};
use state_embedded::{JournalOptions, OpenStoreError, Options, Store};

/// Tells the child where the small file system is.
const DIRECTORY: &str = "CHAPPE_FULL_DISK_DIRECTORY";

const MOUNT: &str = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";

#[test]
fn a_full_disk_refuses_and_recovers() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", command]).arg(directory.path());
        unshare
    };
    let possible = unshare("mount -t tmpfs -o size=4m tmpfs \"$0\"").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("NOT RUN: a full disk needs 'unshare' and the right to mount in a namespace of one's own");
        return;
    }
    let output = unshare(MOUNT)
        .arg(std::env::current_exe().expect("the test has a path"))
        .args(["full_disk::child", "--exact", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .expect("the child starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("full disk: done"), "the child says:\n{said}");
}

/// What happens in the namespace; without a directory in the environment there is nothing to do.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(fill(Path::new(&directory)));
    eprintln!("full disk: done");
}

fn options() -> Options {
    let journal = JournalOptions {
        segment_bytes: 512 << 10,
        segment_bytes_first: 64 << 10,
        ..JournalOptions::default()
    };
    Options { journal, ..Options::default() }
}

async fn fill(directory: &Path) {
    let (instance, name) = (Instance::new("a").expect("valid"), Name::new("n").expect("valid"));
    let filler = directory.join("filler");
    std::fs::write(&filler, vec![1; 1 << 20]).expect("there is room");
    let path = directory.join("state");
    let store = Store::open(&path, &options()).expect("the store opens");
    let (journal, registry) = (store.journal(), store.registry());
    let mut start = None;
    let mut count = 0;
    let record = || Record::new(vec![7; 10_000]);
    let refused = loop {
        match journal.append(&instance, &name, vec![record()]).await {
            Ok(position) => {
                start.get_or_insert(position);
                count = position.offset.0 + 1;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::NoSpace { .. }), "{refused:?}");
    // What is left, to the last byte.
    let rest = directory.join("rest");
    drop(std::fs::write(&rest, vec![1; 4 << 20]));
    let key = Key::new("k").expect("valid");
    let value = bytes::Bytes::from(vec![1; 500_000]);
    let put = || registry.put(&instance, &key, value.clone(), Expect::Anything, Durability::Durable, None);
    let refused = put().await;
    assert!(matches!(refused, Err(RegistryError::Backend(_))), "{refused:?}");
    assert_eq!(registry.get(&instance, &key).await.expect("get works"), None, "nothing was changed");
    let other = directory.join("other");
    let opened = Store::open(&other, &options()).map(drop);
    assert!(matches!(opened, Err(OpenStoreError::NoSpace { .. })), "{opened:?}");

    std::fs::remove_file(&rest).expect("it is there");
    std::fs::remove_file(&filler).expect("it is there");
    let next = journal.append(&instance, &name, vec![record()]).await.expect("there is room again");
    assert_eq!(next.offset.0, count);
    put().await.expect("there is room again");
    store.close().await;
    let store = Store::open(&path, &options()).expect("the store opens");
    let start = start.expect("something was appended");
    for offset in 0..=count {
        let from = Position { offset: Offset(offset), ..start };
        let read = store.journal().read(&instance, &name, from, 1, 1).await.expect("read works");
        assert_eq!(read[0].record, record());
    }
    assert!(store.registry().get(&instance, &key).await.expect("get works").is_some());
}
