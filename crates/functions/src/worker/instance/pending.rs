//! The requests that wait for a response, and the task that dispatches the messages of a worker.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use worker_protocol::{
    FunctionId, InitResponse, InvocationId, InvocationResponse, LoadResponse, LogLevel, MetadataResponse,
    WorkerMessage,
};

use super::probe::StatusProbe;
use crate::worker::observe::Observer;
use crate::worker::timed_out::TimedOutInvocations;

/// The requests that wait for a response of the worker. Responses are matched by function id and invocation id, never by request id:
/// the Python worker responds with the id of its own first message.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    /// The worker gets no further invocations: its channel is closed, or its process is being killed or replaced.
    pub(super) is_closed: bool,
    pub(super) init: Option<oneshot::Sender<InitResponse>>,
    pub(super) metadata: Option<oneshot::Sender<MetadataResponse>>,
    pub(super) loads: HashMap<FunctionId, oneshot::Sender<LoadResponse>>,
    pub(super) invocations: HashMap<InvocationId, (FunctionId, oneshot::Sender<InvocationResponse>)>,
    /// The invocation with the newest critical log record: a worker that is about to exit because of an error writes one.
    critical: Option<InvocationId>,
    /// The invocations that were lost when the channel closed.
    pub(super) crash: Option<CrashReport>,
}

/// What was under way when a worker ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::worker) struct CrashReport {
    /// The functions whose invocations were lost.
    pub(in crate::worker) in_flight: Vec<FunctionId>,
    /// The one that the worker reported as the cause.
    pub(in crate::worker) named: Option<FunctionId>,
}

/// Closes the worker for requests. All that wait for a response learn of it.
pub(super) fn close(pending: &Mutex<PendingRequests>) {
    let mut current = pending.lock().unwrap_or_else(PoisonError::into_inner);
    let crash = current.crash.take().or_else(|| Some(current.crash_report()));
    let closed = PendingRequests { is_closed: true, crash, ..PendingRequests::default() };
    // Dropping the senders wakes all receivers.
    let open = std::mem::replace(&mut *current, closed);
    drop(current);
    drop(open);
}

impl PendingRequests {
    fn crash_report(&self) -> CrashReport {
        let critical = self.critical.as_ref().and_then(|id| self.invocations.get(id));
        let named = critical.map(|(function, _)| function.clone());
        let in_flight: HashSet<&FunctionId> =
            self.invocations.values().map(|(function, _)| function).collect();
        CrashReport { in_flight: in_flight.into_iter().cloned().collect(), named }
    }
}

/// Dispatches the messages of a worker in order: the log records of an invocation come before its response.
pub(super) async fn dispatch(
    mut incoming: mpsc::Receiver<WorkerMessage>,
    pending: Arc<Mutex<PendingRequests>>,
    timed_out: Arc<TimedOutInvocations>,
    probe: Arc<StatusProbe>,
    observer: Arc<dyn Observer>,
    _open: watch::Sender<()>,
) {
    while let Some(message) = incoming.recv().await {
        let mut pending = match message {
            WorkerMessage::Log(record) => {
                observer.log(&record);
                if record.level == LogLevel::Critical && record.invocation_id.is_some() {
                    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                    pending.critical = record.invocation_id;
                }
                continue;
            }
            _ => pending.lock().unwrap_or_else(PoisonError::into_inner),
        };
        match message {
            WorkerMessage::Init(response) => respond(pending.init.take(), response),
            WorkerMessage::Metadata(response) => respond(pending.metadata.take(), response),
            WorkerMessage::Load(response) => respond(pending.loads.remove(&response.function_id), response),
            WorkerMessage::Invoked(response) => {
                timed_out.remove(&response.invocation_id);
                let waiting = pending.invocations.remove(&response.invocation_id);
                respond(waiting.map(|(_, sender)| sender), response);
            }
            WorkerMessage::Status => {
                timed_out.worker_responded();
                probe.responded(Instant::now());
            }
            WorkerMessage::Unused(name) => {
                tracing::debug!(name, "the host does not use this message of a worker");
            }
            WorkerMessage::Start { .. } | WorkerMessage::Log(_) => {}
        }
    }
    close(&pending);
}

/// Passes a response to the request that waits for it. The request may have been given up, then the response is dropped.
fn respond<T>(request: Option<oneshot::Sender<T>>, response: T) {
    if let Some(request) = request {
        let _ = request.send(response);
    }
}
