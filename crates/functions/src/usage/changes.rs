//! [`UsageChanges`]: whether there is something to write.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Whether there are counts that are not written.
#[derive(Debug, Default)]
pub(super) struct UsageChanges {
    exist: AtomicBool,
    appeared: Notify,
}

impl UsageChanges {
    /// Records that there are some.
    pub(super) fn add(&self) {
        if !self.exist.load(Ordering::Relaxed) && !self.exist.swap(true, Ordering::AcqRel) {
            self.appeared.notify_one();
        }
    }

    /// Records that all are about to be written.
    pub(super) fn clear(&self) {
        self.exist.store(false, Ordering::Release);
    }

    /// Waits until there are some. Cancel-safe.
    pub(super) async fn appeared(&self) {
        self.appeared.notified().await;
    }
}
