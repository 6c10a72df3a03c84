//! [`Keys`]: the valid keys. Account keys come from the configuration, and can be replaced while the service runs; dynamic keys
//! are issued to app servers that log in. Keys that are not configured are stored in the registry, so that they are accepted
//! after a restart.
//!
//! | key | value |
//! |---|---|
//! | `realtime/keys/account` | [`AccountRecord`]: the account keys, where they were replaced while running |
//! | `realtime/keys/dynamic/{id}` | [`DynamicRecord`], with the key's lifetime as the registry's |
//!
//! The later one of the configuration and a replacement applies: a replacement stores a hash of the configuration that it
//! replaced, and is dropped when the configuration has changed since.
//!
//! Readers take a snapshot and hold no lock. A token of a replaced key is rejected from then on; connections that it opened stay
//! open, because a token is verified only when a connection opens.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use identity::{AccessKey, DEVELOPMENT_SIGNALR_KEY, DynamicKey, KeySet, UnixSeconds};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use state::{Durability, Expect, Instance, Key, KeyEntry, Registry, RegistryError};

use crate::options::{DynamicKeyOptions, Options, OptionsError};

const ACCOUNT: &str = "realtime/keys/account";
const DYNAMIC: &str = "realtime/keys/dynamic/";

/// The format version of the records; a newer one is refused.
const VERSION: u32 = 1;

/// Random bytes of a generated key, and of a dynamic key's id.
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 16;

/// The keys of one service.
pub(crate) struct Keys {
    registry: Arc<dyn Registry>,
    instance: Instance,
    /// Whether the public key of the emulators is accepted.
    development: bool,
    options: DynamicKeyOptions,
    /// The hash of the configured keys.
    configured: RwLock<String>,
    current: RwLock<Arc<KeySet>>,
    /// Held while keys change, so that disk and memory change in the same order.
    changing: tokio::sync::Mutex<Vec<Issued>>,
}

/// A dynamic key and when it was issued.
#[derive(Clone)]
struct Issued {
    at: UnixSeconds,
    key: DynamicKey,
}

/// Configured keys that were checked.
pub(crate) struct ConfiguredKeys {
    keys: KeySet,
    hash: String,
}

/// Changes of the account keys.
#[derive(Clone, Debug, Default)]
pub struct KeyRotation {
    /// The key that signs tokens of the service.
    pub primary: KeyChange,
    /// The second key that is accepted.
    pub secondary: KeyChange,
}

/// A change of one account key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeyChange {
    /// The key stays unchanged.
    #[default]
    Keep,
    /// A new key is generated.
    Renew,
    /// This key replaces it.
    Set(AccessKey),
}

/// The account keys. `Debug` does not print them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKeys {
    /// Signs tokens of the service.
    pub primary: AccessKey,
    /// Accepted as well.
    pub secondary: Option<AccessKey>,
}

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is public.
    #[error("the {0} key is published with the emulators and protects nothing; choose another one")]
    Public(&'static str),
    /// The keys could not be stored on disk.
    #[error("cannot store the keys of the realtime service")]
    Store(#[source] RegistryError),
}

/// Why the keys cannot be used at the start.
#[derive(Debug, thiserror::Error)]
pub enum OpenKeysError {
    /// The configured keys are invalid.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The stored keys cannot be read, or keys of development mode cannot be removed.
    #[error("cannot read the keys of the realtime service")]
    Store(#[from] RegistryError),
    /// A record is damaged, or a newer version wrote it.
    #[error(
        "the record '{0}' contains no key that this version can read; start the version that wrote it, or remove the record"
    )]
    Record(String),
}

#[derive(Serialize, Deserialize)]
struct AccountRecord {
    v: u32,
    primary: String,
    secondary: Option<String>,
    /// The hash of the configured keys that these replaced.
    configured: String,
    /// Whether it was set in development mode, in which every caller has a key to set it with.
    #[serde(default = "in_development")]
    development: bool,
}

#[derive(Serialize, Deserialize)]
struct DynamicRecord {
    v: u32,
    key: String,
    issued_at: UnixSeconds,
    expires_at: UnixSeconds,
    /// Whether it was issued in development mode, in which every caller has a key to request one with.
    #[serde(default = "in_development")]
    development: bool,
}

/// The default for a record without the field.
fn in_development() -> bool {
    true
}

