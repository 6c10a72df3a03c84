//! What is counted about workers.

use metric_set::metric_set;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

metric_set! {
    /// The metrics of worker pools; the pools of all generations count together. Cheap to clone.
    pub struct PoolMetrics {
        /// Workers that are ready
        pub(super) ready: Gauge = "functions_workers_ready";
        /// Workers started in place of one that ended
        pub(super) restarts: Counter = "functions_worker_restarts";
        /// Worker starts that failed
        pub(super) start_failures: Counter = "functions_worker_start_failures";
        /// Invocations that a worker has or that wait for one
        pub(super) invocations: Gauge = "functions_worker_invocations";
        /// Invocations lost because their worker ended
        pub(super) invocations_lost: Counter = "functions_worker_invocations_lost";
        /// Invocations given to another worker because the first ended before it had them
        pub(super) invocations_resent: Counter = "functions_worker_invocations_resent";
        /// Invocations that did not end in time
        pub(super) invocations_timed_out: Counter = "functions_worker_invocations_timed_out";
    }
}
