//! [`Options`]: bounds and sizes of the store; and [`Clock`].

use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;

/// Where the store reads the time for expiry; a test hands in its own.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of the embedded store. Every field has a default; unknown keys are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Settings of the journal.
    pub journal: JournalOptions,
    /// Settings of the registry and the leases.
    pub registry: RegistryOptions,
    /// Which parts may go on although acknowledged data is known to be lost. Set by the program around. Default: none.
    #[serde(skip)]
    pub accept_loss: AcceptLoss,
}

/// Which parts of a store may go on although acknowledged data is known to be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AcceptLoss {
    /// The journals.
    pub journal: bool,
    /// The registry and the leases.
    pub registry: bool,
}

/// Settings of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalOptions {
    /// Size of a segment file, in bytes, at least 64 KiB. Default: 64 MiB. A segment that must hold a larger append is
    /// made larger. Since 0.1.0.
    pub segment_bytes: u64,
    /// Size of the first segment file, in bytes; each next one is twice as large up to `segment_bytes`, so that a small
    /// store stays small. Default: 1 MiB. Since 0.1.0.
    pub segment_bytes_first: u64,
    /// Most bytes that one append may have, in bytes. Default: 64 MiB. Since 0.1.0.
    pub append_bytes_max: usize,
    /// Most bytes that one group, that is one write and flush, may have before the next one begins, in bytes; one
    /// larger append makes a group of its own. Default: 8 MiB. Since 0.1.0.
    pub group_bytes_max: usize,
    /// Most bytes of appends that wait for the writer before appending waits too, in bytes. Default: 32 MiB.
    /// Since 0.1.0.
    pub queue_bytes_max: usize,
    /// Most reads that wait for a reader thread before reading waits too. Default: 1024. Since 0.1.0.
    pub reads_max: usize,
    /// Threads that read, at least 1. Default: 2. Since 0.1.0.
    pub reader_threads: usize,
}

/// Settings of the registry and the leases.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryOptions {
    /// Most bytes of writes that wait for the writer before writing waits too, in bytes. Default: 32 MiB. Since 0.1.0.
    pub queue_bytes_max: usize,
    /// Most reads that wait for the reader thread before reading waits too. Default: 1024. Since 0.1.0.
    pub reads_max: usize,
    /// Most changes that are kept for a watcher that does not read; then it gets a reset. Default: 1024. Since 0.1.0.
    pub watch_changes_max: usize,
    /// Most bytes of values that are kept for a watcher that does not read, in bytes; then it gets a reset.
    /// Default: 8 MiB. Since 0.1.0.
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