impl Keys {
    /// Loads the configured keys or those that replaced them, and the dynamic keys that are still valid.
    pub(crate) async fn open(
        options: &Options,
        registry: Arc<dyn Registry>,
        instance: Instance,
        now: UnixSeconds,
    ) -> Result<Self, OpenKeysError> {
        let configured = options.keys()?;
        let hash = hash(options);
        let account = Key::new(ACCOUNT).expect("the constant is a key");
        let mut keys = configured.clone();
        if let Some(entry) = registry.get(&instance, &account).await? {
            let record: AccountRecord = read(&entry)?;
            let is_void = record.development && !options.development_keys;
            if record.configured == hash && !is_void {
                let key = |text: String| {
                    AccessKey::new(text).map_err(|_| OpenKeysError::Record(ACCOUNT.to_owned()))
                };
                let secondary = record.secondary.map(key).transpose()?;
                keys = key_set(key(record.primary)?, secondary, options.development_keys);
            } else {
                let why = if is_void {
                    "they were set in development mode"
                } else {
                    "the configured keys have changed"
                };
                tracing::warn!(
                    "the account keys that were set while running are dropped, because {why}; set new ones at /chappe/api/realtime/keys"
                );
                registry.delete(&instance, &account, Expect::Anything).await?;
            }
        }
        let issued = dynamic_keys(&*registry, &instance, options.development_keys, now).await?;
        keys.dynamic = issued.iter().map(|issued| issued.key.clone()).collect();
        Ok(Self {
            registry,
            instance,
            development: options.development_keys,
            options: options.dynamic_keys,
            configured: RwLock::new(hash),
            current: RwLock::new(Arc::new(keys)),
            changing: tokio::sync::Mutex::new(issued),
        })
    }

    /// The keys that are valid now.
    pub(crate) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks other configured keys; `None` if they are those of before, so that keys which replaced them stay.
    pub(crate) fn prepare(&self, options: &Options) -> Result<Option<ConfiguredKeys>, OptionsError> {
        let options = Options { development_keys: self.development, ..options.clone() };
        let (keys, hash) = (options.keys()?, hash(&options));
        Ok((hash != self.configured()).then_some(ConfiguredKeys { keys, hash }))
    }

    /// Accepts other configured keys, and no longer those of before or those that replaced them. Dynamic keys stay.
    pub(crate) async fn configure(&self, configured: ConfiguredKeys) {
        let issued = self.changing.lock().await;
        let ConfiguredKeys { mut keys, hash } = configured;
        keys.dynamic = issued.iter().map(|issued| issued.key.clone()).collect();
        self.replace(keys);
        *self.configured.write().unwrap_or_else(PoisonError::into_inner) = hash;
        let account = Key::new(ACCOUNT).expect("the constant is a key");
        if let Err(error) = self.registry.delete(&self.instance, &account, Expect::Anything).await {
            // The record names the configuration that it replaced, so that the next start does not use it for this one.
            tracing::warn!(%error, "the record of account keys that were set before could not be removed");
        }
    }

