//! The requests that wait for a response, and the task that dispatches the messages of a worker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use worker_protocol::{
    FunctionId, InitResponse, InvocationId, InvocationResponse, LoadResponse, MetadataResponse, WorkerMessage,
};

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
    pub(super) invocations: HashMap<InvocationId, oneshot::Sender<InvocationResponse>>,
}

/// Closes the worker for requests. All that wait for a response learn of it.
pub(super) fn close(pending: &Mutex<PendingRequests>) {
    // Dropping the senders wakes all receivers.
    let closed = PendingRequests { is_closed: true, ..PendingRequests::default() };
    let open = std::mem::replace(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner), closed);
    drop(open);
}

/// Dispatches the messages of a worker in order: the log records of an invocation come before its response.
pub(super) async fn dispatch(
    mut incoming: mpsc::Receiver<WorkerMessage>,
    pending: Arc<Mutex<PendingRequests>>,
    timed_out: Arc<TimedOutInvocations>,
    invocation_ended: Arc<Notify>,
    observer: Arc<dyn Observer>,
    _open: watch::Sender<()>,
) {
    while let Some(message) = incoming.recv().await {
        let mut pending = match message {
            WorkerMessage::Log(record) => {
                observer.log(&record);
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
                respond(pending.invocations.remove(&response.invocation_id), response);
                // `Worker::finish_invocations` waits for the last one.
                if pending.is_closed {
                    invocation_ended.notify_waiters();
                }
            }
            WorkerMessage::Status => timed_out.worker_responded(),
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
