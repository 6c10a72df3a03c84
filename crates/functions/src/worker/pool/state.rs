//! [`PoolState`]: the workers that are ready, and what the pool knows about the app.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use worker_protocol::{Capabilities, FunctionMetadata, LoadResponse};

use super::options::PoolOptions;
use crate::worker::error::{InvokeError, StartError};
use crate::worker::instance::{Indexing, Worker};
use crate::worker::metrics::PoolMetrics;
use crate::worker::observe::Observer;
use crate::worker::spec::WorkerSpec;

/// A result for all that wait for it, once it is known.
pub(super) type StartOutcome<T> = watch::Sender<Option<Result<T, Arc<StartError>>>>;

/// What the pool and its slots share.
pub(super) struct PoolState {
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) options: PoolOptions,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) metrics: PoolMetrics,
    /// The functions of the app, from the first worker.
    pub(super) indexing: StartOutcome<Indexing>,
    /// The capabilities of the first worker.
    pub(super) capabilities: watch::Sender<Capabilities>,
    /// The functions to load, once the host has chosen them.
    pub(super) functions: watch::Sender<Option<Arc<[FunctionMetadata]>>>,
    /// The result of the first load.
    pub(super) loaded: StartOutcome<Vec<LoadResponse>>,
    pub(super) ready: watch::Sender<Vec<Arc<Worker>>>,
    /// Why no worker is ready, if none is.
    pub(super) reason: Mutex<String>,
    pub(super) next_turn: AtomicUsize,
    pub(super) permits: Semaphore,
    pub(super) is_draining: watch::Sender<Option<Duration>>,
}

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolState")
            .field("spec", &self.spec)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl PoolState {
    pub(super) async fn next_worker(&self) -> Result<Arc<Worker>, InvokeError> {
        if let Some(worker) = self.pick_worker() {
            return Ok(worker);
        }
        let mut ready = self.ready.subscribe();
        let mut draining = self.is_draining.subscribe();
        let mut loaded = self.loaded.subscribe();
        let deadline = tokio::time::sleep(Duration::from_millis(self.options.ready_wait_ms));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                _ = draining.wait_for(Option::is_some) => return Err(InvokeError::Draining),
                _ = ready.wait_for(|workers| !workers.is_empty()) => {}
                // No worker ever started, and none will.
                Ok(_) = loaded.wait_for(|loaded| matches!(loaded, Some(Err(_)))) => return Err(self.no_worker()),
                () = &mut deadline => return Err(self.no_worker()),
            }
            if let Some(worker) = self.pick_worker() {
                return Ok(worker);
            }
        }
    }

    fn no_worker(&self) -> InvokeError {
        InvokeError::NoWorker { reason: self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    pub(super) fn set_reason(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn pick_worker(&self) -> Option<Arc<Worker>> {
        let ready = self.ready.borrow();
        if ready.is_empty() {
            return None;
        }
        let turn = self.next_turn.fetch_add(1, Ordering::Relaxed);
        let mut workers = (0..ready.len()).map(|at| &ready[(turn + at) % ready.len()]);
        // A worker with a function that does not end may be stuck completely.
        let worker =
            workers.find(|worker| !worker.has_timed_out_invocations()).unwrap_or(&ready[turn % ready.len()]);
        Some(Arc::clone(worker))
    }

    /// Adds a worker to those that get invocations.
    pub(super) fn add(&self, worker: Arc<Worker>) {
        self.ready.send_modify(|ready| ready.push(worker));
        self.metrics.ready.inc();
    }

    /// Removes a worker from those that get invocations.
    pub(super) fn forget(&self, gone: &Arc<Worker>) {
        self.ready.send_if_modified(|ready| {
            let before = ready.len();
            ready.retain(|worker| !Arc::ptr_eq(worker, gone));
            let is_removed = before != ready.len();
            if is_removed {
                // Counted by difference: the pool of another generation counts in the same gauge.
                self.metrics.ready.dec();
            }
            is_removed
        });
    }
}

/// Waits for a result.
pub(super) async fn wait_for<T: Clone>(awaited: &StartOutcome<T>) -> Result<T, Arc<StartError>> {
    let mut awaited = awaited.subscribe();
    let found = awaited.wait_for(Option::is_some).await.expect("the pool owns the sender and is borrowed");
    found.clone().expect("the wait was for a value")
}
