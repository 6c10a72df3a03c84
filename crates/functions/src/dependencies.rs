//! What the functions host needs from the program around it.

use std::collections::BTreeMap;
use std::sync::Arc;

use functions_contract::Connector;
use http_messages::Budget;
use state::{Lease, Registry};
use supervision::Supervisor;
use trace::Tracer;

use crate::workers::StartWorkers;

/// What the host needs from the program around it.
pub struct Dependencies {
    /// A snapshot of the process's environment.
    pub environment: BTreeMap<String, String>,
    /// Where keys and the runs of timers are remembered.
    pub registry: Arc<dyn Registry>,
    /// Who may run a timer.
    pub lease: Arc<dyn Lease>,
    /// This process among others that run the same app.
    pub owner: String,
    /// Triggers and bindings beyond HTTP and timers.
    pub connectors: Vec<Arc<dyn Connector>>,
    /// The room that request bodies share with those of other services.
    pub bodies: Budget,
    /// Where spans go.
    pub tracer: Tracer,
    /// Is told when a task of the host ends, and keeps whether the app is ready.
    pub supervisor: Supervisor,
    /// Starts the app's workers; `None` = the pool of this crate.
    pub workers: Option<StartWorkers>,
}
