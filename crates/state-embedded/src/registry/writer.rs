//! The writing thread: takes all commands that wait, decides them in order, commits them in one transaction, and only
//! then lets anybody know.
//!
//! Session keys are staged beside the transaction and put into memory when it has committed, under the lock that readers
//! take too. So a batch happens entirely or not at all, in both places, for everyone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use checked_files::Database;
use state::{Durability, Expect, Grant, Instance, Key, KeyChange, LeaseError, Name, RegistryError, Version};
use supervision::Unit;
use tokio::sync::oneshot;

use super::{Shared, Stored, tables};
use crate::error::WriteFailedBefore;
use crate::lease;
use crate::metrics::Metrics;
use crate::queue::{Popped, Queue};

/// How often the writer looks for keys whose time has come, where there are keys with a time.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Most keys removed in one look.
const SWEEP_KEYS_MAX: usize = 256;
/// Versions are reserved on disk in blocks of this many, so that a session write costs no flush.
const VERSIONS_RESERVED: u64 = 4096;

/// An answer's way back.
type Reply<T, E> = oneshot::Sender<Result<T, E>>;
/// A key in its instance.
type Home = (Instance, Key);

/// What can be written.
pub(crate) enum Command {
    Put {
        home: Home,
        value: Bytes,
        expect: Expect,
        durability: Durability,
        ttl: Option<Duration>,
        reply: Reply<Version, RegistryError>,
    },
    Delete {
        home: Home,
        expect: Expect,
        reply: Reply<bool, RegistryError>,
    },
    Acquire {
        home: (Instance, Name),
        owner: String,
        ttl: Duration,
        reply: Reply<Grant, LeaseError>,
    },
    Renew {
        instance: Instance,
        grant: Grant,
        ttl: Duration,
        reply: Reply<Grant, LeaseError>,
    },
    Release {
        instance: Instance,
        grant: Grant,
        reply: Reply<(), LeaseError>,
    },
}

/// A decided command, not yet told to its caller because it is not yet durable.
enum Outcome {
    Put(Reply<Version, RegistryError>, Result<Version, RegistryError>),
    Delete(Reply<bool, RegistryError>, Result<bool, RegistryError>),
    Grant(Reply<Grant, LeaseError>, Result<Grant, LeaseError>),
    Release(Reply<(), LeaseError>),
}

/// Why a batch did not happen; shared by all of its callers.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
struct BatchFailed(Arc<dyn std::error::Error + Send + Sync>);

pub(super) struct Writer {
    database: Database,
    counters: tables::Counters,
    next_version: u64,
    shared: Arc<Shared>,
    /// When session keys disappear; may name keys that were written anew since.
    session_expiry: BTreeSet<(SystemTime, Instance, Key)>,
    /// Whether anything durable may expire.
    has_expiring: bool,
    /// A commit failed in a way that leaves open what the device holds.
    has_failed: bool,
    metrics: Metrics,
}

/// What a batch did so far.
#[derive(Default)]
struct Batch {
    /// A transaction is open.
    is_durable: bool,
    /// Session keys set (or, with `None`, removed) by this batch.
    staged: BTreeMap<Home, Option<Stored>>,
    changes: Vec<(Instance, KeyChange)>,
    /// The counters as the transaction leaves them.
    version_limit: Option<u64>,
    fence: Option<u64>,
    /// Leases that went to another owner, or to one after expiry.
    acquisitions: u64,
    expired: u64,
}

/// Where a key is and since which version; an expired key is nowhere for a caller, but its place must be emptied.
struct Found {
    /// The version that a caller may expect.
    version: Option<Version>,
    in_database: bool,
    in_session: bool,
}

