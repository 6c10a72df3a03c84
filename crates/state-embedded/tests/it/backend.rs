//! The store under test: small segments, a clock that the test moves, and a directory that outlives the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use state_embedded::{Clock, JournalOptions, Options, Store};
use tempfile::TempDir;

/// See [`state::suite::Backend`].
pub(crate) struct Embedded {
    store: Store,
    directory: TempDir,
    clock_milliseconds: Arc<AtomicU64>,
}

/// Settings by which little data already fills several segments.
pub(crate) fn options() -> Options {
    let journal = JournalOptions {
        segment_bytes: 64 << 10,
        segment_bytes_first: 64 << 10,
        ..JournalOptions::default()
    };
    Options { journal, ..Options::default() }
}

pub(crate) async fn make() -> Embedded {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let clock_milliseconds = Arc::new(AtomicU64::new(1_800_000_000_000));
    let store = open(&directory, &clock_milliseconds);
    Embedded { store, directory, clock_milliseconds }
}

fn open(directory: &TempDir, clock_milliseconds: &Arc<AtomicU64>) -> Store {
    let milliseconds = clock_milliseconds.clone();
    let clock: Clock =
        Arc::new(move || SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.load(Ordering::SeqCst)));
    Store::open_with_clock(directory.path().join("state"), &options(), clock).expect("the store opens")
}

#[async_trait::async_trait]
impl state::suite::Backend for Embedded {
    fn journal(&self) -> Arc<dyn state::Journal> {
        self.store.journal()
    }

    fn registry(&self) -> Arc<dyn state::Registry> {
        self.store.registry()
    }

    fn lease(&self) -> Arc<dyn state::Lease> {
        self.store.lease()
    }

    fn advance(&self, by: Duration) {
        let milliseconds = u64::try_from(by.as_millis()).expect("tests do not wait that long");
        self.clock_milliseconds.fetch_add(milliseconds, Ordering::SeqCst);
    }

    async fn reopen(&mut self) {
        self.store.close().await;
        self.store = open(&self.directory, &self.clock_milliseconds);
    }

    async fn lose(&mut self) {
        self.store.close().await;
        self.directory = tempfile::tempdir().expect("a temporary directory can be made");
        self.store = open(&self.directory, &self.clock_milliseconds);
    }
}
