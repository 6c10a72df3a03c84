//! [`ActiveInvocations`]: which function a log record belongs to, and when all invocations have ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

/// The active invocations. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ActiveInvocations {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    functions: Mutex<HashMap<String, Arc<str>>>,
    /// Number of guards.
    count: watch::Sender<usize>,
    gauge: Gauge,
}

/// Delays drain until it is dropped.
#[derive(Debug)]
pub(crate) struct DrainGuard {
    shared: Arc<Shared>,
}

/// An active invocation; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ActiveInvocation {
    guard: DrainGuard,
    id: String,
}

impl ActiveInvocations {
    pub(crate) fn new(gauge: Gauge) -> Self {
        let (count, _) = watch::channel(0);
        Self { shared: Arc::new(Shared { functions: Mutex::default(), count, gauge }) }
    }

    /// Delays drain, for a task that is about to start an invocation.
    pub(crate) fn delay_drain(&self) -> DrainGuard {
        self.shared.count.send_modify(|count| *count += 1);
        DrainGuard { shared: Arc::clone(&self.shared) }
    }

    /// Adds an invocation.
    pub(crate) fn begin(&self, id: &str, function: &str) -> ActiveInvocation {
        let mut functions = self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.insert(id.to_owned(), function.into());
        self.shared.gauge.inc();
        ActiveInvocation { guard: self.delay_drain(), id: id.to_owned() }
    }

    /// The function of an active invocation.
    pub(crate) fn function(&self, id: &str) -> Option<Arc<str>> {
        self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Number of active invocations.
    pub(crate) fn count(&self) -> usize {
        self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until no invocation is active and no guard exists.
    pub(crate) async fn idle(&self) {
        let mut count = self.shared.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        self.shared.count.send_modify(|count| *count -= 1);
    }
}

impl Drop for ActiveInvocation {
    fn drop(&mut self) {
        let shared = &self.guard.shared;
        shared.functions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        shared.gauge.dec();
    }
}
