//! Options of the realtime service.

mod login;

use identity::{AccessKey, DEVELOPMENT_SIGNALR_KEY, KeySet};
use serde::{Deserialize, Serialize};
use state::Instance;

use crate::history::Rule as HistoryRule;
use crate::mode::Mode;
use crate::{events, servers, upstream};
pub use login::{DynamicKeyOptions, OpenIdOptions};

/// Options of the realtime service. Unknown keys are refused.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The account that the hubs belong to. Two instances in one process share nothing. Default: `default`. Since 0.1.0.
    pub instance: String,
    /// The key that signs tokens of the service and is accepted in tokens. A secret. Reloads. Default: absent. Since 0.1.0.
    pub primary_key: Option<String>,
    /// A second key that is accepted in tokens, so that the first can be replaced. A secret. Reloads. Default: absent. Since 0.1.0.
    pub secondary_key: Option<String>,
    /// Whether the key that the SignalR emulator publishes is accepted as well. It is public, so the program sets this only if
    /// the listeners are bound to loopback. Default: false.
    #[serde(skip)]
    pub development_keys: bool,
    /// Whether the audience of a token must name the host of the request. Off by default, because the audience has the host name
    /// that the issuer knows, and a service may have many. Reloads. Default: false. Since 0.1.0.
    pub audience_host_strict: bool,
    /// Allowed clock difference when the expiry of a token is checked, in seconds. Default: 5. Since 0.1.0.
    pub token_leeway_s: u64,
    /// Longest time from negotiate to connect, in milliseconds. Default: 15000. Since 0.1.0.
    pub negotiation_lifetime_ms: u64,
    /// Most negotiations that wait for their client; further ones are refused. Default: 100000. Since 0.1.0.
    pub negotiations_max: usize,
    /// Longest time that a poll of a long-polling client waits for messages before it receives an empty response, in milliseconds; a
    /// token may set another time (`asrs.s.ttl`). Reloads. Default: 5000. Since 0.1.0.
    pub poll_interval_ms: u64,
    /// Largest body of a REST request, in bytes. Reloads. Default: 1048576. Since 0.1.0.
    pub body_bytes_max: usize,
    /// How long `:invoke` waits for a client's result, in milliseconds. Reloads. Default: 30000. Since 0.1.0.
    pub invoke_timeout_ms: u64,
    /// Most callers that watch connections and the live trace at a time; further ones are refused. Reloads. Default: 100. Since 0.1.0.
    pub watchers_max: usize,
    /// Keys for app servers that log in.
    pub dynamic_keys: DynamicKeyOptions,
    /// The login provider whose tokens are accepted from apps. Default: absent. Since 0.1.0.
    pub openid: Option<OpenIdOptions>,
    /// Hubs and groups that store their last messages for clients that reconnect. Default: none. Since 0.1.0.
    pub history: Vec<HistoryRule>,
    /// Most groups with stored messages at a time. A further group replaces one whose messages have all expired; if there is
    /// none, its messages are sent but not stored. Default: 10000. Since 0.1.0.
    pub history_groups_max: usize,
    /// Who handles the messages of clients: app servers (`default`; if none is connected for a hub, its clients are refused),
    /// upstreams (`serverless`; app servers are refused), or app servers for the hubs that have one and upstreams for the others
    /// (`classic`). Default: `classic`. Since 0.1.0.
    pub mode: Mode,
    /// Limits and timers of server connections.
    pub servers: servers::Options,
    /// Shards, buffers and timers of connections.
    pub engine: realtime_engine::Options,
    /// Upstreams, which receive invocations and connection events.
    pub upstream: upstream::Options,
    /// Delivery of connection events.
    pub events: events::Options,
}

/// Why the service cannot run with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The name of the instance is invalid.
    #[error("the name of the realtime service's instance is invalid")]
    Instance(#[source] state::InvalidName),
    /// There is no key to verify tokens with.
    #[error("no access key is configured; set primary_key")]
    NoKey,
    /// With an empty key anyone could sign tokens.
    #[error("{0} is empty")]
    EmptyKey(&'static str),
    /// The key is publicly known.
    #[error(
        "{0} is published with the emulators and protects nothing; set another key, or listen on loopback only"
    )]
    PublicKey(&'static str),
    /// Options contradict each other.
    #[error("the options of the realtime service are invalid: {0}")]
    Contradiction(&'static str),
    /// The upstream templates cannot be used.
    #[error(transparent)]
    Upstream(#[from] upstream::LoadError),
}

/// Longest client token, in characters; the SDKs do not create longer ones.
pub(crate) const CLIENT_TOKEN_BYTES_MAX: usize = 4_096;

/// Longest token of an app, in bytes.
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
    /// Does not print the keys.
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
    /// Validates the options before anything starts, as [`start()`](crate::start()) does.
    ///
    /// # Errors
    ///
    /// If a name or an upstream template is invalid. Keys are checked only at the start, because the caller may add them.
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
    fn public_keys_are_accepted_only_with_development_keys() {
        let public = Some(DEVELOPMENT_SIGNALR_KEY);
        check(Some("one"), Some("two"), false, "one two");
        check(Some("one"), None, true, "one ABC");
        check(None, None, true, "ABC");
        check(public, None, true, "ABC ABC");
        check(
            Some("one"),
            public,
            false,
            "secondary_key is published with the emulators and protects nothing; set another key, or listen on loopback only",
        );
        check(None, None, false, "no access key is configured; set primary_key");
        check(Some(""), None, false, "primary_key is empty");
    }

    #[test]
    fn development_keys_cannot_be_set_in_the_configuration() {
        let error = serde_json::from_str::<Options>(r#"{"development_keys": true}"#).expect_err("not a key");
        assert!(error.to_string().contains("unknown field `development_keys`"), "{error}");
    }

    #[test]
    fn debug_does_not_print_keys() {
        let options = Options { primary_key: Some("hidden".to_owned()), ..Options::default() };
        assert!(!format!("{options:?}").contains("hidden"));
    }
}
