//! The service's configuration.

mod login;

use identity::{AccessKey, DEVELOPMENT_SIGNALR_KEY, KeySet};
use serde::{Deserialize, Serialize};
use state::Instance;

use crate::history::Rule as HistoryRule;
use crate::mode::Mode;
use crate::{events, servers, upstream};
pub use login::{DynamicKeyOptions, OpenIdOptions};

/// What the realtime service accepts and how long it waits. Unknown keys are refused.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The account that the hubs belong to. Two instances in one process share nothing. Default: `default`. Since 0.1.0.
    pub instance: String,
    /// The key that signs the tokens we hand out and is accepted in tokens. A secret. Default: absent. Since 0.1.0.
    pub primary_key: Option<String>,
    /// A second key that is accepted in tokens, so that the first can be replaced. A secret. Default: absent.
    /// Since 0.1.0.
    pub secondary_key: Option<String>,
    /// Whether the key that the SignalR emulator publishes is accepted as well. Anybody knows it, so the program around sets it
    /// only where the listeners are bound to loopback. Default: false.
    #[serde(skip)]
    pub development_keys: bool,
    /// Whether the audience of a token must name the host by which the request reached us. Off, because an audience is written
    /// with the name that the token's issuer knows, and a service has many. Default: false. Since 0.1.0.
    pub audience_host_strict: bool,
    /// Clock difference allowed when a token's end is checked, in seconds. Default: 5. Since 0.1.0.
    pub token_leeway_s: u64,
    /// How long a client may take from negotiate to connect, in milliseconds. Default: 15000. Since 0.1.0.
    pub negotiation_lifetime_ms: u64,
    /// Negotiations that may wait for their client; further ones are turned away. Default: 100000. Since 0.1.0.
    pub negotiations_max: usize,
    /// How long a poll of a long-polling client waits for messages before it is answered empty, in milliseconds; a token may say
    /// otherwise (`asrs.s.ttl`). Default: 5000. Since 0.1.0.
    pub poll_interval_ms: u64,
    /// Largest body of a REST request, in bytes. Default: 1048576. Since 0.1.0.
    pub body_bytes_max: usize,
    /// How long `:invoke` waits for a client's result, in milliseconds. Default: 30000. Since 0.1.0.
    pub invoke_timeout_ms: u64,
    /// How many callers may watch at a time who comes and goes; further ones are turned away. Default: 100. Since 0.1.0.
    pub watchers_max: usize,
    /// Keys for app servers that log in.
    pub dynamic_keys: DynamicKeyOptions,
    /// The login provider whose tokens are accepted from apps. Default: absent. Since 0.1.0.
    pub openid: Option<OpenIdOptions>,
    /// Which hubs and groups keep their last messages for clients that come back. Default: none. Since 0.1.0.
    pub history: Vec<HistoryRule>,
    /// Groups that keep messages at one time. A further group takes the place of one whose messages have all expired; where there is
    /// none, its messages are sent and not kept. Default: 10000. Since 0.1.0.
    pub history_groups_max: usize,
    /// Who answers what clients say: app servers (`default`; where none is connected for a hub, its clients are turned away), upstreams
    /// (`serverless`; app servers are refused), or app servers for the hubs that have one and upstreams for the others (`classic`).
    /// Default: `classic`. Since 0.1.0.
    pub mode: Mode,
    /// Bounds and timers of app servers' connections.
    pub servers: servers::Options,
    /// Shards, buffers and timers of connections.
    pub engine: realtime_engine::Options,
    /// Who answers what clients call, and hears that they come and go.
    pub upstream: upstream::Options,
    /// How connection events are delivered.
    pub events: events::Options,
}

