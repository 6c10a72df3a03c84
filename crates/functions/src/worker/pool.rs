//! [`Pool`]: the workers of one app. Starts them, loads the functions, distributes invocations, and replaces workers that exit.
//!
//! One task, the controller, has a table of the workers; [`scale`] decides from it which of them start, serve and end. Each worker has a
//! task of its own that reports to the controller. The first worker reports the functions of the app, and then the others start. A
//! function that ends its workers again and again gets a worker of its own ([`suspects`]). A pool belongs to one generation of the app; a
//! changed app gets another pool.

mod controller;
mod group;
mod known_app;
mod member;
mod options;
mod scale;
mod state;
mod suspects;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_protocol::{
    Capabilities, FunctionMetadata, InvocationRequest, InvocationResponse, LoadResponse, StatusResult,
    WorkerMetadata,
};

use super::error::{InvokeError, StartError};
use super::instance::{Indexing, Worker, WorkerInvokeError};
use super::invoke_options::InvokeOptions;
use super::metrics::PoolMetrics;
use super::observe::Observer;
use super::spec::WorkerSpec;
use controller::PoolController;
pub use known_app::KnownApp;
pub use options::PoolOptions;
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
    /// Its memory and that of its children, in bytes; `None` where it cannot be measured.
    pub memory_bytes: Option<u64>,
    /// Its runtime and version.
    pub metadata: WorkerMetadata,
}

/// Number of workers that one invocation is sent to, each of which ends before it has received the invocation, until it fails.
const SENDS_MAX: u32 = 5;

impl Pool {
    /// Starts the first worker. Returns at once; needs a tokio runtime. With `known`, [`Pool::index`] responds at once; if the workers may
    /// end while the app is idle, none is started before the first invocation then.
    pub fn start(
        spec: WorkerSpec,
        options: PoolOptions,
        observer: Arc<dyn Observer>,
        metrics: PoolMetrics,
        known: Option<KnownApp>,
    ) -> Self {
        let state = Arc::new(PoolState::new(spec, options, observer, metrics, known));
        let mut tasks = JoinSet::new();
        tasks.spawn(PoolController::new(Arc::clone(&state)).run());
        Self { state, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// The functions of the app. Waits for the first worker. After an error the pool has no workers.
    pub async fn index(&self) -> Result<Indexing, Arc<StartError>> {
        wait_for(&self.state.indexing).await
    }

    /// Chooses the functions that each worker loads, and waits until the first has done so. Responses come in the order
    /// of the functions. Only the first call counts.
    pub async fn load(&self, functions: Vec<FunctionMetadata>) -> Result<Vec<LoadResponse>, Arc<StartError>> {
        let state = &self.state;
        if state.is_asleep {
            let loaded = |function: &FunctionMetadata| LoadResponse {
                function_id: function.function_id.clone(),
                result: StatusResult::success(),
            };
            state.loaded.send_replace(Some(Ok(functions.iter().map(loaded).collect())));
        }
        state.functions.send_if_modified(|chosen| {
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
        let mut ready = self.state.shared.serving.subscribe();
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
            let asked_at = Instant::now();
            let reserved = tokio::select! {
                biased;
                () = options.cancellation.cancelled() => return Err(InvokeError::Cancelled),
                reserved = state.next_worker(&request.function_id) => Arc::new(reserved?),
            };
            let worker = &reserved.worker;
            if let Some(measure) = &options.measure {
                let memory_bytes = worker.memory_bytes().unwrap_or_default();
                measure.assigned(asked_at.elapsed(), memory_bytes, worker.in_flight());
            }
            if let Some(sender) = &options.worker_address {
                // A response that is streamed keeps the worker in use after the invocation has ended.
                sender.hold(Arc::clone(&reserved) as _);
            }
            let counted = state.has_suspects().then(|| request.function_id.clone());
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
                Ok(response) => {
                    if let Some(function) = counted {
                        state.completed(&function);
                    }
                    return Ok(response);
                }
                Err(WorkerInvokeError::NotSent(again)) => {
                    state.forget(worker);
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

    /// The workers that are ready, the spare one included.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let info = |worker: &Arc<Worker>| WorkerInfo {
            pid: worker.pid(),
            started_at: worker.started_at(),
            in_flight: worker.in_flight(),
            memory_bytes: worker.memory_bytes(),
            metadata: worker.metadata().clone(),
        };
        self.state.ready_workers().iter().map(info).collect()
    }

    /// Tells how many items of a function's trigger wait, by which the number of workers is decided.
    pub fn set_backlog(&self, function: &str, items: u64) {
        self.state.set_backlog(function, items);
    }

    /// Whether the last response of a worker to a probe was slow (`slow_response_ms`), or the next one already is. Probes all workers.
    pub fn is_slow(&self) -> bool {
        let slow = Duration::from_millis(self.state.options.slow_response_ms.max(1));
        let workers = self.state.ready_workers();
        let is_slow =
            workers.iter().any(|worker| worker.probe_latency().is_some_and(|latency| latency > slow));
        workers.iter().for_each(|worker| worker.probe());
        is_slow
    }

    /// Kills a worker and all its descendants, like a crash; it is replaced. `false` if no worker has this process id.
    pub fn kill(&self, pid: u32) -> bool {
        let found = self.state.ready_workers().into_iter().find(|worker| worker.pid() == pid);
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
