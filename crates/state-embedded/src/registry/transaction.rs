//! [`Transaction`]: executes the commands of one batch, in order, in one transaction of the database.
//!
//! SessionKeys keys are staged beside the transaction. The writer commits both together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use state::{
    Durability, Expect, Grant, Instance, Key, LeaseError, Name, RegistryChange, RegistryError, Version,
};

use super::command::{KeyWrite, RegistryCommand, RegistryOutcome};
use super::session::{InstanceKey, Shared, StoredValue};
use super::{grants, tables};

/// Versions are reserved on disk in blocks of this many, so that a session write needs no flush.
const VERSIONS_RESERVED: u64 = 4096;
/// Most keys that one sweep removes from the database.
const SWEEP_KEYS_MAX: usize = 256;

/// What the writer remembers from one batch to the next.
pub(super) struct WriterState {
    pub(super) counters: tables::Counters,
    pub(super) next_version: u64,
    /// When session keys expire; may hold keys that were written again since.
    pub(super) session_expiry: BTreeSet<(SystemTime, Instance, Key)>,
    /// Whether anything durable may expire.
    pub(super) has_expiring: bool,
}

/// What a batch changes once it is committed.
#[derive(Default)]
pub(super) struct WriteBatch {
    /// A transaction of the database is open.
    pub(super) is_durable: bool,
    /// SessionKeys keys that the batch sets, or removes (`None`).
    pub(super) staged: BTreeMap<InstanceKey, Option<StoredValue>>,
    pub(super) changes: Vec<(Instance, RegistryChange)>,
    /// The counters at the end of the transaction, if they change.
    pub(super) version_limit: Option<u64>,
    pub(super) fence: Option<u64>,
    /// Leases granted to a new owner, or again after expiry.
    pub(super) acquisitions: u64,
    pub(super) expired: u64,
}

/// A batch while it is executed.
pub(super) struct Transaction<'w> {
    pub(super) connection: &'w Connection,
    pub(super) shared: &'w Shared,
    pub(super) state: &'w mut WriterState,
    pub(super) batch: &'w mut WriteBatch,
}

/// Where a key is stored, and its version.
struct FoundKey {
    /// The version for [`Expect`]; `None` if the key does not exist or has expired.
    version: Option<Version>,
    /// An expired key still has to be removed from where it is.
    in_database: bool,
    in_session: bool,
}

