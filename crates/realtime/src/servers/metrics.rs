//! Metrics of server connections.

use metric_set::metric_set;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

metric_set! {
    /// The metrics of server connections.
    pub(crate) struct ServerMetrics {
        /// Server connections that have completed their handshake
        pub(crate) connections: Gauge = "realtime_server_connections";
        /// Client invocations whose result app servers wait for
        pub(crate) invocations: Gauge = "realtime_client_invocations_pending";
        /// Clients that migrated from one app server to another
        pub(crate) migrations: Counter = "realtime_client_migrations";
        /// Invocations of clients that failed because their app server was shut down or lost before it completed them
        pub(crate) invocations_lost: Counter = "realtime_client_calls_lost";
        /// Service messages from app servers
        received_messages: Counter = "realtime_server_received_messages";
        /// Service messages from app servers above the size limit
        refused_messages: Counter = "realtime_server_refused_messages";
        /// Bytes written to app servers
        sent_bytes: Counter = "realtime_server_sent_bytes";
        /// Bytes of clients forwarded to app servers
        client_bytes: Counter = "realtime_server_client_bytes";
    }
}

impl ServerMetrics {
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
