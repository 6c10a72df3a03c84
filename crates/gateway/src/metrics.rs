//! The counters of the gateway.

use metric_set::metric_set;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Labels of a request: the route it took (`none` where there was none) and the class of its status.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) route: String,
    pub(crate) status: u16,
}

metric_set! {
    /// The metrics of one gateway.
    pub(crate) struct Metrics {
        /// Requests by route and status
        pub(crate) requests: Family<RequestLabels, Counter> = "gateway_requests";
    }
}
