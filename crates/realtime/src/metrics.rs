//! [`RequestMetrics`]: the metrics of the service besides those of the engine.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Counters of requests to the service.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: u16,
}

impl RequestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Requests by operation and status";
        registry.register("realtime_requests", help, metrics.requests.clone());
        metrics
    }

    /// Counts one request by the status of its response.
    pub(crate) fn record(&self, operation: &'static str, status: http::StatusCode) {
        self.requests.get_or_create(&RequestLabels { operation, status: status.as_u16() }).inc();
    }
}
