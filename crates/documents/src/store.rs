//! [`DocumentStore`]: databases, containers, items and their change feed, durable, in an SQLite file.
//!
//! # Rules
//!
//! 1. **Acknowledged is durable.** A write is acknowledged when its transaction is on disk; it survives `kill -9` and power loss.
//! 2. **One transaction.** An item and its entry in the change feed become visible together: they are one row.
//!    The operations of a batch share one transaction and one LSN.
//! 3. **Group commit.** Waiting writes share one transaction and one fsync. A rejected write does not affect the others: each has
//!    a savepoint.
//! 4. **Order.** LSNs of a container rise in commit order and are never reused. A reader that has read LSN n never finds a new
//!    entry at or below n.
//! 5. **Latest version.** The feed shows each item once, at its newest LSN. Deleted and expired items are not in it.
//! 6. **Expiry is immediate.** No read returns an item at or after its expiry, even if it is not removed yet.
//! 7. **Nothing blocks the runtime.** One thread writes, a few read; their queues are bounded, and full queues reject at once.
//!    Point reads, change feeds and queries have separate threads. A read ends when its client disconnects.
//! 8. **Account.** Every database belongs to an account; numbers of databases and containers are never reused.
//! 9. **Format.** The file contains its format; a newer one is rejected.
//! 10. **Damage is detected.** Damaged data is never returned, and ends writing; a file that lost acknowledged commits at its end
//!     is opened read-only. `checked-files` implements both.

mod apply;
mod apply_items;
mod change;
mod item;
mod readers;
mod reserve;
pub(crate) mod rows;
mod schema;
mod stack;
mod write_time;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use checked_files::{Damage, Health, StoreId};
use supervision::Supervisor;
use tokio::sync::oneshot;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::error::{Error, RequestFailure};
use crate::error_table;
use crate::hints::Hints;
use crate::metrics::{Metrics, ReadPool};
use crate::options::Options;

pub(crate) use change::{ChangeRejection, ChangeResult, ItemOperation, ItemResult, StoreChange};
pub(crate) use item::Item;
pub(crate) use readers::Cancellation;
use readers::{ReadJob, Readers};
use reserve::DiskReserve;
pub(crate) use rows::{ItemRange, ItemsAfter, ScannedRow};
pub(crate) use schema::{backup, verify};
use writer::WriterThread;

/// The store. Cheap to clone; the threads end with [`DocumentStore::drain`], or when the last clone is gone.
#[derive(Clone, Debug)]
pub(crate) struct DocumentStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    catalog: Catalog,
    hints: Hints,
    writer: WriterThread,
    readers: Readers,
    health: Health,
    id: StoreId,
    path: PathBuf,
    /// Locked while the store is open, so that no second process writes the folder.
    _lock: File,
}

impl DocumentStore {
    /// Opens or creates the store in the options' folder, and starts its threads.
    pub(crate) fn open(
        options: &Options,
        clock: Clock,
        supervisor: &Supervisor,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let lock = schema::lock_folder(&options.data_dir)?;
        let path = options.data_dir.join(schema::FILE);
        let database = schema::open(options, &path)?;
        let health = database.health.clone();
        let id = database.id();
        let gauge = metrics.clone();
        health.when_damaged(move |_| gauge.read_only());
        if health.damage().is_none() {
            apply::complete_tables(&database.connection)
                .map_err(|cause| Error::Database { path: path.clone(), cause })?;
        }
        let catalog = Catalog::default();
        catalog.replace(apply::load_catalog(&database.connection, &options.account)?);
        let hints = Hints::default();
        let readers = Readers::start(options, &path, &health, supervisor, metrics)?;
        let context = writer::WriterContext {
            database,
            account: options.account.clone(),
            catalog: catalog.clone(),
            hints: hints.clone(),
            clock,
            metrics: metrics.clone(),
            reserve: DiskReserve::new(options.data_dir.join("documents.reserve"), options.reserve_bytes),
            full_disk_logged: None,
        };
        let writer = WriterThread::start(options, context, supervisor)?;
        let shared = Shared { catalog, hints, writer, readers, health, id, path, _lock: lock };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    pub(crate) fn hints(&self) -> Hints {
        self.shared.hints.clone()
    }

    /// Executes a change. Dropping the future does not cancel it.
    pub(crate) async fn change(
        &self,
        change: StoreChange,
        bytes: usize,
    ) -> Result<ChangeResult, ChangeRejection> {
        if self.shared.health.damage().is_some() {
            return Err(RequestFailure::read_only().into());
        }
        let (answer, answered) = oneshot::channel();
        self.shared.writer.send(change, bytes, answer)?;
        let changed = answered.await.unwrap_or_else(|_| Err(RequestFailure::closing().into()));
        if let Err(refusal) = &changed {
            self.note_damage(&refusal.failure);
        }
        changed
    }

    /// Reads on a thread of the pool, in one snapshot. Dropping the future cancels the read.
    pub(crate) async fn read<T, F>(&self, pool: ReadPool, read: F) -> Result<T, RequestFailure>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, RequestFailure> + Send + 'static,
    {
        self.read_for(pool, move |connection, _| read(connection)).await
    }

    /// The same for a read that checks regularly whether it is canceled.
    pub(crate) async fn read_for<T, F>(&self, pool: ReadPool, read: F) -> Result<T, RequestFailure>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection, &Cancellation) -> Result<T, RequestFailure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let caller = Cancellation::default();
        let _waiting = caller.cancel_on_drop();
        let seen = caller.clone();
        let read = Box::new(move |connection: &rusqlite::Connection| {
            let result = readers::in_snapshot(connection, |connection| read(connection, &seen));
            // The client may have disconnected in the meantime.
            answer.send(result).is_ok()
        });
        self.shared.readers.send(pool, ReadJob { read, caller })?;
        let read = answered.await.unwrap_or_else(|_| Err(RequestFailure::closing()));
        if let Err(failure) = &read {
            self.note_damage(failure);
        }
        read
    }

    /// Damage that a request finds ends all writing, because more data may be damaged.
    fn note_damage(&self, failure: &RequestFailure) {
        if *failure.error == error_table::DATA_DAMAGED && self.shared.health.damage().is_none() {
            let what = "a request found damaged data".to_owned();
            self.shared.health.set_damaged(Damage::File { file: self.shared.path.clone(), what });
        }
    }

    /// Whether the file may be written.
    pub(crate) fn health(&self) -> &Health {
        &self.shared.health
    }

    /// The store's id, drawn when it was created.
    pub(crate) fn id(&self) -> StoreId {
        self.shared.id
    }

    /// Ends the threads after they have executed what is queued.
    pub(crate) async fn drain(&self) {
        let shared = Arc::clone(&self.shared);
        let joined = tokio::task::spawn_blocking(move || {
            shared.writer.stop();
            shared.readers.stop();
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "a documents thread did not end as it should");
        }
    }
}
