//! [`Store`]: databases, containers, items and their change feed, durable on one machine. SQLite stands behind it.
//!
//! # Rules
//!
//! 1. **Acknowledged is durable.** A write answers after its transaction is on disk, and survives `kill -9` and power loss.
//! 2. **One transaction.** An item and its entry in the feed become visible together, or neither does: they are one row.
//!    The operations of a batch share one transaction and one LSN.
//! 3. **Group commit.** Writes that wait together share one transaction and one sync. One that is refused takes nothing
//!    away from its neighbours: each has a savepoint of its own.
//! 4. **Order.** LSNs of a container rise by commit order and are never used twice. A reader that has seen LSN n never
//!    finds a new entry at or below n.
//! 5. **Latest version.** The feed shows each item once, at its newest LSN. Deleted and expired items are not in it.
//! 6. **Expiry is immediate.** No read shows an item at or after its expiry, whether it is swept or not.
//! 7. **Nothing blocks the runtime.** One thread writes, a few read; their queues are bounded, and full ones refuse at once.
//!    Point reads, change feeds and queries have threads of their own. A read whose caller has gone ends.
//! 8. **Instance.** Every database belongs to an account; numbers of databases and containers are never used again.
//! 9. **Format.** The file names its format; a newer one is refused.
//! 10. **Damage shows.** What is not as it was written is never answered, and ends writing; a file that lost acknowledged
//!     commits at its end is opened read-only. `checked-files` does both.

mod apply;
mod apply_items;
mod readers;
mod reserve;
pub(crate) mod rows;
mod schema;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use checked_files::{Damage, Health, StoreId};
use serde_json::{Map, Value};
use supervision::Supervisor;
use tokio::sync::oneshot;
use trace::TraceContext;

use crate::catalog::Catalog;
use crate::decide::{Conditions, Verb};
use crate::error::{Failure, Kind};
use crate::handle::Hints;
use crate::metrics::{Lane, Metrics};
use crate::patch::Patch;
use crate::resource_id::{ContainerNumber, DatabaseNumber, ItemNumber};
use crate::{Error, Options};

pub(crate) use readers::Caller;
use readers::{Job, Readers};
use reserve::Reserve;
pub(crate) use rows::{ItemsAfter, Look, Scope};
pub(crate) use schema::{backup, verify};
use writer::Writer;

/// Room for the evaluator, which follows a query's tree: 64 brackets of chains of 100 operators. Untouched stack costs nothing.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// An item as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) number: ItemNumber,
    /// Position in the feed.
    pub(crate) lsn: u64,
    /// Seconds since the Unix epoch of the last write.
    pub(crate) ts: i64,
    /// JSON object, without system properties.
    pub(crate) body: String,
    /// Span of the write.
    pub(crate) trace: Option<TraceContext>,
    /// Nanoseconds since the Unix epoch at which the write was accepted.
    pub(crate) accepted_ns: u64,
}

/// A change to the store.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    CreateDatabase {
        id: String,
        offer: Option<Value>,
    },
    ReplaceDatabaseOffer {
        database: DatabaseNumber,
        offer: Value,
    },
    DeleteDatabase {
        database: DatabaseNumber,
    },
    CreateContainer {
        database: DatabaseNumber,
        id: String,
        definition: Map<String, Value>,
        offer: Option<Value>,
    },
    ReplaceContainer {
        container: ContainerNumber,
        definition: Map<String, Value>,
        if_match: Option<u32>,
    },
    ReplaceOffer {
        container: ContainerNumber,
        offer: Value,
    },
    DeleteContainer {
        container: ContainerNumber,
    },
    Items {
        container: ContainerNumber,
        operations: Vec<ItemOperation>,
    },
    DeletePartition {
        container: ContainerNumber,
        key: String,
    },
}

/// One operation on an item.
#[derive(Clone, Debug)]
pub(crate) struct ItemOperation {
    pub(crate) verb: Verb,
    /// The partition key's text.
    pub(crate) key: String,
    /// Which item; for create and upsert, the id of the document.
    pub(crate) id: String,
    /// The item's number if `id` is a resource id of this container: it counts where no item has that id.
    pub(crate) number: Option<ItemNumber>,
    pub(crate) conditions: Conditions,
    /// The new item, without system properties: for create, upsert and replace.
    pub(crate) document: Option<Map<String, Value>>,
    /// For patch.
    pub(crate) patch: Option<Patch>,
    /// The write's span.
    pub(crate) trace: TraceContext,
}

