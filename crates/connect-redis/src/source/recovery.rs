//! [`Recovery`]: when a source looks for entries that others left.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At the first read and then at an interval, so that a busy source does not look at each read.
#[derive(Debug)]
pub(super) struct Recovery {
    every: Duration,
    next: Mutex<Instant>,
}

impl Recovery {
    pub(super) fn every(every: Duration) -> Self {
        Self { every, next: Mutex::new(Instant::now()) }
    }

    /// Whether it is time; if so, the next time is one interval later.
    pub(super) fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = now >= *next;
        if is_due {
            *next = now + self.every;
        }
        is_due
    }
}
