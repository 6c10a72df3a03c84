//! [`Shared`]: the state of one service, which its requests and its handles share.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use http_messages::Budget;
use prometheus_client::metrics::gauge::Gauge;
use state::Instance;
use tokio::task::JoinSet;

use crate::login::Logins;
use crate::metrics::RequestMetrics;
use crate::options::Options;
use crate::servers::Servers;
use crate::store::Negotiations;
use crate::store::keys::Keys;
use crate::store::sessions::Sessions;
use crate::store::user_groups::UserGroups;
use crate::upstream::Dispatcher;
use realtime_engine::{EngineHandle, Upstream};

/// The state of one service.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Swapped as a whole when options change that may change; see [`Shared::options`].
    pub(crate) current_options: RwLock<Arc<Options>>,
    pub(crate) instance: Instance,
    pub(crate) keys: Arc<Keys>,
    /// Verifies tokens of the login provider, if one is configured.
    pub(crate) logins: Option<Arc<Logins>>,
    pub(crate) engine: EngineHandle,
    pub(crate) negotiations: Mutex<Negotiations>,
    pub(crate) sessions: Sessions,
    pub(crate) user_groups: Arc<UserGroups>,
    /// The number of watchers.
    pub(crate) watchers: Arc<AtomicUsize>,
    pub(crate) upstream: Arc<dyn Upstream>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) servers: Servers,
    /// One task for each client between the response 101 and its shard. `None` after the drain has started: no task may start
    /// then, because nothing would await it.
    pub(crate) upgrades: Mutex<Option<JoinSet<()>>>,
    /// Clients that have received the response 101 and are not connected to the engine yet.
    pub(crate) pending_upgrades: Gauge,
    pub(crate) requests: RequestMetrics,
    pub(crate) bodies: Budget,
}

impl Shared {
    /// The options that are in effect now.
    pub(crate) fn options(&self) -> Arc<Options> {
        Arc::clone(&self.current_options.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_options(&self, options: Options) {
        *self.current_options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }
}
