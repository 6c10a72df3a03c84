//! [`UserGroups`]: which users belong to which groups, whether they are connected or not. The registry stores them, so that a
//! membership survives reconnects, restarts and `kill -9`; the engine adds a user's connections to the user's groups.
//!
//! A change is acknowledged when it is on disk and the shards have applied it. Changes of one user run one at a time, and a
//! change that has started completes even if its caller disconnects, so that disk and shards agree.
//!
//! | key | value |
//! |---|---|
//! | `realtime/user-groups/{hub}/{user}/{group}` | [`Record`] in JSON, with the names as they are |
//!
//! In a key, names are percent-encoded, and a long one is replaced by `~` and its SHA-256.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use state::{Durability, Expect, Instance, Key, KeyEntry, Registry, RegistryError};
use supervision::is_mutated;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use realtime_engine::{EngineHandle, GroupName, Hub, Lifetime, Membership, Stopped, UserGroupError, UserId};

const PREFIX: &str = "realtime/user-groups/";

/// Characters of a name that are not encoded in a key (RFC 3986, unreserved, without `~`, which marks a hash).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Longest encoded name in a key, in bytes: a hub, a user and a group together stay below the longest key.
const NAME_BYTES_MAX: usize = 300;

/// Number of keys that are read at a time.
const PAGE: usize = 500;

/// Number of locks for changes; changes of users with the same lock run one at a time.
const LOCKS: usize = 64;

/// The format version of the records; a newer one is refused.
const VERSION: u32 = 1;

/// Memberships of users. Shared by all interfaces of the service: REST, the handle in this process, app servers.
pub(crate) struct UserGroups {
    changes: Arc<Changes>,
    /// Running changes. `None` after the drain has started.
    tasks: Mutex<Option<JoinSet<()>>>,
}

struct Changes {
    registry: Arc<dyn Registry>,
    instance: Instance,
    engine: EngineHandle,
    locks: Vec<tokio::sync::Mutex<()>>,
}

/// A stored membership.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    v: u32,
    user: String,
    group: String,
}

/// Why a user's membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// [`Options::user_groups_max`](realtime_engine::Options::user_groups_max) is reached.
    #[error("too many memberships of users in groups; raise realtime.engine.user_groups_max")]
    Full,
    /// The service is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It could not be stored on disk.
    #[error("cannot store the membership of a user in a group")]
    Store(#[source] RegistryError),
}

/// Why the memberships of users could not be restored at the start.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// They could not be read.
    #[error("cannot read the memberships of users in groups")]
    Store(#[source] RegistryError),
    /// A newer version wrote a record.
    #[error("a newer version of chappe wrote the membership '{0}'; start that version")]
    Newer(Key),
    /// There are more than the limit.
    #[error(
        "{0} memberships of users are stored, more than the limit; raise realtime.engine.user_groups_max"
    )]
    Full(u64),
    /// The engine has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl UserGroups {
    pub(crate) fn new(registry: Arc<dyn Registry>, instance: Instance, engine: EngineHandle) -> Self {
        let locks = std::iter::repeat_with(Default::default).take(LOCKS).collect();
        let changes = Arc::new(Changes { registry, instance, engine, locks });
        Self { changes, tasks: Mutex::new(Some(JoinSet::new())) }
    }

    /// Adds a user to a group. With [`Lifetime::Present`] only the user's connections are added, and nothing is stored.
    pub(crate) async fn join(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        lifetime: Lifetime,
    ) -> Result<(), MembershipError> {
        let (changes, hub, user, group) =
            (Arc::clone(&self.changes), hub.clone(), user.clone(), group.clone());
        self.finish(async move { changes.join(&hub, &user, &group, lifetime).await }).await
    }

    /// Removes a user from a group.
    pub(crate) async fn leave(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
    ) -> Result<(), MembershipError> {
        let (changes, hub, user, group) =
            (Arc::clone(&self.changes), hub.clone(), user.clone(), group.clone());
        self.finish(async move { changes.leave(&hub, &user, &group).await }).await
    }

    /// Removes a user from all groups.
    pub(crate) async fn leave_all(&self, hub: &Hub, user: &UserId) -> Result<(), MembershipError> {
        let (changes, hub, user) = (Arc::clone(&self.changes), hub.clone(), user.clone());
        self.finish(async move { changes.leave_all(&hub, &user).await }).await
    }

    /// Passes all stored memberships to the engine, before the first client connects. Returns their number.
    pub(crate) async fn restore(&self, now: SystemTime) -> Result<u64, RestoreError> {
        self.changes.restore(now).await
    }

    /// Accepts no further changes, and waits for the running ones.
    pub(crate) async fn drain(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            while tasks.join_next().await.is_some() {}
        }
    }

    /// Completes a change even if the caller stops waiting.
    async fn finish(
        &self,
        change: impl Future<Output = Result<(), MembershipError>> + Send + 'static,
    ) -> Result<(), MembershipError> {
        let (sender, done) = oneshot::channel();
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            let tasks = tasks.as_mut().ok_or(Stopped)?;
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                // The caller may have stopped waiting.
                let _ = sender.send(change.await);
            });
        }
        done.await.unwrap_or(Err(Stopped.into()))
    }
}

