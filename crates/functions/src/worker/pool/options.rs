//! [`PoolOptions`]: the section `[functions.workers]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scale::ScaleLimits;

/// How many workers, and how they are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolOptions {
    /// How many processes run at least while the app is in use, from 1 to 10. The setting `FUNCTIONS_WORKER_PROCESS_COUNT` overrides
    /// it. Reloads. Default 1. Since 0.1.0.
    pub processes: usize,
    /// How many processes may run under load, up to 10; 0 = no more than `processes`. A process is added while invocations wait,
    /// workers respond slowly (`slow_response_ms`) or triggers have a backlog (`backlog_items`). With the setting
    /// `FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED` it is 10. Processes that are not needed any more end. Reloads. Default 0. Since
    /// 0.1.0.
    pub processes_max: usize,
    /// Whether one more process is ready without invocations, and takes over when a worker ends or under load. Reloads. Default: on,
    /// but off in development mode. Since 0.1.0.
    pub spare: Option<bool>,
    /// How long the app must be without invocations until all its processes end, in milliseconds; the next invocation starts one. 0 =
    /// they go on. Reloads. Default 0. Since 0.1.0.
    pub idle_timeout_ms: u64,
    /// A process that has more memory than this, in bytes, its children included, is replaced: its successor starts first, then its
    /// invocations end, then it ends. 0 = no limit; only on Linux. Reloads. Default 0. Since 0.1.0.
    pub memory_bytes_max: u64,
    /// How long a process lives before it is replaced because of its memory, in milliseconds, so that an app which needs more than
    /// `memory_bytes_max` is not restarted all the time. Reloads. Default 60000. Since 0.1.0.
    pub memory_grace_ms: u64,
    /// The age at which a process is replaced in the same way, in milliseconds; 0 = none. Reloads. Default 0. Since 0.1.0.
    pub age_ms_max: u64,
    /// How late a worker may respond to a probe, in milliseconds, until the response counts as slow; three slow ones of ten add a
    /// process (see `processes_max`). Reloads. Default 100. Since 0.1.0.
    pub slow_response_ms: u64,
    /// How many waiting items of all triggers one process should have at most; more add a process (see `processes_max`). Reloads.
    /// Default 1000. Since 0.1.0.
    pub backlog_items: u64,
    /// How long the load must be low until a process that was added ends, in milliseconds. Reloads. Default 60000. Since 0.1.0.
    pub scale_in_ms: u64,
    /// How many invocations one process gets at a time; more wait for a process, and a crash does not touch them. 0 = no limit, as with
    /// the real host. Reloads. Default 0. Since 0.1.0.
    pub invocations_per_process_max: usize,
    /// How long a function that ended its worker twice keeps a process of its own after the last time, in milliseconds, so that the
    /// other functions are not affected; 0 = it stays with them. Reloads. Default 600000. Since 0.1.0.
    pub quarantine_ms: u64,
    /// Pause before the second restart in a row, in milliseconds, of workers that end before they are ready or have not completed any
    /// invocation; it doubles from there. The first restart, and any of a worker that served, comes at once. Reloads. Default 250.
    /// Since 0.1.0.
    pub restart_delay_ms_min: u64,
    /// Longest pause between restarts, in milliseconds. Reloads. Default 10000 (`processRestartInterval`). Since 0.1.0.
    pub restart_delay_ms_max: u64,
    /// How long an invocation waits for a worker while none is ready, in milliseconds. Reloads. Default 30000. Since 0.1.0.
    pub ready_wait_ms: u64,
    /// How long a function that ran into `functionTimeout` may go on after it was told to stop, in milliseconds. If it still runs then,
    /// its worker is replaced: it gets no new invocations, and ends once its other ones have ended. Reloads. Default 5000. Since 0.1.0.
    pub cancel_grace_ms: u64,
    /// How many invocations may be under way or waiting. More wait for their turn. Reloads. Default 10000. Since 0.1.0.
    pub invocations_max: usize,
    /// Largest message to or from a worker in our own protocol, in bytes. Reloads. Default 268435456. Since 0.1.0.
    pub frame_bytes_max: usize,
}

impl PoolOptions {
    /// More processes than this are not started, as with the real host.
    pub const PROCESSES_MAX: usize = 10;

    /// The limits of the workers that all functions share.
    pub(super) fn shared_limits(&self) -> ScaleLimits {
        let min = self.processes.clamp(1, Self::PROCESSES_MAX);
        ScaleLimits {
            processes_min: min,
            processes_max: self.processes_max.clamp(min, Self::PROCESSES_MAX),
            has_spare: self.spare.unwrap_or(false),
            idle_after: limit_ms(self.idle_timeout_ms),
            memory_bytes_max: Some(self.memory_bytes_max).filter(|bytes| *bytes > 0),
            memory_grace: Duration::from_millis(self.memory_grace_ms),
            age_max: limit_ms(self.age_ms_max),
            backlog_items: self.backlog_items.max(1),
            scale_in_after: Duration::from_millis(self.scale_in_ms),
        }
    }

    /// The limits of the worker of one function in quarantine: one process, on demand.
    pub(super) fn quarantine_limits(&self) -> ScaleLimits {
        ScaleLimits {
            processes_min: 1,
            processes_max: 1,
            has_spare: false,
            idle_after: Some(QUARANTINE_IDLE),
            ..self.shared_limits()
        }
    }

    /// The pause before the next restart after so many failures in a row.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let delay = self.restart_delay_ms_min.saturating_mul(1 << doublings.min(16));
        Duration::from_millis(delay.min(self.restart_delay_ms_max))
    }
}

/// How long a function in quarantine must not be called until its process ends.
const QUARANTINE_IDLE: Duration = Duration::from_secs(60);

/// A time limit; 0 = none.
fn limit_ms(ms: u64) -> Option<Duration> {
    Some(Duration::from_millis(ms)).filter(|limit| !limit.is_zero())
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            processes: 1,
            processes_max: 0,
            spare: None,
            idle_timeout_ms: 0,
            memory_bytes_max: 0,
            memory_grace_ms: 60_000,
            age_ms_max: 0,
            slow_response_ms: 100,
            backlog_items: 1_000,
            scale_in_ms: 60_000,
            invocations_per_process_max: 0,
            quarantine_ms: 600_000,
            restart_delay_ms_min: 250,
            restart_delay_ms_max: 10_000,
            ready_wait_ms: 30_000,
            cancel_grace_ms: 5_000,
            invocations_max: 10_000,
            frame_bytes_max: 256 * 1024 * 1024,
        }
    }
}
