//! [`Inbox`]: what the shards' threads hand over. They never wait: a call that finds no room is given back, and what must not be
//! lost, that connections come and go, is bounded by the connections themselves.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::metrics::Metrics;
use crate::engine::{ClientConnection, ClientInvocation, EndReason};

/// What happened, in the order in which it did.
#[derive(Debug)]
pub(crate) enum Input {
    Opening(ClientConnection),
    Connected(ClientConnection),
    Call(Box<ClientInvocation>, Load),
    Disconnected { client: ClientConnection, reason: EndReason, error: Option<Box<str>> },
}

/// Where inputs wait for their owner.
#[derive(Debug)]
pub(crate) struct Inbox {
    inputs: Mutex<VecDeque<Input>>,
    arrived: Notify,
    is_closed: AtomicBool,
    load: Arc<Bounds>,
}

/// How many calls wait or are under way, everywhere.
#[derive(Debug)]
struct Bounds {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    calls_max: usize,
    bytes_max: usize,
    metrics: Metrics,
}

/// The room that one call takes up until it is done with.
#[derive(Debug)]
pub(crate) struct Load {
    bounds: Arc<Bounds>,
    bytes: usize,
}

impl Inbox {
    pub(crate) fn new(calls_max: usize, bytes_max: usize, metrics: Metrics) -> Self {
        let (calls, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let load = Arc::new(Bounds { calls, bytes, calls_max, bytes_max, metrics });
        let (inputs, is_closed) = (Mutex::default(), AtomicBool::new(false));
        Self { inputs, arrived: Notify::new(), is_closed, load }
    }

    /// Room for one more call; `None` where there is none.
    pub(crate) fn room_for(&self, bytes: usize) -> Option<Load> {
        let bounds = &self.load;
        let add = |count: &AtomicUsize, more: usize, most: usize| {
            count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                now.checked_add(more).filter(|sum| *sum <= most)
            })
        };
        add(&bounds.calls, 1, bounds.calls_max).ok()?;
        if add(&bounds.bytes, bytes, bounds.bytes_max).is_err() {
            bounds.calls.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        bounds.show();
        Some(Load { bounds: Arc::clone(bounds), bytes })
    }

    pub(crate) fn push(&self, input: Input) {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        self.arrived.notify_one();
    }

    /// Everything that has come since the last time.
    pub(crate) fn take(&self) -> VecDeque<Input> {
        std::mem::take(&mut *self.inputs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something may have come. Cancel-safe.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// From here on calls are refused.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

impl Bounds {
    fn show(&self) {
        let number = |count: &AtomicUsize| i64::try_from(count.load(Ordering::Acquire)).unwrap_or(i64::MAX);
        self.metrics.queued_calls.set(number(&self.calls));
        self.metrics.queued_bytes.set(number(&self.bytes));
    }
}

impl Load {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.bounds.calls.fetch_sub(1, Ordering::AcqRel);
        self.bounds.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.bounds.show();
    }
}
