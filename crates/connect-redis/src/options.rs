//! [`Options`]: what an operator sets for all functions of the host. What an app sets is in its bindings.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Options of the connector. Where a binding or a connection string sets the same value, it wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Name of this host as a consumer and as the owner of pending entries; the binary sets it. Only one process may use a name at a
    /// time: what an earlier process left under the same name is delivered again at once, not after `lock_ms`. Default: a random name.
    #[serde(skip)]
    pub instance: String,
    /// `pollingIntervalInMs` of triggers that do not set it: the time between two reads of a list or stream that had no further entries,
    /// in milliseconds. Default: 1000. Since 0.1.0.
    pub polling_interval_ms: NonZeroU64,
    /// `maxBatchSize` of triggers that do not set it: the most entries of a list or stream that are read at a time and not settled yet.
    /// Default: 16. Since 0.1.0.
    pub batch_size_max: NonZeroU32,
    /// The time after which entries of another host that does not renew them are delivered again, in milliseconds. Default: 30000.
    /// Since 0.1.0.
    pub lock_ms: NonZeroU64,
    /// The most messages of a channel that wait for the function; further ones are dropped, with a warning. Default: 10000. Since 0.1.0.
    pub channel_messages_queued_max: NonZeroUsize,
    /// `connectTimeout` of connection strings that do not set it, in milliseconds. Default: 5000. Since 0.1.0.
    pub connect_timeout_ms: NonZeroU64,
    /// `asyncTimeout` of connection strings that do not set it: the longest time for a response, in milliseconds. Default: 5000. Since 0.1.0.
    pub response_timeout_ms: NonZeroU64,
    /// Files in PEM form with the certificate authorities that connections with `ssl=True` trust. Default: none; the authorities of the
    /// operating system are trusted. Since 0.1.0.
    pub root_files: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        let milliseconds = |count| NonZeroU64::new(count).expect("not zero");
        Self {
            instance: uuid::Uuid::new_v4().to_string(),
            polling_interval_ms: milliseconds(1000),
            batch_size_max: NonZeroU32::new(16).expect("not zero"),
            lock_ms: milliseconds(30_000),
            channel_messages_queued_max: NonZeroUsize::new(10_000).expect("not zero"),
            connect_timeout_ms: milliseconds(5000),
            response_timeout_ms: milliseconds(5000),
            root_files: Vec::new(),
        }
    }
}
