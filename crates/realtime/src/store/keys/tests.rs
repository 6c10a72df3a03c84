use std::num::NonZeroU64;

use identity::{Algorithm, Audience, Claims, Resource, TokenRules, sign, sign_dynamic, verify};
use state_embedded::Store;

use super::*;

const NOW: UnixSeconds = 1_700_000_000;

fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path().join("state"), &state_embedded::Options::default()).unwrap()
}

fn options() -> Options {
    let seconds = |seconds| NonZeroU64::new(seconds).unwrap();
    Options {
        primary_key: Some("one".to_owned()),
        secondary_key: Some("two".to_owned()),
        dynamic_keys: DynamicKeyOptions { rotation_s: seconds(100), lifetime_s: seconds(300) },
        ..Options::default()
    }
}

async fn open(store: &Store, options: &Options, now: UnixSeconds) -> Keys {
    let instance = Instance::new("test").unwrap();
    Keys::open(options, store.registry(), instance, now).await.unwrap()
}

fn key(text: &str) -> AccessKey {
    AccessKey::new(text).unwrap()
}

/// Whether a token signed with the key is accepted for a hub.
fn opens(keys: &Keys, key: &AccessKey) -> bool {
    let audience = Audience { resource: Resource::Client { hub: "chat" }, host: None };
    let token = sign(&Claims::new(), "http://a/client/?hub=chat", NOW, NOW + 9, key, Algorithm::Hs256);
    verify(&token, &keys.current(), &audience, NOW, &TokenRules::default()).is_ok()
}

fn opens_dynamic(keys: &Keys, key: &DynamicKey, now: UnixSeconds) -> bool {
    let audience = Audience { resource: Resource::Client { hub: "chat" }, host: None };
    let token = sign_dynamic(&Claims::new(), "http://a/client/?hub=chat", now, now + 9, key);
    verify(&token, &keys.current(), &audience, now, &TokenRules::default()).is_ok()
}

#[tokio::test]
async fn a_replaced_key_is_refused_and_the_new_ones_are_accepted_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store_1 = store(&folder);
    let keys = open(&store_1, &options(), NOW).await;
    assert!(opens(&keys, &key("one")) && opens(&keys, &key("two")));
    let rotation = KeyRotation { primary: KeyChange::Renew, secondary: KeyChange::Keep };
    let renewed = keys.rotate(rotation).await.unwrap();
    assert_eq!(renewed.secondary, Some(key("two")));
    assert!(!opens(&keys, &key("one")) && opens(&keys, &key("two")) && opens(&keys, &renewed.primary));
    let rotation = KeyRotation { primary: KeyChange::Keep, secondary: KeyChange::Set(key("three")) };
    assert_eq!(keys.rotate(rotation).await.unwrap().primary, renewed.primary);
    assert!(!opens(&keys, &key("two")) && opens(&keys, &key("three")));
    store_1.close().await;

    let store_2 = store(&folder);
    let keys = open(&store_2, &options(), NOW).await;
    assert!(!opens(&keys, &key("one")) && !opens(&keys, &key("two")));
    assert!(opens(&keys, &renewed.primary) && opens(&keys, &key("three")));
}

#[tokio::test]
async fn the_later_one_of_configuration_and_rotation_applies() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let rotation = KeyRotation { primary: KeyChange::Set(key("set")), secondary: KeyChange::Keep };
    open(&store, &options(), NOW).await.rotate(rotation).await.unwrap();
    let configured = Options { primary_key: Some("later".to_owned()), ..options() };
    let keys = open(&store, &configured, NOW).await;
    assert!(opens(&keys, &key("later")) && !opens(&keys, &key("set")));
    // Restoring the first configuration does not restore the rotated keys.
    assert!(opens(&open(&store, &options(), NOW).await, &key("one")));
}

