//! [`Dispatch`]: what every HTTP request to the app needs.

use std::sync::Arc;
use std::time::Duration;

use functions_contract::PushExtension;
use http_messages::Budget;
use tokio::sync::Semaphore;

use super::cors::CorsPolicy;
use super::settings::HttpSettings;
use crate::current::Current;
use crate::generation::{AppPhase, GenerationGuard};
use crate::keys::AppKeys;
use crate::log::Logs;
use crate::metrics::Metrics;
use crate::reload_error::ReloadRequest;

/// Dispatches requests; shared by all clones of the service.
pub(crate) struct Dispatch {
    pub(crate) phase: tokio::sync::watch::Receiver<AppPhase>,
    pub(crate) keys: AppKeys,
    pub(crate) is_auth_enforced: bool,
    pub(crate) cors: Current<CorsPolicy>,
    /// Of the generation in service; of the app as it was last read while none is.
    pub(crate) settings: Current<HttpSettings>,
    pub(crate) start_wait: Duration,
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
    /// The extensions whose events are pushed.
    pub(crate) extensions: Vec<Arc<dyn PushExtension>>,
    /// Requests a new start of the app from the host.
    pub(crate) reload: tokio::sync::mpsc::Sender<ReloadRequest>,
    pub(crate) started: std::time::Instant,
    /// Limits the bytes of request bodies.
    pub(crate) bodies: Budget,
    /// Limits the bytes of bodies from files that workers have at a time; `PERMIT_BYTES` per permit.
    pub(crate) worker_bodies: Arc<Semaphore>,
    pub(crate) worker_bodies_permits: usize,
    /// Sends requests to workers that receive them themselves.
    pub(crate) proxy: egress::Client,
}

impl Dispatch {
    /// Waits until the app has started, and returns the generation in service; the error text is for the client.
    pub(crate) async fn running(&self) -> Result<GenerationGuard, String> {
        // Usually it runs, and there is nothing to wait for.
        if let Some(running) = GenerationGuard::of(&self.phase.borrow()) {
            return Ok(running);
        }
        let mut phase = self.phase.clone();
        let decided = phase.wait_for(|phase| !matches!(phase, AppPhase::Starting));
        match tokio::time::timeout(self.start_wait, decided).await {
            Ok(Ok(phase)) => match &*phase {
                AppPhase::Running { .. } => {
                    GenerationGuard::of(&phase).ok_or_else(|| "The function app is starting.\n".to_owned())
                }
                // Paths and stacks are for the developers of the app, not for clients of an exposed port.
                AppPhase::Failed(_) if self.is_auth_enforced => {
                    Err("The function app did not start; see the log of the host.\n".to_owned())
                }
                AppPhase::Failed(why) => Err(format!(
                    "The function app did not start: {why}\nIt is started again when a file of the app changes.\n"
                )),
                AppPhase::Starting => Err("The function app is starting.\n".to_owned()),
            },
            Ok(Err(_)) => Err("The function app has been stopped.\n".to_owned()),
            Err(_) => Err(format!("The function app did not start within {:?}.\n", self.start_wait)),
        }
    }
}
