//! [`KeysInFlight`]: the ordering keys whose delivery is not settled yet.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The ordering keys whose delivery is not settled yet: what a source needs to keep guarantee 1 of
/// [`Source`](crate::Source). Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct KeysInFlight(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    keys: Mutex<HashSet<String>>,
    released: Notify,
}

/// An ordering key in flight; dropping it releases the key. A delivery's [`Settle`](crate::Settle) owns it.
#[derive(Debug)]
pub struct KeyClaim {
    keys: KeysInFlight,
    key: String,
}

impl KeysInFlight {
    /// Claims a key; `None` if it is in flight. Claim it when there is something to hand out: a dropped claim wakes the source.
    pub fn claim(&self, key: &str) -> Option<KeyClaim> {
        let is_free = self.with(|keys| keys.insert(key.to_owned()));
        is_free.then(|| KeyClaim { keys: self.clone(), key: key.to_owned() })
    }

    /// Whether a key is in flight.
    pub fn contains(&self, key: &str) -> bool {
        self.with(|keys| keys.contains(key))
    }

    /// Waits until a key is released; at once if one was released since the last call. For one waiter: the source. Cancel-safe.
    pub async fn released(&self) {
        self.0.released.notified().await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        act(&mut self.0.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KeyClaim {
    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Drop for KeyClaim {
    fn drop(&mut self) {
        self.keys.with(|keys| keys.remove(&self.key));
        self.keys.0.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_claimed_once_until_its_claim_is_dropped() {
        let keys = KeysInFlight::default();
        let claim = keys.claim("a").expect("free");
        assert!(keys.claim("a").is_none());
        assert!(keys.contains("a"));
        assert_eq!(keys.claim("b").expect("another key").key(), "b");
        keys.released().await;
        drop(claim);
        keys.released().await;
        assert!(!keys.contains("a"));
        assert!(keys.claim("a").is_some());
    }
}
