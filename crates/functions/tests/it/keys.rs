//! Key checks that do not read the registry for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use state::{Durability, Expect, Instance, Key, KeyEntry, Registry, RegistryError, Version, Watch};
use worker_protocol::TypedData;

use crate::fake::{Host, PATIENCE, Setup, returned};

/// A registry that counts reads of keys.
struct Counting {
    inner: Arc<dyn Registry>,
    reads: AtomicUsize,
    /// Whether writes fail, as on a full disk.
    is_full: AtomicBool,
}

#[async_trait::async_trait]
impl Registry for Counting {
    async fn get(&self, instance: &Instance, key: &Key) -> Result<Option<KeyEntry>, RegistryError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(instance, key).await
    }

    async fn put(
        &self,
        instance: &Instance,
        key: &Key,
        value: Bytes,
        expect: Expect,
        durability: Durability,
        ttl: Option<Duration>,
    ) -> Result<Version, RegistryError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(RegistryError::Backend("database or disk is full".into()));
        }
        self.inner.put(instance, key, value, expect, durability, ttl).await
    }

    async fn delete(&self, instance: &Instance, key: &Key, expect: Expect) -> Result<bool, RegistryError> {
        self.inner.delete(instance, key, expect).await
    }

    async fn list(
        &self,
        instance: &Instance,
        prefix: &str,
        after: Option<&Key>,
        keys_max: usize,
    ) -> Result<Vec<KeyEntry>, RegistryError> {
        self.inner.list(instance, prefix, after, keys_max).await
    }

    async fn watch(&self, instance: &Instance, prefix: &str) -> Result<Box<dyn Watch>, RegistryError> {
        self.inner.watch(instance, prefix).await
    }
}

fn setup() -> (Setup, Arc<Counting>) {
    let trigger = json!({"type": "httpTrigger", "name": "req", "direction": "in", "authLevel": "function", "route": "f"});
    let mut setup = Setup::default().options(|options| options.enable_auth = true).function(
        "f",
        &[trigger, json!({"type": "http", "name": "$return", "direction": "out"})],
        |_| async { returned(TypedData::Null) },
    );
    let (reads, is_full) = (AtomicUsize::new(0), AtomicBool::new(false));
    let counting = Arc::new(Counting { inner: setup.store.registry(), reads, is_full });
    setup.registry = Some(Arc::clone(&counting) as Arc<dyn Registry>);
    (setup, counting)
}

/// Repeats the request until its response has this status, which follows from a write of another host.
async fn until(host: &Host, key: &str, status: u16) {
    let answered = async {
        while host.send(&format!("GET /api/f?code={key}")).await.status != status {
            tokio::task::yield_now().await;
        }
    };
    let patience = tokio::time::timeout(PATIENCE, answered).await;
    patience.unwrap_or_else(|_| panic!("{key} is not answered with {status}"));
}

#[tokio::test]
async fn a_key_check_reads_the_cache_and_sees_every_change() {
    let (setup, counting) = setup();
    let host = setup.start().await;
    let instance = Instance::new("functions-app").expect("a valid name");
    let own = Key::new("keys/exposed/functions/f").expect("a valid key");
    let put = async |value: &str| {
        let keys = json!({"keys": [{"name": "default", "value": value}]}).to_string();
        let (expect, durability) = (Expect::Anything, Durability::Durable);
        counting.inner.put(&instance, &own, keys.into(), expect, durability, None).await.expect("written");
    };
    let reads = || counting.reads.load(Ordering::Relaxed);
    // The first request generates the host's keys, and requests read the registry until the watch reports them.
    put("first").await;
    let cached = async {
        loop {
            let before = reads();
            assert_eq!(host.send("GET /api/f?code=first").await.status, 204);
            if reads() == before {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, cached).await.expect("the watch tells the keys");
    let before = reads();
    for _ in 0..10 {
        assert_eq!(host.send("GET /api/f?code=first").await.status, 204);
        assert_eq!(host.send("GET /api/f?code=wrong").await.status, 401);
    }
    assert_eq!(reads(), before);
    // Another host of the same app changes a key, and removes all keys of the function.
    put("second").await;
    until(&host, "second", 204).await;
    assert_eq!(host.send("GET /api/f?code=first").await.status, 401);
    counting.inner.delete(&instance, &own, Expect::Anything).await.expect("removed");
    until(&host, "second", 401).await;
    host.handle.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_stored_gets_503_with_the_reason() {
    let (setup, registry) = setup();
    let host = setup.options(|options| options.enable_auth = false).start().await;
    let address = "/admin/functions/f/keys/mine";
    assert_eq!(host.send(&format!("POST {address}")).await.status, 201);
    registry.is_full.store(true, Ordering::Relaxed);
    for address in
        [address, "/admin/host/keys/mine", "/admin/host/systemkeys/mine", "/admin/host/systemkeys/_master"]
    {
        let answer = host.send(&format!("POST {address}")).await;
        assert_eq!(answer.status, 503, "{address}");
        let text = answer.text();
        assert!(text.contains("nothing was changed") && text.contains("disk is full"), "{address}: {text}");
    }
    registry.is_full.store(false, Ordering::Relaxed);
    assert_eq!(host.send(&format!("POST {address}")).await.status, 200);
}
