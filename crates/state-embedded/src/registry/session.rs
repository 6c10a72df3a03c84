//! What the registry's threads and its watchers share: the session keys in memory, the clock, and the watchers' inboxes.

use std::collections::BTreeMap;
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use state::{Instance, Key, KeyEntry, RegistryChange, Version};

use super::inbox::WatchInbox;
use crate::options::Clock;

/// An instance and a key in it.
pub(super) type InstanceKey = (Instance, Key);

/// Shared by the two threads and the watchers. Lock order: `session` before `watchers`; an inbox's lock is innermost.
pub(super) struct Shared {
    session: RwLock<SessionKeys>,
    pub(super) watchers: Mutex<Vec<Weak<WatchInbox>>>,
    clock: Clock,
}

/// The keys that live in memory.
pub(super) struct SessionKeys {
    pub(super) keys: BTreeMap<InstanceKey, StoredValue>,
    /// All changes up to this version are visible.
    pub(super) applied: Version,
}

/// A key's value as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredValue {
    pub(super) value: Bytes,
    pub(super) version: Version,
    pub(super) expires_at: Option<SystemTime>,
}

impl StoredValue {
    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(super) fn entry(self, key: Key) -> KeyEntry {
        KeyEntry { key, value: self.value, version: self.version, expires_at: self.expires_at }
    }
}

impl Shared {
    /// Without session keys; `applied` is the last version of the database.
    pub(super) fn new(applied: Version, clock: Clock) -> Self {
        let session = SessionKeys { keys: BTreeMap::new(), applied };
        Self { session: RwLock::new(session), watchers: Mutex::default(), clock }
    }

    /// The time by which keys and leases expire.
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    pub(super) fn session(&self) -> RwLockReadGuard<'_, SessionKeys> {
        self.session.read().expect("no thread panics with the session's lock")
    }

    pub(super) fn session_mut(&self) -> RwLockWriteGuard<'_, SessionKeys> {
        self.session.write().expect("no thread panics with the session's lock")
    }

    /// Delivers changes to the watchers, in version order. Returns how many inboxes overflowed.
    pub(super) fn publish(&self, changes: &[(Instance, RegistryChange)]) -> u64 {
        let mut overflows = 0;
        let mut watchers = self.watchers.lock().expect("no thread panics with the watchers' lock");
        watchers.retain(|watcher| {
            let Some(inbox) = watcher.upgrade() else { return false };
            overflows +=
                changes.iter().filter(|(instance, change)| !inbox.push(instance, change)).count() as u64;
            true
        });
        overflows
    }

    /// Ends all watches, once their inboxes are empty.
    pub(super) fn close_watches(&self) {
        let mut watchers = self.watchers.lock().expect("no thread panics with the watchers' lock");
        for inbox in watchers.drain(..).filter_map(|watcher| watcher.upgrade()) {
            inbox.close();
        }
    }
}
