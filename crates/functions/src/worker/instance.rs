//! [`Worker`]: one worker process with its channel.

mod invoke;
mod pending;
mod probe;
mod startup;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_protocol::{Capabilities, FunctionMetadata, HostMessage, WorkerMetadata};

use super::channel::EncodedMessage;
use super::channel::listener::encode;
use super::error::StartError;
use super::platform;
use super::process::WorkerProcess;
use super::spec::WorkerSpec;
use super::timed_out::TimedOutInvocations;
pub(super) use invoke::WorkerInvokeError;
pub(super) use pending::CrashReport;
use pending::{PendingRequests, close};
use probe::StatusProbe;

/// An initialized worker. Dropping it kills its process.
#[derive(Debug)]
pub struct Worker {
    process: WorkerProcess,
    spec: Arc<WorkerSpec>,
    frame_bytes_max: usize,
    outgoing: mpsc::Sender<EncodedMessage>,
    pending: Arc<Mutex<PendingRequests>>,
    timed_out: Arc<TimedOutInvocations>,
    probe: Arc<StatusProbe>,
    /// Invocations that were given to it and have not ended.
    in_flight: AtomicUsize,
    /// Invocations that it completed.
    completed: AtomicU64,
    /// Its memory and that of its children, in bytes, when it was last measured; 0 before.
    memory_bytes: AtomicU64,
    /// Notified when the last invocation has ended.
    invocation_ended: Notify,
    capabilities: Capabilities,
    metadata: WorkerMetadata,
    /// The address at which it accepts HTTP requests itself.
    http_address: Option<Uri>,
    started_at: Instant,
    /// Closed when the channel is closed and all messages received by it are handled.
    closed: watch::Receiver<()>,
    _tasks: JoinSet<()>,
}

/// The functions of an app, or that the host has to find them.
#[derive(Clone, Debug, PartialEq)]
pub enum Indexing {
    /// The functions that the worker found.
    Worker(Vec<FunctionMetadata>),
    /// The host has to read the `function.json` files of the app.
    Host,
}

impl Worker {
    /// Closes the worker for new invocations, and waits until the others have ended.
    pub(super) async fn finish_invocations(&self) {
        self.lock().is_closed = true;
        loop {
            let invocation_ended = self.invocation_ended.notified();
            tokio::pin!(invocation_ended);
            invocation_ended.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            invocation_ended.await;
        }
    }

    /// Waits until the worker is gone.
    pub(super) async fn ended(&self) {
        let mut closed = self.closed.clone();
        let mut close_seen = async || while closed.changed().await.is_ok() {};
        tokio::select! {
            _ = self.process.ended() => {
                // Its last messages may not be handled yet; as its process group is dead, they are few.
                let _ = timeout(CLOSED_GRACE, close_seen()).await;
            }
            () = close_seen() => {
                // A process without a connection is useless. It gets a moment to exit by itself, so that its own exit status
                // is reported.
                if timeout(CLOSED_GRACE, self.process.ended()).await.is_err() {
                    self.process.kill();
                    self.process.ended().await;
                }
            }
        }
        close(&self.pending);
    }

    /// Stops the worker: sends a terminate message, then a signal, then kills it.
    pub(super) async fn stop(&self, grace: Duration) {
        self.process.expect_exit();
        let is_supported = self.capabilities.has(Capabilities::HANDLES_WORKER_TERMINATE_MESSAGE);
        let is_sent = is_supported && self.send(HostMessage::Terminate { grace }).await.is_ok();
        if is_sent && timeout(grace, self.process.ended()).await.is_ok() {
            return;
        }
        // The Python worker does not support the message, but exits on the signal.
        self.process.terminate();
        if timeout(grace.min(SIGNAL_GRACE_MAX), self.process.ended()).await.is_err() {
            self.process.kill();
            self.process.ended().await;
        }
    }

    /// Kills the process and all its descendants. The worker gets no more invocations.
    pub fn kill(&self) {
        self.lock().is_closed = true;
        self.process.kill();
    }

    /// Id of its process.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Its capabilities.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Its runtime and version.
    pub fn metadata(&self) -> &WorkerMetadata {
        &self.metadata
    }

    /// When its process was started.
    pub fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Number of invocations that were given to it and have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts an invocation that is about to be given to it, unless it has `limit` of them. [`Worker::release`] must follow.
    pub(super) fn reserve(&self, limit: usize) -> bool {
        let reserved = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| (count < limit).then_some(count + 1));
        reserved.is_ok()
    }

    /// Counts the end of an invocation.
    pub(super) fn release(&self) {
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Wakes `Worker::finish_invocations`, the only waiter.
            self.invocation_ended.notify_waiters();
        }
    }

    /// Number of invocations that it completed.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Its memory and that of its children, in bytes, when it was last measured; `None` where that is not possible.
    pub fn memory_bytes(&self) -> Option<u64> {
        Some(self.memory_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Measures its memory.
    pub(super) fn measure_memory(&self) {
        if let Some(bytes) = platform::memory_bytes(self.pid(), true) {
            self.memory_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// The functions whose invocations were lost at its end; `None` before.
    pub(super) fn crash_report(&self) -> Option<CrashReport> {
        self.lock().crash.clone()
    }

    fn lock(&self) -> MutexGuard<'_, PendingRequests> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, message: HostMessage) -> Result<(), StartError> {
        let frame = encode(self.spec.protocol, message, &self.capabilities, self.frame_bytes_max, false);
        let chunks = frame.map_err(|too_large| StartError::Protocol {
            language: self.spec.language.clone(),
            problem: format!(
                "the host has to send it a message of {} bytes, but at most {} are allowed",
                too_large.bytes, too_large.bytes_max
            ),
        })?;
        // If the channel is closed, the wait for the response reports it with a better reason.
        let _ = self.outgoing.send(EncodedMessage::new(chunks)).await;
        Ok(())
    }
}

/// How long a process may run without a connection.
const CLOSED_GRACE: Duration = Duration::from_secs(2);

/// How long a process may run after the signal to exit.
const SIGNAL_GRACE_MAX: Duration = Duration::from_secs(2);