/// What became of a [`Change`].
#[derive(Debug)]
pub(crate) enum Changed {
    /// A database or container was made, replaced or deleted; the catalog shows it.
    Definition,
    /// One outcome for each operation.
    Items { lsn: u64, outcomes: Vec<ItemOutcome> },
}

/// What became of an [`ItemOperation`].
#[derive(Debug)]
pub(crate) struct ItemOutcome {
    pub(crate) created: bool,
    /// The item as it is now; none if it was deleted.
    pub(crate) item: Option<Item>,
}

/// Why a change was refused, and which of its operations was the reason.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) operation: usize,
    pub(crate) failure: Failure,
}

impl<T: Into<Failure>> From<T> for Refusal {
    fn from(failure: T) -> Self {
        Self { operation: 0, failure: failure.into() }
    }
}

/// The store. Cheap to clone; the threads end with [`Store::drain`], or when the last clone is gone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    catalog: Catalog,
    hints: Hints,
    writer: Writer,
    readers: Readers,
    health: Health,
    id: StoreId,
    path: PathBuf,
    /// Held for as long as the store is open, so that no second process writes the folder.
    _lock: File,
}

impl Store {
    /// Opens or makes the store in the options' folder, and starts its threads.
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
        let context = writer::Context {
            database,
            account: options.account.clone(),
            catalog: catalog.clone(),
            hints: hints.clone(),
            clock,
            metrics: metrics.clone(),
            reserve: Reserve::new(options.data_dir.join("documents.reserve"), options.reserve_bytes),
            full_disk_told: None,
        };
        let writer = Writer::start(options, context, supervisor)?;
        let shared = Shared { catalog, hints, writer, readers, health, id, path, _lock: lock };
        Ok(Self { shared: Arc::new(shared) })
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.shared.catalog
    }

    pub(crate) fn hints(&self) -> Hints {
        self.shared.hints.clone()
    }

    /// Carries out a change. Dropping the future does not take it back.
    pub(crate) async fn change(&self, change: Change, bytes: usize) -> Result<Changed, Refusal> {
        if self.shared.health.damage().is_some() {
            return Err(Failure::read_only().into());
        }
        let (answer, answered) = oneshot::channel();
        self.shared.writer.send(change, bytes, answer)?;
        let changed = answered.await.unwrap_or_else(|_| Err(Failure::closing().into()));
        if let Err(refusal) = &changed {
            self.note_damage(&refusal.failure);
        }
        changed
    }

    /// Reads on a thread of the lane, in one snapshot. Dropping the future ends the read.
    pub(crate) async fn read<T, F>(&self, lane: Lane, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.read_for(lane, move |connection, _| read(connection)).await
    }

    /// The same for a read that looks now and then whether its caller still waits.
    pub(crate) async fn read_for<T, F>(&self, lane: Lane, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection, &Caller) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let caller = Caller::default();
        let _waiting = caller.waiting();
        let seen = caller.clone();
        let read = Box::new(move |connection: &rusqlite::Connection| {
            let result = readers::in_snapshot(connection, |connection| read(connection, &seen));
            // The request may have gone away meanwhile; then nobody wants the answer.
            answer.send(result).is_ok()
        });
        self.shared.readers.send(lane, Job { read, caller })?;
        let read = answered.await.unwrap_or_else(|_| Err(Failure::closing()));
        if let Err(failure) = &read {
            self.note_damage(failure);
        }
        read
    }

    /// Damage that one request meets ends writing for all: nobody knows what else is damaged.
    fn note_damage(&self, failure: &Failure) {
        if failure.kind == Kind::Damaged && self.shared.health.damage().is_none() {
            let what = "a request met a part that is not as it was written".to_owned();
            self.shared.health.set_damaged(Damage::File { file: self.shared.path.clone(), what });
        }
    }

    /// Whether the file may be written.
    pub(crate) fn health(&self) -> &Health {
        &self.shared.health
    }

    /// The store's id, drawn when it was made.
    pub(crate) fn id(&self) -> StoreId {
        self.shared.id
    }

    /// Ends the threads after they have done what they took.
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

/// Where the time comes from; tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock of one's own.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn seconds(&self) -> i64 {
        i64::try_from(self.nanoseconds() / 1_000_000_000).expect("nanoseconds of u64 are seconds of i64")
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn nanoseconds(&self) -> u64 {
        let since = (self.0)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
