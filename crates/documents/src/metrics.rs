//! The metrics of the document service.

use std::time::Duration;

use metric_set::metric_set;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// The labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: u16,
}

/// A pool of reader threads with one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum ReadPool {
    /// One item, or one row of a definition.
    Point,
    /// A page of a change feed.
    Feed,
    /// Queries, lists, and other reads of many items.
    Scan,
}

/// The label of a read pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReadPoolLabels {
    lane: ReadPool,
}

metric_set! {
    /// The service's metrics; cheap to clone.
    pub(crate) struct Metrics {
        /// Requests by operation and status
        requests: Family<RequestLabels, Counter> = "documents_requests";
        /// Writes that shared one transaction
        group_requests: Histogram = "documents_commit_group_requests", Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        /// Time from a group's first statement to its commit on disk
        commit_seconds: Histogram = "documents_commit_seconds", Histogram::new([0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0]);
        /// Reads of a change feed
        feed_reads: Counter = "documents_feed_reads";
        /// Items returned by change feeds
        feed_items: Counter = "documents_feed_items";
        /// Requests rejected because a queue was full
        refused_busy: Counter = "documents_refused_busy";
        /// Size of the database file, without its log
        database_bytes: Gauge = "documents_database_bytes";
        /// 1 if the database is read-only because its file is damaged or incomplete
        read_only: Gauge = "documents_read_only";
        /// Writes that wait for the writer
        write_queue: Gauge = "documents_write_queue_requests";
        /// Reads that wait for a reader
        read_queue: Family<ReadPoolLabels, Gauge> = "documents_read_queue_requests";
        /// Reads that were canceled because their client disconnected
        reads_abandoned: Family<ReadPoolLabels, Counter> = "documents_reads_abandoned";
        /// Rows that queries and lists scanned
        query_rows: Counter = "documents_query_rows";
        /// Pages of queries and lists that ended early because their budget was used up
        query_pages_cut: Counter = "documents_query_pages_cut";
    }
}

impl Metrics {
    /// The database is read-only.
    pub(crate) fn read_only(&self) {
        self.read_only.set(1);
    }

    pub(crate) fn request(&self, operation: &'static str, status: u16) {
        self.requests.get_or_create(&RequestLabels { operation, status }).inc();
        if status == 429 {
            self.refused_busy.inc();
        }
    }

    pub(crate) fn committed(&self, requests: usize, took: Duration) {
        self.group_requests.observe(f64::from(u32::try_from(requests).unwrap_or(u32::MAX)));
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Waiting writes: incremented by senders, decremented by the writer.
    pub(crate) fn write_queue(&self) -> &Gauge {
        &self.write_queue
    }

    /// Waiting reads: incremented by senders, decremented by the readers.
    pub(crate) fn read_queue(&self, lane: ReadPool) -> Gauge {
        self.read_queue.get_or_create(&ReadPoolLabels { lane }).clone()
    }

    pub(crate) fn read_abandoned(&self, lane: ReadPool) {
        self.reads_abandoned.get_or_create(&ReadPoolLabels { lane }).inc();
    }

    pub(crate) fn query_rows(&self, rows: u64) {
        self.query_rows.inc_by(rows);
    }

    pub(crate) fn count_cut_query_page(&self) {
        self.query_pages_cut.inc();
    }

    pub(crate) fn feed_read(&self, items: usize) {
        self.feed_reads.inc();
        self.feed_items.inc_by(items as u64);
    }

    pub(crate) fn database_bytes(&self, bytes: u64) {
        self.database_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl ReadPool {
    /// The name of the pool in the names of its threads.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Point => "point",
            Self::Feed => "feed",
            Self::Scan => "scan",
        }
    }
}
