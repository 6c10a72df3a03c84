use std::num::NonZeroU64;
use std::path::PathBuf;

use prometheus_client::registry::Registry;
use serde_json::json;
use testkit::LoginProvider;

use super::*;

const NOW: UnixSeconds = 1_700_000_000;

/// A provider whose keys are in a file.
struct World {
    provider: LoginProvider,
    file: PathBuf,
    logins: Logins,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let options = OpenIdOptions {
            issuer: "https://login.example".to_owned(),
            key_set_file: Some(file.clone()),
            refresh_s: NonZeroU64::new(600).unwrap(),
            any_caller: true,
            ..OpenIdOptions::default()
        };
        let metrics = egress::Metrics::register(&mut Registry::default());
        let egress = egress::Client::new(&egress::Options::default(), &metrics).unwrap();
        let logins = Logins::new(options, egress);
        Self { provider: LoginProvider::new("https://login.example"), file, logins, _folder: folder }
    }

    /// Publishes some of the provider's keys.
    fn publish(&self, kids: &[&str]) {
        let mut keys = self.provider.key_set();
        keys["keys"].as_array_mut().unwrap().retain(|key| kids.contains(&key["kid"].as_str().unwrap()));
        std::fs::write(&self.file, keys.to_string()).unwrap();
    }

    /// The error code for a token signed with this algorithm's key, `after_s` seconds after the start.
    async fn ask(&self, after_s: u64, algorithm: &str) -> &'static str {
        let now = NOW + after_s;
        let claims =
            json!({ "iss": "https://login.example", "aud": "https://signalr.azure.com", "exp": now + 60 });
        let token = self.provider.token(algorithm, &claims);
        let verified = self.logins.verify(&token, Purpose::Read, now, &TokenRules::default()).await;
        verified.map_or_else(|rejection| rejection.error.code, |_| "welcome")
    }
}

#[tokio::test]
async fn a_new_key_is_accepted_after_a_pause() {
    let world = World::new();
    world.publish(&["rsa"]);
    assert_eq!(world.ask(0, "RS256").await, "welcome");
    world.publish(&["rsa", "ec"]);
    assert_eq!(world.ask(0, "ES256").await, "TokenSignature", "the keys were read a moment ago");
    assert_eq!(world.ask(PAUSE_S, "ES256").await, "welcome");
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_after_the_refresh() {
    let world = World::new();
    world.publish(&["rsa", "ec"]);
    assert_eq!(world.ask(0, "ES256").await, "welcome");
    world.publish(&["rsa"]);
    assert_eq!(world.ask(599, "ES256").await, "welcome");
    assert_eq!(world.ask(600, "ES256").await, "TokenSignature");
    assert_eq!(world.ask(600, "RS256").await, "welcome");
}

#[tokio::test]
async fn keys_of_an_unreachable_provider_are_used_for_a_limited_time() {
    let world = World::new();
    assert_eq!(world.ask(0, "RS256").await, "LoginUnavailable");
    world.publish(&["rsa"]);
    assert_eq!(world.ask(0, "RS256").await, "LoginUnavailable", "it was tried a moment ago");
    assert_eq!(world.ask(PAUSE_S, "RS256").await, "welcome");
    std::fs::write(&world.file, "broken").unwrap();
    assert_eq!(world.ask(PAUSE_S + 600 * 24 - 1, "RS256").await, "welcome");
    assert_eq!(
        world.ask(PAUSE_S + 600 * 24, "RS256").await,
        "LoginUnavailable",
        "it may have withdrawn them long ago"
    );
}

#[tokio::test]
async fn a_token_is_verified_with_cached_keys_during_a_refresh() {
    let world = World::new();
    world.publish(&["rsa"]);
    assert_eq!(world.ask(0, "RS256").await, "welcome");
    let reading = world.logins.reading.lock().await;
    assert_eq!(world.ask(600, "RS256").await, "welcome");
    drop(reading);
}
