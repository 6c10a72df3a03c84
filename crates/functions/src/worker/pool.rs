//! The workers of one app: started, loaded with its functions, taken in turn, and replaced when they die.
//!
//! Each process has a slot, and each slot a task that keeps it filled. The first slot goes ahead: what its first worker
//! says about the app is what the pool says, and only then do the others start. A pool that failed, or whose app has changed, can be
//! restarted: a new generation of workers then begins in the same way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_messages::error_chain;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_protocol::{
    Capabilities, FunctionMetadata, InvocationRequest, InvocationResponse, LoadResponse, WorkerMetadata,
};

use super::error::{InvokeError, StartError};
use super::metrics::Metrics;
use super::observe::{Observer, WorkerEvent};
use super::running::{Indexing, Worker, WorkerInvokeError};
use super::spec::{PoolOptions, WorkerSpec};
use super::terms::Terms;

/// The workers of one app; cheap to clone. Dropping the last clone kills them.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// A worker that is ready.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Its process.
    pub pid: u32,
    /// When the process was started.
    pub started_at: Instant,
    /// How many invocations it has.
    pub in_flight: usize,
    /// What it is.
    pub metadata: WorkerMetadata,
}

/// How many workers one invocation is given to before it fails, if all of them end before they have it.
const SENDS_MAX: u32 = 5;

type Answer<T> = watch::Sender<Option<Result<T, Arc<StartError>>>>;

struct Shared {
    spec: Mutex<Arc<WorkerSpec>>,
    /// How often the pool was restarted. Each slot works for one generation at a time.
    generation: watch::Sender<u64>,
    options: PoolOptions,
    observer: Arc<dyn Observer>,
    metrics: Metrics,
    /// What the first worker said about the app.
    indexing: Answer<Indexing>,
    /// What the first worker can do.
    capabilities: watch::Sender<Capabilities>,
    /// The functions to load, once the host has chosen them.
    functions: watch::Sender<Option<Arc<[FunctionMetadata]>>>,
    /// How the first load went.
    loaded: Answer<Vec<LoadResponse>>,
    ready: watch::Sender<Vec<Arc<Worker>>>,
    /// Why there is no worker, if there is none.
    reason: Mutex<String>,
    next: AtomicUsize,
    turns: Semaphore,
    is_draining: watch::Sender<Option<Duration>>,
}

