//! What the assembler sets; what an app sets stands in its bindings.

use serde::Deserialize;

/// Settings of the connector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Name of this host in lease documents. Only one process may use a name at a time: a lease that was left behind
    /// under the same name by an earlier process is taken back at once instead of after its expiry. The identity of a
    /// locked data directory fulfils that. Default: a random name, so that nothing is taken back early.
    pub instance: String,
    /// Largest response that is read, in bytes. Default: 16 MiB (a page of the dialect has at most 4 MiB).
    pub response_bytes_max: usize,
    /// How often a request is repeated that was answered with 429 or 449. Default: 9, as the public SDKs do.
    pub throttled_retries_max: u32,
    /// How long a request may go on being repeated after 429 or 449, in milliseconds. Default: 30000.
    pub throttled_wait_ms_max: u64,
    /// Largest number of rows that a query input binding collects. Default: 100000.
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
