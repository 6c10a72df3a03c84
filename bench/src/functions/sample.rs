//! One measured period of calls.

use serde::{Deserialize, Serialize};

/// Calls in a period of time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) calls: u64,
    pub(super) wall_ns: u64,
    /// Processor time of the host.
    #[serde(default)]
    pub(super) host_ns: u64,
    /// Processor time of the worker, or of the only process.
    #[serde(default)]
    pub(super) worker_ns: u64,
    /// Latency of one call at a time.
    pub(super) p50_ns: u64,
    pub(super) p99_ns: u64,
}

/// Calls per second.
pub(super) fn rate(sample: &Sample) -> f64 {
    sample.calls as f64 * 1e9 / sample.wall_ns as f64
}

/// Processor time of the host for each call, in microseconds.
pub(super) fn host_us(sample: &Sample) -> f64 {
    sample.host_ns as f64 / 1e3 / sample.calls as f64
}

/// The same for the worker.
pub(super) fn worker_us(sample: &Sample) -> f64 {
    sample.worker_ns as f64 / 1e3 / sample.calls as f64
}
