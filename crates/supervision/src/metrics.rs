//! What the supervisor counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of one supervisor; clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) ready: Family<ComponentLabels, Gauge>,
    pub(crate) ended: Family<EndLabels, Counter>,
    pub(crate) restarted: Family<ComponentLabels, Counter>,
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

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "component_ready",
            "Whether a part of the process is ready: 1, or 0 with the reason in /readyz",
            metrics.ready.clone(),
        );
        registry.register(
            "supervision_ended",
            "Threads and tasks that ended although they were to run as long as the process",
            metrics.ended.clone(),
        );
        registry.register(
            "supervision_restarted",
            "Threads and tasks that were started again after such an end",
            metrics.restarted.clone(),
        );
        metrics
    }
}
