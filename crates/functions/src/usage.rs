//! Metering: executions, duration and memory of each function, counted as the Consumption plan of Azure Functions counts them.
//!
//! An invocation adds to atomic counters of its function ([`FunctionMeter`]). A background task writes them every [`WRITE_INTERVAL`] to
//! the registry, durably, by function, day and hour ([`store`]). A process that is killed loses the counts of that interval at most.
//!
//! Rules (<https://learn.microsoft.com/azure/azure-functions/functions-consumption-costs>): an execution counts from the moment when a
//! worker has it, whether it succeeds or not, at least 100 ms and with its bindings, but without the wait for a worker. Its memory is that of
//! the worker process with its children when it starts, divided by the invocations that run there together, rounded up to the next 128 MB,
//! at least 128 MB and at most 1,536 MB. Memory times duration is in MB-milliseconds ("execution units"), 1,024,000 of them are one
//! GB-second.

mod changes;
mod day;
mod meter;
mod report;
mod rules;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use http_messages::error_chain;
use state::{Instance, Registry, RegistryError};

use crate::shutdown::Shutdown;
use changes::UsageChanges;
use day::Hour;
pub(crate) use meter::FunctionMeter;
pub(crate) use report::{UsageQuery, UsageReport};
pub(crate) use rules::MeasuredExecution;
use store::UsageStore;

/// The longest time for which counts are in memory only.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);

/// The pause after a failed write.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// The usage of an app, over all its generations. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Usage {
    shared: Arc<Shared>,
}

struct Shared {
    meters: RwLock<BTreeMap<String, Arc<FunctionMeter>>>,
    store: UsageStore,
    changes: Arc<UsageChanges>,
}

impl Usage {
    /// The usage that is stored in the app's part of the registry, for so many days.
    pub(crate) fn new(registry: Arc<dyn Registry>, instance: Instance, days_max: u32) -> Self {
        let shared = Shared {
            meters: RwLock::default(),
            store: UsageStore::new(registry, instance, days_max),
            changes: Arc::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The counters of a function.
    pub(crate) fn meter(&self, function: &str) -> Arc<FunctionMeter> {
        let mut meters = self.shared.meters.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meters.get(function) {
            return Arc::clone(meter);
        }
        let meter = Arc::new(FunctionMeter::new(Arc::clone(&self.shared.changes)));
        meters.insert(function.to_owned(), Arc::clone(&meter));
        meter
    }

    /// Writes the counts from time to time until the host stops. What is counted later is written by [`Usage::write`].
    pub(crate) async fn run(&self, mut shutdown: Shutdown) {
        let mut pause = WRITE_INTERVAL;
        loop {
            tokio::select! {
                () = self.shared.changes.appeared() => {}
                () = shutdown.requested() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return,
            }
            let has_failed = pause != WRITE_INTERVAL;
            pause = match self.write().await {
                Ok(()) => WRITE_INTERVAL,
                Err(error) => {
                    if !has_failed {
                        tracing::warn!(
                            error = error_chain(&error),
                            "cannot store the usage of functions; it stays in memory and is stored later"
                        );
                    }
                    RETRY_PAUSE
                }
            };
        }
    }

    /// Writes the counts.
    ///
    /// # Errors
    ///
    /// If the registry fails. The counts stay in memory and are written with the next ones.
    pub(crate) async fn write(&self) -> Result<(), RegistryError> {
        self.shared.changes.clear();
        let now = Hour::of(SystemTime::now());
        let written = self.shared.store.write(&self.meters(), now).await;
        if written.is_err() {
            self.shared.changes.add();
        }
        written
    }

    /// The usage of a time, the counts in memory included.
    pub(crate) async fn report(&self, query: &UsageQuery) -> Result<UsageReport, RegistryError> {
        let mut report = UsageReport::new(query);
        self.shared.store.read(query, &mut report).await?;
        let now = Hour::of(SystemTime::now());
        for (function, meter) in self.meters() {
            report.add(&function, now, &meter.counts());
        }
        Ok(report)
    }

    fn meters(&self) -> Vec<(String, Arc<FunctionMeter>)> {
        let meters = self.shared.meters.read().unwrap_or_else(PoisonError::into_inner);
        meters.iter().map(|(function, meter)| (function.clone(), Arc::clone(meter))).collect()
    }
}