impl Writer {
    pub(super) fn new(
        database: Database,
        counters: tables::Counters,
        shared: Arc<Shared>,
        metrics: Metrics,
    ) -> Self {
        let next_version = counters.version_limit + 1;
        Self {
            database,
            counters,
            next_version,
            shared,
            session_expiry: BTreeSet::new(),
            has_expiring: true,
            has_failed: false,
            metrics,
        }
    }

    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue<Command>, unit: &Unit) {
        let mut commands = Vec::new();
        let mut swept = Instant::now();
        loop {
            let expires = self.has_expiring || !self.session_expiry.is_empty();
            let popped = queue.pop_all(&mut commands, expires.then(|| swept + SWEEP_EVERY));
            if popped == Popped::Closed {
                break;
            }
            unit.fault_point();
            self.carry_out(&mut commands);
            if expires && swept.elapsed() >= SWEEP_EVERY {
                self.sweep();
                swept = Instant::now();
            }
        }
        self.shared.close_watches();
    }

    /// Decides, commits and answers what is in `commands`.
    fn carry_out(&mut self, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let mut batch = Batch::default();
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut failed = self.has_failed.then(|| BatchFailed(Arc::new(WriteFailedBefore)));
        if let Some(damage) = self.database.health.damage() {
            failed = Some(BatchFailed(Arc::new(damage.clone())));
        }
        for command in commands.drain(..) {
            if failed.is_some() {
                outcomes.push(command.undecided());
                continue;
            }
            let (outcome, failure) = self.decide(command, &mut batch);
            failed = failure.map(|error| {
                self.note_damage(&error);
                BatchFailed(Arc::new(error))
            });
            outcomes.push(outcome);
        }
        let failed = match failed {
            Some(failed) => {
                self.roll_back(&batch);
                Some(failed)
            }
            None => self.commit(batch).err(),
        };
        for outcome in outcomes {
            outcome.send(failed.as_ref());
        }
    }

    /// Removes what has expired.
    fn sweep(&mut self) {
        if self.has_failed || self.database.health.damage().is_some() {
            return;
        }
        let mut batch = Batch::default();
        match self.expire(&mut batch) {
            // The batch's own failure is remembered by it; the next sweep tries again.
            Ok(()) => drop(self.commit(batch)),
            Err(error) => {
                self.note_damage(&error);
                tracing::warn!(%error, "expired keys could not be removed; they stay invisible");
                self.roll_back(&batch);
            }
        }
    }

    fn expire(&mut self, batch: &mut Batch) -> rusqlite::Result<()> {
        let now = (self.shared.clock)();
        let mut homes = tables::expired(&self.database.connection, now, SWEEP_KEYS_MAX)?;
        while homes.len() < 2 * SWEEP_KEYS_MAX
            && let Some((at, _, _)) = self.session_expiry.first()
            && *at <= now
        {
            let (at, instance, key) = self.session_expiry.pop_first().expect("the set has a first element");
            let home = (instance, key);
            let session = self.shared.session.read().expect("no thread panics with the session's lock");
            if session.keys.get(&home).is_some_and(|stored| stored.expires_at == Some(at)) {
                drop(session);
                homes.push(home);
            }
        }
        for home in homes {
            let found = self.find(&home, batch, now)?;
            batch.expired += 1;
            self.remove(home, &found, batch)?;
        }
        self.has_expiring = tables::has_expiring(&self.database.connection)?;
        if self.has_expiring {
            let removed = tables::delete_expired_leases(&self.database.connection, now, SWEEP_KEYS_MAX);
            // Outside of a transaction this commits by itself, which is all the same for leases nobody holds.
            removed.map(drop)?;
        }
        Ok(())
    }

    /// Decides a command. Where the database fails, the outcome only keeps the way back to the caller.
    fn decide(&mut self, command: Command, batch: &mut Batch) -> (Outcome, Option<rusqlite::Error>) {
        let now = (self.shared.clock)();
        match command {
            Command::Put { home, value, expect, durability, ttl, reply } => {
                let expires_at = ttl.map(|ttl| lease::expiry(now, ttl));
                let decided = self.put(home, value, expect, durability, expires_at, now, batch);
                let (result, failure) = split(decided, Ok(Version(0)));
                (Outcome::Put(reply, result), failure)
            }
            Command::Delete { home, expect, reply } => {
                let (result, failure) = split(self.delete(home, expect, now, batch), Ok(false));
                (Outcome::Delete(reply, result), failure)
            }
            Command::Acquire { home, owner, ttl, reply } => {
                let decided = self.acquire(&home, &owner, now, ttl, batch);
                let (result, failure) = split(decided, Err(LeaseError::Lost { name: home.1 }));
                (Outcome::Grant(reply, result), failure)
            }
            Command::Renew { instance, grant, ttl, reply } => {
                let home = (instance, grant.name.clone());
                let decided = self.renew(&home, &grant, now, ttl, batch);
                let (result, failure) = split(decided, Err(LeaseError::Lost { name: home.1 }));
                (Outcome::Grant(reply, result), failure)
            }
            Command::Release { instance, grant, reply } => {
                let home = (instance, grant.name.clone());
                (Outcome::Release(reply), self.release(&home, &grant, batch).err())
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // One write has these facts; a struct for them would be built and taken apart once.
    fn put(
        &mut self,
        home: Home,
        value: Bytes,
        expect: Expect,
        durability: Durability,
        expires_at: Option<SystemTime>,
        now: SystemTime,
        batch: &mut Batch,
    ) -> rusqlite::Result<Result<Version, RegistryError>> {
        let found = self.find(&home, batch, now)?;
        if let Some(conflict) = conflict(&home, expect, found.version) {
            return Ok(Err(conflict));
        }
        let version = self.draw_version(batch)?;
        let stored = Stored { value, version, expires_at };
        match durability {
            Durability::Durable => {
                self.begin(batch)?;
                tables::put(&self.database.connection, &home, &stored)?;
                self.has_expiring |= expires_at.is_some();
                if found.in_session {
                    batch.staged.insert(home.clone(), None);
                }
            }
            Durability::Session => {
                if found.in_database {
                    // Or the durable value would be back after a restart.
                    self.begin(batch)?;
                    tables::delete(&self.database.connection, &home)?;
                }
                if let Some(at) = expires_at {
                    self.session_expiry.insert((at, home.0.clone(), home.1.clone()));
                }
                batch.staged.insert(home.clone(), Some(stored.clone()));
            }
        }
        batch.changes.push((home.0, KeyChange::Set(stored.entry(home.1))));
        Ok(Ok(version))
    }

    fn delete(
        &mut self,
        home: Home,
        expect: Expect,
        now: SystemTime,
        batch: &mut Batch,
    ) -> rusqlite::Result<Result<bool, RegistryError>> {
        let found = self.find(&home, batch, now)?;
        if let Some(conflict) = conflict(&home, expect, found.version) {
            return Ok(Err(conflict));
        }
        if found.version.is_none() {
            // Also where it has expired: the sweep removes it and tells the watchers.
            return Ok(Ok(false));
        }
        self.remove(home, &found, batch)?;
        Ok(Ok(true))
    }

    fn remove(&mut self, home: Home, found: &Found, batch: &mut Batch) -> rusqlite::Result<()> {
        let version = self.draw_version(batch)?;
        if found.in_database {
            self.begin(batch)?;
            tables::delete(&self.database.connection, &home)?;
        }
        if found.in_session {
            batch.staged.insert(home.clone(), None);
        }
        batch.changes.push((home.0, KeyChange::Removed(home.1, version)));
        Ok(())
    }

    fn acquire(
        &mut self,
        home: &(Instance, Name),
        owner: &str,
        now: SystemTime,
        ttl: Duration,
        batch: &mut Batch,
    ) -> rusqlite::Result<Result<Grant, LeaseError>> {
        let present = tables::lease(&self.database.connection, home)?;
        let fence = batch.fence.unwrap_or(self.counters.fence) + 1;
        let row = match lease::acquire(&home.1, present, owner, now, ttl, fence) {
            Ok(row) => row,
            Err(held) => return Ok(Err(held)),
        };
        self.begin(batch)?;
        if row.fence == fence {
            tables::set_counter(&self.database.connection, "fence", fence)?;
            batch.fence = Some(fence);
            batch.acquisitions += 1;
        }
        tables::put_lease(&self.database.connection, home, &row)?;
        self.has_expiring = true;
        Ok(Ok(lease::grant(&home.1, row)))
    }

    fn renew(
        &self,
        home: &(Instance, Name),
        grant: &Grant,
        now: SystemTime,
        ttl: Duration,
        batch: &mut Batch,
    ) -> rusqlite::Result<Result<Grant, LeaseError>> {
        let present = tables::lease(&self.database.connection, home)?;
        let row = match lease::renew(present, grant, now, ttl) {
            Ok(row) => row,
            Err(lost) => return Ok(Err(lost)),
        };
        self.begin(batch)?;
        tables::put_lease(&self.database.connection, home, &row)?;
        Ok(Ok(lease::grant(&home.1, row)))
    }

    fn release(&self, home: &(Instance, Name), grant: &Grant, batch: &mut Batch) -> rusqlite::Result<()> {
        let present = tables::lease(&self.database.connection, home)?;
        if present.is_some_and(|row| row.fence == grant.fence.0) {
            self.begin(batch)?;
            tables::delete_lease(&self.database.connection, home)?;
        }
        Ok(())
    }

    /// Opens the batch's transaction if there is none.
    fn begin(&self, batch: &mut Batch) -> rusqlite::Result<()> {
        if !batch.is_durable {
            self.database.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            batch.is_durable = true;
        }
        Ok(())
    }

    fn draw_version(&mut self, batch: &mut Batch) -> rusqlite::Result<Version> {
        if self.next_version >= batch.version_limit.unwrap_or(self.counters.version_limit) {
            let limit = self.next_version + VERSIONS_RESERVED;
            self.begin(batch)?;
            tables::set_counter(&self.database.connection, "version_limit", limit)?;
            batch.version_limit = Some(limit);
        }
        let version = Version(self.next_version);
        self.next_version += 1;
        Ok(version)
    }

    fn find(&self, home: &Home, batch: &Batch, now: SystemTime) -> rusqlite::Result<Found> {
        let expiring =
            |version: Version, at: Option<SystemTime>| Some(version).filter(|_| at.is_none_or(|at| at > now));
        let of_session = |stored: &Stored| expiring(stored.version, stored.expires_at);
        let in_session = match batch.staged.get(home) {
            Some(staged) => staged.as_ref().map(of_session),
            None => {
                let session = self.shared.session.read().expect("no thread panics with the session's lock");
                session.keys.get(home).map(of_session)
            }
        };
        if let Some(version) = in_session {
            return Ok(Found { version, in_database: false, in_session: true });
        }
        let in_database = tables::find(&self.database.connection, home)?;
        Ok(Found {
            version: in_database.and_then(|(version, at)| expiring(version, at)),
            in_database: in_database.is_some(),
            in_session: false,
        })
    }

    /// Makes the batch durable, then visible, then known.
    fn commit(&mut self, batch: Batch) -> Result<(), BatchFailed> {
        {
            let mut session = self.shared.session.write().expect("no thread panics with the session's lock");
            if batch.is_durable {
                let began = Instant::now();
                let connection = &self.database.connection;
                let committed = Database::count_commit(connection).and_then(|sequence| {
                    connection.prepare_cached("COMMIT")?.execute([])?;
                    Ok(sequence)
                });
                match committed {
                    Ok(sequence) => self.database.acknowledge(sequence),
                    Err(error) => {
                        drop(session);
                        self.note_damage(&error);
                        self.has_failed |= leaves_doubt(&error);
                        self.roll_back(&batch);
                        tracing::error!(%error, "a transaction of the registry could not be committed");
                        return Err(BatchFailed(Arc::new(error)));
                    }
                }
                self.metrics.registry_commits.inc();
                self.metrics.registry_commit_seconds.observe(began.elapsed().as_secs_f64());
            }
            for (home, stored) in batch.staged {
                match stored {
                    Some(stored) => session.keys.insert(home, stored),
                    None => session.keys.remove(&home),
                };
            }
            session.applied = Version(self.next_version - 1);
        }
        self.counters.version_limit = batch.version_limit.unwrap_or(self.counters.version_limit);
        self.counters.fence = batch.fence.unwrap_or(self.counters.fence);
        let overflows = self.shared.publish(&batch.changes);
        self.metrics.registry_writes.inc_by(batch.changes.len() as u64 - batch.expired);
        self.metrics.registry_expired.inc_by(batch.expired);
        self.metrics.registry_watch_resets.inc_by(overflows);
        self.metrics.lease_acquisitions.inc_by(batch.acquisitions);
        Ok(())
    }

    /// Damage that one write meets ends writing: nobody knows what else is damaged.
    fn note_damage(&self, error: &rusqlite::Error) {
        self.database.health.note(self.database.path(), error);
    }

    fn roll_back(&self, batch: &Batch) {
        // SQLite may have rolled back by itself already; then there is nothing left to do.
        if batch.is_durable
            && !self.database.connection.is_autocommit()
            && let Err(error) = self.database.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction of the registry could not be rolled back");
        }
    }
}

/// What was decided, or where the database failed `undecided` and why.
fn split<T>(decided: rusqlite::Result<T>, undecided: T) -> (T, Option<rusqlite::Error>) {
    match decided {
        Ok(decided) => (decided, None),
        Err(error) => (undecided, Some(error)),
    }
}

/// The conflict between what a writer expects and what is there, if any.
fn conflict(home: &Home, expect: Expect, found: Option<Version>) -> Option<RegistryError> {
    let as_expected = match expect {
        Expect::Anything => true,
        Expect::Absent => found.is_none(),
        Expect::At(version) => found == Some(version),
    };
    (!as_expected).then(|| RegistryError::Conflict { key: home.1.clone(), found })
}

/// A full device refuses cleanly. Any other failed write or flush may have reached the device or not, and trying again
/// would report success for pages that the system has already dropped.
fn leaves_doubt(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::DatabaseBusy)
    )
}

