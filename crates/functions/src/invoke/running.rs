//! The invocations that are under way: whom a log record belongs to, and when all have ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

/// The set of invocations under way; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    functions: Mutex<HashMap<String, Arc<str>>>,
    /// How many guards there are.
    count: watch::Sender<usize>,
    gauge: Gauge,
}

/// Something that drain must wait for, until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    shared: Arc<Shared>,
}

/// One invocation; it has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    held: Held,
    id: String,
}

impl Running {
    pub(crate) fn new(gauge: Gauge) -> Self {
        let (count, _) = watch::channel(0);
        Self { shared: Arc::new(Shared { functions: Mutex::default(), count, gauge }) }
    }

    /// Makes drain wait, for what is about to become an invocation in a task of its own.
    pub(crate) fn hold(&self) -> Held {
        self.shared.count.send_modify(|count| *count += 1);
        Held { shared: Arc::clone(&self.shared) }
    }

    /// Notes that an invocation begins.
    pub(crate) fn enter(&self, id: &str, function: &str) -> Entered {
        let mut functions = self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner);
        functions.insert(id.to_owned(), function.into());
        self.shared.gauge.inc();
        Entered { held: self.hold(), id: id.to_owned() }
    }

    /// The function that an invocation belongs to, while it runs.
    pub(crate) fn function(&self, id: &str) -> Option<Arc<str>> {
        self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// How many invocations are under way.
    pub(crate) fn count(&self) -> usize {
        self.shared.functions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until nothing is under way.
    pub(crate) async fn idle(&self) {
        let mut count = self.shared.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.count.send_modify(|count| *count -= 1);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let shared = &self.held.shared;
        shared.functions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        shared.gauge.dec();
    }
}
