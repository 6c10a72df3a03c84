//! [`InProcessUpstream`]: an upstream in this process, which needs no template, no socket and no HTTP.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http::{Request, Response};

/// An upstream in this process, such as a functions host whose functions have a `signalRTrigger`. It gets the events that no template
/// matches, in the same order and with the same acknowledgement as one over the network.
#[async_trait::async_trait]
pub trait InProcessUpstream: Send + Sync + 'static {
    /// Whether it may want events of a hub. It is asked for each client that connects.
    fn concerns(&self, hub: &str) -> bool;

    /// Whether it wants an event; `category` is `connections` or `messages`. While that is not known yet, because an app is starting,
    /// the answer is yes.
    fn wants(&self, hub: &str, category: &str, event: &str) -> bool;

    /// Handles an event: a request in the upstream protocol, as a value, with its response. `None` if nobody wants it after all.
    /// Dropping the future cancels what it does.
    ///
    /// # Errors
    ///
    /// If nobody can handle it now; a connection event is delivered again later. Contains the reason.
    async fn send(&self, request: Request<Bytes>) -> Result<Option<Response<Bytes>>, String>;
}

/// The upstreams of this process. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct InProcessUpstreams(Arc<RwLock<Vec<Arc<dyn InProcessUpstream>>>>);

impl InProcessUpstreams {
    pub(crate) fn add(&self, upstream: Arc<dyn InProcessUpstream>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(upstream);
    }

    /// Removes all: they may hold the service itself.
    pub(crate) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(crate) fn concern(&self, hub: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|upstream| upstream.concerns(hub))
    }

    /// The first one that wants an event.
    pub(crate) fn find(&self, hub: &str, category: &str, event: &str) -> Option<Arc<dyn InProcessUpstream>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|upstream| upstream.wants(hub, category, event)).cloned()
    }
}

impl std::fmt::Debug for InProcessUpstreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcessUpstreams(..)")
    }
}
