//! [`Metrics`]: what listeners count, by the listener's name.

use std::sync::Arc;

use http_messages::ErrorDescription;
use metric_set::metric_set;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::error_table;

metric_set! {
    /// The counters of all listeners of a process; cheap to clone.
    pub struct Metrics {
        /// HTTP connections that are open
        open: Family<Labels, Gauge> = "edge_connections_open";
        /// Connections accepted
        accepted: Family<Labels, Counter> = "edge_connections_accepted";
        /// Connections closed at once because a connection limit is reached and no connection is idle
        refused: Family<RefusalLabels, Counter> = "edge_connections_refused";
        /// Silent connections closed to make room for new ones at a connection limit
        evicted: Family<Labels, Counter> = "edge_connections_evicted";
        /// Requests refused before a service saw them: 431 for a large head, otherwise 503 for what else their client's address holds
        requests_refused: Family<RequestRefusalLabels, Counter> = "edge_requests_refused";
        /// Responses aborted because their client reads too slowly or too little
        responses_cut: Family<CutLabels, Counter> = "edge_answers_cut";
        /// Connections that the operating system could not give us, such as for want of file descriptors
        accept_failures: Family<Labels, Counter> = "edge_accept_failures";
        /// TLS handshakes that failed
        tls_failures: Family<Labels, Counter> = "edge_tls_failures";
        /// Requests received
        requests: Family<Labels, Counter> = "edge_requests";
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    listener: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    listener: String,
    reason: RefusalReason,
}

/// Why a connection was closed at once.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum RefusalReason {
    /// `connections_max`, and none is silent.
    Connections,
    /// `connections_per_address_max`, and none is silent.
    Address,
    /// The process may open no more files for this port, and no connection is silent.
    Descriptors,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestRefusalLabels {
    listener: String,
    reason: RequestRefusalReason,
}

/// Why a request was refused before a service saw it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum RequestRefusalReason {
    /// `head_bytes_max` or `head_fields_max`: 431.
    Head,
    /// `http2_streams_per_address_max`: 503.
    Streams,
    /// `unsent_bytes_max` or `unsent_bytes_per_address_max`: 503.
    Unsent,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CutLabels {
    listener: String,
    reason: CutReason,
}

/// Why a response was not sent to its end.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
pub(crate) enum CutReason {
    /// The reader of an HTTP/2 stream took nothing for `write_timeout_ms`.
    Stalled,
    /// The peer took less than `write_bytes_per_second_min`, or nothing for `write_timeout_ms`.
    Slow,
    /// `unsent_bytes_max` or `unsent_bytes_per_address_max`.
    Unsent,
}

/// The counters of one listener.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    pub(crate) name: String,
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    refused: Family<RefusalLabels, Counter>,
    evicted: Counter,
    requests_refused: Family<RequestRefusalLabels, Counter>,
    responses_cut: Family<CutLabels, Counter>,
    pub(crate) accept_failures: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) requests: Counter,
}

impl Metrics {
    pub(crate) fn of(&self, name: &str) -> Arc<ListenerMetrics> {
        let labels = Labels { listener: name.to_owned() };
        Arc::new(ListenerMetrics {
            name: name.to_owned(),
            open: self.open.get_or_create_owned(&labels),
            accepted: self.accepted.get_or_create_owned(&labels),
            refused: self.refused.clone(),
            evicted: self.evicted.get_or_create_owned(&labels),
            requests_refused: self.requests_refused.clone(),
            responses_cut: self.responses_cut.clone(),
            accept_failures: self.accept_failures.get_or_create_owned(&labels),
            tls_failures: self.tls_failures.get_or_create_owned(&labels),
            requests: self.requests.get_or_create_owned(&labels),
        })
    }
}

impl RequestRefusalReason {
    /// The response to such a request.
    pub(crate) fn description(self) -> &'static ErrorDescription {
        match self {
            Self::Head => &error_table::HEAD_TOO_LARGE,
            Self::Streams => &error_table::TOO_MANY_STREAMS,
            Self::Unsent => &error_table::TOO_MUCH_UNREAD,
        }
    }
}

impl CutReason {
    fn description(self) -> &'static ErrorDescription {
        match self {
            Self::Stalled | Self::Slow => &error_table::RESPONSE_UNREAD,
            Self::Unsent => &error_table::UNREAD_LIMIT,
        }
    }
}

impl ListenerMetrics {
    /// A connection was closed at once. Logged the first time for each reason.
    pub(crate) fn refused(&self, reason: RefusalReason) {
        let labels = RefusalLabels { listener: self.name.clone(), reason };
        if self.refused.get_or_create(&labels).inc() == 0 {
            let why = match reason {
                RefusalReason::Connections => "connections_max is reached",
                RefusalReason::Address => "connections_per_address_max is reached",
                RefusalReason::Descriptors => {
                    "the process may open no more files for this port; raise the limit of open files"
                }
            };
            tracing::warn!(
                listener = %self.name, code = error_table::CONNECTIONS_LIMIT.code,
                "{why} and no connection is idle: new connections are closed (logged once, counted in edge_connections_refused)"
            );
        }
    }

    /// A silent connection was evicted. Logged the first time.
    pub(crate) fn evicted(&self) {
        if self.evicted.inc() == 0 {
            tracing::warn!(
                listener = %self.name, code = error_table::EVICTED.code,
                "a connection limit is reached: the connections that have been silent longest are closed for new ones (logged once, counted in edge_connections_evicted)"
            );
        }
    }

    /// A request was refused. Logged the first time for each reason.
    pub(crate) fn request_refused(&self, reason: RequestRefusalReason) {
        let labels = RequestRefusalLabels { listener: self.name.clone(), reason };
        if self.requests_refused.get_or_create(&labels).inc() == 0 {
            let what = match reason {
                RequestRefusalReason::Head => {
                    "a request head exceeds head_bytes_max or head_fields_max: the response to such requests is 431"
                }
                RequestRefusalReason::Streams => {
                    "the requests of one address exceed http2_streams_per_address_max: further ones get 503"
                }
                RequestRefusalReason::Unsent => {
                    "the requests of one address exceed unsent_bytes_per_address_max: further ones get 503"
                }
            };
            let code = reason.description().code;
            tracing::warn!(listener = %self.name, code, "{what} (logged once, counted in edge_requests_refused)");
        }
    }

    /// A response was not sent to its end.
    pub(crate) fn response_cut(&self, reason: CutReason) {
        tracing::debug!(listener = %self.name, code = reason.description().code, "a response is aborted");
        let labels = CutLabels { listener: self.name.clone(), reason };
        self.responses_cut.get_or_create(&labels).inc();
    }
}
