//! The keys of the app: function keys, host keys and the master key. Generated on first use and stored in the `Registry`.
//!
//! A function accepts its own keys, the host keys and the master key; `/admin` accepts only the master key. Keys that were created in
//! development mode, in which no key is required and any local program may create one, are a separate set, which is not valid in
//! other modes.
//!
//! Checks use a cache that [`AppKeys::follow`] keeps current; operations that show or change keys read the registry.

mod cache;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use http_messages::error_chain;
use state::{Durability, Expect, Instance, Key, Registry, RegistryError};

use self::cache::Cache;
use self::stored::{FunctionKeys, HostKeys, KeyEdit, StoredKeys, generate_key};
pub(crate) use self::stored::{KeyScope, NamedKey};
use crate::function::AuthLevel;
use crate::shutdown::Shutdown;

/// The keys of one app; cheap to clone.
#[derive(Clone)]
pub(crate) struct AppKeys {
    registry: Arc<dyn Registry>,
    instance: Instance,
    /// The path prefix of the keys that are valid in this mode.
    prefix: &'static str,
    cache: Arc<Cache>,
}

/// What a key permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyLevel {
    /// One function.
    Function,
    /// All functions.
    HostFunction,
    /// Webhooks of extensions.
    System,
    /// Everything.
    Admin,
}

/// A valid key that a caller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) level: KeyLevel,
    pub(crate) name: String,
}

impl KnownKey {
    /// Whether it permits calls of a function with this level.
    pub(crate) fn permits(&self, level: AuthLevel) -> bool {
        match (level, self.level) {
            (AuthLevel::Anonymous, _) | (_, KeyLevel::Admin) => true,
            (AuthLevel::Function, level) => level != KeyLevel::System,
            (AuthLevel::Admin, _) => false,
        }
    }
}

/// Why keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadKeysError {
    #[error("cannot read keys of the app")]
    Registry(#[from] RegistryError),
    #[error("the stored keys at {key} are malformed; remove them, and new ones are generated")]
    Malformed {
        key: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("keys were changed concurrently too often; try again")]
    Contended,
}

/// The path prefix of all keys. Versions without modes stored keys directly below it.
const ALL: &str = "keys/";

/// The prefix of keys that were created in development mode.
const DEVELOPMENT: &str = "keys/development/";

/// The prefix of keys that were created in other modes.
const EXPOSED: &str = "keys/exposed/";

/// The pause before the keys are watched again after a watch ended.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// The page size of a listing that only needs paths.
const VOID_PAGE_KEYS: usize = 100;

/// The limit of attempts of a compare-and-set.
const TRIES_MAX: usize = 16;

impl AppKeys {
    pub(crate) fn new(registry: Arc<dyn Registry>, instance: Instance, development: bool) -> Self {
        let prefix = if development { DEVELOPMENT } else { EXPOSED };
        let cache = Arc::new(Cache::new(format!("{prefix}host")));
        Self { registry, instance, prefix, cache }
    }

    /// Whether keys are stored that are not valid in this mode, because they were created in development mode or by a version without
    /// modes.
    pub(crate) async fn has_void_keys(&self) -> Result<bool, RegistryError> {
        let mut after = None;
        loop {
            let page = self.registry.list(&self.instance, ALL, after.as_ref(), VOID_PAGE_KEYS).await?;
            if page.iter().any(|entry| !entry.key.as_str().starts_with(self.prefix)) {
                return Ok(true);
            }
            match page.last() {
                Some(last) if page.len() == VOID_PAGE_KEYS => after = Some(last.key.clone()),
                _ => return Ok(false),
            }
        }
    }

