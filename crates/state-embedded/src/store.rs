//! [`Store`]: a data directory, opened by this process alone.
//!
//! ```text
//! lock               held while the store is open; tells who holds it
//! format             version of the on-disk format, and the store's own number
//! journal/           the segment log, see `journal.rs`
//! registry.sqlite    keys and leases, see `registry.rs`
//! ```

mod format;
mod lock;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::error::OpenError;
use crate::journal::{self, Journal};
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::options::{Clock, Options};
use crate::platform;
use crate::registry::{self, Registry};
use crate::relay::Relay;

/// An open data directory. Give it away by the contracts' handles; close it when they are no longer used.
pub struct Store {
    directory: PathBuf,
    journal: Journal,
    registry: Registry,
    lease: Arc<Lease>,
    relay: Arc<Relay>,
    metrics: Metrics,
    /// Taken by the first close.
    open: Mutex<Option<Open>>,
}

/// What ends with the store, in this order.
struct Open {
    journal: journal::Threads,
    registry: registry::Threads,
    // Held for its `Drop`: the lock goes when everything is written, the temporary directory at the very end.
    _lock: lock::Lock,
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens the data directory, making it where it is missing. Blocks for as long as the files need.
    ///
    /// The directory must belong to the store alone: other files in a new one are refused.
    pub fn open(directory: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        Self::open_with_clock(directory, options, Arc::new(SystemTime::now))
    }

    /// Like [`Store::open`], with the clock by which keys and leases expire.
    pub fn open_with_clock(
        directory: impl AsRef<Path>,
        options: &Options,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        Self::open_in(directory.as_ref(), None, options, clock)
    }

    /// Opens an empty store in a temporary directory that goes with it.
    pub fn ephemeral(options: &Options) -> Result<Self, OpenError> {
        let temporary = tempfile::Builder::new().prefix("chappe-").tempdir();
        let temporary = temporary.map_err(|cause| OpenError::from_io(&std::env::temp_dir(), cause))?;
        let directory = temporary.path().join("state");
        Self::open_in(&directory, Some(temporary), options, Arc::new(SystemTime::now))
    }

    fn open_in(
        directory: &Path,
        temporary: Option<TempDir>,
        options: &Options,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        make_directory(directory)?;
        let lock = lock::Lock::take(directory)?;
        let format = format::check_or_write(directory)?;
        let metrics = Metrics::new();
        let (registry, registry_threads) =
            Registry::open(&directory.join("registry.sqlite"), &options.registry, clock, metrics.clone())?;
        let opened =
            Journal::open(&directory.join("journal"), format.store, &options.journal, metrics.clone());
        let (journal, journal_threads) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                registry.close();
                registry_threads.join();
                return Err(error);
            }
        };
        Ok(Self {
            directory: directory.to_owned(),
            journal,
            lease: Arc::new(Lease(registry.clone())),
            registry,
            relay: Arc::new(Relay::new(options.relay.pending_max, metrics.clone())),
            metrics,
            open: Mutex::new(Some(Open {
                journal: journal_threads,
                registry: registry_threads,
                _lock: lock,
                _temporary: temporary,
            })),
        })
    }

    /// The journals.
    pub fn journal(&self) -> Arc<dyn state::Journal> {
        Arc::new(self.journal.clone())
    }

    /// The keys.
    pub fn registry(&self) -> Arc<dyn state::Registry> {
        Arc::new(self.registry.clone())
    }

    /// The relay.
    pub fn relay(&self) -> Arc<dyn state::Relay> {
        self.relay.clone()
    }

    /// The leases.
    pub fn lease(&self) -> Arc<dyn state::Lease> {
        self.lease.clone()
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds the store's counters, whose names begin with `state_`, to a metrics registry.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.register(registry);
    }

    /// Carries out what was taken, refuses everything later, and ends the store's threads. Dropping the store does the
    /// same, but blocks.
    pub async fn close(&self) {
        let Some(open) = self.refuse_more() else { return };
        let (closed, wait) = tokio::sync::oneshot::channel::<()>();
        let close = move || {
            open.end();
            drop(closed);
        };
        // Not the runtime's own pool, because a store may be closed after that has begun to shut down.
        match std::thread::Builder::new().name("store-close".to_owned()).spawn(close) {
            // An answer never comes: the channel's end is the answer.
            Ok(_) => drop(wait.await),
            Err(error) => tracing::warn!(%error, "the store was closed without a thread of its own"),
        }
    }

    fn refuse_more(&self) -> Option<Open> {
        self.relay.close();
        self.journal.close();
        self.registry.close();
        self.open.lock().expect("no thread panics with the store's lock").take()
    }
}

impl Open {
    /// Waits for the threads, then lets the directory go. Blocks.
    fn end(self) {
        self.journal.join();
        self.registry.join();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(open) = self.refuse_more() {
            open.end();
        }
    }
}

fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let failed = |cause| OpenError::from_io(directory, cause);
    if !directory.try_exists().map_err(failed)? {
        std::fs::create_dir_all(directory).map_err(failed)?;
        platform::make_private(directory).map_err(failed)?;
    }
    Ok(())
}
