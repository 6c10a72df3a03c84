//! [`Dispatch`]: what every HTTP request to the app needs.

use std::sync::Arc;
use std::time::Duration;

use functions_contract::PushExtension;
use http::{HeaderName, HeaderValue};
use http_messages::Budget;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cors::CurrentCors;
use crate::app::App;
use crate::keys::AppKeys;
use crate::log::Logs;
use crate::metrics::{Metrics, Rejected, RejectedLabel};
use crate::running_app::{AppPhase, RunningApp};
use crate::shutdown::Shutdown;

/// Dispatches requests; shared by all clones of the service.
pub(crate) struct Dispatch {
    pub(crate) app: App,
    pub(crate) phase: tokio::sync::watch::Receiver<AppPhase>,
    pub(crate) keys: AppKeys,
    pub(crate) is_auth_enforced: bool,
    pub(crate) cors: CurrentCors,
    pub(crate) body_bytes_max: usize,
    pub(crate) start_wait: Duration,
    /// Limits active and waiting requests.
    pub(crate) outstanding: Arc<Semaphore>,
    /// Limits requests whose function runs; `None` = no limit.
    pub(crate) concurrent: Option<Arc<Semaphore>>,
    pub(crate) custom_headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) logs: Logs,
    pub(crate) metrics: Metrics,
    /// The extensions whose events are pushed.
    pub(crate) extensions: Vec<Arc<dyn PushExtension>>,
    pub(crate) started: std::time::Instant,
    /// Bounds the bytes of request bodies.
    pub(crate) bodies: Budget,
    /// Limits the bytes of bodies from files that workers have at a time; `PERMIT_BYTES` per permit.
    pub(crate) worker_bodies: Arc<Semaphore>,
    pub(crate) worker_bodies_permits: usize,
    /// Ends the pauses between retries when the host stops.
    pub(crate) shutdown: Shutdown,
    /// Sends requests to workers that receive them themselves.
    pub(crate) proxy: egress::Client,
}

impl Dispatch {
    /// Waits until one more function may run.
    pub(super) async fn concurrent(&self) -> Option<OwnedSemaphorePermit> {
        let limit = self.concurrent.as_ref()?;
        Arc::clone(limit).acquire_owned().await.ok()
    }

    /// Waits until the app has started; the error text is for the client.
    pub(crate) async fn running(&self) -> Result<Arc<RunningApp>, String> {
        let mut phase = self.phase.clone();
        let decided = phase.wait_for(|phase| !matches!(phase, AppPhase::Starting));
        match tokio::time::timeout(self.start_wait, decided).await {
            Ok(Ok(phase)) => match &*phase {
                AppPhase::Running(running) => Ok(Arc::clone(running)),
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

    /// Whether a path may belong to a function: below the route prefix, if there is one. Other requests do not wait for the app and do
    /// not report its failure.
    pub(super) fn may_have_route(&self, path: &str) -> bool {
        let prefix = &self.app.host.http.route_prefix;
        let head = path.strip_prefix('/').and_then(|path| path.get(..prefix.len()));
        let is_below = head.is_some_and(|head| head.eq_ignore_ascii_case(prefix));
        // A prefix with parameters is matched by the routes.
        prefix.is_empty()
            || prefix.contains('{')
            || (is_below && matches!(path.as_bytes().get(prefix.len() + 1), None | Some(b'/')))
    }

    pub(super) fn rejected(&self, reason: Rejected) {
        self.metrics.http_rejected.get_or_create(&RejectedLabel { reason }).inc();
    }
}
