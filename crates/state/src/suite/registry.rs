//! The suite of [`Registry`]: one test or more for each guarantee.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Backend, instance, soon};
use crate::{Durability, Expect, Instance, Key, Registry, RegistryChange, RegistryError, Version, Watch};

/// Makes a `#[tokio::test]` of each test of this suite; the argument is the path of an async factory of a
/// [`Backend`].
#[macro_export]
macro_rules! registry_suite {
    ($make:path) => {
        $crate::suite_tests!(
            $make,
            registry,
            [
                g1_exactly_one_of_many_writers_wins,
                g1_an_unexpected_version_is_a_conflict,
                g1_concurrent_increments_are_all_counted,
                g2_versions_rise_over_all_keys,
                g2_versions_rise_over_a_restart,
                g3_durable_survives_a_restart_and_session_does_not,
                g3_a_session_value_replaces_a_durable_one_permanently,
                g3_a_durable_value_replaces_a_session_one,
                g4_an_expired_key_is_absent_at_once,
                g4_a_new_write_ends_the_old_expiry,
                g4_expiry_survives_a_restart,
                g4_watchers_are_notified_of_expiry_within_a_second,
                g5_a_watch_returns_existing_keys_then_changes_in_order,
                g5_a_watch_returns_only_keys_below_its_prefix,
                g5_a_slow_watcher_gets_a_reset_and_the_existing_keys,
                g5_a_watch_during_writes_ends_with_the_current_values,
                g6_a_value_above_the_limit_is_rejected,
                g6_lists_are_paged_and_ordered,
                delete_returns_whether_the_key_existed,
                registry_instances_are_isolated,
                prefixes_are_literal,
            ]
        );
    };
}

/// A registry with short calls; every call that the test does not expect to fail fails the test.
struct Keys(Arc<dyn Registry>, Instance);

impl Keys {
    fn of(backend: &impl Backend) -> Self {
        Self(backend.registry(), instance("a"))
    }

    async fn set(&self, text: &str, value: &str) -> Version {
        self.write(text, value, Expect::Anything, Durability::Durable, None).await.expect("put works")
    }

    async fn write(
        &self,
        text: &str,
        value: &str,
        expect: Expect,
        durability: Durability,
        ttl: Option<Duration>,
    ) -> Result<Version, RegistryError> {
        let value = Bytes::from(value.to_owned());
        self.0.put(&self.1, &key(text), value, expect, durability, ttl).await
    }

    async fn get(&self, text: &str) -> Option<String> {
        let found = self.0.get(&self.1, &key(text)).await.expect("get works")?;
        assert_eq!(found.key, key(text));
        Some(String::from_utf8_lossy(&found.value).into_owned())
    }

    async fn delete(&self, text: &str) -> bool {
        self.0.delete(&self.1, &key(text), Expect::Anything).await.expect("delete works")
    }

    /// Keys and values below `prefix` as text.
    async fn list(&self, prefix: &str) -> Vec<String> {
        let found = self.0.list(&self.1, prefix, None, 10_000).await.expect("list works");
        found.iter().map(|entry| format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value))).collect()
    }

    async fn watch(&self, prefix: &str) -> Changes {
        Changes(self.0.watch(&self.1, prefix).await.expect("watch works"))
    }
}

struct Changes(Box<dyn Watch>);

impl Changes {
    /// The next change as text, and its version.
    async fn next(&mut self) -> (String, Option<Version>) {
        match soon("a change", self.0.next()).await.expect("the registry is open") {
            RegistryChange::Set(entry) => {
                let value = String::from_utf8_lossy(&entry.value).into_owned();
                (format!("{}={value}", entry.key), Some(entry.version))
            }
            RegistryChange::Removed(key, version) => (format!("-{key}"), Some(version)),
            RegistryChange::Reset => ("reset".to_owned(), None),
        }
    }

    async fn text(&mut self) -> String {
        self.next().await.0
    }
}

fn key(text: &str) -> Key {
    Key::new(text).expect("the suite's keys are valid")
}

