//! Metrics of upstreams and connection events.

use metric_set::metric_set;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

metric_set! {
    /// The metrics of upstreams and connection events; cheap to clone.
    pub(crate) struct Metrics {
        /// Requests to upstreams, by category and outcome
        pub(crate) requests: Family<RequestLabels, Counter> = "realtime_upstream_requests";
        /// Time of a request to an upstream
        pub(crate) request_seconds: Histogram = "realtime_upstream_request_seconds", Histogram::new(exponential_buckets(0.001, 4.0, 9));
        /// Invocations and events that are being sent
        pub(crate) in_flight: Gauge = "realtime_upstream_in_flight";
        /// Streamed responses that are being forwarded
        pub(crate) streamed_answers: Gauge = "realtime_upstream_streamed_answers";
        /// Invocations of clients that are queued or running
        pub(crate) queued_calls: Gauge = "realtime_upstream_queued_calls";
        /// Bytes of queued and running invocations
        pub(crate) queued_bytes: Gauge = "realtime_upstream_queued_bytes";
        /// Invocations that were refused before a request was sent, by cause
        pub(crate) refused_calls: Family<CauseLabels, Counter> = "realtime_upstream_refused_calls";
        /// Invocations that this process handled itself
        pub(crate) answered_here: Counter = "realtime_upstream_answered_here";
        /// Connection events that were settled
        pub(crate) events: Family<EventLabels, Counter> = "realtime_connection_events";
        /// Failed attempts to deliver connection events
        pub(crate) event_retries: Counter = "realtime_connection_event_retries";
        /// Connection events that are not settled, in memory
        pub(crate) events_pending: Gauge = "realtime_connection_events_pending";
        /// Connection events that are not settled, on disk
        pub(crate) events_parked: Gauge = "realtime_connection_events_parked";
        /// Failed writes of connection records
        pub(crate) record_failures: Family<OperationLabels, Counter> = "realtime_connection_record_failures";
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) category: &'static str,
    /// `answered`, `status`, or the reason why there was no response.
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct CauseLabels {
    pub(crate) cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct EventLabels {
    pub(crate) listener: &'static str,
    pub(crate) event: &'static str,
    /// `delivered`, `dead_letter`, or `lost`.
    pub(crate) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct OperationLabels {
    pub(crate) operation: &'static str,
}
