//! [`Metrics`]: the counters of clients.

use metric_set::metric_set;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::error::SendError;

metric_set! {
    /// The counters of all clients of a process; cheap to clone.
    pub struct Metrics {
        /// Requests sent
        requests: Counter = "egress_requests";
        /// Requests that failed, by cause
        failures: Family<Labels, Counter> = "egress_failures";
        /// Open connections
        connections: Gauge = "egress_connections_open";
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    cause: &'static str,
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnectionGuard(Gauge);

impl Metrics {
    pub(crate) fn request(&self) {
        self.requests.inc();
    }

    pub(crate) fn failure(&self, error: &SendError) {
        self.failures.get_or_create_owned(&Labels { cause: error.cause() }).inc();
    }

    pub(crate) fn connection(&self) -> OpenConnectionGuard {
        self.connections.inc();
        OpenConnectionGuard(self.connections.clone())
    }
}

impl Drop for OpenConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
