//! What is counted of upstreams and connection events.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The numbers; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_seconds: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) streamed_answers: Gauge,
    pub(crate) queued_calls: Gauge,
    pub(crate) queued_bytes: Gauge,
    pub(crate) refused_calls: Family<CauseLabels, Counter>,
    pub(crate) answered_here: Counter,
    pub(crate) events: Family<EventLabels, Counter>,
    pub(crate) event_retries: Counter,
    pub(crate) events_pending: Gauge,
    pub(crate) events_parked: Gauge,
    pub(crate) record_failures: Family<OperationLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) category: &'static str,
    /// `answered`, `status`, or why there was no answer.
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

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 9)),
            in_flight: Gauge::default(),
            streamed_answers: Gauge::default(),
            queued_calls: Gauge::default(),
            queued_bytes: Gauge::default(),
            refused_calls: Family::default(),
            answered_here: Counter::default(),
            events: Family::default(),
            event_retries: Counter::default(),
            events_pending: Gauge::default(),
            events_parked: Gauge::default(),
            record_failures: Family::default(),
        };
        let mut add = Add(registry);
        add.one("upstream_requests", "Requests to upstreams, by category and outcome", &metrics.requests);
        add.one("upstream_request_seconds", "Time of a request to an upstream", &metrics.request_seconds);
        add.one("upstream_in_flight", "Calls and events that are being carried out", &metrics.in_flight);
        add.one(
            "upstream_streamed_answers",
            "Answers to streams that are being forwarded",
            &metrics.streamed_answers,
        );
        add.one(
            "upstream_queued_calls",
            "Calls of clients that wait or are under way",
            &metrics.queued_calls,
        );
        add.one("upstream_queued_bytes", "Bytes of such calls", &metrics.queued_bytes);
        add.one(
            "upstream_refused_calls",
            "Calls that no upstream was asked, by cause",
            &metrics.refused_calls,
        );
        add.one("upstream_answered_here", "Calls that this process answered", &metrics.answered_here);
        add.one("connection_events", "Connection events that were settled", &metrics.events);
        add.one("connection_event_retries", "Attempts to deliver that failed", &metrics.event_retries);
        add.one(
            "connection_events_pending",
            "Connection events not settled, in memory",
            &metrics.events_pending,
        );
        add.one("connection_events_parked", "Connection events not settled, on disk", &metrics.events_parked);
        add.one("connection_record_failures", "Records of connections not written", &metrics.record_failures);
        metrics
    }
}

struct Add<'a>(&'a mut Registry);

impl Add<'_> {
    fn one(&mut self, name: &str, help: &str, metric: &(impl prometheus_client::registry::Metric + Clone)) {
        self.0.register(format!("realtime_{name}"), help, metric.clone());
    }
}
