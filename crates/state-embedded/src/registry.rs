//! The [`state::Registry`] on SQLite: one thread writes, one reads, and session keys live in memory beside it.
//!
//! A key is in the database or in memory, never in both. Concurrent writes share a transaction (group commit), and a
//! read holds the memory's lock while it looks into the database, so that it sees both at one moment. Leases are
//! written by the same thread, see `lease.rs`.
//!
//! Know these first: [`Registry`] (the handle), [`Shared`], `writer.rs`. Start reading at `writer.rs`.

mod reader;
mod tables;
mod watch;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use checked_files::{AtLoss, Database, Health, StoreId};
use state::{Durability, Expect, Instance, Key, KeyEntry, RegistryError, Version, Watch};
use supervision::{Supervisor, Unit};
use tokio::sync::oneshot;

use self::reader::{Page, Read};
pub(crate) use self::tables::LeaseRow;
use self::watch::{Inbox, Watcher};
pub(crate) use self::writer::Command;
use crate::error::{OpenError, StoreClosed};
use crate::metrics::Metrics;
use crate::options::{Clock, RegistryOptions};
use crate::queue::Queue;

/// A handle to the registry's two threads; clones share them.
#[derive(Clone)]
pub(crate) struct Registry {
    writes: Arc<Queue<Command>>,
    reads: Arc<Queue<Read>>,
    shared: Arc<Shared>,
    options: RegistryOptions,
    metrics: Metrics,
    health: Health,
    id: StoreId,
}

/// The threads, for whoever closes the store.
pub(crate) struct Threads(Vec<JoinHandle<()>>);

/// What the two threads and the watchers share. Lock order: `session` before `watchers`; an inbox's lock is innermost.
struct Shared {
    session: RwLock<Session>,
    watchers: Mutex<Vec<Weak<Inbox>>>,
    clock: Clock,
}

/// The keys that live in memory.
struct Session {
    keys: BTreeMap<(Instance, Key), Stored>,
    /// Everything up to this version can be read.
    applied: Version,
}

/// A key's value as it is kept.
#[derive(Clone, Debug)]
struct Stored {
    value: Bytes,
    version: Version,
    expires_at: Option<SystemTime>,
}

impl Stored {
    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    fn entry(self, key: Key) -> KeyEntry {
        KeyEntry { key, value: self.value, version: self.version, expires_at: self.expires_at }
    }
}

impl Registry {
    /// Opens the database at `file` and starts the threads.
    pub(crate) fn open(
        file: &Path,
        options: &RegistryOptions,
        clock: Clock,
        metrics: Metrics,
        at_loss: AtLoss,
        supervisor: &Supervisor,
    ) -> Result<(Self, Threads), OpenError> {
        let failed = |cause| OpenError::from_database(file, cause);
        let database = Database::open(&tables::layout(file), at_loss)
            .map_err(|cause| OpenError::from_checked(file, cause))?;
        let health = database.health.clone();
        let id = database.id();
        let counters = tables::counters(&database.connection).map_err(failed)?;
        let read_connection = tables::open_for_reading(file, &health).map_err(failed)?;
        let session = Session { keys: BTreeMap::new(), applied: Version(counters.version_limit) };
        let shared = Arc::new(Shared { session: RwLock::new(session), watchers: Mutex::default(), clock });
        let registry = Self {
            writes: Arc::new(Queue::new(options.queue_bytes_max)),
            reads: Arc::new(Queue::new(options.reads_max)),
            shared: shared.clone(),
            options: options.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            id,
        };
        let reader = reader::Reader::new(read_connection, file.to_owned(), health, shared.clone());
        let writer = writer::Writer::new(database, counters, shared, metrics);
        let (writes, reads) = (registry.writes.clone(), registry.reads.clone());
        let failed = |cause| OpenError::Io { directory: file.parent().unwrap_or(file).to_owned(), cause };
        let run_writer = move |unit: &Unit| writer.run(&writes, unit);
        let run_reader = move |unit: &Unit| reader.run(&reads, unit);
        let threads = vec![
            supervisor.essential_thread(Builder::new(), "registry writer", run_writer).map_err(failed)?,
            supervisor.restarting_thread(Builder::new(), "registry reader", run_reader).map_err(failed)?,
        ];
        Ok((registry, Threads(threads)))
    }

