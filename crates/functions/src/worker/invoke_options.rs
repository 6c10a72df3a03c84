//! [`InvokeOptions`]: timeout and cancellation of an invocation, and the address of the worker that gets it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Uri;
use tokio::sync::watch;

/// Options of one invocation. By default it has no timeout and is never cancelled.
#[derive(Clone, Debug, Default)]
pub struct InvokeOptions {
    /// Longest run; `None`: no timeout.
    pub timeout: Option<Duration>,
    /// Cancels the invocation.
    pub cancellation: CancellationToken,
    /// Receives the address at which the worker that has the invocation accepts its HTTP request.
    pub worker_address: Option<WorkerAddressSender>,
    /// Receives what is measured of the invocation.
    pub measure: Option<Arc<InvocationMeasure>>,
}

/// What the pool measures of an invocation.
#[derive(Debug, Default)]
pub struct InvocationMeasure {
    waited_us: AtomicU64,
    worker_memory_bytes: AtomicU64,
    concurrent: AtomicU64,
}

impl InvocationMeasure {
    /// Records that a worker gets the invocation, after a wait for it, with its memory (0 if it is not known) and the number of
    /// invocations that it has then.
    pub fn assigned(&self, waited: Duration, worker_memory_bytes: u64, concurrent: usize) {
        let add_us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(add_us, Ordering::Relaxed);
        self.worker_memory_bytes.store(worker_memory_bytes, Ordering::Relaxed);
        self.concurrent.store(u64::try_from(concurrent.max(1)).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The time for which the invocation waited for a worker.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }

    /// The memory of the worker and its children, in bytes; 0 if it is not known.
    pub(crate) fn worker_memory_bytes(&self) -> u64 {
        self.worker_memory_bytes.load(Ordering::Relaxed)
    }

    /// The number of invocations that the worker had, this one included; 0 if no worker got it.
    pub(crate) fn concurrent(&self) -> u64 {
        self.concurrent.load(Ordering::Relaxed)
    }
}

/// Whether an invocation is cancelled. The default token is never cancelled.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Option<watch::Receiver<bool>>);

/// Cancels an invocation, at the latest when it is dropped.
#[derive(Debug)]
pub struct CancellationSource {
    sender: watch::Sender<bool>,
    is_armed: bool,
}

impl CancellationToken {
    /// A source and its token.
    pub fn channel() -> (CancellationSource, Self) {
        let (sender, receiver) = watch::channel(false);
        (CancellationSource { sender, is_armed: true }, Self(Some(receiver)))
    }

    /// Whether it is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Waits until it is cancelled; forever if it never is. Cancel-safe.
    pub async fn cancelled(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.wait_for(|cancelled| *cancelled).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl CancellationSource {
    /// Cancels the invocation.
    pub fn cancel(&self) {
        self.sender.send_replace(true);
    }

    /// Lets the invocation run; it can no longer be cancelled.
    pub fn forget(mut self) {
        self.is_armed = false;
    }
}

impl Drop for CancellationSource {
    fn drop(&mut self) {
        // Usually the invocation has ended, and nobody has to be notified.
        if self.is_armed && self.sender.receiver_count() > 0 {
            self.cancel();
        }
    }
}

/// Sends the address at which a worker accepts HTTP requests, once that worker has the invocation.
#[derive(Clone, Debug)]
pub struct WorkerAddressSender(Arc<watch::Sender<WorkerInUse>>);

/// Receives the address from a [`WorkerAddressSender`]. While there is a receiver, the worker counts as in use.
#[derive(Clone, Debug)]
pub struct WorkerAddressReceiver(watch::Receiver<WorkerInUse>);

/// The worker that has an invocation.
#[derive(Debug, Default)]
struct WorkerInUse {
    address: Option<Uri>,
    /// Its reservation, dropped with the last receiver.
    hold: Option<Arc<dyn Any + Send + Sync>>,
}

impl WorkerAddressSender {
    /// A sender and its receiver.
    pub fn channel() -> (Self, WorkerAddressReceiver) {
        let (sender, receiver) = watch::channel(WorkerInUse::default());
        (Self(Arc::new(sender)), WorkerAddressReceiver(receiver))
    }

    /// Sends the address.
    pub fn send(&self, address: Uri) {
        self.0.send_modify(|worker| worker.address = Some(address));
    }

    /// Keeps a reservation of the worker until the last receiver is dropped.
    pub(super) fn hold(&self, reservation: Arc<dyn Any + Send + Sync>) {
        self.0.send_modify(|worker| worker.hold = Some(reservation));
    }
}

impl WorkerAddressReceiver {
    /// Waits for the address; forever if no worker gets the invocation. Cancel-safe.
    pub async fn address(&mut self) -> Uri {
        let found = self.0.wait_for(|worker| worker.address.is_some()).await;
        let address = found.ok().and_then(|worker| worker.address.clone());
        match address {
            Some(address) => address,
            None => std::future::pending().await,
        }
    }
}
