//! Invocations of one worker: request, response, cancellation and timeout.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use worker_protocol::{
    Capabilities, HostMessage, InvocationId, InvocationRequest, InvocationResponse, TypedData,
};

use super::Worker;
use crate::worker::channel::EncodedMessage;
use crate::worker::channel::listener::{encode, encode_invocation};
use crate::worker::error::InvokeError;
use crate::worker::invoke_options::InvokeOptions;
use crate::worker::spec::WorkerProtocol;
use crate::worker::stored::is_text;

/// An invocation has no response of this worker.
#[derive(Debug)]
pub(in crate::worker) enum WorkerInvokeError {
    /// The worker did not receive the complete request; the function certainly did not run.
    NotSent(Box<InvocationRequest>),
    /// The invocation failed.
    Failed(InvokeError),
}

impl Worker {
    /// Invokes a function. Dropping the future cancels the invocation if the worker supports it. So does the cancellation token, after
    /// which the response is still awaited.
    pub(in crate::worker) async fn invoke(
        &self,
        request: InvocationRequest,
        options: &mut InvokeOptions,
    ) -> Result<InvocationResponse, WorkerInvokeError> {
        let id = request.invocation_id.clone();
        let is_text = self.needs_text() && has_stored_text(&request).await?;
        let chunks = encode_invocation(
            self.spec.protocol,
            &request,
            &self.capabilities,
            self.frame_bytes_max,
            is_text,
        )
        .map_err(|too_large| {
            let (bytes, bytes_max) = (too_large.bytes, too_large.bytes_max);
            WorkerInvokeError::Failed(InvokeError::TooLarge { bytes, bytes_max })
        })?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.lock();
            if pending.is_closed {
                return Err(WorkerInvokeError::NotSent(Box::new(request)));
            }
            pending.invocations.insert(id.clone(), (request.function_id.clone(), sender));
        }
        let mut invocation = PendingInvocation { worker: self, id, is_open: true };
        let (delivered_sender, delivered) = oneshot::channel();
        if self.outgoing.send(EncodedMessage { chunks, delivered: Some(delivered_sender) }).await.is_err() {
            invocation.is_open = false;
            self.lock().invocations.remove(&invocation.id);
            return Err(WorkerInvokeError::NotSent(Box::new(request)));
        }
        // The connection may end while the request is being written.
        if delivered.await.is_err() {
            invocation.is_open = false;
            self.lock().invocations.remove(&invocation.id);
            return Err(WorkerInvokeError::NotSent(Box::new(request)));
        }
        // The worker has it. While the function runs, the host does not need the data.
        drop(request);
        if let (Some(sender), Some(address)) = (&options.worker_address, &self.http_address) {
            sender.send(address.clone());
        }
        let mut receiver = receiver;
        let response = tokio::select! {
            biased;
            response = &mut receiver => response,
            () = options.cancellation.cancelled() => {
                self.cancel(&invocation.id);
                receiver.await
            }
        };
        invocation.is_open = false;
        match response {
            Ok(response) => {
                self.completed.fetch_add(1, Ordering::Relaxed);
                Ok(response)
            }
            Err(_) => Err(WorkerInvokeError::Failed(InvokeError::WorkerGone { pid: self.pid() })),
        }
    }

    /// Sends a cancellation, if the worker supports it.
    fn cancel(&self, id: &InvocationId) {
        if !self.capabilities.has(Capabilities::HANDLES_INVOCATION_CANCEL_MESSAGE) {
            return;
        }
        let message = HostMessage::Cancel { invocation_id: id.clone() };
        let encoded = encode(self.spec.protocol, message, &self.capabilities, self.frame_bytes_max, false);
        if let Ok(chunks) = encoded {
            // Best effort: if the queue is full, the function runs to its end.
            let _ = self.outgoing.try_send(EncodedMessage::new(chunks));
        }
    }

    /// Whether the worker gets the body of an HTTP request as text if it is text.
    fn needs_text(&self) -> bool {
        self.spec.protocol == WorkerProtocol::FunctionRpc
            && !self.capabilities.has(Capabilities::RAW_HTTP_BODY_BYTES)
    }

    /// Records that an invocation timed out and is about to be cancelled, and probes the worker.
    pub(in crate::worker) fn report_timeout(&self, id: InvocationId, grace: Duration) {
        self.timed_out.add(id, tokio::time::Instant::now() + grace);
        self.request_status();
    }

    /// Sends a status request to measure how fast the worker responds, unless one is under way.
    pub(in crate::worker) fn probe(&self) {
        if self.capabilities.has(Capabilities::WORKER_STATUS) && self.probe.send(Instant::now()) {
            self.request_status();
        }
    }

    /// How long the worker took for its last response to a probe, or takes now.
    pub(in crate::worker) fn probe_latency(&self) -> Option<Duration> {
        self.probe.latency(Instant::now())
    }

    fn request_status(&self) {
        if !self.capabilities.has(Capabilities::WORKER_STATUS) {
            return;
        }
        let encoded =
            encode(self.spec.protocol, HostMessage::Status, &self.capabilities, self.frame_bytes_max, false);
        if let Ok(chunks) = encoded {
            // If the queue is full, the worker does not read; it will not respond.
            let _ = self.outgoing.try_send(EncodedMessage::new(chunks));
        }
    }

    /// Whether an invocation of this worker timed out and still runs.
    pub(in crate::worker) fn has_timed_out_invocations(&self) -> bool {
        !self.timed_out.is_empty()
    }

    /// Waits until an invocation has run beyond its timeout and the grace period after its cancellation. Returns whether the worker
    /// still responds; one without a status capability counts as responding.
    pub(in crate::worker) async fn ignored_timeout(&self) -> bool {
        self.timed_out.grace_elapsed().await;
        !self.capabilities.has(Capabilities::WORKER_STATUS) || self.timed_out.worker_responds()
    }
}

/// An invocation that waits for its response. Dropping it before the response cancels the invocation.
struct PendingInvocation<'a> {
    worker: &'a Worker,
    id: InvocationId,
    is_open: bool,
}

impl Drop for PendingInvocation<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let worker = self.worker;
        worker.lock().invocations.remove(&self.id);
        worker.cancel(&self.id);
    }
}

/// Whether the stored body of a request is UTF-8; `false` if the request has no stored body.
async fn has_stored_text(request: &InvocationRequest) -> Result<bool, WorkerInvokeError> {
    for parameter in &request.input_data {
        let TypedData::Http(http) = &parameter.data else { continue };
        let TypedData::Stored(stored) = &http.body else { continue };
        return is_text(stored)
            .await
            .map_err(|cause| WorkerInvokeError::Failed(InvokeError::Unreadable { cause }));
    }
    Ok(false)
}
