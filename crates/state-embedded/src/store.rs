//! [`Store`]: a data directory, opened by this process alone.
//!
//! ```text
//! lock               locked while the store is open; names the process
//! format             version of the on-disk format, number and generation of the store
//! journal/           the segment log, see `journal.rs`
//! journal.mark       the last acknowledged group of records
//! registry.sqlite    keys and leases, see `registry.rs`
//! registry.mark      the last acknowledged commit
//! ```

mod format;
mod lock;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use checked_files::LossPolicy;
use supervision::Supervisor;
use tempfile::TempDir;

use self::format::Format;
use crate::error::OpenStoreError;
use crate::journal::{self, JournalHandle};
use crate::lease::LeaseHandle;
use crate::metrics::Metrics;
use crate::options::{AcceptLoss, Clock, Options};
use crate::platform;
use crate::registry::{self, RegistryHandle};

/// An open data directory. Its users get handles of the contracts; close it when they are no longer used.
pub struct Store {
    directory: PathBuf,
    /// The number of the store.
    number: u32,
    journal: JournalHandle,
    registry: RegistryHandle,
    lease: Arc<LeaseHandle>,
    metrics: Metrics,
    /// `None` after the first close.
    open: Mutex<Option<OpenStore>>,
}

/// The ids of the parts of a store, different for each store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartIds {
    /// The journals.
    pub journal: String,
    /// The registry and the leases.
    pub registry: String,
}

/// What the close ends, in this order.
struct OpenStore {
    journal: journal::JournalThreads,
    registry: registry::RegistryThreads,
    // For their `Drop`: the lock is released when everything is written, the temporary directory is removed last.
    _lock: lock::Lock,
    _temporary: Option<TempDir>,
}

impl Store {
    /// Opens the data directory; creates it if it is missing. Blocks.
    ///
    /// # Errors
    ///
    /// If it is in use, damaged, of a newer format, or a new one that contains other files.
    pub fn open(directory: impl AsRef<Path>, options: &Options) -> Result<Self, OpenStoreError> {
        Self::open_with_clock(directory, options, Arc::new(SystemTime::now))
    }

    /// Like [`Store::open`], with a supervisor for the store's threads.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_supervised(
        directory: impl AsRef<Path>,
        options: &Options,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenStoreError> {
        Self::open_in(directory.as_ref(), None, options, Arc::new(SystemTime::now), supervisor)
    }

