//! What the supervisor counts.

use metric_set::metric_set;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

metric_set! {
    /// Counters of one supervisor; clones count together.
    pub(crate) struct Metrics {
        /// Whether a part of the process is ready: 1, or 0 with the reason in /readyz
        pub(crate) ready: Family<ComponentLabels, Gauge> = "component_ready";
        /// Threads and tasks that ended although they were to run as long as the process
        pub(crate) ended: Family<EndLabels, Counter> = "supervision_ended";
        /// Threads and tasks that were started again after such an end
        pub(crate) restarted: Family<ComponentLabels, Counter> = "supervision_restarted";
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ComponentLabels {
    pub(crate) component: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EndLabels {
    pub(crate) component: String,
    pub(crate) cause: CauseLabel,
}

/// How a thread or task ended that was to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum CauseLabel {
    Panic,
    Return,
}
