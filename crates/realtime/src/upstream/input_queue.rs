//! [`InputQueue`]: what the threads of the shards pass to the scheduler. They never wait. The number of connection events is limited by the
//! number of connections; invocations beyond the limits are rejected, and reading from a client that sends too many is paused.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::metrics::Metrics;
use super::options::Options;
use realtime_engine::{Capacity, ClientConnection, ClientInvocation, ConnectionId, EndReason};

/// What happened, in the order in which it did.
#[derive(Debug)]
pub(crate) enum Input {
    Opening(ClientConnection),
    Connected(ClientConnection),
    Call(Box<ClientInvocation>, QueuePermit),
    /// A client that was not read from may be read from again.
    Resume(ConnectionId),
    Disconnected {
        client: ClientConnection,
        reason: EndReason,
        error: Option<Box<str>>,
    },
}

/// Where inputs wait for their owner.
#[derive(Debug)]
pub(crate) struct InputQueue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inputs: Mutex<VecDeque<Input>>,
    arrived: Notify,
    is_closed: AtomicBool,
    /// How many calls wait or are under way, everywhere.
    calls: AtomicUsize,
    bytes: AtomicUsize,
    /// And of each connection that has any.
    by_connection: Mutex<HashMap<ConnectionId, ConnectionUsage>>,
    limits: Limits,
    metrics: Metrics,
}

/// What bounds the calls that wait or are under way.
#[derive(Clone, Copy, Debug)]
struct Limits {
    calls_max: usize,
    bytes_max: usize,
    connection_calls_max: usize,
    connection_bytes_max: usize,
}

/// The calls of one connection that wait or are under way.
#[derive(Debug, Default)]
struct ConnectionUsage {
    calls: usize,
    bytes: usize,
    /// Whether its client is not read from.
    is_paused: bool,
}

/// The room that one call takes up until it is done with.
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

    /// Room for one more call, and whether its client may go on; `None` where there is none.
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

    /// Everything that has come since the last time.
    pub(crate) fn take(&self) -> VecDeque<Input> {
        std::mem::take(&mut *self.0.inputs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something may have come. Cancel-safe.
    pub(crate) async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    /// From here on calls are refused.
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

    /// Counts a call of a connection in.
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

    /// Counts a call of a connection out; says whether its client is to be read from again.
    fn leave(&self, connection: ConnectionId, bytes: usize) -> bool {
        let mut by_connection = self.by_connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(usage) = by_connection.get_mut(&connection) else { return false };
        usage.calls -= 1;
        usage.bytes -= bytes;
        let Limits { connection_calls_max, connection_bytes_max, .. } = self.limits;
        // Half of it, so that a client is not stopped and started for each of its calls.
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
