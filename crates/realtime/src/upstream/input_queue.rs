//! [`InputQueue`]: what the threads of the shards pass to the scheduler. They never wait. The number of connection events is limited by the
//! number of connections; invocations beyond the limits are rejected, and reading from a client that sends too many is paused.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::metrics::Metrics;
use super::options::Options;
use realtime_engine::{Capacity, ClientConnection, ClientInvocation, ConnectionId, EndReason};

/// An input of the scheduler. Inputs are in the order in which they happened.
#[derive(Debug)]
pub(crate) enum Input {
    Opening(ClientConnection),
    Connected(ClientConnection),
    Invocation(Box<ClientInvocation>, QueuePermit),
    /// Reading from a paused client may resume.
    Resume(ConnectionId),
    Disconnected {
        client: ClientConnection,
        reason: EndReason,
        error: Option<Box<str>>,
    },
}

/// The queue of inputs of the scheduler.
#[derive(Debug)]
pub(crate) struct InputQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inputs: Mutex<VecDeque<Input>>,
    arrived: Notify,
    is_closed: AtomicBool,
    /// The number of invocations that are queued or running, over all connections.
    calls: AtomicUsize,
    bytes: AtomicUsize,
    /// The same for each connection with at least one.
    by_connection: Mutex<HashMap<ConnectionId, ConnectionUsage>>,
    limits: Limits,
    metrics: Metrics,
}

/// Limits of queued and running invocations.
#[derive(Clone, Copy, Debug)]
struct Limits {
    calls_max: usize,
    bytes_max: usize,
    connection_calls_max: usize,
    connection_bytes_max: usize,
}

/// The queued and running invocations of one connection.
#[derive(Debug, Default)]
struct ConnectionUsage {
    calls: usize,
    bytes: usize,
    /// Whether reading from its client is paused.
    is_paused: bool,
}

/// The share of the limits that one invocation uses; released when it is dropped.
#[derive(Debug)]
pub(crate) struct QueuePermit {
    inputs: Arc<Inner>,
    connection: ConnectionId,
    bytes: usize,
}

impl InputQueue {
    pub(crate) fn new(options: &Options, metrics: Metrics) -> Self {
        let limits = Limits {
            calls_max: options.queued_max.get(),
            bytes_max: options.queued_bytes_max.get(),
            connection_calls_max: options.connection_queued_max.get(),
            connection_bytes_max: options.connection_queued_bytes_max.get(),
        };
        Self(Arc::new(Inner {
            inputs: Mutex::default(),
            arrived: Notify::new(),
            is_closed: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            by_connection: Mutex::default(),
            limits,
            metrics,
        }))
    }

    /// Reserves one more invocation, and returns whether its client may send more; `None` if a limit is reached.
    pub(crate) fn reserve(&self, connection: ConnectionId, bytes: usize) -> Option<(QueuePermit, Capacity)> {
        let inner = &self.0;
        let add = |count: &AtomicUsize, more: usize, most: usize| {
            count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                now.checked_add(more).filter(|sum| *sum <= most)
            })
        };
        add(&inner.calls, 1, inner.limits.calls_max).ok()?;
        if add(&inner.bytes, bytes, inner.limits.bytes_max).is_err() {
            inner.calls.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        inner.show();
        let room = inner.enter(connection, bytes);
        Some((QueuePermit { inputs: Arc::clone(inner), connection, bytes }, room))
    }

    pub(crate) fn push(&self, input: Input) {
        self.0.push(input);
    }

    /// Removes and returns all queued inputs.
    pub(crate) fn drain(&self) -> VecDeque<Input> {
        std::mem::take(&mut *self.0.inputs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until an input may have been queued. Cancel-safe.
    pub(crate) async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// Rejects invocations from now on.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire)
    }
}

impl Inner {
    fn push(&self, input: Input) {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).push_back(input);
        self.arrived.notify_one();
    }

    /// Adds an invocation to the usage of its connection.
    fn enter(&self, connection: ConnectionId, bytes: usize) -> Capacity {
        let mut by_connection = self.by_connection.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = by_connection.entry(connection).or_default();
        usage.calls += 1;
        usage.bytes += bytes;
        let Limits { connection_calls_max, connection_bytes_max, .. } = self.limits;
        if usage.calls >= connection_calls_max || usage.bytes >= connection_bytes_max {
            usage.is_paused = true;
            return Capacity::Exhausted;
        }
        Capacity::Available
    }

    /// Subtracts an invocation from the usage of its connection; returns whether reading from its client must resume.
    fn leave(&self, connection: ConnectionId, bytes: usize) -> bool {
        let mut by_connection = self.by_connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(usage) = by_connection.get_mut(&connection) else { return false };
        usage.calls -= 1;
        usage.bytes -= bytes;
        let Limits { connection_calls_max, connection_bytes_max, .. } = self.limits;
        // Half of the limit, so that a client is not paused and resumed for each invocation.
        let has_room = usage.calls <= connection_calls_max / 2 && usage.bytes <= connection_bytes_max / 2;
        let resumes = usage.is_paused && has_room;
        usage.is_paused &= !resumes;
        if usage.calls == 0 {
            by_connection.remove(&connection);
        }
        resumes
    }

    fn show(&self) {
        let number = |count: &AtomicUsize| i64::try_from(count.load(Ordering::Acquire)).unwrap_or(i64::MAX);
        self.metrics.queued_calls.set(number(&self.calls));
        self.metrics.queued_bytes.set(number(&self.bytes));
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let inputs = &self.inputs;
        inputs.calls.fetch_sub(1, Ordering::AcqRel);
        inputs.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        inputs.show();
        if inputs.leave(self.connection, self.bytes) {
            inputs.push(Input::Resume(self.connection));
        }
    }
}
