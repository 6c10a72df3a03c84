//! [`Pool`]: the workers of one app. Starts them, loads the functions, distributes invocations, and replaces workers that exit.
//!
//! Each worker has a slot, a task that keeps a worker running. The first slot starts first: its first worker reports the functions of
//! the app, and then the other slots start. A pool belongs to one generation of the app; a changed app gets another pool.

mod options;
mod slot;
mod state;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_protocol::{
    Capabilities, FunctionMetadata, InvocationRequest, InvocationResponse, LoadResponse, WorkerMetadata,
};

use super::error::{InvokeError, StartError};
use super::instance::{Indexing, Worker, WorkerInvokeError};
use super::invoke_options::InvokeOptions;
use super::metrics::PoolMetrics;
use super::observe::Observer;
use super::spec::WorkerSpec;
pub use options::PoolOptions;
use slot::WorkerSlot;
use state::{PoolState, wait_for};

/// The workers of one app. Cheap to clone. Dropping the last clone kills them.
#[derive(Clone, Debug)]
pub struct Pool {
    state: Arc<PoolState>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// A worker that is ready.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Id of its process.
    pub pid: u32,
    /// When the process was started.
    pub started_at: Instant,
    /// Number of its invocations.
    pub in_flight: usize,
    /// Its runtime and version.
    pub metadata: WorkerMetadata,
}

/// Number of workers that one invocation is sent to, each of which ends before it has received the invocation, until it fails.
const SENDS_MAX: u32 = 5;

