//! [`Metrics`]: what listeners count, by the listener's name.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters of all listeners of a process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    open: Family<Labels, Gauge>,
    accepted: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    accept_failures: Family<Labels, Counter>,
    tls_failures: Family<Labels, Counter>,
    requests: Family<Labels, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    listener: String,
}

/// The counters of one listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerMetrics {
    pub(crate) name: String,
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) refused: Counter,
    pub(crate) accept_failures: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) requests: Counter,
}

impl Metrics {
    /// Registers the counters; once a process.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("edge_connections_open", "HTTP connections that are open", metrics.open.clone());
        registry.register("edge_connections_accepted", "Connections accepted", metrics.accepted.clone());
        registry.register(
            "edge_connections_refused",
            "Connections closed at once because too many were open",
            metrics.refused.clone(),
        );
        registry.register(
            "edge_accept_failures",
            "Connections that the operating system could not give us, such as for want of file descriptors",
            metrics.accept_failures.clone(),
        );
        registry.register("edge_tls_failures", "TLS handshakes that failed", metrics.tls_failures.clone());
        registry.register("edge_requests", "Requests received", metrics.requests.clone());
        metrics
    }

    pub(crate) fn of(&self, name: &str) -> ListenerMetrics {
        let labels = Labels { listener: name.to_owned() };
        ListenerMetrics {
            name: name.to_owned(),
            open: self.open.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
            accept_failures: self.accept_failures.get_or_create_owned(&labels),
            tls_failures: self.tls_failures.get_or_create_owned(&labels),
            requests: self.requests.get_or_create_owned(&labels),
        }
    }
}
