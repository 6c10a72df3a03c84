//! [`Metrics`]: what clients count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::SendError;

/// The counters of all clients of a process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Counter,
    failures: Family<Labels, Counter>,
    connections: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    cause: &'static str,
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Metrics {
    /// Registers the counters; once a process.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("egress_requests", "Requests sent", metrics.requests.clone());
        registry.register("egress_failures", "Requests that failed, by cause", metrics.failures.clone());
        registry.register("egress_connections_open", "Open connections", metrics.connections.clone());
        metrics
    }

    pub(crate) fn request(&self) {
        self.requests.inc();
    }

    pub(crate) fn failure(&self, error: &SendError) {
        self.failures.get_or_create_owned(&Labels { cause: error.cause() }).inc();
    }

    pub(crate) fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
