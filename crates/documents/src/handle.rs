//! [`Handle`] and [`Join`]: what other parts of the process hold of the service.

use tokio::sync::watch;

use crate::hints::Hints;
use crate::store::DocumentStore;

/// What the wiring holds of the service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) store: DocumentStore,
}

/// Ends the service; see [`Join::drain`].
#[derive(Debug)]
pub struct Join(pub(crate) Handle);

impl Join {
    /// Takes no more requests, finishes those that were taken, and ends the service's threads. Call it after the listeners are
    /// drained. It has no limit of its own: what was acknowledged is worth waiting for.
    pub async fn drain(self) {
        self.0.drain().await;
    }
}

impl Handle {
    /// Hints about all containers.
    pub fn hints(&self) -> Hints {
        self.store.hints()
    }

    /// Follows one container; see [`Hints::subscribe`].
    pub fn watch(&self, database: &str, container: &str) -> watch::Receiver<u64> {
        self.store.hints().subscribe(&format!("dbs/{database}/colls/{container}"))
    }

    /// Why nothing is written any more, for an operator: the database file is damaged or incomplete. None while all is well.
    pub fn damage(&self) -> Option<String> {
        self.store.health().damage().map(ToString::to_string)
    }

    /// Tells a listener once nothing is written any more, and why; at once where it is so already.
    pub fn when_damaged(&self, listener: impl Fn(String) + Send + Sync + 'static) {
        self.store.health().when_damaged(move |damage| listener(damage.to_string()));
    }

    /// The id of the store, drawn when it was made, in hexadecimal digits.
    pub fn store_id(&self) -> String {
        self.store.id().to_string()
    }

    /// Takes no more requests, finishes those that were taken, and ends the service's threads. Call it after the
    /// listeners are drained. May be called more than once.
    pub async fn drain(&self) {
        self.store.drain().await;
    }
}
