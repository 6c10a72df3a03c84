//! [`Registry`]: versioned keys with compare-and-set, watch and optional expiry.
//!
//! # Guarantees
//!
//! 1. **Compare-and-set.** Of two writers that expect the same [`Version`], exactly one succeeds.
//! 2. **Versions rise.** Each successful write or delete of a registry gets a version larger than all before it.
//! 3. **Durability is chosen by the writer.** [`Durability::Durable`] survives `kill -9` once acknowledged;
//!    [`Durability::Session`] lives in memory and is gone after a restart.
//! 4. **Expiry is exact for readers.** An expired key is absent from `get` and `list` at once, even if it is removed later.
//!    Watchers are notified within a second.
//! 5. **A watch is complete.** A [`Watch`] first returns the existing keys below its prefix, then each later change in version
//!    order. A watcher that is too slow gets [`RegistryChange::Reset`] and then the existing keys again.
//! 6. **Bounded.** Values have at most [`Key::VALUE_BYTES_MAX`] bytes; lists are paged.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{Instance, InvalidName};

/// A key: a path of names joined by `/`, 1 to 1024 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Longest key, in bytes.
    pub const BYTES_MAX: usize = 1024;
    /// Largest value, in bytes: 1 MiB.
    pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

    /// Validates a key.
    ///
    /// # Errors
    ///
    /// If it is empty, too long, or has control characters.
    pub fn new(key: impl Into<String>) -> Result<Self, InvalidName> {
        let key = key.into();
        if key.is_empty() || key.len() > Self::BYTES_MAX {
            return Err(InvalidName(key, "a key has 1 to 1024 bytes"));
        }
        if key.chars().any(char::is_control) {
            return Err(InvalidName(key, "a key has no control characters"));
        }
        Ok(Self(key))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a key: the number of its last write. Only rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The version that a writer expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any version, or none.
    Anything,
    /// The key must not exist.
    Absent,
    /// The key must be at this version.
    At(Version),
}

/// Whether a value survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk before the write is acknowledged.
    Durable,
    /// In memory; its writers write it again after a restart.
    Session,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Bytes,
    /// The version.
    pub version: Version,
    /// When it expires, if ever.
    pub expires_at: Option<SystemTime>,
}

/// An event of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryChange {
    /// The key has this value.
    Set(KeyEntry),
    /// The key was removed or has expired.
    Removed(Key, Version),
    /// Changes were missed. The existing keys follow as `Set`; keys not among them were removed.
    Reset,
}

/// Why a registry call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The key is at another version than expected.
    #[error("key {key} is not at the expected version")]
    Conflict {
        /// The key.
        key: Key,
        /// The current version, if the key exists.
        found: Option<Version>,
    },
    /// The value exceeds [`Key::VALUE_BYTES_MAX`].
    #[error("the value of key {key} has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The key.
        key: Key,
        /// Size of the value.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The backend failed; nothing was changed.
    #[error("the registry operation failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The changes below a prefix. Dropping it ends the watch.
#[async_trait::async_trait]
pub trait Watch: Send {
    /// The next change; `None` when the registry closes. Cancel-safe.
    async fn next(&mut self) -> Option<RegistryChange>;
}

/// Versioned keys. See the module's guarantees.
#[async_trait::async_trait]
pub trait Registry: Send + Sync + 'static {
    /// The value of a key.
    async fn get(&self, instance: &Instance, key: &Key) -> Result<Option<KeyEntry>, RegistryError>;

    /// Writes a key; it expires after `ttl`.
    async fn put(
        &self,
        instance: &Instance,
        key: &Key,
        value: Bytes,
        expect: Expect,
        durability: Durability,
        ttl: Option<Duration>,
    ) -> Result<Version, RegistryError>;

    /// Removes a key; returns whether it existed.
    async fn delete(&self, instance: &Instance, key: &Key, expect: Expect) -> Result<bool, RegistryError>;

    /// Keys that start with `prefix` and sort after `after`, in order, at most `keys_max` of them.
    async fn list(
        &self,
        instance: &Instance,
        prefix: &str,
        after: Option<&Key>,
        keys_max: usize,
    ) -> Result<Vec<KeyEntry>, RegistryError>;

    /// Watches the keys below `prefix`.
    async fn watch(&self, instance: &Instance, prefix: &str) -> Result<Box<dyn Watch>, RegistryError>;
}