    /// Like [`Store::open`], with a clock for the expiry of keys and leases.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_with_clock(
        directory: impl AsRef<Path>,
        options: &Options,
        clock: Clock,
    ) -> Result<Self, OpenStoreError> {
        Self::open_in(directory.as_ref(), None, options, clock, &Supervisor::default())
    }

    /// Opens an empty store in a temporary directory that is removed with it.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created.
    pub fn ephemeral(options: &Options) -> Result<Self, OpenStoreError> {
        let temporary = tempfile::Builder::new().prefix("chappe-").tempdir();
        let temporary = temporary.map_err(|cause| OpenStoreError::from_io(&std::env::temp_dir(), cause))?;
        let directory = temporary.path().join("state");
        Self::open_in(&directory, Some(temporary), options, Arc::new(SystemTime::now), &Supervisor::default())
    }

    fn open_in(
        directory: &Path,
        temporary: Option<TempDir>,
        options: &Options,
        clock: Clock,
        supervisor: &Supervisor,
    ) -> Result<Self, OpenStoreError> {
        create_directory(directory)?;
        let lock = lock::Lock::acquire(directory)?;
        let mut format = Format::read_or_create(directory)?;
        let (database, log) = (directory.join("registry.sqlite"), directory.join("journal"));
        check_parts(&format, &database, &log, options.accept_loss)?;
        let metrics = Metrics::default();
        let recovery_options = journal::RecoveryOptions {
            store: format.store,
            has_no_mark: format.is_new || format.version < 2,
            loss_policy: loss_policy(options.accept_loss.journal),
        };
        let recovery = journal::Recovery::read(&log, recovery_options)?;
        let loss_policy = loss_policy(options.accept_loss.registry);
        let (registry, registry_threads) = RegistryHandle::open(
            &database,
            &options.registry,
            clock,
            metrics.clone(),
            loss_policy,
            supervisor,
        )?;
        let found = format;
        format.version = format::VERSION;
        format.is_new = false;
        // Durable before a caller gets a position.
        format.generation += u64::from(recovery.needs_new_epochs);
        if format.is_copy {
            // Random, not incremented: a backup may be restored more than once, and each time other records follow.
            let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
            (format.generation, format.is_copy) = (high ^ low, false);
        }
        let is_written = if format == found { Ok(()) } else { format.write(directory) };
        let opened = is_written.and_then(|()| {
            JournalHandle::open(recovery, format.generation, &options.journal, metrics.clone(), supervisor)
        });
        let (journal, journal_threads) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                registry.close();
                registry_threads.join();
                return Err(error);
            }
        };
        for health in [journal.health(), registry.health()] {
            let gauge = metrics.read_only.clone();
            health.when_damaged(move |_| {
                gauge.inc();
            });
        }
        Ok(Self {
            directory: directory.to_owned(),
            number: format.store,
            journal,
            lease: Arc::new(LeaseHandle(registry.clone())),
            registry,
            metrics,
            open: Mutex::new(Some(OpenStore {
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

    /// The leases.
    pub fn lease(&self) -> Arc<dyn state::Lease> {
        self.lease.clone()
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Calls a listener with the reason when a part of the store becomes read-only; at once if it already is.
    pub fn when_damaged(&self, listener: impl Fn(String) + Send + Sync + 'static) {
        let listener = Arc::new(listener);
        for health in [self.journal.health(), self.registry.health()] {
            let listener = Arc::clone(&listener);
            health.when_damaged(move |damage| listener(damage.to_string()));
        }
    }

    /// The ids of the store's parts, in hexadecimal digits; drawn when they were created.
    pub fn parts(&self) -> PartIds {
        PartIds { journal: format!("{:08x}", self.number), registry: self.registry.id().to_string() }
    }

    /// Adds the store's metrics, whose names begin with `state_`, to a metrics registry.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        self.metrics.add_to(registry);
    }

    /// Executes all accepted commands, rejects later ones, and ends the store's threads. Dropping the store does the same, but
    /// blocks.
    pub async fn close(&self) {
        let Some(open) = self.close_queues() else { return };
        let (closed, wait) = tokio::sync::oneshot::channel::<()>();
        let close = move || {
            open.end();
            drop(closed);
        };
        // Not the runtime's blocking pool: a store may be closed after the pool has begun to shut down.
        match std::thread::Builder::new().name("store-close".to_owned()).spawn(close) {
            // Nothing is sent: the drop of the sender ends the wait.
            Ok(_) => drop(wait.await),
            Err(error) => {
                tracing::warn!(%error, "cannot start a thread that closes the store; closing it in place");
            }
        }
    }

    fn close_queues(&self) -> Option<OpenStore> {
        self.journal.close();
        self.registry.close();
        self.open.lock().expect("no thread panics with the store's lock").take()
    }
}

impl OpenStore {
    /// Waits for the threads, then releases the directory. Blocks.
    fn end(self) {
        self.journal.join();
        self.registry.join();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(open) = self.close_queues() {
            open.end();
        }
    }
}

/// Reads everything in a data directory that no process has open. Returns a description of each damage; empty if there is none.
/// Changes nothing.
///
/// # Errors
///
/// If it is in use, or a part cannot be read at all.
pub fn verify(directory: &Path) -> Result<Vec<String>, OpenStoreError> {
    let _lock = lock::Lock::acquire(directory)?;
    let format = Format::read(directory)?;
    let (database, log) = (directory.join("registry.sqlite"), directory.join("journal"));
    check_parts(&format, &database, &log, AcceptLoss::default())?;
    let has_no_mark = format.is_new || format.version < 2;
    let recovery_options =
        journal::RecoveryOptions { store: format.store, has_no_mark, loss_policy: LossPolicy::Refuse };
    // Damage to one part does not stop the check of the other.
    let log = journal::Recovery::read(&log, recovery_options).map(|recovery| recovery.verify());
    let parts = [log, registry::verify(&database)];
    Ok(parts.into_iter().flat_map(|part| part.unwrap_or_else(|error| vec![error.to_string()])).collect())
}

/// Copies a data directory to a new one, each part as of one moment. A process may have it open.
///
/// # Errors
///
/// If it is damaged or incomplete, or the copy cannot be written.
pub fn backup(directory: &Path, to: &Path) -> Result<(), OpenStoreError> {
    let format = Format::read(directory)?;
    create_directory(to)?;
    registry::backup(&directory.join("registry.sqlite"), &to.join("registry.sqlite"))?;
    journal::backup(&directory.join("journal"), &to.join("journal"), format.store)?;
    Format { is_copy: true, ..format }.write(to)
}

/// Checks that no part is missing. Only for version 1, which had no marks but always created both parts.
fn check_parts(
    format: &Format,
    database: &Path,
    log: &Path,
    accepted: AcceptLoss,
) -> Result<(), OpenStoreError> {
    if format.version >= 2 {
        return Ok(());
    }
    for (file, part, is_accepted) in
        [(log, "journal", accepted.journal), (database, "registry", accepted.registry)]
    {
        let is_there = file.try_exists().map_err(|cause| OpenStoreError::from_io(file, cause))?;
        if !is_there && !is_accepted {
            return Err(OpenStoreError::Missing { file: file.to_owned(), part });
        }
    }
    Ok(())
}

const fn loss_policy(is_accepted: bool) -> LossPolicy {
    if is_accepted { LossPolicy::Accept } else { LossPolicy::Refuse }
}

fn create_directory(directory: &Path) -> Result<(), OpenStoreError> {
    let failed = |cause| OpenStoreError::from_io(directory, cause);
    if !directory.try_exists().map_err(failed)? {
        std::fs::create_dir_all(directory).map_err(failed)?;
        platform::make_private(directory).map_err(failed)?;
    }
    Ok(())
}
