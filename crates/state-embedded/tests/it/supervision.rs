//! What follows when a thread of the store panics.

use std::time::Duration;

use bytes::Bytes;
use state::{Durability, Expect, Instance, Key, Name, Position, Record};
use state_embedded::{Options, Store};
use supervision::Supervisor;

/// Longer than any step of these tests takes.
const LIMIT: Duration = Duration::from_secs(20);

struct Opened {
    store: Store,
    supervisor: Supervisor,
    _folder: tempfile::TempDir,
}

fn open(unit: &str) -> Opened {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let supervisor = Supervisor::default();
    supervisor.panic_next(unit);
    let store = Store::open_supervised(folder.path().join("state"), &Options::default(), &supervisor);
    Opened { store: store.expect("the store opens"), supervisor, _folder: folder }
}

fn instance() -> Instance {
    Instance::new("test").expect("a name")
}

impl Opened {
    async fn put(&self) -> bool {
        let (key, value) = (Key::new("k").expect("a key"), Bytes::from_static(b"v"));
        let (registry, instance) = (self.store.registry(), instance());
        let put = registry.put(&instance, &key, value, Expect::Anything, Durability::Durable, None);
        tokio::time::timeout(LIMIT, put).await.is_ok_and(|put| put.is_ok())
    }

    async fn get(&self) -> bool {
        let key = Key::new("k").expect("a key");
        self.store.registry().get(&instance(), &key).await.is_ok()
    }

    async fn append(&self) -> Option<Position> {
        let record = Record::new(Bytes::from_static(b"r"));
        let name = Name::new("j").expect("a name");
        let journal = self.store.journal();
        tokio::time::timeout(LIMIT, journal.append(&instance(), &name, vec![record])).await.ok()?.ok()
    }

    async fn failed(&self) -> String {
        tokio::time::timeout(LIMIT, self.supervisor.failed()).await.expect("a failure is told").unit
    }
}

#[tokio::test]
async fn a_panic_of_a_writer_fails_the_process() {
    let opened = open("registry writer");
    assert!(!opened.put().await, "what was not written is not acknowledged");
    assert_eq!(opened.failed().await, "registry writer");
    let opened = open("journal writer");
    assert_eq!(opened.append().await, None);
    assert_eq!(opened.failed().await, "journal writer");
    let opened = open("journal segments");
    assert_eq!(opened.failed().await, "journal segments");
    assert!(!opened.supervisor.not_ready().is_empty());
}

#[tokio::test]
async fn a_reader_continues_after_a_panic() {
    let opened = open("registry reader");
    assert!(!opened.get().await, "the read that met the panic fails");
    assert!(opened.put().await && opened.get().await);
    let opened = open("journal reader 0");
    let position = opened.append().await.expect("it is written");
    let (journal, name) = (opened.store.journal(), Name::new("j").expect("a name"));
    let mut failures = 0;
    // Readers are used in turn, so the one that panics gets a request within two rounds.
    for _ in 0..16 {
        let instance = instance();
        let read = journal.read(&instance, &name, position, 1, 1024);
        match tokio::time::timeout(LIMIT, read).await.expect("in time") {
            Ok(entries) => assert_eq!(entries.len(), 1),
            Err(_) => failures += 1,
        }
    }
    assert_eq!(failures, 1, "only the read that met the panic fails");
}
