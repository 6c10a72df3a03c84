//! [`WorkerGroup`]: the workers that get the same invocations: those of all functions, or those of one function in quarantine.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};

use crate::worker::instance::Worker;

/// Workers that serve, and the invocations that wait for one.
#[derive(Debug)]
pub(super) struct WorkerGroup {
    pub(super) serving: watch::Sender<Vec<Arc<Worker>>>,
    waiting: AtomicUsize,
    /// Notified when a worker may accept one more invocation.
    freed: Notify,
    next_turn: AtomicUsize,
    /// Invocations that a worker gets at a time.
    limit: usize,
}

/// One invocation of a worker. Counts as under way until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) worker: Arc<Worker>,
    group: Arc<WorkerGroup>,
}

/// An invocation that waits for a worker, until it is dropped.
pub(super) struct Waiting<'a> {
    group: &'a WorkerGroup,
    gauge: &'a Gauge,
}

impl WorkerGroup {
    /// A group without workers; `limit` is the number of invocations that each gets at a time.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            serving: watch::Sender::new(Vec::new()),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            next_turn: AtomicUsize::new(0),
            limit,
        }
    }

    /// Number of invocations that wait for a worker.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Counts an invocation as waiting.
    pub(super) fn wait<'a>(&'a self, gauge: &'a Gauge) -> Waiting<'a> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        gauge.inc();
        Waiting { group: self, gauge }
    }

    /// Waits until a worker may accept one more invocation. Cancel-safe if the future is kept.
    pub(super) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Adds a worker to those that get invocations.
    pub(super) fn add(&self, worker: &Arc<Worker>) {
        self.serving.send_modify(|serving| serving.push(Arc::clone(worker)));
    }

    /// Removes a worker from those that get invocations.
    pub(super) fn remove(&self, gone: &Arc<Worker>) {
        self.serving.send_if_modified(|serving| {
            let before = serving.len();
            serving.retain(|worker| !Arc::ptr_eq(worker, gone));
            before != serving.len()
        });
    }

    /// Reserves an invocation of the worker with the fewest, in turn among equals; `None` if there are no workers or all are at
    /// their limit.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Reservation> {
        let serving = self.serving.borrow();
        let worker = loop {
            let worker = self.least_loaded(&serving)?;
            // Another thread may have reserved the last one.
            if worker.reserve(self.limit) {
                break Arc::clone(worker);
            }
        };
        Some(Reservation { worker, group: Arc::clone(self) })
    }

    fn least_loaded<'a>(&self, serving: &'a [Arc<Worker>]) -> Option<&'a Arc<Worker>> {
        let turn = match serving {
            [] => return None,
            [only] => return Some(only).filter(|worker| worker.in_flight() < self.limit),
            _ => self.next_turn.fetch_add(1, Ordering::Relaxed),
        };
        let in_turn = (0..serving.len()).map(|at| &serving[(turn + at) % serving.len()]);
        let free = in_turn.filter(|worker| worker.in_flight() < self.limit);
        // A worker with a function that does not end may be stuck completely. Of equals, the first in turn is chosen.
        free.min_by_key(|worker| (worker.has_timed_out_invocations(), worker.in_flight()))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.worker.release();
        if self.group.waiting() > 0 {
            self.group.freed.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.group.waiting.fetch_sub(1, Ordering::AcqRel);
        self.gauge.dec();
    }
}
