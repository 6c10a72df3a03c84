//! What the store counts, for whoever runs it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The store's counters; clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) journal_appends: Counter,
    pub(crate) journal_append_bytes: Counter,
    pub(crate) journal_flushes: Counter,
    pub(crate) journal_group_appends: Histogram,
    pub(crate) journal_flush_seconds: Histogram,
    pub(crate) journal_queue: Gauge,
    pub(crate) journal_reads: Counter,
    pub(crate) journal_segments: Gauge,
    pub(crate) registry_writes: Counter,
    pub(crate) registry_commits: Counter,
    pub(crate) registry_commit_seconds: Histogram,
    pub(crate) registry_expired: Counter,
    pub(crate) registry_watch_resets: Counter,
    pub(crate) registry_queue: Gauge,
    pub(crate) lease_acquisitions: Counter,
    pub(crate) relay_published: Counter,
    pub(crate) relay_dropped: Counter,
    /// Parts that are read-only because of damage.
    pub(crate) read_only: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // 50 microseconds to 1.6 seconds: from a device with a protected cache to a tired disk.
        let seconds = || Histogram::new(exponential_buckets(50e-6, 2.0, 16));
        Self {
            journal_appends: Counter::default(),
            journal_append_bytes: Counter::default(),
            journal_flushes: Counter::default(),
            journal_group_appends: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            journal_flush_seconds: seconds(),
            journal_queue: Gauge::default(),
            journal_reads: Counter::default(),
            journal_segments: Gauge::default(),
            registry_writes: Counter::default(),
            registry_commits: Counter::default(),
            registry_commit_seconds: seconds(),
            registry_expired: Counter::default(),
            registry_watch_resets: Counter::default(),
            registry_queue: Gauge::default(),
            lease_acquisitions: Counter::default(),
            relay_published: Counter::default(),
            relay_dropped: Counter::default(),
            read_only: Gauge::default(),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add =
            |name: &str, help: &str, metric: &Counter| registry.register(name, help, metric.clone());
        add("state_journal_appends", "Appends that were made durable", &self.journal_appends);
        add("state_journal_append_bytes", "Bytes written to journals", &self.journal_append_bytes);
        add("state_journal_flushes", "Flushes of the journal to the device", &self.journal_flushes);
        add("state_journal_reads", "Reads of journals", &self.journal_reads);
        add("state_registry_writes", "Registry writes and deletes that took place", &self.registry_writes);
        add("state_registry_commits", "Transactions of registry and leases", &self.registry_commits);
        add("state_registry_expired", "Keys removed because their time had come", &self.registry_expired);
        add("state_registry_watch_resets", "Watchers that were too slow", &self.registry_watch_resets);
        add("state_lease_acquisitions", "Leases granted to a new owner", &self.lease_acquisitions);
        add("state_relay_published", "Messages given to the relay", &self.relay_published);
        add("state_relay_dropped", "Messages dropped for slow subscriptions", &self.relay_dropped);
        let mut add = |name: &str, help: &str, metric: &Gauge| registry.register(name, help, metric.clone());
        add("state_journal_queue", "Appends taken or waiting, not yet acknowledged", &self.journal_queue);
        add("state_journal_segments", "Segment files of the journal", &self.journal_segments);
        add(
            "state_read_only",
            "Parts of the store that are damaged or incomplete, so that nothing is written to them",
            &self.read_only,
        );
        add(
            "state_registry_queue",
            "Writes of registry and leases not yet acknowledged",
            &self.registry_queue,
        );
        let mut add =
            |name: &str, help: &str, metric: &Histogram| registry.register(name, help, metric.clone());
        add("state_journal_group_appends", "Appends in one write and flush", &self.journal_group_appends);
        add(
            "state_journal_flush_seconds",
            "Time of a journal's write and flush",
            &self.journal_flush_seconds,
        );
        add("state_registry_commit_seconds", "Time of a transaction's commit", &self.registry_commit_seconds);
    }
}
