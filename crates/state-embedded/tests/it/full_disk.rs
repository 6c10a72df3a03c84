//! A full disk: writes are rejected without damage, and succeed again when there is space.
//!
//! The test starts itself as a child process in a separate mount namespace, on a small file system in memory. It needs `unshare`
//! (util-linux) and the permission to create user namespaces, and fails without them.

use std::path::Path;
use std::process::Command;

use state::{AppendError, Durability, Expect, Instance, Key, Name, Offset, Position, Record, RegistryError};
use state_embedded::{JournalOptions, OpenStoreError, Options, Store};

/// Set for the child process: the mount point of the small file system.
const DIRECTORY: &str = "CHAPPE_FULL_DISK_DIRECTORY";

const NEEDS: &str = "the test needs 'unshare' and user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)";

const MOUNT: &str = "mount -t tmpfs -o size=4m tmpfs \"$0\" && exec \"$@\"";

#[test]
fn writes_to_a_full_disk_are_refused_and_succeed_when_there_is_space() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return run_on_a_small_disk() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(fill(Path::new(&directory)));
    eprintln!("full disk: done");
}

/// Runs this test in a child process whose directory is a file system of 4 MiB.
fn run_on_a_small_disk() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", command]).arg(directory.path());
        unshare
    };
    let mounted = unshare("mount -t tmpfs -o size=4m tmpfs \"$0\"").output().expect(NEEDS);
    assert!(mounted.status.success(), "{NEEDS}: {}", String::from_utf8_lossy(&mounted.stderr));
    let output = unshare(MOUNT)
        .arg(std::env::current_exe().expect("the test has a path"))
        .args([
            "full_disk::writes_to_a_full_disk_are_refused_and_succeed_when_there_is_space",
            "--exact",
            "--nocapture",
        ])
        .env(DIRECTORY, directory.path())
        .output()
        .expect("the child starts");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("full disk: done"), "output of the child:\n{log}");
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
    std::fs::write(&filler, vec![1; 1 << 20]).expect("there is space");
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
    // Fills the rest of the disk.
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
    let next = journal.append(&instance, &name, vec![record()]).await.expect("there is space again");
    assert_eq!(next.offset.0, count);
    put().await.expect("there is space again");
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
