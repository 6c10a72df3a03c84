//! Options of upstreams.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where invocations and connection events are sent, the time limits, and how many may wait. Unknown keys are refused.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Upstream templates in order: the first whose patterns all match receives the event. Reloads. Default: none, so that invocations of
    /// clients fail. Since 0.1.0.
    pub templates: Vec<TemplateOptions>,
    /// A JSON file with further templates, which follow `templates`: `settings.json` of the SignalR emulator, or an ARM template with
    /// `properties.upstream`. Reloads. Default: none. Since 0.1.0.
    pub templates_file: Option<PathBuf>,
    /// The endpoint for tokens of a managed identity, by the protocol of App Service. Default: the variable `IDENTITY_ENDPOINT`.
    /// Since 0.1.0.
    pub identity_endpoint: Option<String>,
    /// The value that the identity endpoint requires in `X-IDENTITY-HEADER`. A secret. Default: the variable `IDENTITY_HEADER`. Since
    /// 0.1.0.
    pub identity_header: Option<String>,
    /// Longest time for one request with its response, in milliseconds. For a streamed response: longest time until it begins,
    /// and between two of its parts. Default: 100000, as the emulator. Since 0.1.0.
    pub request_timeout_ms: NonZeroU64,
    /// Longest time that an invocation is queued, in milliseconds; then it completes with an error. Default: 100000. Since 0.1.0.
    pub wait_timeout_ms: NonZeroU64,
    /// Longest time that the invocations of a client wait for the upstream's first response to its `connected`, in milliseconds,
    /// from the start of that request; then they are sent without it. Default: 30000. Since 0.1.0.
    pub connected_wait_timeout_ms: NonZeroU64,
    /// Largest response of an upstream, in bytes; for a streamed response, largest message. Default: 16777216. Since 0.1.0.
    pub answer_bytes_max: NonZeroUsize,
    /// Most streamed responses that are forwarded at a time, over all connections; a further stream ends with an error. They do
    /// not count towards `in_flight_max`. Default: 1024. Since 0.1.0.
    pub streamed_answers_max: NonZeroUsize,
    /// Most requests that run at a time, over all connections. Default: 256. Since 0.1.0.
    pub in_flight_max: NonZeroUsize,
    /// Most invocations that are queued or running, over all connections; further ones complete with an error. Default: 16384.
    /// Since 0.1.0.
    pub queued_max: NonZeroUsize,
    /// Most bytes of queued and running invocations, over all connections. Default: 67108864. Since 0.1.0.
    pub queued_bytes_max: NonZeroUsize,
    /// Most invocations of one connection that are queued or running. At the limit, reading from the client is paused until there
    /// are half as many. Default: 64. Since 0.1.0.
    pub connection_queued_max: NonZeroUsize,
    /// Most bytes of such invocations of one connection. Default: 2097152. Since 0.1.0.
    pub connection_queued_bytes_max: NonZeroUsize,
    /// Most streams of one connection whose method is remembered, so that later items of the stream reach the same upstream. At
    /// the limit, the oldest stream is forgotten. Default: 100. Since 0.1.0.
    pub connection_streams_max: NonZeroU32,
}

/// One upstream template. A pattern is `*`, one value, or several with commas between.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateOptions {
    /// The URL: an http or https address, in which `{hub}`, `{category}` and `{event}` are replaced. A secret, because it may
    /// contain a key (`?code=`). Since 0.1.0.
    pub url_template: String,
    /// Hubs; case does not matter. Default: `*`. Since 0.1.0.
    pub hub_pattern: String,
    /// `connections` or `messages`. Default: `*`. Since 0.1.0.
    pub category_pattern: String,
    /// Methods that clients call, or `connected` and `disconnected`; case matters. Default: `*`. Since 0.1.0.
    pub event_pattern: String,
    /// How requests are authenticated: `none`, or `managed_identity` for a bearer token. Default: `none`. Since 0.1.0.
    pub auth: Auth,
    /// For `managed_identity`: the resource (audience) of the token, such as `api://my-app`. Default: none. Since 0.1.0.
    pub auth_resource: Option<String>,
}

/// How requests are authenticated to the upstream, besides the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// No authentication.
    #[default]
    None,
    /// A token of this machine's managed identity.
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
    /// Does not print the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("templates", &self.templates)
            .field("templates_file", &self.templates_file)
            .field("identity_endpoint", &self.identity_endpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TemplateOptions {
    /// Does not print the query of the URL, which often contains a key (`?code=`).
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

/// A URL for logs: without its query, which may contain a key.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}
