//! What the host counts.

use metric_set::metric_set;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

metric_set! {
    /// The metrics of one host; cheap to clone.
    pub(crate) struct Metrics {
        /// Finished invocations
        pub(crate) invocations: Family<InvocationLabels, Counter> = "functions_invocations";
        /// Duration of invocations, bindings included
        pub(crate) invocation_seconds: Family<FunctionLabel, Histogram, fn() -> Histogram> = "functions_invocation_seconds", Family::new_with_constructor(seconds);
        /// Invocations under way
        pub(crate) in_flight: Gauge = "functions_in_flight";
        /// Invocations that repeat a failed one
        pub(crate) retries: Family<FunctionLabel, Counter> = "functions_retries";
        /// Batches of triggers
        pub(crate) source_batches: Family<BatchLabels, Counter> = "functions_source_batches";
        /// Items of a trigger's source that are not completed
        pub(crate) source_lag: Family<FunctionLabel, Gauge> = "functions_source_lag_items";
        /// Age of the oldest of them, if the source tells
        pub(crate) source_oldest_seconds: Family<FunctionLabel, Gauge> = "functions_source_oldest_seconds";
        /// Deliveries of a trigger that may run at a time, by dynamic concurrency
        pub(crate) dynamic_concurrency: Family<FunctionLabel, Gauge> = "functions_dynamic_concurrency";
        /// Failures of trigger sources
        pub(crate) source_errors: Family<FunctionLabel, Counter> = "functions_source_errors";
        /// Results of pushed events
        pub(crate) push_events: Family<PushLabels, Counter> = "functions_push_events";
        /// What happened to worker processes
        pub(crate) worker_starts: Family<WorkerLabel, Counter> = "functions_workers";
        /// HTTP responses
        pub(crate) http_responses: Family<StatusLabel, Counter> = "functions_http_responses";
        /// HTTP requests that were handed to a worker as they are, by how they ended
        pub(crate) http_proxied: Family<ProxiedLabel, Counter> = "functions_http_proxied";
        /// HTTP requests that did not reach a function
        pub(crate) http_rejected: Family<RejectedLabel, Counter> = "functions_http_rejected";
        /// Requests with a body in a file that wait for their turn with the workers
        pub(crate) worker_bodies_waiting: Gauge = "functions_worker_bodies_waiting";
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct InvocationLabels {
    pub(crate) function: String,
    pub(crate) result: InvocationOutcome,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum InvocationOutcome {
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
    DeadLettered,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct PushLabels {
    pub(crate) function: String,
    pub(crate) ended: PushEnd,
}

/// The result of a pushed event.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum PushEnd {
    Succeeded,
    /// The function failed.
    Failed,
    /// A binding or the time limit failed.
    HostFailed,
    Overloaded,
    Unavailable,
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
    Retired,
    Quarantined,
    Released,
    StartFailed,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct StatusLabel {
    pub(crate) status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RejectedLabel {
    /// The stable code of the error ([`crate::ERRORS`]).
    pub(crate) code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ProxiedLabel {
    pub(crate) ended: ProxiedEnd,
}

/// The outcome of a proxied request.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum ProxiedEnd {
    /// The complete response was sent to the client.
    Answered,
    /// It failed before anything was sent.
    Failed,
    /// It failed during its response.
    BrokenOff,
    /// The client disconnected.
    Abandoned,
}

/// From half a millisecond to a minute.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}