    /// Keeps the cache current until the host stops. Without it, or while the registry cannot be watched, each check reads the keys.
    pub(crate) async fn follow(self, mut shutdown: Shutdown) {
        loop {
            let followed = tokio::select! {
                followed = self.follow_one_watch() => followed,
                () = shutdown.requested() => return self.cache.clear(),
            };
            self.cache.clear();
            if let Err(error) = followed {
                let error = error_chain(&error);
                tracing::warn!(
                    error,
                    "the keys cannot be watched; each request reads them from the registry"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(WATCH_PAUSE) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    async fn follow_one_watch(&self) -> Result<(), RegistryError> {
        let mut watch = self.registry.watch(&self.instance, self.prefix).await?;
        while let Some(change) = watch.next().await {
            self.cache.apply(change);
        }
        Ok(())
    }

    /// The key that a caller sent: of the host, or of the called function. `None` if it is not valid.
    pub(crate) async fn identify(
        &self,
        presented: &str,
        function: Option<&str>,
    ) -> Result<Option<KnownKey>, ReadKeysError> {
        let host = self.cached_host().await?;
        let known = |level, name: &str| Some(KnownKey { level, name: name.to_owned() });
        let find = |keys: &[NamedKey]| {
            keys.iter().find(|key| is_equal(presented, &key.value)).map(|key| key.name.clone())
        };
        if is_equal(presented, &host.master_key) {
            return Ok(known(KeyLevel::Admin, "master"));
        }
        if let Some(name) = find(&host.function_keys) {
            return Ok(known(KeyLevel::HostFunction, &name));
        }
        if let Some(name) = find(&host.system_keys) {
            return Ok(known(KeyLevel::System, &name));
        }
        let Some(function) = function else { return Ok(None) };
        let own = match self.cache.function(&self.function_path(function)) {
            Some(own) => own,
            None => Arc::new(self.function(function).await?),
        };
        Ok(find(&own.keys).and_then(|name| known(KeyLevel::Function, &name)))
    }

    async fn cached_host(&self) -> Result<Arc<HostKeys>, ReadKeysError> {
        match self.cache.host() {
            Some(host) => Ok(host),
            None => Ok(Arc::new(self.host().await?)),
        }
    }

    /// The host's keys.
    pub(crate) async fn host(&self) -> Result<HostKeys, ReadKeysError> {
        Ok(self.update(&self.host_path(), None).await?.0)
    }

    /// A function's keys.
    pub(crate) async fn function(&self, function: &str) -> Result<FunctionKeys, ReadKeysError> {
        Ok(self.update(&self.function_path(function), None).await?.0)
    }

    /// Sets a key, to a generated value unless one is given; returns the key.
    pub(crate) async fn set(
        &self,
        scope: KeyScope<'_>,
        name: &str,
        value: Option<String>,
    ) -> Result<NamedKey, ReadKeysError> {
        let key = NamedKey { name: name.to_owned(), value: value.unwrap_or_else(generate_key) };
        self.change(scope, &KeyEdit::Set(key.clone())).await?;
        Ok(key)
    }

    /// Creates the system key of an extension if there is none.
    pub(crate) async fn ensure_extension(&self, extension: &str) -> Result<(), ReadKeysError> {
        let name = extension_key(extension);
        let is_known = |key: &NamedKey| key.name.eq_ignore_ascii_case(&name);
        if !self.host().await?.system_keys.iter().any(is_known) {
            // Another host of the app may create it at the same time; then one of the two values stays.
            self.set(KeyScope::System, &name, None).await?;
        }
        Ok(())
    }

    /// Sets the master key, to a generated value unless one is given; returns the key.
    pub(crate) async fn set_master(&self, value: Option<String>) -> Result<NamedKey, ReadKeysError> {
        let key = NamedKey { name: "_master".to_owned(), value: value.unwrap_or_else(generate_key) };
        let change = (KeyScope::HostFunctions, KeyEdit::Master(key.value.clone()));
        self.update::<HostKeys>(&self.host_path(), Some(&change)).await?;
        Ok(key)
    }

    /// Removes a key; `false` if there is none with that name.
    pub(crate) async fn remove(&self, scope: KeyScope<'_>, name: &str) -> Result<bool, ReadKeysError> {
        self.change(scope, &KeyEdit::Remove(name.to_owned())).await
    }

    async fn change(&self, scope: KeyScope<'_>, change: &KeyEdit) -> Result<bool, ReadKeysError> {
        let change = (scope, change.clone());
        match scope {
            KeyScope::HostFunctions | KeyScope::System => {
                Ok(self.update::<HostKeys>(&self.host_path(), Some(&change)).await?.1)
            }
            KeyScope::Function(function) => {
                Ok(self.update::<FunctionKeys>(&self.function_path(function), Some(&change)).await?.1)
            }
        }
    }

    /// Reads a set of keys, generates it if it does not exist, and applies the change; also returns whether the change had an effect.
    /// Several hosts may do this at once: compare-and-set lets one succeed, and the others read its result.
    async fn update<T: StoredKeys>(
        &self,
        path: &str,
        change: Option<&(KeyScope<'_>, KeyEdit)>,
    ) -> Result<(T, bool), ReadKeysError> {
        let key = Key::new(path).expect("function names have no control characters and at most 128 bytes");
        for _ in 0..TRIES_MAX {
            let found = self.registry.get(&self.instance, &key).await?;
            let (mut value, expect) = match &found {
                Some(entry) => {
                    let value: T = serde_json::from_slice(&entry.value)
                        .map_err(|cause| ReadKeysError::Malformed { key: path.to_owned(), cause })?;
                    (value, Expect::At(entry.version))
                }
                None => (T::generate(), Expect::Absent),
            };
            let is_changed = change.is_some_and(|(scope, change)| value.apply(*scope, change));
            if !is_changed && found.is_some() {
                return Ok((value, false));
            }
            let bytes = serde_json::to_vec(&value).expect("keys can be serialised");
            let put = self
                .registry
                .put(&self.instance, &key, bytes.into(), expect, Durability::Durable, None)
                .await;
            match put {
                Ok(version) => {
                    self.cache.record_write(path, version);
                    return Ok((value, is_changed));
                }
                Err(RegistryError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ReadKeysError::Contended)
    }

    fn host_path(&self) -> String {
        format!("{}host", self.prefix)
    }

    fn function_path(&self, function: &str) -> String {
        format!("{}functions/{}", self.prefix, function.to_ascii_lowercase())
    }
}

/// The name of the system key that callers of an extension's webhook need.
pub(crate) fn extension_key(extension: &str) -> String {
    format!("{extension}_extension")
}

/// Compares digests, so that the duration does not depend on how much of a key matches.
fn is_equal(presented: &str, key: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest(presented).as_ref() == digest(key).as_ref()
}