impl Pool {
    /// Starts the first worker. Returns at once; needs a tokio runtime.
    pub fn start(
        spec: WorkerSpec,
        options: PoolOptions,
        observer: Arc<dyn Observer>,
        registry: &mut Registry,
    ) -> Self {
        let shared = Arc::new(Shared {
            spec: Mutex::new(Arc::new(spec)),
            generation: watch::Sender::new(0),
            options,
            observer,
            metrics: Metrics::register(registry),
            indexing: watch::Sender::new(None),
            capabilities: watch::Sender::new(Capabilities::default()),
            functions: watch::Sender::new(None),
            loaded: watch::Sender::new(None),
            ready: watch::Sender::new(Vec::new()),
            reason: Mutex::new("the first one is being started".to_owned()),
            next: AtomicUsize::new(0),
            turns: Semaphore::new(options.invocations_max.clamp(1, Semaphore::MAX_PERMITS)),
            is_draining: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        for slot in 0..options.processes.clamp(1, PoolOptions::PROCESSES_MAX) {
            tasks.spawn(Slot { shared: Arc::clone(&shared), is_first: slot == 0 }.keep());
        }
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Ends all workers and starts anew with `spec`, as a new pool would: [`Pool::index`] and [`Pool::load`] wait for the first worker
    /// again. The number of processes stays. For an app that did not start and was mended; invocations under way are lost.
    pub fn restart(&self, spec: WorkerSpec) {
        let shared = &self.shared;
        *shared.spec.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(spec);
        shared.set_reason("the app is being started again");
        // Before the answers are taken back: whoever still speaks for the old generation then has no say (see `Slot::is_current`).
        shared.generation.send_modify(|generation| *generation += 1);
        shared.functions.send_replace(None);
        shared.indexing.send_replace(None);
        shared.loaded.send_replace(None);
    }

    /// What the app's functions are. Waits for the first worker; after an error the pool has no workers until it is restarted.
    pub async fn index(&self) -> Result<Indexing, Arc<StartError>> {
        wait_for(&self.shared.indexing).await
    }

    /// Chooses the functions that each worker loads, and waits until the first has done so. Responses come in the order
    /// of the functions. Only the first call counts.
    pub async fn load(&self, functions: Vec<FunctionMetadata>) -> Result<Vec<LoadResponse>, Arc<StartError>> {
        self.shared.functions.send_if_modified(|chosen| {
            let is_first = chosen.is_none();
            if is_first {
                *chosen = Some(functions.into());
            }
            is_first
        });
        wait_for(&self.shared.loaded).await
    }

    /// What the workers can do; empty until [`Pool::index`] has returned.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.capabilities.borrow().clone()
    }

    /// Waits until a worker is ready for invocations, or the pool ends.
    pub async fn ready(&self) {
        let mut ready = self.shared.ready.subscribe();
        let mut draining = self.shared.is_draining.subscribe();
        tokio::select! {
            _ = ready.wait_for(|workers| !workers.is_empty()) => {}
            _ = draining.wait_for(Option::is_some) => {}
        }
    }

    /// Calls a function on the next worker. Without a limit, it may take for ever. Dropping the future cancels the call; its
    /// [`super::Cancellation`] does so too, but what the worker then says is still awaited.
    ///
    /// A request that its worker certainly never had as a whole goes to the next one, a few times; one that a worker may
    /// have had does not, as the function may have run.
    pub async fn invoke(
        &self,
        request: InvocationRequest,
        terms: Terms,
    ) -> Result<InvocationResponse, InvokeError> {
        let shared = &*self.shared;
        let _counted = Counted::new(shared);
        let (mut request, mut terms) = (request, terms);
        let _turn = tokio::select! {
            biased;
            () = terms.cancellation.cancelled() => return Err(InvokeError::Cancelled),
            turn = shared.turns.acquire() => turn.map_err(|_| InvokeError::Draining)?,
        };
        for _ in 0..SENDS_MAX {
            let worker = tokio::select! {
                biased;
                () = terms.cancellation.cancelled() => return Err(InvokeError::Cancelled),
                worker = shared.next_worker() => worker?,
            };
            let (limit, id) = (terms.limit, request.invocation_id.clone());
            let call = worker.invoke(request, &mut terms);
            tokio::pin!(call);
            let answer = match limit {
                None => call.await,
                Some(limit) => match timeout(limit, &mut call).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        // The caller has its answer on time. Dropping the call tells the function to stop, and the slot of the
                        // worker gives it up where that does not help.
                        shared.metrics.invocations_timed_out.inc();
                        worker.overrun(id, Duration::from_millis(shared.options.cancel_grace_ms));
                        return Err(InvokeError::TimedOut { limit });
                    }
                },
            };
            match answer {
                Ok(response) => return Ok(response),
                Err(WorkerInvokeError::NotSent(again)) => {
                    shared.forget(&worker);
                    shared.metrics.invocations_resent.inc();
                    request = *again;
                }
                Err(WorkerInvokeError::Failed(error)) => {
                    if matches!(error, InvokeError::WorkerGone { .. }) {
                        shared.metrics.invocations_lost.inc();
                    }
                    return Err(error);
                }
            }
        }
        let reason = format!("{SENDS_MAX} in a row ended before they took the invocation");
        Err(InvokeError::NoWorker { reason })
    }

