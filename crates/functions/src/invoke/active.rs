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
    functions: Mutex<HashMap<Arc<str>, Arc<str>>>,
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
    id: Arc<str>,
}

impl ActiveInvocations {
    pub(crate) fn new(gauge: Gauge) -> Self {
        let (count, _) = watch::channel(0);
        Self { shared: Arc::new(Shared { functions: Mutex::default(), count, gauge }) }
    }

    /// Delays drain, for a task that is about to start an invocation.
    pub(crate) fn delay_drain(&self) -> DrainGuard {
        // Those that wait for the end need no notice of a start.
        self.shared.count.send_if_modified(|count| {
            *count += 1;
            false
        });
        DrainGuard { shared: Arc::clone(&self.shared) }
    }

    /// Adds an invocation.
    pub(crate) fn begin(&self, id: &str, function: &str) -> ActiveInvocation {
        let id: Arc<str> = id.into();
        let mut functions = self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.insert(Arc::clone(&id), function.into());
        self.shared.gauge.inc();
        ActiveInvocation { guard: self.delay_drain(), id }
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
        self.shared.count.send_if_modified(|count| {
            *count -= 1;
            *count == 0
        });
    }
}

impl Drop for ActiveInvocation {
    fn drop(&mut self) {
        let shared = &self.guard.shared;
        shared.functions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        shared.gauge.dec();
    }
}
