//! [`Shared`]: what the triggers and bindings of one connector share.

use std::sync::Arc;

use http_messages::Budget;
use tokio::sync::Semaphore;

use crate::live_sources::LiveSources;
use crate::options::Options;
use crate::trigger_registry::TriggerRegistry;

/// What the triggers and bindings of one connector share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    /// Permits for requests over the network (`requests_max`).
    pub(crate) permits: Option<Arc<Semaphore>>,
    /// Bounds the bytes of response bodies, together with other bodies of the process.
    pub(crate) bodies: Budget,
    /// Differs at each start, so that leases of an earlier process are recognised.
    pub(crate) process: String,
    pub(crate) live_sources: LiveSources,
    pub(crate) triggers: TriggerRegistry,
}
