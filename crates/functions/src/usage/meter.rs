//! [`FunctionMeter`]: the counters of one function.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::changes::UsageChanges;
use super::day::UsageCounts;
use super::rules::MeasuredExecution;

/// Counts the executions of one function that are not written yet.
#[derive(Debug)]
pub(crate) struct FunctionMeter {
    executions: AtomicU64,
    failures: AtomicU64,
    milliseconds: AtomicU64,
    execution_units: AtomicU64,
    changes: Arc<UsageChanges>,
}

impl FunctionMeter {
    pub(super) fn new(changes: Arc<UsageChanges>) -> Self {
        Self {
            executions: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            milliseconds: AtomicU64::new(0),
            execution_units: AtomicU64::new(0),
            changes,
        }
    }

    /// Counts an execution.
    pub(crate) fn record(&self, execution: &MeasuredExecution) {
        let ms = execution.milliseconds();
        self.add(UsageCounts {
            executions: 1,
            failures: u64::from(!execution.is_success),
            milliseconds: ms,
            execution_units: ms.saturating_mul(execution.memory_mb()),
        });
    }

    /// Adds counts, of an execution or of a write that failed.
    pub(super) fn add(&self, counts: UsageCounts) {
        self.executions.fetch_add(counts.executions, Ordering::Relaxed);
        if counts.failures > 0 {
            self.failures.fetch_add(counts.failures, Ordering::Relaxed);
        }
        self.milliseconds.fetch_add(counts.milliseconds, Ordering::Relaxed);
        self.execution_units.fetch_add(counts.execution_units, Ordering::Relaxed);
        self.changes.add();
    }

    /// The counts that are not written yet.
    pub(super) fn counts(&self) -> UsageCounts {
        UsageCounts {
            executions: self.executions.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            milliseconds: self.milliseconds.load(Ordering::Relaxed),
            execution_units: self.execution_units.load(Ordering::Relaxed),
        }
    }

    /// Removes and returns the counts. An execution that is counted at the same time may be split between this and the next call; none of
    /// it is lost.
    pub(super) fn remove(&self) -> UsageCounts {
        UsageCounts {
            executions: self.executions.swap(0, Ordering::Relaxed),
            failures: self.failures.swap(0, Ordering::Relaxed),
            milliseconds: self.milliseconds.swap(0, Ordering::Relaxed),
            execution_units: self.execution_units.swap(0, Ordering::Relaxed),
        }
    }
}
