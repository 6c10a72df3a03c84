//! Dynamic concurrency (`concurrency.dynamicConcurrencyEnabled` in `host.json`): how many deliveries of a trigger run at a time follows
//! the load of host and workers, as in the WebJobs SDK.
//!
//! [`DynamicConcurrency`] measures each [`Options::concurrency_interval_ms`](crate::Options) and decides for each function
//! ([`function_concurrency`]). A listener reads the limit of its function. What was found out is stored, and is where the next start begins.

mod function_concurrency;
mod load;
mod section;
mod snapshot;
mod throttle;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_messages::error_chain;
use state::{Durability, Expect, Instance, Key, Registry, RegistryError};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::log::{Level, Logs};
use crate::metrics::{FunctionLabel, Metrics};
use crate::options::Options;
use crate::shutdown::Shutdown;
use function_concurrency::{ConcurrencyChange, FunctionConcurrency};
use load::LoadMeter;
pub(crate) use section::ConcurrencySection;
use snapshot::ConcurrencySnapshot;
use throttle::{ThrottleState, Throttles};

/// Measurements between two writes of the snapshot.
const WRITE_EVERY: u64 = 10;

/// The share of the available memory that host and workers may have before less runs at a time.
const MEMORY_THRESHOLD: f64 = 0.8;

/// Where the snapshot is stored.
const SNAPSHOT_KEY: &str = "concurrency/snapshot";

/// The concurrency of the functions of an app, over all its generations. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DynamicConcurrency {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Arc<dyn Registry>,
    instance: Instance,
    logs: Logs,
    metrics: Metrics,
    interval: Duration,
    processors: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    section: ConcurrencySection,
    /// The number of the newest measurement.
    now: u64,
    throttles: Throttles,
    functions: BTreeMap<String, LimitedFunction>,
    /// What was stored for functions that have not run since.
    stored: BTreeMap<String, usize>,
    is_loaded: bool,
    /// The snapshot as it was last read or written.
    written: Option<ConcurrencySnapshot>,
}

struct LimitedFunction {
    concurrency: FunctionConcurrency,
    /// The deliveries that its source permits at a time.
    source_max: usize,
    /// What its listener may have at a time now.
    limit: watch::Sender<usize>,
}

/// The limit of one function, for its listener.
pub(crate) struct FunctionLimit {
    all: DynamicConcurrency,
    function: String,
    limit: watch::Receiver<usize>,
}

/// A delivery that runs; it ends when this is dropped.
pub(crate) struct RunningDelivery {
    all: DynamicConcurrency,
    function: String,
    started: Instant,
}

impl DynamicConcurrency {
    pub(crate) fn new(
        registry: &Arc<dyn Registry>,
        instance: &Instance,
        logs: &Logs,
        metrics: &Metrics,
        options: &Options,
    ) -> Self {
        let interval = Duration::from_millis(options.concurrency_interval_ms.max(10));
        let (registry, instance) = (Arc::clone(registry), instance.clone());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (logs, metrics, state) = (logs.clone(), metrics.clone(), Mutex::default());
        let shared = Shared { registry, instance, logs, metrics, interval, processors, state };
        Self { shared: Arc::new(shared) }
    }

