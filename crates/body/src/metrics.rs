//! [`Metrics`]: what is held, who waits, who was refused.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::error::ReadError;

/// The gauges and counters of all bodies of a process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) held_bytes: Family<PoolLabel, Gauge>,
    pub(crate) waiting: Family<PoolLabel, Gauge>,
    rejected: Family<CauseLabel, Counter>,
    pub(crate) spilled: Counter,
    pub(crate) spilled_bytes: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct PoolLabel {
    pub(crate) pool: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

impl Metrics {
    /// Registers them; once a process.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "bodies_held_bytes",
            "Bytes that bodies hold or have reserved, by pool",
            metrics.held_bytes.clone(),
        );
        registry.register("bodies_waiting", "Bodies that wait for room, by pool", metrics.waiting.clone());
        registry.register("bodies_rejected", "Bodies that were not read, by cause", metrics.rejected.clone());
        registry.register("bodies_spilled", "Bodies that went to a file", metrics.spilled.clone());
        registry.register(
            "bodies_spilled_bytes",
            "Bytes of bodies that went to files",
            metrics.spilled_bytes.clone(),
        );
        metrics
    }

    pub(crate) fn rejected(&self, error: &ReadError) {
        let cause = match error {
            ReadError::TooLarge { .. } => "too_large",
            ReadError::Broken(_) => "broken",
            ReadError::NoRoom { .. } => "no_room",
            ReadError::Outpaced { .. } => "outpaced",
            ReadError::File(_) => "file",
        };
        self.rejected.get_or_create_owned(&CauseLabel { cause }).inc();
    }
}
