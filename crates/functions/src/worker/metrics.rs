//! What is counted about workers.

use metric_set::metric_set;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

metric_set! {
    /// The metrics of worker pools; the pools of all generations count together. Cheap to clone.
    pub struct PoolMetrics {
        /// Workers that get invocations
        pub(super) ready: Gauge = "functions_workers_ready";
        /// Worker processes by what they do
        pub(super) processes: Family<ProcessLabel, Gauge> = "functions_worker_processes";
        /// Workers started in place of one that ended
        pub(super) restarts: Counter = "functions_worker_restarts";
        /// Time from the start of a process until it is ready
        pub(super) start_seconds: Histogram = "functions_worker_start_seconds", Histogram::new([0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0]);
        /// Worker starts that failed
        pub(super) start_failures: Counter = "functions_worker_start_failures";
        /// Workers that were ended although they could go on
        pub(super) retired: Family<RetiredLabel, Counter> = "functions_worker_retired";
        /// Functions that got a worker of their own because they end their workers
        pub(super) quarantined: Counter = "functions_worker_quarantined";
        /// Invocations that a worker has or that wait for one
        pub(super) invocations: Gauge = "functions_worker_invocations";
        /// Invocations that wait for a worker
        pub(super) waiting: Gauge = "functions_worker_invocations_waiting";
        /// Invocations lost because their worker ended
        pub(super) invocations_lost: Counter = "functions_worker_invocations_lost";
        /// Invocations given to another worker because the first ended before it had them
        pub(super) invocations_resent: Counter = "functions_worker_invocations_resent";
        /// Invocations that did not end in time
        pub(super) invocations_timed_out: Counter = "functions_worker_invocations_timed_out";
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ProcessLabel {
    pub(super) state: ProcessState,
}

/// What a worker process does, for metrics.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(super) enum ProcessState {
    Starting,
    Spare,
    Serving,
    Quarantined,
    Finishing,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RetiredLabel {
    pub(super) reason: RetiredReason,
}

/// Why a worker was ended, for metrics.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(super) enum RetiredReason {
    Idle,
    Excess,
    Memory,
    Age,
    TimedOut,
}

/// Counts one process in the gauges until it is dropped.
#[derive(Debug)]
pub(super) struct CountedProcess {
    metrics: PoolMetrics,
    state: ProcessState,
}

impl CountedProcess {
    pub(super) fn new(metrics: &PoolMetrics) -> Self {
        let counted = Self { metrics: metrics.clone(), state: ProcessState::Starting };
        counted.count(1);
        counted
    }

    pub(super) fn set(&mut self, state: ProcessState) {
        self.count(-1);
        self.state = state;
        self.count(1);
    }

    fn count(&self, by: i64) {
        self.metrics.processes.get_or_create(&ProcessLabel { state: self.state }).inc_by(by);
        if matches!(self.state, ProcessState::Serving | ProcessState::Quarantined) {
            self.metrics.ready.inc_by(by);
        }
    }
}

impl Drop for CountedProcess {
    fn drop(&mut self) {
        self.count(-1);
    }
}
