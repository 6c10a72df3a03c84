//! What is counted about workers.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of a pool; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    /// Workers that are ready.
    pub(super) ready: Gauge,
    /// Workers that were started in place of one that ended.
    pub(super) restarts: Counter,
    /// Starts that failed.
    pub(super) start_failures: Counter,
    /// Invocations that a worker has, or that wait for one.
    pub(super) invocations: Gauge,
    /// Invocations that were lost because their worker ended.
    pub(super) invocations_lost: Counter,
    /// Invocations that were given to another worker, because the first ended before it had them.
    pub(super) invocations_resent: Counter,
    /// Invocations that did not end in time.
    pub(super) invocations_timed_out: Counter,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("functions_workers_ready", "Workers that are ready", metrics.ready.clone());
        registry.register(
            "functions_worker_restarts",
            "Workers started in place of one that ended",
            metrics.restarts.clone(),
        );
        registry.register(
            "functions_worker_start_failures",
            "Worker starts that failed",
            metrics.start_failures.clone(),
        );
        registry.register(
            "functions_worker_invocations",
            "Invocations that a worker has or that wait for one",
            metrics.invocations.clone(),
        );
        registry.register(
            "functions_worker_invocations_lost",
            "Invocations lost because their worker ended",
            metrics.invocations_lost.clone(),
        );
        registry.register(
            "functions_worker_invocations_resent",
            "Invocations given to another worker because the first ended before it had them",
            metrics.invocations_resent.clone(),
        );
        registry.register(
            "functions_worker_invocations_timed_out",
            "Invocations that did not end in time",
            metrics.invocations_timed_out.clone(),
        );
        metrics
    }
}
