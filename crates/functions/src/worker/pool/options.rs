//! [`PoolOptions`]: the section `[functions.workers]`.

use serde::{Deserialize, Serialize};

/// How many workers, and how they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolOptions {
    /// How many processes, from 1 to 10. The setting `FUNCTIONS_WORKER_PROCESS_COUNT` overrides it. Default 1.
    /// Since 0.1.0.
    pub processes: usize,
    /// Pause before the second restart in a row, in milliseconds; it doubles from there. The first comes at once. Default 250.
    /// Since 0.1.0.
    pub restart_delay_ms_min: u64,
    /// Longest pause between restarts, in milliseconds. Default 10000 (`processRestartInterval`). Since 0.1.0.
    pub restart_delay_ms_max: u64,
    /// How long an invocation waits for a worker while none is ready, in milliseconds. Default 30000. Since 0.1.0.
    pub ready_wait_ms: u64,
    /// How long a function that ran into `functionTimeout` may go on after it was told to stop, in milliseconds. If it still runs then,
    /// its worker is replaced: it gets no new invocations, and ends once its other ones have ended. Default 5000. Since 0.1.0.
    pub cancel_grace_ms: u64,
    /// How many invocations may be under way or waiting. More wait for their turn. Default 10000. Since 0.1.0.
    pub invocations_max: usize,
    /// Largest message to or from a worker in our own protocol, in bytes. Default 268435456. Since 0.1.0.
    pub frame_bytes_max: usize,
}

impl PoolOptions {
    /// More processes than this are not started, as with the real host.
    pub const PROCESSES_MAX: usize = 10;
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            processes: 1,
            restart_delay_ms_min: 250,
            restart_delay_ms_max: 10_000,
            ready_wait_ms: 30_000,
            cancel_grace_ms: 5_000,
            invocations_max: 10_000,
            frame_bytes_max: 256 * 1024 * 1024,
        }
    }
}
