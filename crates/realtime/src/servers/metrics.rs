//! What is counted of server connections.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of server connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerMetrics {
    pub(crate) connections: Gauge,
    pub(crate) invocations: Gauge,
    pub(crate) migrations: Counter,
    pub(crate) calls_lost: Counter,
    received_messages: Counter,
    refused_messages: Counter,
    sent_bytes: Counter,
    client_bytes: Counter,
}

impl ServerMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Server connections that did their handshake";
        registry.register("realtime_server_connections", help, metrics.connections.clone());
        let help = "Calls of clients whose results app servers wait for";
        registry.register("realtime_client_invocations_pending", help, metrics.invocations.clone());
        let help = "Clients that moved from one app server to another";
        registry.register("realtime_client_migrations", help, metrics.migrations.clone());
        let help =
            "Calls of clients that ended with an error because their app server went before it answered";
        registry.register("realtime_client_calls_lost", help, metrics.calls_lost.clone());
        let help = "Service messages from app servers";
        registry.register("realtime_server_received_messages", help, metrics.received_messages.clone());
        let help = "Service messages from app servers that are longer than may be";
        registry.register("realtime_server_refused_messages", help, metrics.refused_messages.clone());
        let help = "Bytes written to app servers";
        registry.register("realtime_server_sent_bytes", help, metrics.sent_bytes.clone());
        let help = "Bytes of clients passed on to app servers";
        registry.register("realtime_server_client_bytes", help, metrics.client_bytes.clone());
        metrics
    }

    pub(crate) fn received(&self, messages: u64) {
        self.received_messages.inc_by(messages);
    }

    pub(crate) fn refused(&self) {
        self.refused_messages.inc();
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn client_bytes(&self, bytes: usize) {
        self.client_bytes.inc_by(bytes as u64);
    }
}
