//! [`UserGroups`]: which users belong to which groups whether connected or not. Kept in the registry, so that a membership outlives
//! reconnects, restarts and `kill -9`, and told to the engine, which puts a user's connections into its groups.
//!
//! What is durable comes first: a change is acknowledged when it is on disk and the shards know it. Changes of one user take turns, and
//! one that has begun is finished even if its caller goes away, so that disk and shards end with the same.
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
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use realtime_engine::{EngineHandle, GroupName, Hub, Lifetime, Membership, Stopped, UserGroupError, UserId};

const PREFIX: &str = "realtime/user-groups/";

/// What of a name stands in a key as it is (RFC 3986, unreserved, without the mark of a hash).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Longest encoded name in a key, in bytes: a hub, a user and a group together stay below the longest key.
const NAME_BYTES_MAX: usize = 300;

/// How many keys are read at a time.
const PAGE: usize = 500;

/// Changes of users that share one of these take turns.
const TURNS: usize = 64;

/// The form of the records that we write; a newer one is refused.
const VERSION: u32 = 1;

/// Memberships of users. Shared by all roads into the service: REST, this process, app servers.
pub(crate) struct UserGroups {
    changes: Arc<Changes>,
    /// Changes under way. `None` once the drain has begun.
    tasks: Mutex<Option<JoinSet<()>>>,
}

struct Changes {
    registry: Arc<dyn Registry>,
    instance: Instance,
    engine: EngineHandle,
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// One membership as it is kept.
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
    #[error("as many memberships of users are remembered as may be")]
    Full,
    /// The service is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It could not be kept on disk.
    #[error("keep the membership of a user in a group")]
    Store(#[source] RegistryError),
}

/// Why the memberships of users could not be told to the engine at the start.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// They could not be read.
    #[error("read the memberships of users in groups")]
    Store(#[source] RegistryError),
    /// A newer version wrote one.
    #[error("a newer version of this program has kept the membership under '{0}'; start that version")]
    Newer(Key),
    /// They are more than may be.
    #[error(
        "{0} memberships of users are kept, more than the engine may remember; raise engine.user_groups_max"
    )]
    Full(u64),
    /// The engine has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl UserGroups {
    pub(crate) fn new(registry: Arc<dyn Registry>, instance: Instance, engine: EngineHandle) -> Self {
        let turns = std::iter::repeat_with(Default::default).take(TURNS).collect();
        let changes = Arc::new(Changes { registry, instance, engine, turns });
        Self { changes, tasks: Mutex::new(Some(JoinSet::new())) }
    }

    /// Puts a user into a group. A lifetime of [`Lifetime::Present`] is about connections, and nothing of it is kept.
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

    /// Takes a user out of a group.
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

    /// Takes a user out of all its groups.
    pub(crate) async fn leave_all(&self, hub: &Hub, user: &UserId) -> Result<(), MembershipError> {
        let (changes, hub, user) = (Arc::clone(&self.changes), hub.clone(), user.clone());
        self.finish(async move { changes.leave_all(&hub, &user).await }).await
    }

    /// Tells the engine of all memberships that are kept; to be done before the first client is let in. Says how many.
    pub(crate) async fn restore(&self, now: SystemTime) -> Result<u64, RestoreError> {
        self.changes.restore(now).await
    }

    /// Takes no more changes, and waits for those under way.
    pub(crate) async fn drain(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            while tasks.join_next().await.is_some() {}
        }
    }

    /// Carries a change out whether or not the caller stays to hear of it.
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
                // Nobody listens if the caller has gone.
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
        let _turn = self.turn(hub, user).await;
        let key = key(hub, user, group);
        let ttl = match lifetime {
            Lifetime::For(ttl) => Some(ttl),
            Lifetime::Present | Lifetime::Always => None,
        };
        if lifetime != Lifetime::Present {
            let record = Record { v: VERSION, user: user.as_str().into(), group: group.as_str().into() };
            let value = serde_json::to_vec(&record).expect("names are text");
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
        let _turn = self.turn(hub, user).await;
        self.delete(&key(hub, user, group)).await?;
        match self.engine.change_user(hub, user, group, Membership::Leave, Lifetime::Always).await {
            // There is always room for one fewer.
            Ok(()) | Err(UserGroupError::Full) => Ok(()),
            Err(UserGroupError::Stopped) => Err(Stopped.into()),
        }
    }

    async fn leave_all(&self, hub: &Hub, user: &UserId) -> Result<(), MembershipError> {
        let _turn = self.turn(hub, user).await;
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
            // One bad record must not keep a service with thousands of good ones from starting.
            tracing::error!(key = %entry.key, "the record of a user's membership cannot be read and is left out");
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

    async fn turn(&self, hub: &Hub, user: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (hub, user).hash(&mut hasher);
        let turns = self.turns.len() as u64;
        let index = usize::try_from(hasher.finish() % turns).expect("there are few turns");
        self.turns[index].lock().await
    }
}

fn key(hub: &Hub, user: &UserId, group: &GroupName) -> Key {
    let key = format!("{PREFIX}{}/{}/{}", hub.name(), name(user.as_str()), name(group.as_str()));
    Key::new(key).expect("the parts are short and have no control characters")
}

/// A name as a part of a key: without slashes and control characters, and not too long.
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
