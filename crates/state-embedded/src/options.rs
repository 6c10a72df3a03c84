//! [`Options`]: limits and sizes of the store; and [`Clock`].

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The time by which keys and leases expire.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of the embedded store. Every field has a default; unknown keys are errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Settings of the journal.
    pub journal: JournalOptions,
    /// Settings of the registry and the leases.
    pub registry: RegistryOptions,
    /// The parts that may open although acknowledged data is lost. Set by the command line. Default: none.
    #[serde(skip)]
    pub accept_loss: AcceptLoss,
}

/// The parts of a store that may open although acknowledged data is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptLoss {
    /// The journals.
    pub journal: bool,
    /// The registry and the leases.
    pub registry: bool,
}

/// Settings of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalOptions {
    /// Size of a segment file, in bytes, at least 64 KiB. A larger append gets a larger segment. Default: 64 MiB. Since 0.1.0.
    pub segment_bytes: u64,
    /// Size of the first segment file, in bytes. Each later one is twice as large, up to `segment_bytes`; a small store stays
    /// small. Default: 1 MiB. Since 0.1.0.
    pub segment_bytes_first: u64,
    /// Largest append, in bytes. Default: 64 MiB. Since 0.1.0.
    pub append_bytes_max: usize,
    /// Largest group of appends that share one write and flush, in bytes. A larger append is a group of its own. Default: 8 MiB.
    /// Since 0.1.0.
    pub group_bytes_max: usize,
    /// Size of the queue of the journal's writer, in bytes of appends. When it is full, callers wait. Default: 32 MiB. Since
    /// 0.1.0.
    pub queue_bytes_max: usize,
    /// Size of the queues of the reader threads, in reads. When they are full, callers wait. Default: 1024. Since 0.1.0.
    pub reads_max: usize,
    /// Number of reader threads, at least 1. Default: 2. Since 0.1.0.
    pub reader_threads: usize,
}

/// Settings of the registry and the leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryOptions {
    /// Size of the queue of the registry's writer, in bytes of values. When it is full, callers wait. Default: 32 MiB. Since
    /// 0.1.0.
    pub queue_bytes_max: usize,
    /// Size of the queue of the registry's reader thread, in reads. When it is full, callers wait. Default: 1024. Since 0.1.0.
    pub reads_max: usize,
    /// Most unread changes of a watcher; beyond that, the watcher is reset. Default: 1024. Since 0.1.0.
    pub watch_changes_max: usize,
    /// Largest total size of the values in a watcher's unread changes, in bytes; beyond that, the watcher is reset. Default: 8 MiB.
    /// Since 0.1.0.
    pub watch_bytes_max: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_bytes_first: 1 << 20,
            append_bytes_max: 64 << 20,
            group_bytes_max: 8 << 20,
            queue_bytes_max: 32 << 20,
            reads_max: 1024,
            reader_threads: 2,
        }
    }
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self { queue_bytes_max: 32 << 20, reads_max: 1024, watch_changes_max: 1024, watch_bytes_max: 8 << 20 }
    }
}