    /// Applies the section of a generation that is put into service, with the names of its functions; others are forgotten. The first
    /// time it reads the snapshot.
    pub(crate) async fn configure(&self, section: &ConcurrencySection, functions: &[&str]) {
        let is_loaded = {
            let mut state = self.lock();
            state.section = section.clone();
            state.functions.retain(|function, _| functions.contains(&function.as_str()));
            state.is_loaded || !section.is_enabled || !section.is_snapshot_stored
        };
        if is_loaded {
            return;
        }
        let snapshot = match self.read().await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let text = format!(
                    "The concurrency of functions that an earlier start found out cannot be read; it begins with 1: {}",
                    error_chain(&error)
                );
                self.shared.logs.host(Level::Warn, text);
                None
            }
        };
        let mut state = self.lock();
        state.is_loaded = true;
        state.written.clone_from(&snapshot);
        let Some(snapshot) = snapshot else { return };
        state.stored = snapshot.functions(self.shared.processors, section.function_max);
        state.stored.retain(|function, _| functions.contains(&function.as_str()));
        for (function, limit) in &state.stored {
            let text = format!("Applying status snapshot for function {function} (Concurrency: {limit})");
            self.shared.logs.function(Level::Info, function, None, text);
        }
    }

    /// The limit of a function whose source permits so many deliveries at a time; `None` if its concurrency is not dynamic.
    pub(crate) fn limit(&self, function: &str, source_max: usize) -> Option<FunctionLimit> {
        let mut state = self.lock();
        if !state.section.is_enabled {
            return None;
        }
        let (stored, now) = (state.stored.remove(function), state.now);
        let limited = state.functions.entry(function.to_owned()).or_insert_with(|| {
            let concurrency = FunctionConcurrency::new(stored, now);
            LimitedFunction { limit: watch::Sender::new(concurrency.limit()), concurrency, source_max }
        });
        limited.source_max = source_max;
        let limit = limited.limit.subscribe();
        Some(FunctionLimit { all: self.clone(), function: function.to_owned(), limit })
    }

    /// Measures and decides until the host stops. `processes` returns the worker processes, and whether one responds slowly.
    pub(crate) async fn run(&self, processes: impl Fn() -> (Vec<u32>, bool), mut shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(self.shared.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut meter = LoadMeter::new(self.shared.processors);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.requested() => break,
            }
            if !self.lock().section.is_enabled {
                continue;
            }
            let (workers, is_slow) = processes();
            let is_write_due = self.measured(&mut meter, &workers, is_slow);
            if is_write_due {
                self.write().await;
            }
        }
        self.write().await;
    }

    /// Decides after a measurement. Returns whether it is time to store the result.
    fn measured(&self, meter: &mut LoadMeter, workers: &[u32], is_slow: bool) -> bool {
        let sample = meter.measure(workers, is_slow);
        let (shared, mut guard) = (&self.shared, self.lock());
        let state = &mut *guard;
        state.now += 1;
        state.throttles.add(sample, state.section.cpu_threshold, MEMORY_THRESHOLD);
        let is_throttled = state.throttles.state() == ThrottleState::On;
        for (function, limited) in &mut state.functions {
            let concurrency = &mut limited.concurrency;
            let section_max = state.section.function_max.unwrap_or(usize::MAX);
            let limit_max = limited.source_max.min(section_max);
            let change = concurrency.adjust(&state.throttles, limit_max, state.now, shared.interval);
            let limit = concurrency.limit();
            if let Some(change) = change {
                let text = match change {
                    ConcurrencyChange::Grown => {
                        format!("{function} Increasing concurrency (Concurrency: {limit})")
                    }
                    ConcurrencyChange::Shrunk => format!(
                        "{function} Decreasing concurrency (Enabled throttles: {}, Concurrency: {limit})",
                        state.throttles.reasons().join(",")
                    ),
                };
                shared.logs.function(Level::Info, function, None, text);
            }
            let label = FunctionLabel { function: function.clone() };
            let gauge = shared.metrics.dynamic_concurrency.get_or_create(&label);
            gauge.set(i64::try_from(limit).unwrap_or(i64::MAX));
            // While a throttle is on, no more is begun beside what runs. One at a time goes on: the load may be that of others, and a
            // trigger must not stand still for it.
            let now = if is_throttled { 1 } else { limit };
            limited.limit.send_if_modified(|known| std::mem::replace(known, now) != now);
        }
        state.now.is_multiple_of(WRITE_EVERY)
    }

    /// Stores the concurrency of the functions that run.
    async fn write(&self) {
        let snapshot = {
            let state = self.lock();
            if !state.section.is_enabled || !state.section.is_snapshot_stored || state.functions.is_empty() {
                return;
            }
            let functions = state.functions.iter();
            let functions =
                functions.map(|(name, limited)| (name.clone(), limited.concurrency.limit())).collect();
            let snapshot = ConcurrencySnapshot::new(self.shared.processors, functions);
            if state.written.as_ref() == Some(&snapshot) {
                return;
            }
            snapshot
        };
        let (shared, key, value) = (&self.shared, snapshot_key(), snapshot.to_bytes().into());
        let put =
            shared.registry.put(&shared.instance, &key, value, Expect::Anything, Durability::Durable, None);
        match put.await {
            Ok(_) => self.lock().written = Some(snapshot),
            Err(error) => {
                let text = format!("The concurrency of functions cannot be stored: {}", error_chain(&error));
                shared.logs.host(Level::Warn, text);
            }
        }
    }

    async fn read(&self) -> Result<Option<ConcurrencySnapshot>, RegistryError> {
        let found = self.shared.registry.get(&self.shared.instance, &snapshot_key()).await?;
        Ok(found.and_then(|entry| ConcurrencySnapshot::parse(&entry.value)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FunctionLimit {
    /// The deliveries that may run at a time.
    pub(crate) fn get(&self) -> usize {
        *self.limit.borrow()
    }

    /// Waits until the limit is another one; forever once the function is forgotten, which its listener may outlive while it drains.
    /// Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        changed(&mut self.limit).await;
    }

    /// Counts a delivery that begins to run.
    pub(crate) fn started(&self) -> RunningDelivery {
        if let Some(limited) = self.all.lock().functions.get_mut(&self.function) {
            limited.concurrency.started();
        }
        RunningDelivery { all: self.all.clone(), function: self.function.clone(), started: Instant::now() }
    }
}

impl Drop for RunningDelivery {
    fn drop(&mut self) {
        if let Some(limited) = self.all.lock().functions.get_mut(&self.function) {
            limited.concurrency.ended(self.started.elapsed());
        }
    }
}

fn snapshot_key() -> Key {
    Key::new(SNAPSHOT_KEY.to_owned()).expect("a short text without control characters")
}

/// Waits for another value; forever without a sender.
async fn changed(limit: &mut watch::Receiver<usize>) {
    if limit.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_limit_of_a_forgotten_function_does_not_change_any_more() {
        let (sender, mut limit) = watch::channel(1);
        sender.send_replace(2);
        assert_eq!(changed(&mut limit).now_or_never(), Some(()));
        drop(sender);
        assert_eq!(changed(&mut limit).now_or_never(), None, "its listener would spin");
    }
}
