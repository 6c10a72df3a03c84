//! What the program around the connector sets. What an app sets is in its bindings.

use serde::Deserialize;

/// Settings of the connector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Name of this host in lease documents. Only one process may use a name at a time: a lease that an earlier process left
    /// under the same name is acquired at once, not after its expiry. The identity of a locked data folder meets that
    /// condition. Default: a random name, so that every left lease expires first.
    pub instance: String,
    /// The largest response, in bytes. Default: 16 MiB (a page of the protocol has at most 4 MiB).
    pub response_bytes_max: usize,
    /// How often a request is repeated after 429 or 449. Default: 9, as in the SDKs.
    pub throttled_retries_max: u32,
    /// How long in total a request is repeated after 429 or 449, in milliseconds. Default: 30000.
    pub throttled_wait_ms_max: u64,
    /// The most rows that a query input binding collects. Default: 100000.
    pub query_rows_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: uuid::Uuid::new_v4().to_string(),
            response_bytes_max: 16 * 1024 * 1024,
            throttled_retries_max: 9,
            throttled_wait_ms_max: 30_000,
            query_rows_max: 100_000,
        }
    }
}
