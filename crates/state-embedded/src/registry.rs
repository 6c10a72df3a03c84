//! The [`state::Registry`] on SQLite: one thread writes, one reads; session keys live in memory.
//!
//! A key is in the database or in memory, never in both. Concurrent writes share a transaction (group commit). A read holds
//! the lock of the session keys while it queries the database, so that it sees both as of one moment. The same threads
//! serve the leases, see `lease.rs`.
//!
//! Know these first: [`RegistryHandle`] (the handle), [`Shared`], `transaction.rs`. Start reading at `writer.rs`.

mod command;
mod grants;
mod inbox;
mod read;
mod reader;
mod session;
mod tables;
mod transaction;
mod watch;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Duration;

use bytes::Bytes;
use checked_files::{CheckedDatabase, Health, LossPolicy, StoreId};
use state::{Durability, Expect, Instance, Key, KeyEntry, RegistryError, Version, Watch};
use supervision::{Supervisor, Thread};
use tokio::sync::oneshot;

use self::command::KeyWrite;
pub(crate) use self::command::RegistryCommand;
use self::read::{PageRange, ReadQueue};
use self::session::Shared;
use self::watch::Watcher;
use crate::error::{OpenStoreError, StoreClosed};
use crate::metrics::Metrics;
use crate::options::{Clock, RegistryOptions};
use crate::queue::Queue;

/// A handle to the registry's two threads; clones share them.
#[derive(Clone)]
pub(crate) struct RegistryHandle {
    writes: Arc<Queue<RegistryCommand>>,
    reads: ReadQueue,
    shared: Arc<Shared>,
    options: RegistryOptions,
    metrics: Metrics,
    health: Health,
    id: StoreId,
}

/// The threads; the store joins them when it closes.
pub(crate) struct RegistryThreads(Vec<Thread>);

impl RegistryHandle {
    /// Opens the database at `file` and starts the threads.
    pub(crate) fn open(
        file: &Path,
        options: &RegistryOptions,
        clock: Clock,
        metrics: Metrics,
        loss_policy: LossPolicy,
        supervisor: &Supervisor,
    ) -> Result<(Self, RegistryThreads), OpenStoreError> {
        let failed = |cause| OpenStoreError::from_database(file, cause);
        let database = CheckedDatabase::open(&tables::layout(file), loss_policy)
            .map_err(|cause| OpenStoreError::from_checked(file, cause))?;
        let health = database.health.clone();
        let id = database.id();
        let counters = tables::counters(&database.connection).map_err(failed)?;
        let read_connection = tables::open_for_reading(file, &health).map_err(failed)?;
        let shared = Arc::new(Shared::new(Version(counters.version_limit), clock));
        let registry = Self {
            writes: Arc::new(Queue::new(options.queue_bytes_max)),
            reads: ReadQueue(Arc::new(Queue::new(options.reads_max))),
            shared: shared.clone(),
            options: options.clone(),
            metrics: metrics.clone(),
            health: health.clone(),
            id,
        };
        let reader = reader::RegistryReader::new(read_connection, file.to_owned(), health, shared.clone());
        let writer = writer::RegistryWriter::new(database, counters, shared, metrics);
        let (writes, reads) = (registry.writes.clone(), registry.reads.clone());
        let failed =
            |cause| OpenStoreError::Io { directory: file.parent().unwrap_or(file).to_owned(), cause };
        let writing = move || writer::RegistryWriterTurns::new(writer, writes);
        let reading = reader::RegistryReaderTurns { reader, queue: reads.0 };
        let threads = vec![
            supervisor.essential_turns(Builder::new(), "registry writer", writing).map_err(failed)?,
            supervisor.restarting_turns(Builder::new(), "registry reader", reading).map_err(failed)?,
        ];
        Ok((registry, RegistryThreads(threads)))
    }

    /// Whether the registry may be written.
    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// The id of the database, drawn when it was created.
    pub(crate) fn id(&self) -> StoreId {
        self.id
    }

    /// Rejects further calls and ends the watches; accepted commands are still executed.
    pub(crate) fn close(&self) {
        self.writes.close();
        self.reads.close();
    }

    /// Sends the writer a command and waits for its reply.
    pub(crate) async fn command<T>(
        &self,
        bytes: usize,
        make: impl FnOnce(oneshot::Sender<T>) -> RegistryCommand,
    ) -> Result<T, StoreClosed> {
        let (reply, replied) = oneshot::channel();
        self.metrics.registry_queue.inc();
        let pushed = self.writes.push(make(reply), bytes + 256).await;
        let result = match pushed {
            Ok(()) => replied.await.map_err(|_| StoreClosed),
            Err(_) => Err(StoreClosed),
        };
        self.metrics.registry_queue.dec();
        result
    }
}

/// Copies a database to a new file; a process may have it open.
pub(crate) fn backup(file: &Path, to: &Path) -> Result<(), OpenStoreError> {
    checked_files::backup(&tables::layout(file), to)
        .map_err(|cause| OpenStoreError::from_checked(file, cause))
}

/// Reads everything in a database that no process has open. Returns a description of each damage; empty if there is none.
pub(crate) fn verify(file: &Path) -> Result<Vec<String>, OpenStoreError> {
    checked_files::verify(&tables::layout(file)).map_err(|cause| OpenStoreError::from_checked(file, cause))
}

impl RegistryThreads {
    /// Waits for the threads to end, after [`RegistryHandle::close`]. Blocks.
    pub(crate) fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a thread of the registry panicked");
            }
        }
    }
}

fn validate(key: &Key, value: &Bytes) -> Result<(), RegistryError> {
    if value.len() <= Key::VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(RegistryError::TooLarge { key: key.clone(), bytes: value.len(), limit: Key::VALUE_BYTES_MAX })
}

#[async_trait::async_trait]
impl state::Registry for RegistryHandle {
    async fn get(&self, instance: &Instance, key: &Key) -> Result<Option<KeyEntry>, RegistryError> {
        self.reads.get((instance.clone(), key.clone())).await
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
        validate(key, &value)?;
        let key = (instance.clone(), key.clone());
        let bytes = value.len();
        let write = KeyWrite { value, expect, durability, ttl };
        self.command(bytes, |reply| RegistryCommand::Put { key, write, reply })
            .await
            .map_err(|closed| RegistryError::Backend(Box::new(closed)))?
    }

    async fn delete(&self, instance: &Instance, key: &Key, expect: Expect) -> Result<bool, RegistryError> {
        let key = (instance.clone(), key.clone());
        self.command(0, |reply| RegistryCommand::Delete { key, expect, reply })
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
        let range = PageRange {
            instance: instance.clone(),
            prefix: prefix.to_owned(),
            after: after.cloned(),
            keys_max,
            bytes_max: usize::MAX,
        };
        Ok(self.reads.page(range).await?.entries)
    }

    async fn watch(&self, instance: &Instance, prefix: &str) -> Result<Box<dyn Watch>, RegistryError> {
        let (reads, is_closed) = (self.reads.clone(), || self.writes.is_closed());
        let watcher = Watcher::new(reads, &self.shared, &self.options, instance, prefix, is_closed)?;
        Ok(Box::new(watcher))
    }
}