fn ttl(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

/// Guarantee 1.
pub async fn g1_exactly_one_of_many_writers_wins(backend: impl Backend) {
    for durability in [Durability::Durable, Durability::Session] {
        let keys = Arc::new(Keys::of(&backend));
        let text = format!("{durability:?}");
        let present = keys.write(&text, "start", Expect::Absent, durability, None).await.expect("put works");
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..32 {
            let (keys, text) = (keys.clone(), text.clone());
            writers.spawn(async move {
                let expect = Expect::At(present);
                (writer, keys.write(&text, &writer.to_string(), expect, durability, None).await)
            });
        }
        let mut winners = Vec::new();
        let mut found_by_losers = Vec::new();
        for (writer, outcome) in writers.join_all().await {
            match outcome {
                Ok(version) => winners.push((writer, version)),
                Err(RegistryError::Conflict { found, .. }) => found_by_losers.push(found),
                Err(other) => panic!("unexpected: {other:?}"),
            }
        }
        let [(winner, version)] = winners[..] else { panic!("not exactly one winner: {winners:?}") };
        assert!(found_by_losers.iter().all(|found| *found == Some(version)), "{found_by_losers:?}");
        assert_eq!(keys.get(&text).await, Some(winner.to_string()));
    }
}

/// Guarantee 1.
pub async fn g1_an_unexpected_version_is_a_conflict(backend: impl Backend) {
    let keys = Keys::of(&backend);
    let durable = Durability::Durable;
    let early = keys.write("k", "x", Expect::At(Version(1)), durable, None).await;
    assert!(matches!(early, Err(RegistryError::Conflict { found: None, .. })), "{early:?}");
    let first = keys.write("k", "1", Expect::Absent, durable, None).await.expect("the key is absent");
    let again = keys.write("k", "x", Expect::Absent, durable, None).await;
    assert!(
        matches!(again, Err(RegistryError::Conflict { found: Some(at), .. }) if at == first),
        "{again:?}"
    );
    let second = keys.write("k", "2", Expect::At(first), durable, None).await.expect("the version is right");
    let stale = keys.0.delete(&keys.1, &key("k"), Expect::At(first)).await;
    assert!(
        matches!(stale, Err(RegistryError::Conflict { found: Some(at), .. }) if at == second),
        "{stale:?}"
    );
    assert_eq!(keys.get("k").await.as_deref(), Some("2"));
    assert!(keys.0.delete(&keys.1, &key("k"), Expect::At(second)).await.expect("the version is right"));
    assert_eq!(keys.get("k").await, None);
}

/// Guarantee 1: read, change and write with an expected version loses no change.
pub async fn g1_concurrent_increments_are_all_counted(backend: impl Backend) {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 10;
    let keys = Arc::new(Keys::of(&backend));
    keys.set("count", "0").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let keys = keys.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let found = keys.0.get(&keys.1, &key("count")).await.expect("get works").expect("the key is");
                let count: u64 =
                    String::from_utf8_lossy(&found.value).parse().expect("the value is a number");
                let next = (count + 1).to_string();
                match keys.write("count", &next, Expect::At(found.version), Durability::Durable, None).await {
                    Ok(_) => done += 1,
                    Err(RegistryError::Conflict { .. }) => {}
                    Err(other) => panic!("unexpected: {other:?}"),
                }
            }
        });
    }
    soon("the end of counting", tasks.join_all()).await;
    assert_eq!(keys.get("count").await, Some((TASKS * ROUNDS).to_string()));
}

/// Guarantee 2.
pub async fn g2_versions_rise_over_all_keys(backend: impl Backend) {
    let keys = Keys::of(&backend);
    let other = Keys(backend.registry(), instance("b"));
    let session = Durability::Session;
    let mut versions = vec![keys.set("a", "1").await, other.set("a", "1").await];
    versions.push(keys.write("s", "1", Expect::Anything, session, None).await.expect("put works"));
    versions.push(keys.set("b", "1").await);
    keys.delete("b").await;
    versions.push(keys.set("b", "2").await);
    assert!(versions.is_sorted_by(|earlier, later| earlier < later), "{versions:?}");
    let read = keys.0.get(&keys.1, &key("b")).await.expect("get works").expect("the key is there");
    assert_eq!(read.version, versions[4], "a read tells the version that the write answered");
}

/// Guarantee 2.
pub async fn g2_versions_rise_over_a_restart(mut backend: impl Backend) {
    let mut last = Keys::of(&backend).set("a", "1").await;
    for durability in [Durability::Session, Durability::Durable, Durability::Session, Durability::Session] {
        backend.reopen().await;
        let keys = Keys::of(&backend);
        let version = keys.write("k", "v", Expect::Anything, durability, None).await.expect("put works");
        assert!(version > last, "{version:?} after {last:?}");
        last = version;
    }
}