    /// Whether it may be written.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// The id of the database, drawn when it was made.
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// Refuses further calls and ends the watches; what was taken before is still carried out.
    pub(crate) fn close(&self) {
        self.writes.close();
        self.reads.close();
    }

    /// Sends the writer a command that answers through a channel, and waits for the answer.
    pub(crate) async fn command<T>(
        &self,
        bytes: usize,
        make: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, StoreClosed> {
        let (reply, answer) = oneshot::channel();
        self.metrics.registry_queue.inc();
        let pushed = self.writes.push(make(reply), bytes + 256).await;
        let answer = match pushed {
            Ok(()) => answer.await.map_err(|_| StoreClosed),
            Err(_) => Err(StoreClosed),
        };
        self.metrics.registry_queue.dec();
        answer
    }

    /// Sends the reader a request and waits for the answer.
    async fn read<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, RegistryError>>) -> Read,
    ) -> Result<T, RegistryError> {
        let (reply, answer) = oneshot::channel();
        let closed = || RegistryError::Backend(Box::new(StoreClosed));
        self.reads.push(make(reply), 1).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// A page of present keys; see [`Page`].
    async fn page(
        &self,
        instance: &Instance,
        prefix: &str,
        after: Option<&Key>,
        keys_max: usize,
        bytes_max: usize,
    ) -> Result<Page, RegistryError> {
        let (instance, prefix, after) = (instance.clone(), prefix.to_owned(), after.cloned());
        self.read(|reply| Read::Page { instance, prefix, after, keys_max, bytes_max, reply }).await
    }
}

/// Copies a database to a new file; a process may have it open.
pub(crate) fn backup(file: &Path, to: &Path) -> Result<(), OpenError> {
    checked_files::backup(&tables::layout(file), to).map_err(|cause| OpenError::from_checked(file, cause))
}

/// Reads everything in a database that no process has open, and says what is wrong; nothing if it is sound.
pub(crate) fn verify(file: &Path) -> Result<Vec<String>, OpenError> {
    checked_files::verify(&tables::layout(file)).map_err(|cause| OpenError::from_checked(file, cause))
}

impl Threads {
    /// Waits for the threads to end, after [`Registry::close`]. Blocks.
    pub(crate) fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a thread of the registry panicked");
            }
        }
    }
}

fn checked(key: &Key, value: &Bytes) -> Result<(), RegistryError> {
    if value.len() <= Key::VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(RegistryError::TooLarge { key: key.clone(), bytes: value.len(), limit: Key::VALUE_BYTES_MAX })
}

#[async_trait::async_trait]
impl state::Registry for Registry {
    async fn get(&self, instance: &Instance, key: &Key) -> Result<Option<KeyEntry>, RegistryError> {
        let home = (instance.clone(), key.clone());
        self.read(|reply| Read::Get { home, reply }).await
    }

    async fn put(
        &self,
        instance: &Instance,
        key: &Key,
        value: Bytes,
        expect: Expect,
        durability: Durability,
        ttl: Option<Duration>,
    ) -> Result<Version, RegistryError> {
        checked(key, &value)?;
        let home = (instance.clone(), key.clone());
        self.command(value.len(), |reply| Command::Put { home, value, expect, durability, ttl, reply })
            .await
            .map_err(|closed| RegistryError::Backend(Box::new(closed)))?
    }

    async fn delete(&self, instance: &Instance, key: &Key, expect: Expect) -> Result<bool, RegistryError> {
        let home = (instance.clone(), key.clone());
        self.command(0, |reply| Command::Delete { home, expect, reply })
            .await
            .map_err(|closed| RegistryError::Backend(Box::new(closed)))?
    }

    async fn list(
        &self,
        instance: &Instance,
        prefix: &str,
        after: Option<&Key>,
        keys_max: usize,
    ) -> Result<Vec<KeyEntry>, RegistryError> {
        Ok(self.page(instance, prefix, after, keys_max, usize::MAX).await?.entries)
    }

    async fn watch(&self, instance: &Instance, prefix: &str) -> Result<Box<dyn Watch>, RegistryError> {
        Ok(Box::new(Watcher::new(self.clone(), instance, prefix)?))
    }
}
