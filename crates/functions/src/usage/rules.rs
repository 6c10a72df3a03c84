//! [`MeasuredExecution`]: how one execution counts. Pure.

use std::time::Duration;

/// The least duration that counts, in milliseconds.
const DURATION_MS_MIN: u64 = 100;

/// Memory is rounded up to a multiple of this, in MB.
const MEMORY_MB_STEP: u64 = 128;

/// The most memory that counts, in MB.
const MEMORY_MB_MAX: u64 = 1_536;

const BYTES_PER_MB: u64 = 1024 * 1024;

/// One execution as it was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeasuredExecution {
    pub(crate) is_success: bool,
    /// From its start to its end with all bindings, without the wait for a worker.
    pub(crate) duration: Duration,
    /// Memory of its worker and the worker's children; 0 if it is not known.
    pub(crate) worker_memory_bytes: u64,
    /// Invocations that the worker had when it started, this one included.
    pub(crate) concurrent: u64,
}

impl MeasuredExecution {
    /// The duration that counts, in milliseconds.
    pub(super) fn milliseconds(&self) -> u64 {
        let ms = self.duration.as_nanos().div_ceil(1_000_000);
        u64::try_from(ms).unwrap_or(u64::MAX).max(DURATION_MS_MIN)
    }

    /// The memory that counts, in MB.
    pub(super) fn memory_mb(&self) -> u64 {
        let own = self.worker_memory_bytes / self.concurrent.max(1);
        let steps = own.div_ceil(MEMORY_MB_STEP * BYTES_PER_MB).max(1);
        (steps * MEMORY_MB_STEP).min(MEMORY_MB_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_memory_are_rounded_up_within_their_limits() {
        let counted = |micros: u64, mb: u64, concurrent: u64| {
            let execution = MeasuredExecution {
                is_success: true,
                duration: Duration::from_micros(micros),
                worker_memory_bytes: mb * BYTES_PER_MB,
                concurrent,
            };
            (execution.milliseconds(), execution.memory_mb())
        };
        assert_eq!(counted(0, 0, 1), (100, 128), "the least, also where memory cannot be measured");
        assert_eq!(counted(100_001, 128, 1), (101, 128));
        // The documentation's example: 160 MB are charged as 256.
        assert_eq!(counted(3_000_000, 160, 1), (3_000, 256));
        assert_eq!(counted(250_500, 129, 1), (251, 256));
        assert_eq!(counted(250_000, 4_000, 1), (250, 1_536));
        assert_eq!(counted(250_000, 400, 2), (250, 256), "two that run together have half of it each");
        assert_eq!(counted(250_000, 400, 0), (250, 512));
    }
}
