//! A directory of an older format is converted completely. `opening.rs` tests that newer formats are rejected.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use state::{Durability, Epoch, Expect, Instance, Key, LeaseError, Name, Offset, Position, Record};
use state_embedded::{Clock, Store};

use crate::backend::options;

const FORMAT_2: &str = include_str!("fixtures/format-2.txt");

/// The epoch of the journal `chat` in the fixture.
const EPOCH: Epoch = Epoch(11_899_705_498_122_781_421);

/// When the lease in the fixture ends, in seconds since the Unix epoch, rounded down.
const LEASE_ENDS_S: u64 = 1_796_049_736;

/// Writes the files that a fixture describes; the first lines of the fixture explain its format.
fn unpack(fixture: &str, directory: &Path) {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut path = "";
    for line in fixture.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["file", name, length] => {
                path = name;
                files.insert(name, vec![0; length.parse().expect("a length")]);
            }
            [offset, digits] => {
                let offset: usize = offset.parse().expect("an offset");
                let bytes = (0..digits.len()).step_by(2);
                let bytes: Vec<u8> = bytes
                    .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
                    .collect();
                let file = files.get_mut(path).expect("a file was begun");
                file[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            _ => panic!("not a line of a fixture: {line}"),
        }
    }
    for (path, bytes) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("it can be made");
        std::fs::write(path, bytes).expect("the file can be written");
    }
}

fn open(directory: &Path, now_s: u64) -> Store {
    let clock: Clock = Arc::new(move || -> SystemTime { UNIX_EPOCH + Duration::from_secs(now_s) });
    Store::open_with_clock(directory, &options(), clock).expect("the store opens")
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

async fn texts(store: &Store, journal: &str) -> Vec<String> {
    let instance = Instance::new("default").expect("a name");
    let info = store.journal().info(&instance, &name(journal)).await.expect("it is there");
    let first = Position { epoch: info.epoch, offset: info.first };
    let entries =
        store.journal().read(&instance, &name(journal), first, 100, 1 << 20).await.expect("it is read");
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.record.body).into_owned()).collect()
}

#[tokio::test]
async fn a_store_of_format_2_opens_without_loss() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    unpack(FORMAT_2, directory.path());
    let instance = Instance::new("default").expect("a name");
    // Twice: as format 2, and in the converted form.
    for (now_s, before) in [(LEASE_ENDS_S - 10, "chappe-state 2"), (LEASE_ENDS_S - 9, "chappe-state 3")] {
        let format = || std::fs::read_to_string(directory.path().join("format")).expect("it is there");
        assert!(format().starts_with(before), "{}", format());
        let store = open(directory.path(), now_s);
        assert_eq!(format(), "chappe-state 3\nstore 6a4d3bf8\ngeneration 0\n");
        assert_eq!(store.parts().registry, "4709d2e7eb1948c1b39d45c0e18156bc");

        assert_eq!(texts(&store, "chat").await, ["one", "two", "three", "four"]);
        assert_eq!(texts(&store, "other").await, ["alone"]);
        let info = store.journal().info(&instance, &name("chat")).await.expect("it is there");
        assert_eq!((info.epoch, info.next), (EPOCH, Offset(4)), "nothing was lost, so no epoch begins");

        let keys = store.registry().list(&instance, "", None, 10).await.expect("it is read");
        let keys: Vec<_> = keys.iter().map(|entry| (entry.key.as_str(), &entry.value[..])).collect();
        assert_eq!(keys, [("keys/host", &b"secret"[..]), ("users/anna/groups", b"[\"a\",\"b\"]")]);
        let held = store.lease().acquire(&instance, &name("timer"), "owner-2", Duration::from_secs(9)).await;
        assert!(matches!(held, Err(LeaseError::Held { owner, .. }) if owner == "owner-1"));
        store.close().await;
    }
    // It is now a store like every other one: operations that format 2 did not support succeed, and its data is usable.
    let store = open(directory.path(), LEASE_ENDS_S + 1);
    let grant = store.lease().acquire(&instance, &name("timer"), "owner-2", Duration::from_secs(9)).await;
    assert_eq!(grant.expect("it has ended").fence.0, 2);
    let end = store.journal().append(&instance, &name("chat"), vec![Record::new("five")]).await;
    assert_eq!(end.expect("it is written"), Position { epoch: EPOCH, offset: Offset(4) });
    store.journal().remove(&instance, &name("other")).await.expect("it is removed");
    let key = Key::new("keys/host").expect("a key");
    let (registry, value) = (store.registry(), "another".into());
    registry
        .put(&instance, &key, value, Expect::Anything, Durability::Durable, None)
        .await
        .expect("it is written");
    store.close().await;
    let store = open(directory.path(), LEASE_ENDS_S + 2);
    assert_eq!(texts(&store, "chat").await, ["one", "two", "three", "four", "five"]);
    let entry = store.registry().get(&instance, &key).await.expect("it is read").expect("it is there");
    assert_eq!(&entry.value[..], b"another");
}