/// Guarantee 3.
pub async fn g3_durable_survives_a_restart_and_session_does_not(mut backend: impl Backend) {
    let keys = Keys::of(&backend);
    keys.set("k/durable", "d").await;
    keys.write("k/session", "s", Expect::Absent, Durability::Session, None).await.expect("put works");
    assert_eq!(keys.list("k/").await, ["k/durable=d", "k/session=s"]);
    backend.reopen().await;
    let keys = Keys::of(&backend);
    assert_eq!(keys.list("k/").await, ["k/durable=d"]);
    assert_eq!(keys.get("k/session").await, None);
    keys.write("k/session", "again", Expect::Absent, Durability::Session, None).await.expect("it is absent");
}

/// Guarantee 3: the durable value does not reappear.
pub async fn g3_a_session_value_replaces_a_durable_one_permanently(mut backend: impl Backend) {
    let keys = Keys::of(&backend);
    let durable = keys.set("k", "durable").await;
    keys.write("k", "session", Expect::At(durable), Durability::Session, None).await.expect("put works");
    assert_eq!(keys.get("k").await.as_deref(), Some("session"));
    assert_eq!(keys.list("k").await, ["k=session"]);
    backend.reopen().await;
    assert_eq!(Keys::of(&backend).get("k").await, None);
}

/// Guarantee 3.
pub async fn g3_a_durable_value_replaces_a_session_one(mut backend: impl Backend) {
    let keys = Keys::of(&backend);
    let session = keys.write("k", "session", Expect::Absent, Durability::Session, None).await;
    let expect = Expect::At(session.expect("put works"));
    keys.write("k", "durable", expect, Durability::Durable, None).await.expect("the version is right");
    assert_eq!(keys.list("k").await, ["k=durable"]);
    backend.reopen().await;
    assert_eq!(Keys::of(&backend).get("k").await.as_deref(), Some("durable"));
}

/// Guarantee 4.
pub async fn g4_an_expired_key_is_absent_at_once(backend: impl Backend) {
    for durability in [Durability::Durable, Durability::Session] {
        let keys = Keys::of(&backend);
        let old = keys.write("k/a", "1", Expect::Absent, durability, ttl(10)).await.expect("put works");
        keys.write("k/b", "1", Expect::Absent, durability, ttl(20)).await.expect("put works");
        backend.advance(Duration::from_millis(9_999));
        assert_eq!(keys.get("k/a").await.as_deref(), Some("1"), "one millisecond before its end");
        backend.advance(Duration::from_millis(1));
        assert_eq!(keys.get("k/a").await, None);
        assert_eq!(keys.list("k/").await, ["k/b=1"]);
        assert!(!keys.delete("k/a").await, "what has expired was not there");
        let at_old = keys.write("k/a", "2", Expect::At(old), durability, None).await;
        assert!(matches!(at_old, Err(RegistryError::Conflict { found: None, .. })), "{at_old:?}");
        let new =
            keys.write("k/a", "2", Expect::Absent, durability, None).await.expect("it counts as absent");
        assert!(new > old);
        keys.delete("k/a").await;
        keys.delete("k/b").await;
    }
}

/// Guarantee 4.
pub async fn g4_a_new_write_ends_the_old_expiry(backend: impl Backend) {
    let keys = Keys::of(&backend);
    for durability in [Durability::Durable, Durability::Session] {
        let text = format!("{durability:?}");
        keys.write(&text, "1", Expect::Anything, durability, ttl(10)).await.expect("put works");
        keys.write(&text, "2", Expect::Anything, durability, None).await.expect("put works");
        backend.advance(Duration::from_secs(60));
        assert_eq!(keys.get(&text).await.as_deref(), Some("2"));
    }
}

/// Guarantee 4.
pub async fn g4_expiry_survives_a_restart(mut backend: impl Backend) {
    let keys = Keys::of(&backend);
    keys.write("k", "1", Expect::Absent, Durability::Durable, ttl(10)).await.expect("put works");
    let before = keys.0.get(&keys.1, &key("k")).await.expect("get works");
    backend.reopen().await;
    let keys = Keys::of(&backend);
    assert_eq!(keys.0.get(&keys.1, &key("k")).await.expect("get works"), before);
    backend.advance(Duration::from_secs(10));
    assert_eq!(keys.get("k").await, None);
}