impl Pool {
    /// Starts the first worker. Returns at once; needs a tokio runtime.
    pub fn start(
        spec: WorkerSpec,
        options: PoolOptions,
        observer: Arc<dyn Observer>,
        metrics: PoolMetrics,
    ) -> Self {
        let state = Arc::new(PoolState {
            spec: Arc::new(spec),
            options,
            observer,
            metrics,
            indexing: watch::Sender::new(None),
            capabilities: watch::Sender::new(Capabilities::default()),
            functions: watch::Sender::new(None),
            loaded: watch::Sender::new(None),
            ready: watch::Sender::new(Vec::new()),
            reason: Mutex::new("the first one is starting".to_owned()),
            next_turn: AtomicUsize::new(0),
            permits: Semaphore::new(options.invocations_max.clamp(1, Semaphore::MAX_PERMITS)),
            is_draining: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        for slot in 0..options.processes.clamp(1, PoolOptions::PROCESSES_MAX) {
            tasks.spawn(WorkerSlot { state: Arc::clone(&state), is_first: slot == 0 }.run());
        }
        Self { state, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// The functions of the app. Waits for the first worker. After an error the pool has no workers.
    pub async fn index(&self) -> Result<Indexing, Arc<StartError>> {
        wait_for(&self.state.indexing).await
    }

    /// Chooses the functions that each worker loads, and waits until the first has done so. Responses come in the order
    /// of the functions. Only the first call counts.
    pub async fn load(&self, functions: Vec<FunctionMetadata>) -> Result<Vec<LoadResponse>, Arc<StartError>> {
        self.state.functions.send_if_modified(|chosen| {
            let is_first = chosen.is_none();
            if is_first {
                *chosen = Some(functions.into());
            }
            is_first
        });
        wait_for(&self.state.loaded).await
    }

    /// The capabilities of the workers; empty until [`Pool::index`] has returned.
    pub fn capabilities(&self) -> Capabilities {
        self.state.capabilities.borrow().clone()
    }

    /// Waits until a worker is ready for invocations, or the pool is drained.
    pub async fn ready(&self) {
        let mut ready = self.state.ready.subscribe();
        let mut draining = self.state.is_draining.subscribe();
        tokio::select! {
            _ = ready.wait_for(|workers| !workers.is_empty()) => {}
            _ = draining.wait_for(Option::is_some) => {}
        }
    }

    /// Invokes a function on the next worker. Without a timeout, it may take forever. Dropping the future cancels the invocation. So does
    /// its [`super::CancellationToken`], after which the response is still awaited.
    ///
    /// A request that its worker certainly has not received completely is sent to another worker, a few times. One that a worker may have
    /// received is not, as the function may have run.
    pub async fn invoke(
        &self,
        request: InvocationRequest,
        options: InvokeOptions,
    ) -> Result<InvocationResponse, InvokeError> {
        let state = &*self.state;
        let _count = CountedInvocation::new(state);
        let (mut request, mut options) = (request, options);
        let _permit = tokio::select! {
            biased;
            () = options.cancellation.cancelled() => return Err(InvokeError::Cancelled),
            permit = state.permits.acquire() => permit.map_err(|_| InvokeError::Draining)?,
        };
        for _ in 0..SENDS_MAX {
            let worker = tokio::select! {
                biased;
                () = options.cancellation.cancelled() => return Err(InvokeError::Cancelled),
                worker = state.next_worker() => worker?,
            };
            let (timeout_after, id) = (options.timeout, request.invocation_id.clone());
            let invocation = worker.invoke(request, &mut options);
            tokio::pin!(invocation);
            let result = match timeout_after {
                None => invocation.await,
                Some(limit) => match timeout(limit, &mut invocation).await {
                    Ok(result) => result,
                    Err(_) => {
                        // The caller gets the error on time. Dropping the invocation cancels the function, and the slot replaces
                        // the worker if that does not help.
                        state.metrics.invocations_timed_out.inc();
                        worker.report_timeout(id, Duration::from_millis(state.options.cancel_grace_ms));
                        return Err(InvokeError::TimedOut { limit });
                    }
                },
            };
            match result {
                Ok(response) => return Ok(response),
                Err(WorkerInvokeError::NotSent(again)) => {
                    state.forget(&worker);
                    state.metrics.invocations_resent.inc();
                    request = *again;
                }
                Err(WorkerInvokeError::Failed(error)) => {
                    if matches!(error, InvokeError::WorkerGone { .. }) {
                        state.metrics.invocations_lost.inc();
                    }
                    return Err(error);
                }
            }
        }
        let reason = format!("{SENDS_MAX} in a row exited before they received the invocation");
        Err(InvokeError::NoWorker { reason })
    }

    /// The workers that are ready.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let ready = self.state.ready.borrow();
        let info = |worker: &Arc<Worker>| WorkerInfo {
            pid: worker.pid(),
            started_at: worker.started_at(),
            in_flight: worker.in_flight(),
            metadata: worker.metadata().clone(),
        };
        ready.iter().map(info).collect()
    }

    /// Kills a worker and all its descendants, like a crash; it is replaced. `false` if no worker has this process id.
    pub fn kill(&self, pid: u32) -> bool {
        let found = self.state.ready.borrow().iter().find(|worker| worker.pid() == pid).cloned();
        // At once: an invocation that starts before its exit is noticed would be lost.
        found
            .inspect(|worker| {
                self.state.forget(worker);
                worker.kill();
            })
            .is_some()
    }

    /// Stops all workers and returns when all have exited. New invocations fail. Active ones are lost with their worker, so wait for them
    /// first. `grace`: time for a worker to exit by itself.
    pub async fn drain(&self, grace: Duration) {
        self.state.permits.close();
        self.state.is_draining.send_if_modified(|draining| {
            let is_first = draining.is_none();
            draining.get_or_insert(grace);
            is_first
        });
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

struct CountedInvocation<'a>(&'a PoolState);

impl<'a> CountedInvocation<'a> {
    fn new(state: &'a PoolState) -> Self {
        state.metrics.invocations.inc();
        Self(state)
    }
}

impl Drop for CountedInvocation<'_> {
    fn drop(&mut self) {
        self.0.metrics.invocations.dec();
    }
}
