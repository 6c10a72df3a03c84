//! What the host counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics of one host; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) invocations: Family<InvocationLabels, Counter>,
    pub(crate) invocation_seconds: Family<FunctionLabel, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) retries: Family<FunctionLabel, Counter>,
    pub(crate) source_batches: Family<BatchLabels, Counter>,
    pub(crate) source_lag: Family<FunctionLabel, Gauge>,
    pub(crate) source_errors: Family<FunctionLabel, Counter>,
    pub(crate) worker_starts: Family<WorkerLabel, Counter>,
    pub(crate) http_responses: Family<StatusLabel, Counter>,
    pub(crate) http_proxied: Family<ProxiedLabel, Counter>,
    pub(crate) http_rejected: Family<RejectedLabel, Counter>,
    pub(crate) worker_bodies_waiting: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct InvocationLabels {
    pub(crate) function: String,
    pub(crate) result: Outcome,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum Outcome {
    Succeeded,
    Failed,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct FunctionLabel {
    pub(crate) function: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct BatchLabels {
    pub(crate) function: String,
    pub(crate) ended: BatchEnd,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum BatchEnd {
    Completed,
    Abandoned,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct WorkerLabel {
    pub(crate) event: WorkerChange,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum WorkerChange {
    Started,
    Restarted,
    Exited,
    Overran,
    StartFailed,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    pub(crate) status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RejectedLabel {
    pub(crate) reason: Rejected,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ProxiedLabel {
    pub(crate) ended: ProxiedEnd,
}

/// How a request ended that was handed to a worker as it is.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum ProxiedEnd {
    /// Its response went to the client whole.
    Answered,
    /// It failed before anything was sent.
    Failed,
    /// It failed in the middle of its response.
    BrokenOff,
    /// The client went away.
    Abandoned,
}

/// Why a request did not reach a function.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum Rejected {
    Outstanding,
    BodyTooLarge,
    NoRoomForBody,
    Unauthorized,
    NotReady,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            invocations: Family::default(),
            invocation_seconds: Family::new_with_constructor(seconds),
            in_flight: Gauge::default(),
            retries: Family::default(),
            source_batches: Family::default(),
            source_lag: Family::default(),
            source_errors: Family::default(),
            worker_starts: Family::default(),
            http_responses: Family::default(),
            http_proxied: Family::default(),
            http_rejected: Family::default(),
            worker_bodies_waiting: Gauge::default(),
        };
        let m = &metrics;
        registry.register("functions_invocations", "Finished invocations", m.invocations.clone());
        registry.register(
            "functions_invocation_seconds",
            "Duration of invocations, bindings included",
            m.invocation_seconds.clone(),
        );
        registry.register("functions_in_flight", "Invocations under way", m.in_flight.clone());
        registry.register("functions_retries", "Invocations that repeat a failed one", m.retries.clone());
        registry.register("functions_source_batches", "Batches of triggers", m.source_batches.clone());
        registry.register(
            "functions_source_lag_items",
            "Items not yet handed to the function",
            m.source_lag.clone(),
        );
        registry.register("functions_source_errors", "Failures of trigger sources", m.source_errors.clone());
        registry.register("functions_workers", "What happened to worker processes", m.worker_starts.clone());
        registry.register("functions_http_responses", "HTTP responses", m.http_responses.clone());
        registry.register(
            "functions_http_proxied",
            "HTTP requests that were handed to a worker as they are, by how they ended",
            m.http_proxied.clone(),
        );
        registry.register(
            "functions_http_rejected",
            "HTTP requests that did not reach a function",
            m.http_rejected.clone(),
        );
        registry.register(
            "functions_worker_bodies_waiting",
            "Requests with a body in a file that wait for their turn with the workers",
            m.worker_bodies_waiting.clone(),
        );
        metrics
    }
}

/// From half a millisecond to a minute.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}
