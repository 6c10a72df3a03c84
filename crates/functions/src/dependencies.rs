//! What the functions host needs from the program around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use functions_contract::Connector;
use http_messages::Budget;
use state::{Lease, Registry};
use supervision::Supervisor;
use trace::Tracer;

use crate::workers::StartWorkers;

/// The dependencies of the host, from the program that starts it.
pub struct Dependencies {
    /// A snapshot of the process's environment.
    pub environment: BTreeMap<String, String>,
    /// Stores keys and the schedule status of timers.
    pub registry: Arc<dyn Registry>,
    /// Decides which host runs a timer.
    pub lease: Arc<dyn Lease>,
    /// The name of this process among the hosts of the app, for leases.
    pub owner: String,
    /// Triggers and bindings beyond HTTP and timers.
    pub connectors: Vec<Arc<dyn Connector>>,
    /// Bounds the bytes of request bodies, together with those of other services.
    pub bodies: Budget,
    /// Records spans.
    pub tracer: Tracer,
    /// Supervises the tasks of the host, and reports whether the app is ready.
    pub supervisor: Supervisor,
    /// Starts the app's workers; `None` = the pool of this crate.
    pub workers: Option<StartWorkers>,
}
