//! Keys of the app: who may call functions and who may administer. Drawn on first use and kept in the `Registry`.
//!
//! A function accepts its own keys, the host's function keys and the master key; administration only the master key.
//! Keys that were made in development mode, where nobody is asked for a key and any local program may make one, are a set of their
//! own: outside of it they open nothing.
//!
//! Where keys are checked, they come from a cache that [`Keys::follow`] keeps; where they are shown or changed, they are read.

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
use crate::stop::Stop;

/// The keys of one app; cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys {
    registry: Arc<dyn Registry>,
    instance: Instance,
    /// What the paths of the keys that count here begin with.
    prefix: &'static str,
    cache: Arc<Cache>,
}

/// What a key opens.
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

/// A key that a caller showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownKey {
    pub(crate) level: KeyLevel,
    pub(crate) name: String,
}

impl KnownKey {
    /// Whether who shows it may call a function of this level.
    pub(crate) fn opens(&self, level: AuthLevel) -> bool {
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
    #[error("read keys of the app")]
    Registry(#[from] RegistryError),
    #[error("the stored keys at {key} are malformed; remove them to let new ones be drawn")]
    Malformed {
        key: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("keys were changed by others too often at the same time")]
    Contended,
}

/// What all paths of keys begin with, whatever their mode. Before there were modes, keys stood right below it.
const ALL: &str = "keys/";

/// Keys that were made while only this machine could connect.
const DEVELOPMENT: &str = "keys/development/";

/// Keys that were made outside of development mode.
const EXPOSED: &str = "keys/exposed/";

/// Pause before the keys are watched again after a watch ended.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// Keys that are read at a time where only their paths matter.
const VOID_PAGE_KEYS: usize = 100;

/// Tries of a compare-and-set before giving up.
const TRIES_MAX: usize = 16;

impl Keys {
    pub(crate) fn new(registry: Arc<dyn Registry>, instance: Instance, development: bool) -> Self {
        let prefix = if development { DEVELOPMENT } else { EXPOSED };
        let cache = Arc::new(Cache::new(format!("{prefix}host")));
        Self { registry, instance, prefix, cache }
    }

    /// Whether keys are kept that open nothing here, because they were made in development mode or by a version that did not tell
    /// the modes apart.
    pub(crate) async fn are_some_void(&self) -> Result<bool, RegistryError> {
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

    /// Keeps the cache until the host stops. Without it, or while the registry cannot be watched, each check reads the keys.
    pub(crate) async fn follow(self, mut stop: Stop) {
        loop {
            let followed = tokio::select! {
                followed = self.follow_one_watch() => followed,
                () = stop.stopped() => return self.cache.clear(),
            };
            self.cache.clear();
            if let Err(error) = followed {
                let error = error_chain(&error);
                tracing::warn!(error, "keys cannot be watched, so each request reads them");
            }
            tokio::select! {
                () = tokio::time::sleep(WATCH_PAUSE) => {}
                () = stop.stopped() => return,
            }
        }
    }

    async fn follow_one_watch(&self) -> Result<(), RegistryError> {
        let mut watch = self.registry.watch(&self.instance, self.prefix).await?;
        while let Some(change) = watch.next().await {
            self.cache.take(change);
        }
        Ok(())
    }

    /// Which key a caller shows: one of the host, or of the function that is called. `None` where it is no key of these.
    pub(crate) async fn identify(
        &self,
        presented: &str,
        function: Option<&str>,
    ) -> Result<Option<KnownKey>, ReadKeysError> {
        let host = self.known_host().await?;
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

    async fn known_host(&self) -> Result<Arc<HostKeys>, ReadKeysError> {
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

    /// Sets a key, to a new random value unless one is given; gives the value.
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

    /// Sets the master key, to a new random value unless one is given; gives the value.
    pub(crate) async fn set_master(&self, value: Option<String>) -> Result<NamedKey, ReadKeysError> {
        let key = NamedKey { name: "_master".to_owned(), value: value.unwrap_or_else(generate_key) };
        let change = (KeyScope::HostFunctions, KeyEdit::Master(key.value.clone()));
        self.update::<HostKeys>(&self.host_path(), Some(&change)).await?;
        Ok(key)
    }

    /// Removes a key; `false` if there is none of that name.
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

    /// Reads what is stored, draws it if it is not there, and applies the change; tells whether the change changed anything.
    /// Several hosts may do this at once: compare-and-set lets one win and the others read its result.
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
            let bytes = serde_json::to_vec(&value).expect("keys are plain texts");
            let put = self
                .registry
                .put(&self.instance, &key, bytes.into(), expect, Durability::Durable, None)
                .await;
            match put {
                Ok(version) => {
                    self.cache.wrote(path, version);
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

/// Compares digests, so that the time taken says nothing about how much of a key was right.
fn is_equal(presented: &str, key: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest(presented).as_ref() == digest(key).as_ref()
}