/// Guarantee 4: without any access to the key.
pub async fn g4_watchers_are_notified_of_expiry_within_a_second(backend: impl Backend) {
    let keys = Keys::of(&backend);
    for durability in [Durability::Durable, Durability::Session] {
        let put = keys.write("k", "1", Expect::Absent, durability, ttl(10)).await.expect("put works");
        let mut changes = keys.watch("k").await;
        assert_eq!(changes.text().await, "k=1");
        backend.advance(Duration::from_secs(10));
        let since = std::time::Instant::now();
        let (text, version) = changes.next().await;
        assert_eq!(text, "-k");
        assert!(version > Some(put), "an expiry is a change with a version of its own");
        let took = since.elapsed();
        assert!(took <= Duration::from_millis(1500), "took {took:?}");
    }
}

/// Guarantee 5.
pub async fn g5_a_watch_returns_existing_keys_then_changes_in_order(backend: impl Backend) {
    let keys = Keys::of(&backend);
    keys.set("k/b", "1").await;
    keys.write("k/a", "1", Expect::Anything, Durability::Session, None).await.expect("put works");
    let mut changes = keys.watch("k/").await;
    assert_eq!([changes.text().await, changes.text().await], ["k/a=1", "k/b=1"]);
    keys.set("k/c", "1").await;
    keys.write("k/a", "2", Expect::Anything, Durability::Session, None).await.expect("put works");
    keys.delete("k/b").await;
    keys.delete("k/never").await;
    keys.set("k/b", "2").await;
    let mut versions = Vec::new();
    for expected in ["k/c=1", "k/a=2", "-k/b", "k/b=2"] {
        let (text, version) = changes.next().await;
        assert_eq!(text, expected);
        versions.push(version);
    }
    assert!(versions.is_sorted_by(|earlier, later| earlier < later), "{versions:?}");
}

/// Guarantee 5.
pub async fn g5_a_watch_returns_only_keys_below_its_prefix(backend: impl Backend) {
    let keys = Keys::of(&backend);
    let other = Keys(backend.registry(), instance("b"));
    let mut changes = keys.watch("k/").await;
    keys.set("j/a", "no").await;
    keys.set("k", "no").await;
    keys.set("k0", "no").await;
    other.set("k/a", "no").await;
    keys.set("k/a", "yes").await;
    assert_eq!(changes.text().await, "k/a=yes");
}

/// Guarantee 5: after `Reset` come the existing keys, and then changes again.
pub async fn g5_a_slow_watcher_gets_a_reset_and_the_existing_keys(backend: impl Backend) {
    let keys = Keys::of(&backend);
    keys.set("k/gone", "1").await;
    let mut changes = keys.watch("k/").await;
    assert_eq!(changes.text().await, "k/gone=1");
    keys.delete("k/gone").await;
    let mut writers = tokio::task::JoinSet::new();
    // More changes than any backend keeps for a watcher that does not read.
    for task in 0..50 {
        let keys = Keys::of(&backend);
        writers.spawn(async move {
            for round in 0..400 {
                let (text, value) = (format!("k/{task:02}"), round.to_string());
                let put = keys.write(&text, &value, Expect::Anything, Durability::Session, None);
                put.await.expect("put works");
            }
        });
    }
    writers.join_all().await;
    let mut view = BTreeMap::new();
    let mut resets = 0;
    while view.len() < 50 || view.values().any(|value| value != "399") {
        let text = changes.text().await;
        match text.split_once('=') {
            Some((key, value)) => {
                view.insert(key.to_owned(), value.to_owned());
            }
            None if text == "reset" => {
                resets += 1;
                view.clear();
            }
            None => {
                view.remove(text.trim_start_matches('-'));
            }
        }
    }
    assert!(resets > 0, "20,000 changes were kept for a watcher that did not read");
    keys.set("k/after", "1").await;
    assert_eq!(changes.text().await, "k/after=1");
}

/// Guarantee 5: the state that a watcher builds from the start equals the final content.
pub async fn g5_a_watch_during_writes_ends_with_the_current_values(backend: impl Backend) {
    let keys = Keys::of(&backend);
    for number in 0..200 {
        keys.write(&format!("k/{number:03}"), "0", Expect::Anything, Durability::Session, None)
            .await
            .expect("put works");
    }
    let writer = tokio::spawn({
        let keys = Keys::of(&backend);
        async move {
            for round in 0..300_u32 {
                let text = format!("k/{:03}", round * 7 % 200);
                if round % 3 == 0 {
                    keys.delete(&text).await;
                } else {
                    let value = round.to_string();
                    let put = keys.write(&text, &value, Expect::Anything, Durability::Session, None);
                    put.await.expect("put works");
                }
            }
            keys.set("k/end", "1").await;
        }
    });
    let mut changes = keys.watch("k/").await;
    let mut view = BTreeMap::new();
    let mut last_of_key = BTreeMap::new();
    loop {
        let (text, version) = changes.next().await;
        if text == "reset" {
            view.clear();
            last_of_key.clear();
            continue;
        }
        let end = text == "k/end=1";
        let key =
            text.trim_start_matches('-').split('=').next().expect("a split has a first part").to_owned();
        let before = last_of_key.insert(key.clone(), version);
        assert!(
            before.is_none_or(|before| before < version),
            "{key} went back from {before:?} to {version:?}"
        );
        if text.starts_with('-') {
            view.remove(&key);
        } else {
            view.insert(key, text);
        }
        if end {
            break;
        }
    }
    writer.await.expect("the writer ends well");
    assert_eq!(view.into_values().collect::<Vec<_>>(), keys.list("k/").await);
}