    fn configured(&self) -> String {
        self.configured.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the account keys and stores them on disk; returns the new ones.
    pub(crate) async fn rotate(&self, rotation: KeyRotation) -> Result<AccountKeys, KeyError> {
        let _changing = self.changing.lock().await;
        let current = self.current();
        let primary = self.changed(rotation.primary, Some(&current.primary), "primary")?;
        let secondary = self.changed(rotation.secondary, self.secondary(&current), "secondary")?;
        let primary = primary.expect("there is always a primary key, and no change removes it");
        let record = AccountRecord {
            v: VERSION,
            primary: primary.expose().to_owned(),
            secondary: secondary.as_ref().map(|key| key.expose().to_owned()),
            configured: self.configured(),
            development: self.development,
        };
        self.put(&Key::new(ACCOUNT).expect("the constant is a key"), &record, None).await?;
        let mut keys = key_set(primary.clone(), secondary.clone(), self.development);
        keys.dynamic.clone_from(&current.dynamic);
        self.replace(keys);
        Ok(AccountKeys { primary, secondary })
    }

    /// The dynamic key for a caller that logged in: the newest one, or a new one if that is too old.
    pub(crate) async fn issue(&self, now: UnixSeconds) -> Result<DynamicKey, KeyError> {
        let mut issued = self.changing.lock().await;
        let fresh = |issued: &&Issued| issued.at.saturating_add(self.options.rotation_s.get()) > now;
        if let Some(newest) = issued.iter().max_by_key(|issued| issued.at).filter(fresh) {
            return Ok(newest.key.clone());
        }
        let lifetime_s = self.options.lifetime_s.get();
        let key = DynamicKey {
            id: URL_SAFE_NO_PAD.encode(random::<ID_BYTES>()).into(),
            key: generate_key(),
            expires_at: now.saturating_add(lifetime_s),
        };
        let record = DynamicRecord {
            v: VERSION,
            key: key.key.expose().to_owned(),
            issued_at: now,
            expires_at: key.expires_at,
            development: self.development,
        };
        let name =
            Key::new(format!("{DYNAMIC}{}", key.id)).expect("an id is short and has no special characters");
        self.put(&name, &record, Some(Duration::from_secs(lifetime_s))).await?;
        // Expired keys are removed here; lifetime and rotation limit their number.
        issued.retain(|issued| issued.key.expires_at > now);
        issued.push(Issued { at: now, key: key.clone() });
        let mut keys = KeySet::clone(&self.current());
        keys.dynamic = issued.iter().map(|issued| issued.key.clone()).collect();
        self.replace(keys);
        Ok(key)
    }

    fn changed(
        &self,
        change: KeyChange,
        current: Option<&AccessKey>,
        which: &'static str,
    ) -> Result<Option<AccessKey>, KeyError> {
        match change {
            KeyChange::Keep => Ok(current.cloned()),
            KeyChange::Renew => Ok(Some(generate_key())),
            KeyChange::Set(key) if key.is_public_development_key() && !self.development => {
                Err(KeyError::Public(which))
            }
            KeyChange::Set(key) => Ok(Some(key)),
        }
    }

    /// The secondary key: the other accepted key, except that of the emulators.
    fn secondary<'a>(&self, keys: &'a KeySet) -> Option<&'a AccessKey> {
        keys.others.iter().find(|key| !(self.development && key.is_public_development_key()))
    }

    async fn put<T: Serialize>(&self, key: &Key, record: &T, ttl: Option<Duration>) -> Result<(), KeyError> {
        let value = serde_json::to_vec(record).expect("keys serialize to JSON");
        let (expect, durability) = (Expect::Anything, Durability::Durable);
        let put = self.registry.put(&self.instance, key, value.into(), expect, durability, ttl);
        put.await.map(drop).map_err(KeyError::Store)
    }

    fn replace(&self, keys: KeySet) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

async fn dynamic_keys(
    registry: &dyn Registry,
    instance: &Instance,
    development: bool,
    now: UnixSeconds,
) -> Result<Vec<Issued>, OpenKeysError> {
    let found = registry.list(instance, DYNAMIC, None, DynamicKeyOptions::LIVE_MAX).await;
    let mut issued = Vec::new();
    for entry in &found? {
        let record: DynamicRecord = read(entry)?;
        let unreadable = || OpenKeysError::Record(entry.key.to_string());
        let id = entry.key.as_str().strip_prefix(DYNAMIC).ok_or_else(unreadable)?;
        let key = AccessKey::new(record.key).map_err(|_| unreadable())?;
        if record.development && !development {
            // App servers request a new key when theirs is rejected.
            registry.delete(instance, &entry.key, Expect::Anything).await?;
        } else if record.expires_at > now {
            let key = DynamicKey { id: id.into(), key, expires_at: record.expires_at };
            issued.push(Issued { at: record.issued_at, key });
        }
    }
    Ok(issued)
}

/// Parses a record, unless a newer version wrote it.
fn read<T: for<'de> Deserialize<'de>>(entry: &KeyEntry) -> Result<T, OpenKeysError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let unreadable = |_| OpenKeysError::Record(entry.key.to_string());
    let version: Versioned = serde_json::from_slice(&entry.value).map_err(unreadable)?;
    if version.v > VERSION {
        return Err(OpenKeysError::Record(entry.key.to_string()));
    }
    serde_json::from_slice(&entry.value).map_err(unreadable)
}

fn key_set(primary: AccessKey, secondary: Option<AccessKey>, development: bool) -> KeySet {
    let mut others: Vec<AccessKey> = secondary.into_iter().collect();
    if development {
        others.push(AccessKey::new(DEVELOPMENT_SIGNALR_KEY).expect("the constant is not empty"));
    }
    KeySet { primary, others, dynamic: Vec::new() }
}

/// A hash that identifies a configuration of keys without revealing them.
fn hash(options: &Options) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for key in [&options.primary_key, &options.secondary_key] {
        // The length separates the keys, so that different keys have different input.
        let text = key.as_deref().unwrap_or("");
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    STANDARD.encode(context.finish())
}

fn generate_key() -> AccessKey {
    AccessKey::new(STANDARD.encode(random::<KEY_BYTES>())).expect("a generated key is not empty")
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system provides random bytes");
    bytes
}

impl std::fmt::Debug for Keys {
    /// Does not print the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("development", &self.development).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
