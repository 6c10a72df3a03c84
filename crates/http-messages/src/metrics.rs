//! [`Metrics`]: bytes that are reserved, bodies that wait, bodies that were rejected.

use metric_set::metric_set;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::error::ReadError;

metric_set! {
    /// The gauges and counters of all bodies of a process; cheap to clone.
    pub struct Metrics {
        /// Bytes that bodies hold or have reserved, by pool
        pub(crate) held_bytes: Family<PoolLabel, Gauge> = "bodies_held_bytes";
        /// Bodies that wait for capacity, by pool
        pub(crate) waiting: Family<PoolLabel, Gauge> = "bodies_waiting";
        /// Bodies that were not read, by cause
        rejected: Family<CauseLabel, Counter> = "bodies_rejected";
        /// Bodies that went to a file
        pub(crate) spilled: Counter = "bodies_spilled";
        /// Bytes of bodies that went to files
        pub(crate) spilled_bytes: Counter = "bodies_spilled_bytes";
    }
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
    pub(crate) fn rejected(&self, error: &ReadError) {
        let cause = match error {
            ReadError::TooLarge { .. } => "too_large",
            ReadError::Broken(_) => "broken",
            ReadError::OverBudget { .. } => "no_room",
            ReadError::Outpaced { .. } => "outpaced",
            ReadError::File(_) => "file",
        };
        self.rejected.get_or_create_owned(&CauseLabel { cause }).inc();
    }
}