/// Guarantee 6.
pub async fn g6_a_value_above_the_limit_is_rejected(backend: impl Backend) {
    let keys = Keys::of(&backend);
    let largest = "x".repeat(Key::VALUE_BYTES_MAX);
    for durability in [Durability::Durable, Durability::Session] {
        keys.write("k", &largest, Expect::Anything, durability, None).await.expect("the largest value fits");
        assert_eq!(keys.get("k").await.map(|value| value.len()), Some(Key::VALUE_BYTES_MAX));
        let refused = keys.write("k", &format!("{largest}x"), Expect::Anything, durability, None).await;
        assert!(matches!(refused, Err(RegistryError::TooLarge { .. })), "{refused:?}");
    }
}

/// Guarantee 6: durable and session keys are in one order.
pub async fn g6_lists_are_paged_and_ordered(backend: impl Backend) {
    let keys = Keys::of(&backend);
    for number in [3, 1, 4, 5, 9, 2, 6, 0, 8, 7] {
        let durability = if number % 3 == 0 { Durability::Session } else { Durability::Durable };
        let text = format!("k/{number}");
        keys.write(&text, "v", Expect::Absent, durability, None).await.expect("put works");
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = keys.0.list(&keys.1, "k/", after.as_ref(), 3).await.expect("list works");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page.iter().map(|entry| entry.key.as_str().to_owned()));
    }
    assert_eq!(seen, (0..10).map(|number| format!("k/{number}")).collect::<Vec<_>>());
}

/// See [`Registry::delete`].
pub async fn delete_returns_whether_the_key_existed(mut backend: impl Backend) {
    let keys = Keys::of(&backend);
    keys.set("d", "1").await;
    keys.write("s", "1", Expect::Absent, Durability::Session, None).await.expect("put works");
    assert!(keys.delete("d").await && keys.delete("s").await);
    assert!(!keys.delete("d").await && !keys.delete("s").await);
    backend.reopen().await;
    assert_eq!(Keys::of(&backend).get("d").await, None);
}

/// See [`Instance`].
pub async fn registry_instances_are_isolated(backend: impl Backend) {
    let (a, b) = (Keys::of(&backend), Keys(backend.registry(), instance("b")));
    for durability in [Durability::Durable, Durability::Session] {
        a.write("k", "a", Expect::Absent, durability, None).await.expect("put works");
        assert_eq!(b.get("k").await, None);
        b.write("k", "b", Expect::Absent, durability, None).await.expect("put works");
        assert_eq!((a.list("").await, b.list("").await), (vec!["k=a".to_owned()], vec!["k=b".to_owned()]));
        assert!(b.delete("k").await);
        assert_eq!(a.get("k").await.as_deref(), Some("a"));
        a.delete("k").await;
    }
}

/// A prefix is text, not a pattern, and may end anywhere, also before the largest character.
pub async fn prefixes_are_literal(backend: impl Backend) {
    let keys = Keys::of(&backend);
    for text in ["%", "a%b", "axb", "a_b", "a*b", "A%b", "z\u{10ffff}", "z\u{10ffff}a", "zz", "é", "éa"] {
        keys.set(text, "v").await;
    }
    assert_eq!(keys.list("a%").await, ["a%b=v"]);
    assert_eq!(keys.list("a_").await, ["a_b=v"]);
    assert_eq!(keys.list("A").await, ["A%b=v"]);
    assert_eq!(keys.list("z\u{10ffff}").await, ["z\u{10ffff}=v", "z\u{10ffff}a=v"]);
    assert_eq!(keys.list("é").await, ["é=v", "éa=v"]);
    assert_eq!(keys.list("").await.len(), 11);
}
