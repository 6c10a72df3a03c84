//! The metrics of a store.

use metric_set::metric_set;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

metric_set! {
    /// The metrics of a store; clones count together.
    pub(crate) struct Metrics {
        /// Appends that were made durable
        pub(crate) journal_appends: Counter = "state_journal_appends";
        /// Bytes written to journals
        pub(crate) journal_append_bytes: Counter = "state_journal_append_bytes";
        /// Flushes of the journal to the device
        pub(crate) journal_flushes: Counter = "state_journal_flushes";
        /// Appends in one write and flush
        pub(crate) journal_group_appends: Histogram = "state_journal_group_appends", Histogram::new(exponential_buckets(1.0, 2.0, 12));
        /// Time of a journal's write and flush
        pub(crate) journal_flush_seconds: Histogram = "state_journal_flush_seconds", seconds();
        /// Appends that are not yet acknowledged
        pub(crate) journal_queue: Gauge = "state_journal_queue";
        /// Reads of journals
        pub(crate) journal_reads: Counter = "state_journal_reads";
        /// Segment files of the journal
        pub(crate) journal_segments: Gauge = "state_journal_segments";
        /// Successful writes and deletes of the registry
        pub(crate) registry_writes: Counter = "state_registry_writes";
        /// Transactions of registry and leases
        pub(crate) registry_commits: Counter = "state_registry_commits";
        /// Time of a transaction's commit
        pub(crate) registry_commit_seconds: Histogram = "state_registry_commit_seconds", seconds();
        /// Keys that have expired
        pub(crate) registry_expired: Counter = "state_registry_expired";
        /// Resets of watchers that read too slowly
        pub(crate) registry_watch_resets: Counter = "state_registry_watch_resets";
        /// Writes of registry and leases that are not yet acknowledged
        pub(crate) registry_queue: Gauge = "state_registry_queue";
        /// Leases granted to a new owner
        pub(crate) lease_acquisitions: Counter = "state_lease_acquisitions";
        /// Parts of the store that are read-only because they are damaged or incomplete
        pub(crate) read_only: Gauge = "state_read_only";
    }
}

/// 50 microseconds to 1.6 seconds: from a device with a protected cache to a slow disk.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 16))
}