impl Transaction<'_> {
    /// Executes a command. If the database fails, the outcome only carries the caller's channel.
    pub(super) fn execute(&mut self, command: RegistryCommand) -> (RegistryOutcome, Option<rusqlite::Error>) {
        let now = self.shared.now();
        match command {
            RegistryCommand::Put { key, write, reply } => {
                let (result, failure) = split(self.put(key, write, now), Ok(Version(0)));
                (RegistryOutcome::Put(reply, result), failure)
            }
            RegistryCommand::Delete { key, expect, reply } => {
                let (result, failure) = split(self.delete(key, expect, now), Ok(false));
                (RegistryOutcome::Delete(reply, result), failure)
            }
            RegistryCommand::Acquire { lease, owner, ttl, reply } => {
                let acquired = self.acquire(&lease, &owner, now, ttl);
                let (result, failure) = split(acquired, Err(LeaseError::Lost { name: lease.1 }));
                (RegistryOutcome::Grant(reply, result), failure)
            }
            RegistryCommand::Renew { instance, grant, ttl, reply } => {
                let lease = (instance, grant.name.clone());
                let renewed = self.renew(&lease, &grant, now, ttl);
                let (result, failure) = split(renewed, Err(LeaseError::Lost { name: lease.1 }));
                (RegistryOutcome::Grant(reply, result), failure)
            }
            RegistryCommand::Release { instance, grant, reply } => {
                let lease = (instance, grant.name.clone());
                (RegistryOutcome::Release(reply), self.release(&lease, &grant).err())
            }
        }
    }

    /// Removes keys and leases that have expired.
    pub(super) fn expire(&mut self) -> rusqlite::Result<()> {
        let now = self.shared.now();
        let mut expired = tables::expired(self.connection, now, SWEEP_KEYS_MAX)?;
        while expired.len() < 2 * SWEEP_KEYS_MAX
            && let Some((at, _, _)) = self.state.session_expiry.first()
            && *at <= now
        {
            let first = self.state.session_expiry.pop_first();
            let (at, instance, key) = first.expect("the set has a first element");
            let key = (instance, key);
            if self.shared.session().keys.get(&key).is_some_and(|stored| stored.expires_at == Some(at)) {
                expired.push(key);
            }
        }
        for key in expired {
            let found = self.find(&key, now)?;
            self.batch.expired += 1;
            self.remove(key, &found)?;
        }
        self.state.has_expiring = tables::has_expiring(self.connection)?;
        if self.state.has_expiring {
            let removed = tables::delete_expired_leases(self.connection, now, SWEEP_KEYS_MAX);
            // Outside of a transaction this commits at once, which is harmless: nobody holds these leases.
            removed.map(drop)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        key: InstanceKey,
        write: KeyWrite,
        now: SystemTime,
    ) -> rusqlite::Result<Result<Version, RegistryError>> {
        let found = self.find(&key, now)?;
        if let Some(conflict) = conflict(&key, write.expect, found.version) {
            return Ok(Err(conflict));
        }
        let version = self.next_version()?;
        let expires_at = write.ttl.map(|ttl| grants::expiry(now, ttl));
        let stored = StoredValue { value: write.value, version, expires_at };
        match write.durability {
            Durability::Durable => {
                self.begin()?;
                tables::put(self.connection, &key, &stored)?;
                self.state.has_expiring |= expires_at.is_some();
                if found.in_session {
                    self.batch.staged.insert(key.clone(), None);
                }
            }
            Durability::Session => {
                if found.in_database {
                    // Otherwise the durable value would be back after a restart.
                    self.begin()?;
                    tables::delete(self.connection, &key)?;
                }
                if let Some(at) = expires_at {
                    self.state.session_expiry.insert((at, key.0.clone(), key.1.clone()));
                }
                self.batch.staged.insert(key.clone(), Some(stored.clone()));
            }
        }
        self.batch.changes.push((key.0, RegistryChange::Set(stored.entry(key.1))));
        Ok(Ok(version))
    }

    fn delete(
        &mut self,
        key: InstanceKey,
        expect: Expect,
        now: SystemTime,
    ) -> rusqlite::Result<Result<bool, RegistryError>> {
        let found = self.find(&key, now)?;
        if let Some(conflict) = conflict(&key, expect, found.version) {
            return Ok(Err(conflict));
        }
        if found.version.is_none() {
            // An expired key is removed by the sweep, which notifies the watchers.
            return Ok(Ok(false));
        }
        self.remove(key, &found)?;
        Ok(Ok(true))
    }

    fn remove(&mut self, key: InstanceKey, found: &FoundKey) -> rusqlite::Result<()> {
        let version = self.next_version()?;
        if found.in_database {
            self.begin()?;
            tables::delete(self.connection, &key)?;
        }
        if found.in_session {
            self.batch.staged.insert(key.clone(), None);
        }
        self.batch.changes.push((key.0, RegistryChange::Removed(key.1, version)));
        Ok(())
    }

    fn acquire(
        &mut self,
        lease: &(Instance, Name),
        owner: &str,
        now: SystemTime,
        ttl: Duration,
    ) -> rusqlite::Result<Result<Grant, LeaseError>> {
        let current = tables::lease(self.connection, lease)?;
        let fence = self.batch.fence.unwrap_or(self.state.counters.fence) + 1;
        let row = match grants::acquire(&lease.1, current, owner, now, ttl, fence) {
            Ok(row) => row,
            Err(held) => return Ok(Err(held)),
        };
        self.begin()?;
        if row.fence == fence {
            tables::set_counter(self.connection, "fence", fence)?;
            self.batch.fence = Some(fence);
            self.batch.acquisitions += 1;
        }
        tables::put_lease(self.connection, lease, &row)?;
        self.state.has_expiring = true;
        Ok(Ok(grants::grant(&lease.1, row)))
    }

    fn renew(
        &mut self,
        lease: &(Instance, Name),
        grant: &Grant,
        now: SystemTime,
        ttl: Duration,
    ) -> rusqlite::Result<Result<Grant, LeaseError>> {
        let current = tables::lease(self.connection, lease)?;
        let row = match grants::renew(current, grant, now, ttl) {
            Ok(row) => row,
            Err(lost) => return Ok(Err(lost)),
        };
        self.begin()?;
        tables::put_lease(self.connection, lease, &row)?;
        Ok(Ok(grants::grant(&lease.1, row)))
    }

    fn release(&mut self, lease: &(Instance, Name), grant: &Grant) -> rusqlite::Result<()> {
        let current = tables::lease(self.connection, lease)?;
        if current.is_some_and(|row| row.fence == grant.fence.0) {
            self.begin()?;
            tables::delete_lease(self.connection, lease)?;
        }
        Ok(())
    }

    /// Opens the transaction of the database if it is not open.
    fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.batch.is_durable {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.batch.is_durable = true;
        }
        Ok(())
    }

    fn next_version(&mut self) -> rusqlite::Result<Version> {
        if self.state.next_version >= self.batch.version_limit.unwrap_or(self.state.counters.version_limit) {
            let limit = self.state.next_version + VERSIONS_RESERVED;
            self.begin()?;
            tables::set_counter(self.connection, "version_limit", limit)?;
            self.batch.version_limit = Some(limit);
        }
        let version = Version(self.state.next_version);
        self.state.next_version += 1;
        Ok(version)
    }

    fn find(&self, key: &InstanceKey, now: SystemTime) -> rusqlite::Result<FoundKey> {
        let unexpired =
            |version: Version, at: Option<SystemTime>| Some(version).filter(|_| at.is_none_or(|at| at > now));
        let version_of = |stored: &StoredValue| unexpired(stored.version, stored.expires_at);
        let in_session = match self.batch.staged.get(key) {
            Some(staged) => staged.as_ref().map(version_of),
            None => self.shared.session().keys.get(key).map(version_of),
        };
        if let Some(version) = in_session {
            return Ok(FoundKey { version, in_database: false, in_session: true });
        }
        let in_database = tables::find(self.connection, key)?;
        Ok(FoundKey {
            version: in_database.and_then(|(version, at)| unexpired(version, at)),
            in_database: in_database.is_some(),
            in_session: false,
        })
    }
}

/// The result, or `placeholder` and the error of the database.
fn split<T>(result: rusqlite::Result<T>, placeholder: T) -> (T, Option<rusqlite::Error>) {
    match result {
        Ok(result) => (result, None),
        Err(error) => (placeholder, Some(error)),
    }
}

/// The conflict between the version that a caller expects and the current one, if any.
fn conflict(key: &InstanceKey, expect: Expect, found: Option<Version>) -> Option<RegistryError> {
    let as_expected = match expect {
        Expect::Anything => true,
        Expect::Absent => found.is_none(),
        Expect::At(version) => found == Some(version),
    };
    (!as_expected).then(|| RegistryError::Conflict { key: key.1.clone(), found })
}
