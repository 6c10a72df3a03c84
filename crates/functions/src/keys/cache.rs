//! A cache of keys, so that the check of a key does not read the registry.
//!
//! Only a watch of the registry fills it: a key that was read once may have been removed since. Without a watch the cache is empty, and
//! keys are read from the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use state::{KeyEntry, RegistryChange, Version};

use super::stored::{FunctionKeys, HostKeys};

/// The cached keys of one app.
#[derive(Debug)]
pub(super) struct Cache {
    host_path: String,
    known: Mutex<CachedKeys>,
}

#[derive(Debug, Default)]
struct CachedKeys {
    host: Option<(Version, Arc<HostKeys>)>,
    /// By path in the registry.
    functions: HashMap<String, (Version, Arc<FunctionKeys>)>,
    /// The versions of our own writes: older versions are stale, even if the watch has not reported the write yet.
    written: HashMap<String, Version>,
}

impl Cache {
    pub(super) fn new(host_path: String) -> Self {
        Self { host_path, known: Mutex::default() }
    }

    /// The host's keys, if they are cached and current.
    pub(super) fn host(&self) -> Option<Arc<HostKeys>> {
        let known = self.lock();
        let (version, keys) = known.host.as_ref()?;
        known.is_current(&self.host_path, *version).then(|| Arc::clone(keys))
    }

    /// A function's keys, if they are cached and current.
    pub(super) fn function(&self, path: &str) -> Option<Arc<FunctionKeys>> {
        let known = self.lock();
        let (version, keys) = known.functions.get(path)?;
        known.is_current(path, *version).then(|| Arc::clone(keys))
    }

    /// Applies a change that the watch reports.
    pub(super) fn apply(&self, change: RegistryChange) {
        let mut known = self.lock();
        match change {
            RegistryChange::Set(entry) if entry.key.as_str() == self.host_path => known.host = parse(&entry),
            RegistryChange::Set(entry) => {
                let path = entry.key.as_str().to_owned();
                match parse(&entry) {
                    Some(keys) => known.functions.insert(path, keys),
                    None => known.functions.remove(&path),
                };
            }
            RegistryChange::Removed(key, _) if key.as_str() == self.host_path => known.host = None,
            RegistryChange::Removed(key, _) => {
                known.functions.remove(key.as_str());
            }
            RegistryChange::Reset => known.clear(),
        }
    }

    /// Records a write of our own.
    pub(super) fn record_write(&self, path: &str, version: Version) {
        let mut known = self.lock();
        let newest = known.written.entry(path.to_owned()).or_insert(version);
        *newest = version.max(*newest);
    }

    /// Clears the cache, because changes are no longer reported.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, CachedKeys> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedKeys {
    fn is_current(&self, path: &str, version: Version) -> bool {
        self.written.get(path).is_none_or(|written| *written <= version)
    }

    fn clear(&mut self) {
        self.host = None;
        self.functions.clear();
    }
}

/// `None` for malformed keys: a read from the registry reports them as an error.
fn parse<T: DeserializeOwned>(entry: &KeyEntry) -> Option<(Version, Arc<T>)> {
    serde_json::from_slice(&entry.value).ok().map(|keys| (entry.version, Arc::new(keys)))
}

#[cfg(test)]
mod tests {
    use state::Key;

    use super::super::stored::StoredKeys;
    use super::*;

    fn set(path: &str, version: u64, value: &impl serde::Serialize) -> RegistryChange {
        RegistryChange::Set(KeyEntry {
            key: Key::new(path).expect("a valid key"),
            value: serde_json::to_vec(value).expect("JSON").into(),
            version: Version(version),
            expires_at: None,
        })
    }

    #[test]
    fn the_cache_returns_only_current_keys() {
        let cache = Cache::new("keys/exposed/host".to_owned());
        let path = "keys/exposed/functions/f";
        let known = || cache.function(path).map(|keys| keys.keys[0].value.clone());
        let (first, second) = (FunctionKeys::generate(), FunctionKeys::generate());
        let value = |keys: &FunctionKeys| Some(keys.keys[0].value.clone());
        assert_eq!(known(), None);
        cache.apply(set(path, 1, &first));
        assert_eq!(known(), value(&first));
        // Our own write, which the watch has not reported yet.
        cache.record_write(path, Version(3));
        assert_eq!(known(), None);
        cache.apply(set(path, 2, &first));
        assert_eq!(known(), None);
        cache.apply(set(path, 3, &second));
        assert_eq!(known(), value(&second));
        cache.apply(set(path, 4, &"malformed"));
        assert_eq!(known(), None);
        cache.apply(set(path, 5, &second));
        cache.apply(RegistryChange::Removed(Key::new(path).expect("a valid key"), Version(6)));
        assert_eq!(known(), None);
        cache.apply(set(path, 7, &first));
        cache.apply(set("keys/exposed/host", 8, &HostKeys::generate()));
        assert!(cache.host().is_some());
        cache.apply(RegistryChange::Reset);
        assert!(cache.host().is_none() && known().is_none());
    }
}
