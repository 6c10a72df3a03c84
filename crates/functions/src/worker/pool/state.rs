//! [`PoolState`]: the workers that are ready, and what the pool knows about the app.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use worker_protocol::{Capabilities, FunctionId, FunctionMetadata, LoadResponse};

use super::group::{Reservation, WorkerGroup};
use super::known_app::KnownApp;
use super::options::PoolOptions;
use super::suspects::CrashSuspects;
use crate::worker::error::{InvokeError, StartError};
use crate::worker::instance::{Indexing, Worker};
use crate::worker::metrics::PoolMetrics;
use crate::worker::observe::Observer;
use crate::worker::spec::WorkerSpec;

/// A result for all that wait for it, once it is known.
pub(super) type StartOutcome<T> = watch::Sender<Option<Result<T, Arc<StartError>>>>;

/// What the pool, its controller and its members share.
pub(super) struct PoolState {
    pub(super) spec: Arc<WorkerSpec>,
    pub(super) options: PoolOptions,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) metrics: PoolMetrics,
    /// The functions of the app, from the first worker.
    pub(super) indexing: StartOutcome<Indexing>,
    /// The capabilities of the first worker.
    pub(super) capabilities: watch::Sender<Capabilities>,
    /// The functions to load, once the host has chosen them.
    pub(super) functions: watch::Sender<Option<Arc<[FunctionMetadata]>>>,
    /// The result of the first load.
    pub(super) loaded: StartOutcome<Vec<LoadResponse>>,
    /// The workers of all functions that are not in quarantine.
    pub(super) shared: Arc<WorkerGroup>,
    /// The workers of functions in quarantine.
    pub(super) quarantined: RwLock<HashMap<FunctionId, Arc<WorkerGroup>>>,
    /// Whether there is one, without the lock.
    pub(super) has_quarantined: AtomicBool,
    /// The worker that is ready without invocations.
    pub(super) spare: Mutex<Vec<Arc<Worker>>>,
    suspects: Mutex<CrashSuspects>,
    /// Whether there are suspects, without the lock.
    has_suspects: AtomicBool,
    /// Waiting items of triggers, by function.
    backlog: Mutex<HashMap<String, u64>>,
    /// Wakes the controller: an invocation waits, or the backlog has changed.
    pub(super) demand: Notify,
    /// Why no worker is ready, if none is.
    pub(super) reason: Mutex<String>,
    pub(super) permits: Semaphore,
    pub(super) is_draining: watch::Sender<Option<Duration>>,
    /// Whether the pool started without a worker, because the app was known.
    pub(super) is_asleep: bool,
}

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolState")
            .field("spec", &self.spec)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl PoolState {
    pub(super) fn new(
        spec: WorkerSpec,
        options: PoolOptions,
        observer: Arc<dyn Observer>,
        metrics: PoolMetrics,
        known: Option<KnownApp>,
    ) -> Self {
        let is_asleep = known.is_some() && options.idle_timeout_ms > 0;
        let (indexing, capabilities) = known.map(|known| (known.indexing, known.capabilities)).unzip();

        let state = Self {
            spec: Arc::new(spec),
            options,
            observer,
            metrics,
            indexing: watch::Sender::new(indexing.map(Ok)),
            capabilities: watch::Sender::new(capabilities.unwrap_or_default()),
            functions: watch::Sender::new(None),
            loaded: watch::Sender::new(None),
            shared: Arc::new(WorkerGroup::new(invocations_max(&options))),
            quarantined: RwLock::default(),
            has_quarantined: AtomicBool::new(false),
            spare: Mutex::default(),
            suspects: Mutex::default(),
            has_suspects: AtomicBool::new(false),
            backlog: Mutex::default(),
            demand: Notify::new(),
            reason: Mutex::default(),
            permits: Semaphore::new(options.invocations_max.clamp(1, Semaphore::MAX_PERMITS)),
            is_draining: watch::Sender::new(None),
            is_asleep,
        };
        state.set_reason("the first one is starting");
        state
    }

    /// Reserves an invocation of a worker, and waits for one if necessary.
    pub(super) async fn next_worker(&self, function: &FunctionId) -> Result<Reservation, InvokeError> {
        if let Some(reserved) = self.group(function).reserve() {
            return Ok(reserved);
        }
        let mut draining = self.is_draining.subscribe();
        let mut loaded = self.loaded.subscribe();
        let deadline = tokio::time::sleep(Duration::from_millis(self.options.ready_wait_ms));
        tokio::pin!(deadline);
        loop {
            // The function may have got a group of its own while it waited.
            let group = self.group(function);
            let mut serving = group.serving.subscribe();
            serving.borrow_and_update();
            let _waiting = group.wait(&self.metrics.waiting);
            self.demand.notify_one();
            if let Some(reserved) = group.reserve() {
                return Ok(reserved);
            }
            tokio::select! {
                _ = draining.wait_for(Option::is_some) => return Err(InvokeError::Draining),
                _ = serving.changed() => {}
                () = group.freed() => {}
                // No worker ever started, and none will in this pool.
                Ok(_) = loaded.wait_for(|loaded| matches!(loaded, Some(Err(_)))) => return Err(self.no_worker()),
                () = &mut deadline => return Err(self.no_worker()),
            }
        }
    }

    /// The workers for a function.
    pub(super) fn group(&self, function: &FunctionId) -> Arc<WorkerGroup> {
        if self.has_quarantined.load(Ordering::Acquire) {
            let quarantined = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(group) = quarantined.get(function) {
                return Arc::clone(group);
            }
        }
        Arc::clone(&self.shared)
    }

    /// Assigns a function workers of its own, or lets it use the shared ones again.
    pub(super) fn set_quarantine(&self, function: &FunctionId, group: Option<Arc<WorkerGroup>>) {
        let mut quarantined = self.quarantined.write().unwrap_or_else(PoisonError::into_inner);
        match group {
            Some(group) => quarantined.insert(function.clone(), group),
            None => quarantined.remove(function),
        };
        self.has_quarantined.store(!quarantined.is_empty(), Ordering::Release);
        drop(quarantined);
        // Its waiting invocations look for their group again.
        self.shared.serving.send_modify(|_| {});
    }

    /// The workers that get invocations, and the spare one.
    pub(super) fn ready_workers(&self) -> Vec<Arc<Worker>> {
        let mut workers = self.shared.serving.borrow().clone();
        let quarantined = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
        for group in quarantined.values() {
            workers.extend(group.serving.borrow().iter().cloned());
        }
        workers.extend(self.lock_spare().iter().cloned());
        workers
    }

    /// Removes a worker from those that get invocations.
    pub(super) fn forget(&self, gone: &Arc<Worker>) {
        self.shared.remove(gone);
        let quarantined = self.quarantined.read().unwrap_or_else(PoisonError::into_inner);
        for group in quarantined.values() {
            group.remove(gone);
        }
        self.lock_spare().retain(|worker| !Arc::ptr_eq(worker, gone));
    }

    pub(super) fn lock_spare(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a completed invocation, if that may tell which function ends its workers.
    pub(super) fn completed(&self, function: &FunctionId) {
        self.change_suspects(|suspects| suspects.completed(function));
    }

    /// Whether completed invocations are counted.
    pub(super) fn has_suspects(&self) -> bool {
        self.has_suspects.load(Ordering::Relaxed)
    }

    /// Changes the record of crashes.
    pub(super) fn change_suspects<T>(&self, change: impl FnOnce(&mut CrashSuspects) -> T) -> T {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut suspects);
        self.has_suspects.store(!suspects.is_empty(), Ordering::Relaxed);
        result
    }

    /// Records the number of waiting items of a function's trigger.
    pub(super) fn set_backlog(&self, function: &str, items: u64) {
        let mut backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        match items {
            0 => backlog.remove(function),
            _ => backlog.insert(function.to_owned(), items),
        };
        self.demand.notify_one();
    }

    /// The number of waiting items of all triggers.
    pub(super) fn backlog(&self) -> u64 {
        let backlog = self.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        backlog.values().fold(0, |sum, items| sum.saturating_add(*items))
    }

    /// The name of a function.
    pub(super) fn function_name(&self, id: &FunctionId) -> String {
        let functions = self.functions.borrow();
        let found =
            functions.iter().flat_map(|functions| functions.iter()).find(|each| each.function_id == *id);
        found.map_or_else(|| id.to_string(), |function| function.name.clone())
    }

    fn no_worker(&self) -> InvokeError {
        InvokeError::NoWorker { reason: self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    pub(super) fn set_reason(&self, reason: &str) {
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Publishes a result, unless there is one already. Returns whether it was published.
pub(super) fn report<T>(awaited: &StartOutcome<T>, result: Result<T, Arc<StartError>>) -> bool {
    awaited.send_if_modified(|awaited| {
        let is_open = awaited.is_none();
        if is_open {
            *awaited = Some(result);
        }
        is_open
    })
}

/// The number of invocations that one worker gets at a time.
pub(super) fn invocations_max(options: &PoolOptions) -> usize {
    match options.invocations_per_process_max {
        0 => usize::MAX,
        max => max,
    }
}

/// Waits for a result.
pub(super) async fn wait_for<T: Clone>(awaited: &StartOutcome<T>) -> Result<T, Arc<StartError>> {
    let mut awaited = awaited.subscribe();
    let found = awaited.wait_for(Option::is_some).await.expect("the pool owns the sender and is borrowed");
    found.clone().expect("the wait was for a value")
}