impl Changes {
    async fn join(
        &self,
        hub: &Hub,
        user: &UserId,
        group: &GroupName,
        lifetime: Lifetime,
    ) -> Result<(), MembershipError> {
        let _turn = self.lock_user(hub, user).await;
        let key = key(hub, user, group);
        let ttl = match lifetime {
            Lifetime::For(ttl) => Some(ttl),
            Lifetime::Present | Lifetime::Always => None,
        };
        if lifetime != Lifetime::Present {
            let record = Record { v: VERSION, user: user.as_str().into(), group: group.as_str().into() };
            let value = serde_json::to_vec(&record).expect("names serialize to JSON");
            let (expect, durability) = (Expect::Anything, Durability::Durable);
            let put = self.registry.put(&self.instance, &key, value.into(), expect, durability, ttl);
            put.await.map_err(MembershipError::Store)?;
        }
        match self.engine.change_user(hub, user, group, Membership::Join, lifetime).await {
            Ok(()) => Ok(()),
            Err(UserGroupError::Stopped) => Err(Stopped.into()),
            Err(UserGroupError::Full) => {
                self.delete(&key).await?;
                Err(MembershipError::Full)
            }
        }
    }

    async fn leave(&self, hub: &Hub, user: &UserId, group: &GroupName) -> Result<(), MembershipError> {
        let _turn = self.lock_user(hub, user).await;
        self.delete(&key(hub, user, group)).await?;
        match self.engine.change_user(hub, user, group, Membership::Leave, Lifetime::Always).await {
            // A removal never exceeds the limit.
            Ok(()) | Err(UserGroupError::Full) => Ok(()),
            Err(UserGroupError::Stopped) => Err(Stopped.into()),
        }
    }

    async fn leave_all(&self, hub: &Hub, user: &UserId) -> Result<(), MembershipError> {
        let _turn = self.lock_user(hub, user).await;
        let prefix = format!("{PREFIX}{}/{}/", hub.name(), name(user.as_str()));
        loop {
            let page = self.registry.list(&self.instance, &prefix, None, PAGE);
            let page = page.await.map_err(MembershipError::Store)?;
            for entry in &page {
                self.delete(&entry.key).await?;
            }
            if page.len() < PAGE {
                break;
            }
        }
        Ok(self.engine.user_leaves_all_groups(hub, user).await?)
    }

    async fn restore(&self, now: SystemTime) -> Result<u64, RestoreError> {
        if is_mutated("user-groups-forgotten") {
            return Ok(0);
        }
        let (mut restored, mut after) = (0, None);
        loop {
            let page = self.registry.list(&self.instance, PREFIX, after.as_ref(), PAGE);
            let page = page.await.map_err(RestoreError::Store)?;
            for entry in &page {
                restored += u64::from(self.restore_one(entry, now, restored).await?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.key.clone()),
                _ => return Ok(restored),
            }
        }
    }

    async fn restore_one(&self, entry: &KeyEntry, now: SystemTime, count: u64) -> Result<bool, RestoreError> {
        let hub = entry.key.as_str().strip_prefix(PREFIX).and_then(|rest| rest.split('/').next());
        let record = serde_json::from_slice::<Record>(&entry.value);
        let (Some(hub), Ok(record)) = (hub, record) else {
            // One damaged record must not prevent the start of a service with thousands of valid ones.
            tracing::error!(key = %entry.key, "the record of a user's membership cannot be read and is ignored");
            return Ok(false);
        };
        if record.v > VERSION {
            return Err(RestoreError::Newer(entry.key.clone()));
        }
        let lifetime = match entry.expires_at {
            None => Lifetime::Always,
            Some(end) => match end.duration_since(now) {
                Ok(left) if left > Duration::ZERO => Lifetime::For(left),
                _ => return Ok(false),
            },
        };
        let hub = Hub::new(self.instance.clone(), hub);
        let (user, group) = (UserId::new(&record.user), GroupName::new(&record.group));
        match self.engine.change_user(&hub, &user, &group, Membership::Join, lifetime).await {
            Ok(()) => Ok(true),
            Err(UserGroupError::Stopped) => Err(Stopped.into()),
            Err(UserGroupError::Full) => Err(RestoreError::Full(count + 1)),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), MembershipError> {
        let deleted = self.registry.delete(&self.instance, key, Expect::Anything);
        deleted.await.map(|_| ()).map_err(MembershipError::Store)
    }

    async fn lock_user(&self, hub: &Hub, user: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (hub, user).hash(&mut hasher);
        let locks = self.locks.len() as u64;
        let index = usize::try_from(hasher.finish() % locks).expect("the number of locks is small");
        self.locks[index].lock().await
    }
}

fn key(hub: &Hub, user: &UserId, group: &GroupName) -> Key {
    let key = format!("{PREFIX}{}/{}/{}", hub.name(), name(user.as_str()), name(group.as_str()));
    Key::new(key).expect("the parts are short and have no control characters")
}

/// A name as a part of a key: without slashes and control characters, and of limited length.
fn name(name: &str) -> String {
    let encoded = utf8_percent_encode(name, PLAIN).to_string();
    if encoded.len() <= NAME_BYTES_MAX {
        return encoded;
    }
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    format!("~{}", URL_SAFE_NO_PAD.encode(hash))
}

impl std::fmt::Debug for UserGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserGroups").field("instance", &self.changes.instance).finish_non_exhaustive()
    }
}