#[tokio::test]
async fn a_public_key_can_only_be_set_in_development_mode() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let public = || KeyChange::Set(key(DEVELOPMENT_SIGNALR_KEY));
    let keys = open(&store, &options(), NOW).await;
    let rotation = KeyRotation { primary: KeyChange::Keep, secondary: public() };
    let error = keys.rotate(rotation).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the secondary key is published with the emulators and protects nothing; choose another one"
    );
    // In development mode it is accepted besides the other keys.
    let development = Options { development_keys: true, secondary_key: None, ..options() };
    let keys = open(&store, &development, NOW).await;
    let rotation = KeyRotation { primary: public(), secondary: KeyChange::Keep };
    assert_eq!(keys.rotate(rotation).await.unwrap().secondary, None);
    assert!(opens(&keys, &key(DEVELOPMENT_SIGNALR_KEY)) && !opens(&keys, &key("one")));
    // Outside development mode, keys that were set in it are not used.
    let beyond = Options { development_keys: false, ..development };
    let keys = open(&store, &beyond, NOW).await;
    assert!(opens(&keys, &key("one")) && !opens(&keys, &key(DEVELOPMENT_SIGNALR_KEY)));
}

#[tokio::test]
async fn keys_set_in_development_mode_are_refused_outside_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let development = Options { development_keys: true, ..options() };
    let keys = open(&store, &development, NOW).await;
    let planted = KeyRotation { primary: KeyChange::Set(key("planted")), secondary: KeyChange::Renew };
    let renewed = keys.rotate(planted).await.unwrap().secondary.unwrap();
    let dynamic = keys.issue(NOW).await.unwrap();
    let again = open(&store, &development, NOW).await;
    assert!(opens(&again, &key("planted")) && opens_dynamic(&again, &dynamic, NOW), "they outlive a restart");
    let exposed = open(&store, &options(), NOW).await;
    assert!(opens(&exposed, &key("one")) && opens(&exposed, &key("two")));
    assert!(!opens(&exposed, &key("planted")) && !opens(&exposed, &renewed));
    assert!(!opens_dynamic(&exposed, &dynamic, NOW));
    assert_ne!(exposed.issue(NOW).await.unwrap(), dynamic);
    // They stay removed, while keys that were set outside development mode are also accepted in it.
    let own = KeyRotation { primary: KeyChange::Set(key("own")), secondary: KeyChange::Keep };
    exposed.rotate(own).await.unwrap();
    let development = open(&store, &development, NOW).await;
    assert!(opens(&development, &key("own")) && !opens(&development, &key("planted")));
}

#[tokio::test]
async fn dynamic_keys_overlap_expire_and_are_accepted_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store_1 = store(&folder);
    let keys = open(&store_1, &options(), NOW).await;
    let first = keys.issue(NOW).await.unwrap();
    assert_eq!(keys.issue(NOW + 99).await.unwrap(), first);
    let second = keys.issue(NOW + 100).await.unwrap();
    assert_ne!(second, first);
    assert!(opens_dynamic(&keys, &first, NOW + 299) && opens_dynamic(&keys, &second, NOW + 299));
    assert!(!opens_dynamic(&keys, &first, NOW + 300));
    store_1.close().await;

    let store_2 = store(&folder);
    let keys = open(&store_2, &options(), NOW + 150).await;
    assert!(opens_dynamic(&keys, &first, NOW + 150) && opens_dynamic(&keys, &second, NOW + 150));
    assert_eq!(keys.issue(NOW + 150).await.unwrap(), second);
    // An expired key is removed: it is refused whatever time the verifier assumes.
    let third = keys.issue(NOW + 350).await.unwrap();
    assert!(!opens_dynamic(&keys, &first, NOW) && opens_dynamic(&keys, &third, NOW + 350));
    // A rotation of the account keys does not change dynamic keys.
    keys.rotate(KeyRotation { primary: KeyChange::Renew, ..KeyRotation::default() }).await.unwrap();
    assert!(opens_dynamic(&keys, &second, NOW + 350));
}

#[tokio::test]
async fn concurrent_callers_receive_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let keys = Arc::new(open(&store, &options(), NOW).await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let keys = Arc::clone(&keys);
        tasks.spawn(async move { keys.issue(NOW).await.unwrap().id });
    }
    let ids: std::collections::HashSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1);
}