impl Command {
    /// A command that was not looked at because its batch had failed before.
    fn undecided(self) -> Outcome {
        match self {
            Self::Put { reply, .. } => Outcome::Put(reply, Ok(Version(0))),
            Self::Delete { reply, .. } => Outcome::Delete(reply, Ok(false)),
            Self::Acquire { home: (_, name), reply, .. } => {
                Outcome::Grant(reply, Err(LeaseError::Lost { name }))
            }
            Self::Renew { grant, reply, .. } => {
                Outcome::Grant(reply, Err(LeaseError::Lost { name: grant.name }))
            }
            Self::Release { reply, .. } => Outcome::Release(reply),
        }
    }
}

impl Outcome {
    /// Answers the caller; whoever asked may be gone. After a failed batch nobody is told what was decided.
    fn send(self, failed: Option<&BatchFailed>) {
        let registry = |failed: &BatchFailed| RegistryError::Backend(Box::new(failed.clone()));
        let lease = |failed: &BatchFailed| LeaseError::Backend(Box::new(failed.clone()));
        match self {
            Self::Put(reply, result) => drop(reply.send(failed.map_or(result, |f| Err(registry(f))))),
            Self::Delete(reply, result) => drop(reply.send(failed.map_or(result, |f| Err(registry(f))))),
            Self::Grant(reply, result) => drop(reply.send(failed.map_or(result, |f| Err(lease(f))))),
            Self::Release(reply) => drop(reply.send(failed.map_or(Ok(()), |f| Err(lease(f))))),
        }
    }
}
