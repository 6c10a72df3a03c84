//! What can be set for upstreams.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where calls and connection events go, how long that may take, and how much of it may wait. Unknown keys are refused.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Rules in order: the first whose patterns all match gets the event. Default: none, so that nobody answers what clients
    /// call. Since 0.1.0.
    pub templates: Vec<TemplateOptions>,
    /// A JSON file with further rules, which come after `templates`: `settings.json` of the SignalR emulator, or an ARM template
    /// with `properties.upstream`. Default: none. Since 0.1.0.
    pub templates_file: Option<PathBuf>,
    /// Where tokens of a managed identity are asked for, by the protocol of App Service. Default: the variable
    /// `IDENTITY_ENDPOINT`. Since 0.1.0.
    pub identity_endpoint: Option<String>,
    /// What the identity endpoint asks for. A secret. Default: the variable `IDENTITY_HEADER`. Since 0.1.0.
    pub identity_header: Option<String>,
    /// Longest time for one request, answer included, in milliseconds. Of an answer to a stream, longest time until it begins, and
    /// between two parts of it. Default: 100000, as the emulator. Since 0.1.0.
    pub request_timeout_ms: NonZeroU64,
    /// Longest time that a call waits behind others of its connection, or for a free place, in milliseconds; then it is answered
    /// with an error. Default: 100000. Since 0.1.0.
    pub wait_timeout_ms: NonZeroU64,
    /// Longest time that the calls of a client wait for the upstream's first answer to its `connected`, in milliseconds, from
    /// the start of that request; then they go to the upstream without it. Default: 30000. Since 0.1.0.
    pub connected_wait_timeout_ms: NonZeroU64,
    /// Largest answer of an upstream, in bytes; of an answer to a stream, largest message. Default: 16777216. Since 0.1.0.
    pub answer_bytes_max: NonZeroUsize,
    /// StreamedResponses to streams that are being forwarded at a time, over all connections; a further stream ends with an error. They count
    /// beside `in_flight_max`. Default: 1024. Since 0.1.0.
    pub streamed_answers_max: NonZeroUsize,
    /// Requests under way at a time, over all connections. Default: 256. Since 0.1.0.
    pub in_flight_max: NonZeroUsize,
    /// Calls that may wait or be under way, over all connections; further ones are answered with an error. Default: 16384.
    /// Since 0.1.0.
    pub queued_max: NonZeroUsize,
    /// Bytes of such calls, over all connections. Default: 67108864. Since 0.1.0.
    pub queued_bytes_max: NonZeroUsize,
    /// Calls of one connection that may wait or be under way: its client is not read from until there are half as many.
    /// Default: 64. Since 0.1.0.
    pub connection_queued_max: NonZeroUsize,
    /// Bytes of such calls of one connection. Default: 2097152. Since 0.1.0.
    pub connection_queued_bytes_max: NonZeroUsize,
    /// Streams of one connection whose method is remembered, so that what follows in them finds its upstream; beyond it the
    /// oldest is forgotten. Default: 100. Since 0.1.0.
    pub connection_streams_max: NonZeroU32,
}

/// One rule. A pattern is `*`, one value, or several with commas between.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateOptions {
    /// Where to send it: an http or https address, in which `{hub}`, `{category}` and `{event}` are replaced. A secret, as it
    /// may hold a key (`?code=`). Since 0.1.0.
    pub url_template: String,
    /// Hubs; case does not matter. Default: `*`. Since 0.1.0.
    pub hub_pattern: String,
    /// `connections` or `messages`. Default: `*`. Since 0.1.0.
    pub category_pattern: String,
    /// Methods that clients call, or `connected` and `disconnected`; case matters. Default: `*`. Since 0.1.0.
    pub event_pattern: String,
    /// How we show who we are: `none`, or `managed_identity` for a bearer token. Default: `none`. Since 0.1.0.
    pub auth: Auth,
    /// For `managed_identity`: whom the token is for, such as `api://my-app`. Default: none. Since 0.1.0.
    pub auth_resource: Option<String>,
}

/// How an upstream knows that it is us, beside the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// By a token of the managed identity of this machine.
    ManagedIdentity,
}

impl Default for Options {
    fn default() -> Self {
        let count = |number| NonZeroUsize::new(number).expect("not zero");
        let milliseconds = |number| NonZeroU64::new(number).expect("not zero");
        Self {
            templates: Vec::new(),
            templates_file: None,
            identity_endpoint: None,
            identity_header: None,
            request_timeout_ms: milliseconds(100_000),
            wait_timeout_ms: milliseconds(100_000),
            connected_wait_timeout_ms: milliseconds(30_000),
            answer_bytes_max: count(16 * 1024 * 1024),
            streamed_answers_max: count(1024),
            in_flight_max: count(256),
            queued_max: count(16_384),
            queued_bytes_max: count(64 * 1024 * 1024),
            connection_queued_max: count(64),
            connection_queued_bytes_max: count(2 * 1024 * 1024),
            connection_streams_max: NonZeroU32::new(100).expect("not zero"),
        }
    }
}

impl Default for TemplateOptions {
    fn default() -> Self {
        let any = || "*".to_owned();
        Self {
            url_template: String::new(),
            hub_pattern: any(),
            category_pattern: any(),
            event_pattern: any(),
            auth: Auth::None,
            auth_resource: None,
        }
    }
}

impl fmt::Debug for Options {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("templates", &self.templates)
            .field("templates_file", &self.templates_file)
            .field("identity_endpoint", &self.identity_endpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TemplateOptions {
    /// Without the query of the address, which often holds a key (`?code=`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemplateOptions")
            .field("url_template", &without_query(&self.url_template))
            .field("hub_pattern", &self.hub_pattern)
            .field("category_pattern", &self.category_pattern)
            .field("event_pattern", &self.event_pattern)
            .field("auth", &self.auth)
            .field("auth_resource", &self.auth_resource)
            .finish()
    }
}

/// An address as it may be shown: what follows `?` is for the upstream only.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}