    /// The workers that are ready.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let ready = self.shared.ready.borrow();
        let info = |worker: &Arc<Worker>| WorkerInfo {
            pid: worker.pid(),
            started_at: worker.started_at(),
            in_flight: worker.in_flight(),
            metadata: worker.metadata().clone(),
        };
        ready.iter().map(info).collect()
    }

    /// Kills a worker with all that it started, as a crash would; another takes its place. `false` if there is none with
    /// this process id.
    pub fn kill(&self, pid: u32) -> bool {
        let found = self.shared.ready.borrow().iter().find(|worker| worker.pid() == pid).cloned();
        // Not only once its end is noticed: an invocation that begins now would be lost.
        found
            .inspect(|worker| {
                self.shared.forget(worker);
                worker.kill();
            })
            .is_some()
    }

    /// Ends all workers and returns when all are gone. New invocations fail; those under way go on as long as their
    /// worker does, so let them end first. `grace` is what a worker has to end by itself.
    pub async fn drain(&self, grace: Duration) {
        self.shared.turns.close();
        self.shared.is_draining.send_if_modified(|draining| {
            let is_first = draining.is_none();
            draining.get_or_insert(grace);
            is_first
        });
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("spec", &self.spec())
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn next_worker(&self) -> Result<Arc<Worker>, InvokeError> {
        if let Some(worker) = self.take_turn() {
            return Ok(worker);
        }
        let mut ready = self.ready.subscribe();
        let mut draining = self.is_draining.subscribe();
        let mut loaded = self.loaded.subscribe();
        let deadline = tokio::time::sleep(Duration::from_millis(self.options.ready_wait_ms));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                _ = draining.wait_for(Option::is_some) => return Err(InvokeError::Draining),
                _ = ready.wait_for(|workers| !workers.is_empty()) => {}
                // There never was a worker, and there will be none before a restart.
                Ok(_) = loaded.wait_for(|loaded| matches!(loaded, Some(Err(_)))) => return Err(self.no_worker()),
                () = &mut deadline => return Err(self.no_worker()),
            }
            if let Some(worker) = self.take_turn() {
                return Ok(worker);
            }
        }
    }

    fn spec(&self) -> Arc<WorkerSpec> {
        Arc::clone(&self.spec.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn no_worker(&self) -> InvokeError {
        InvokeError::NoWorker { reason: self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    fn set_reason(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn take_turn(&self) -> Option<Arc<Worker>> {
        let ready = self.ready.borrow();
        if ready.is_empty() {
            return None;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let mut workers = (0..ready.len()).map(|at| &ready[(turn + at) % ready.len()]);
        // One with a function that does not end may be stuck as a whole.
        let worker = workers.find(|worker| !worker.is_overdue()).unwrap_or(&ready[turn % ready.len()]);
        Some(Arc::clone(worker))
    }

    /// Takes a worker out of the turns.
    fn forget(&self, gone: &Arc<Worker>) {
        self.ready.send_if_modified(|ready| {
            let before = ready.len();
            ready.retain(|worker| !Arc::ptr_eq(worker, gone));
            before != ready.len()
        });
        self.count_ready();
    }

    fn count_ready(&self) {
        self.metrics.ready.set(i64::try_from(self.ready.borrow().len()).unwrap_or(i64::MAX));
    }
}

async fn wait_for<T: Clone>(answer: &Answer<T>) -> Result<T, Arc<StartError>> {
    let mut answer = answer.subscribe();
    let found = answer.wait_for(Option::is_some).await.expect("the pool owns the sender and is borrowed");
    found.clone().expect("the wait was for a value")
}

struct Counted<'a>(&'a Shared);

impl<'a> Counted<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.metrics.invocations.inc();
        Self(shared)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.invocations.dec();
    }
}

/// Most workers of one slot that end their invocations beside the one in their place. One more is killed at once.
const LEAVING_MAX: usize = 3;

/// One place for a worker.
#[derive(Clone)]
struct Slot {
    shared: Arc<Shared>,
    is_first: bool,
}

/// Why a slot's work for a generation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// The pool ends.
    Draining,
    /// A later generation has begun.
    Restarted,
}

impl Slot {
    /// Keeps the place filled, for one generation after the other, until the pool ends.
    /// Whatever happens on the way: a worker that was ready stays so, and one that is gone is forgotten by the first invocation that it
    /// does not take.
    async fn keep(self) {
        while let Err(panic) = supervision::catch(self.keep_filled()).await {
            tracing::error!(panic, "the task that keeps a worker running panicked; this is a defect");
            self.shared.set_reason("the task that keeps it running met a defect, and is started again");
            tokio::time::sleep(self.pause(1)).await;
        }
    }

    async fn keep_filled(&self) {
        loop {
            let generation = *self.shared.generation.borrow();
            let mut leaving = JoinSet::new();
            let over = self.keep_generation(generation, &mut leaving).await;
            // They end for the same reason.
            while leaving.join_next().await.is_some() {}
            if over == Over::Draining {
                self.fail(generation, &Arc::new(StartError::Draining));
                return;
            }
        }
    }

    /// Waits until there is no more work for a generation. Cancel-safe.
    async fn over(&self, generation: u64) -> Over {
        let mut draining = self.shared.is_draining.subscribe();
        let mut generations = self.shared.generation.subscribe();
        tokio::select! {
            _ = draining.wait_for(Option::is_some) => Over::Draining,
            _ = generations.wait_for(|current| *current != generation) => Over::Restarted,
        }
    }

    fn is_current(&self, generation: u64) -> bool {
        *self.shared.generation.borrow() == generation
    }

    async fn keep_generation(&self, generation: u64, leaving: &mut JoinSet<()>) -> Over {
        let over = self.over(generation);
        tokio::pin!(over);
        let went_ahead = async {
            if !self.is_first {
                let mut loaded = self.shared.loaded.subscribe();
                let _ = loaded.wait_for(|loaded| matches!(loaded, Some(Ok(_)))).await;
            }
        };
        tokio::select! {
            over = &mut over => return over,
            () = went_ahead => {}
        }
        let (mut failures, mut is_restart) = (0_u32, false);
        loop {
            let filled = tokio::select! {
                over = &mut over => return over,
                filled = self.fill(generation, is_restart) => filled,
            };
            match filled {
                Ok(worker) => {
                    let lived_from = Instant::now();
                    tokio::select! {
                        over = &mut over => {
                            self.end(&worker).await;
                            return over;
                        }
                        () = worker.ended() => {
                            self.shared.forget(&worker);
                            self.shared.set_reason("the last one ended, and another one is being started");
                        }
                        answers = worker.overran() => {
                            self.give_up(generation, worker, answers, leaving);
                            (failures, is_restart) = (0, true);
                            continue;
                        }
                    }
                    // The first restart comes at once, but one that dies again and again must not be restarted as fast as
                    // processes can be made.
                    let restart_delay_max = Duration::from_millis(self.shared.options.restart_delay_ms_max);
                    let died_early = lived_from.elapsed() < restart_delay_max;
                    failures = if died_early && is_restart { failures + 1 } else { 0 };
                }
                Err(error) => {
                    failures += 1;
                    self.shared.metrics.start_failures.inc();
                    let error = Arc::new(error);
                    if self.fail(generation, &error) {
                        return over.await;
                    }
                    let (reason, retry_in) = (error_chain(&*error), self.pause(failures));
                    self.shared.observer.event(&WorkerEvent::StartFailed { reason, failures, retry_in });
                }
            }
            is_restart = true;
            let pause = self.pause(failures);
            tokio::select! {
                over = &mut over => return over,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts a worker and makes it ready.
    async fn fill(&self, generation: u64, is_restart: bool) -> Result<Arc<Worker>, StartError> {
        let shared = &self.shared;
        let bytes_max = shared.options.frame_bytes_max;
        let worker = Worker::start(shared.spec(), bytes_max, Arc::clone(&shared.observer)).await?;
        // A worker of our own kind knows its functions only after it was asked; so ask each, not just the first.
        let indexing = worker.index().await?;
        if self.is_first && !is_restart {
            shared.capabilities.send_replace(worker.capabilities().clone());
            self.tell(generation, &shared.indexing, Ok(indexing));
        }
        let mut chosen = shared.functions.subscribe();
        let chosen = chosen.wait_for(Option::is_some).await.expect("the pool owns the sender").clone();
        let loaded = worker.load(&chosen.expect("the wait was for a value")).await?;
        worker.listens().await;
        if is_restart {
            shared.metrics.restarts.inc();
        }
        let (pid, took) = (worker.pid(), worker.started_at().elapsed());
        // Told before it takes invocations: a panic of the observer then leaves no worker behind that no place knows.
        shared.observer.event(&WorkerEvent::Started { pid, took, is_restart });
        let worker = Arc::new(worker);
        shared.ready.send_modify(|ready| ready.push(Arc::clone(&worker)));
        shared.count_ready();
        if self.is_first && !is_restart {
            self.tell(generation, &shared.loaded, Ok(loaded));
        }
        Ok(worker)
    }

    /// Takes a worker out of the turns whose function does not end, and ends it once its other invocations have ended.
    fn give_up(&self, generation: u64, worker: Arc<Worker>, answers: bool, leaving: &mut JoinSet<()>) {
        let shared = &self.shared;
        shared.forget(&worker);
        shared.set_reason("the last one had a function that did not end, and another one is being started");
        shared.observer.event(&WorkerEvent::Overran { pid: worker.pid(), answers });
        while leaving.try_join_next().is_some() {}
        let may_leave = answers && leaving.len() < LEAVING_MAX;
        let slot = self.clone();
        leaving.spawn(async move {
            if may_leave {
                tokio::select! {
                    () = worker.leave() => {}
                    () = worker.ended() => {}
                    _ = slot.over(generation) => {}
                }
                slot.end(&worker).await;
            } else {
                worker.kill();
                worker.ended().await;
            }
        });
    }

    async fn end(&self, worker: &Arc<Worker>) {
        let grace = *self.shared.is_draining.borrow();
        let shutdown = self.shared.spec().timeouts.shutdown;
        worker.stop(grace.map_or(shutdown, |grace| grace.min(shutdown))).await;
        self.shared.forget(worker);
    }

    /// Records a failed start. Gives whether nothing more is tried in this generation, because nothing was ever ready.
    fn fail(&self, generation: u64, error: &Arc<StartError>) -> bool {
        let text = error_chain(&**error);
        self.shared.set_reason(&text);
        if !self.is_first {
            return false;
        }
        self.tell(generation, &self.shared.indexing, Err(Arc::clone(error)));
        self.tell(generation, &self.shared.loaded, Err(Arc::clone(error)))
    }

    /// Gives an answer for everybody who waits for it, unless there is one already or a later generation has begun. Gives whether
    /// it counted.
    fn tell<T>(&self, generation: u64, answer: &Answer<T>, result: Result<T, Arc<StartError>>) -> bool {
        answer.send_if_modified(|answer| {
            let is_open = answer.is_none() && self.is_current(generation);
            if is_open {
                *answer = Some(result);
            }
            is_open
        })
    }

    fn pause(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let options = &self.shared.options;
        let delay = options.restart_delay_ms_min.saturating_mul(1 << doublings.min(16));
        Duration::from_millis(delay.min(options.restart_delay_ms_max))
    }
}