/// Why the service cannot run with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The name of the instance is invalid.
    #[error("the instance of the realtime service")]
    Instance(#[source] state::InvalidName),
    /// There is no key to verify tokens with.
    #[error("no access key is configured; set primary_key")]
    NoKey,
    /// With an empty key anyone could sign tokens.
    #[error("{0} is empty")]
    EmptyKey(&'static str),
    /// The key is publicly known.
    #[error(
        "{0} is a key that the emulators publish, so it protects nothing; set another key, or listen on loopback only"
    )]
    PublicKey(&'static str),
    /// Options contradict each other.
    #[error("the options of the realtime service: {0}")]
    Contradiction(&'static str),
    /// The upstream templates cannot be used.
    #[error(transparent)]
    Upstream(#[from] upstream::LoadError),
}

/// Longest client token, in characters; the SDKs refuse to make a longer one.
pub(crate) const CLIENT_TOKEN_BYTES_MAX: usize = 4_096;

/// Longest token of an app.
pub(crate) const APP_TOKEN_BYTES_MAX: usize = 8_192;

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: "default".to_owned(),
            primary_key: None,
            secondary_key: None,
            development_keys: false,
            audience_host_strict: false,
            token_leeway_s: 5,
            negotiation_lifetime_ms: 15_000,
            negotiations_max: 100_000,
            poll_interval_ms: 5_000,
            body_bytes_max: 1024 * 1024,
            invoke_timeout_ms: 30_000,
            watchers_max: 100,
            dynamic_keys: DynamicKeyOptions::default(),
            openid: None,
            history: Vec::new(),
            history_groups_max: 10_000,
            mode: Mode::default(),
            servers: servers::Options::default(),
            engine: realtime_engine::Options::default(),
            upstream: upstream::Options::default(),
            events: events::Options::default(),
        }
    }
}

impl std::fmt::Debug for Options {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("instance", &self.instance)
            .field("development_keys", &self.development_keys)
            .field("mode", &self.mode)
            .field("servers", &self.servers)
            .field("engine", &self.engine)
            .field("upstream", &self.upstream)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Finds what is wrong before anything starts; [`start()`](crate::start()) would find it too.
    ///
    /// # Errors
    ///
    /// If a name, or a template for upstreams, cannot be used. Keys are looked at by the start only, as whoever starts may add
    /// some.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.instance()?;
        upstream::load(&self.upstream)?;
        let openid = self.openid.as_ref().map_or(Ok(()), OpenIdOptions::check);
        openid.and_then(|()| self.dynamic_keys.check()).map_err(OptionsError::Contradiction)
    }

    pub(crate) fn instance(&self) -> Result<Instance, OptionsError> {
        Instance::new(&self.instance).map_err(OptionsError::Instance)
    }

    /// The keys to accept; the first one signs.
    pub(crate) fn keys(&self) -> Result<KeySet, OptionsError> {
        let mut keys = Vec::new();
        for (option, text) in [("primary_key", &self.primary_key), ("secondary_key", &self.secondary_key)] {
            let Some(text) = text else { continue };
            let key = AccessKey::new(text.as_str()).map_err(|_| OptionsError::EmptyKey(option))?;
            if key.is_public_development_key() && !self.development_keys {
                return Err(OptionsError::PublicKey(option));
            }
            keys.push(key);
        }
        if self.development_keys {
            keys.push(AccessKey::new(DEVELOPMENT_SIGNALR_KEY).expect("the constant is not empty"));
        }
        if keys.is_empty() {
            return Err(OptionsError::NoKey);
        }
        let primary = keys.remove(0);
        Ok(KeySet { primary, others: keys, dynamic: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(primary: Option<&str>, secondary: Option<&str>, development_keys: bool, expected: &str) {
        let (primary_key, secondary_key) = (primary.map(str::to_owned), secondary.map(str::to_owned));
        let options = Options { primary_key, secondary_key, development_keys, ..Options::default() };
        let shown = match options.keys() {
            Ok(keys) => keys.iter().map(|key| key.expose()[..3].to_owned()).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn public_keys_are_accepted_only_where_that_is_said() {
        let public = Some(DEVELOPMENT_SIGNALR_KEY);
        check(Some("one"), Some("two"), false, "one two");
        check(Some("one"), None, true, "one ABC");
        check(None, None, true, "ABC");
        check(public, None, true, "ABC ABC");
        check(
            Some("one"),
            public,
            false,
            "secondary_key is a key that the emulators publish, so it protects nothing; set another key, or listen on loopback only",
        );
        check(None, None, false, "no access key is configured; set primary_key");
        check(Some(""), None, false, "primary_key is empty");
    }

    #[test]
    fn what_the_program_around_decides_is_no_key() {
        let error = serde_json::from_str::<Options>(r#"{"development_keys": true}"#).expect_err("not a key");
        assert!(error.to_string().contains("unknown field `development_keys`"), "{error}");
    }

    #[test]
    fn debug_shows_no_key() {
        let options = Options { primary_key: Some("hidden".to_owned()), ..Options::default() };
        assert!(!format!("{options:?}").contains("hidden"));
    }
}
