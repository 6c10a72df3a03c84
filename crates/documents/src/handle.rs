//! [`Handle`] and [`Join`]: the access of other parts of the process to the service.

use tokio::sync::watch;

use crate::accepted_keys::AcceptedKeys;
use crate::hints::Hints;
use crate::store::DocumentStore;
use crate::{Error, Options};

/// A handle to the service, for other parts of the process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) store: DocumentStore,
    pub(crate) keys: AcceptedKeys,
}

/// Ends the service; see [`Join::drain`].
#[derive(Debug)]
pub struct Join(pub(crate) Handle);

impl Join {
    /// Rejects new requests, finishes accepted ones, and ends the service's threads. Call it after the listeners are drained. It has
    /// no time limit.
    pub async fn drain(self) {
        self.0.drain().await;
    }
}

impl Handle {
    /// Parses the account keys of changed options; calling what is returned accepts them, and no longer those of before.
    ///
    /// # Errors
    ///
    /// If a key is not base64; nothing is changed.
    pub fn prepare_keys(&self, options: &Options) -> Result<impl FnOnce() + Send + 'static + use<>, Error> {
        self.keys.prepare(options)
    }

    /// Notifications about changes of all containers.
    pub fn hints(&self) -> Hints {
        self.store.hints()
    }

    /// Subscribes to one container; see [`Hints::subscribe`].
    pub fn watch(&self, database: &str, container: &str) -> watch::Receiver<u64> {
        self.store.hints().subscribe(&format!("dbs/{database}/colls/{container}"))
    }

    /// Why the store is read-only, for the operator: the database file is damaged or incomplete. `None` while it is intact.
    pub fn damage(&self) -> Option<String> {
        self.store.health().damage().map(ToString::to_string)
    }

    /// Calls a listener with the reason when the store becomes read-only; at once if it already is.
    pub fn when_damaged(&self, listener: impl Fn(String) + Send + Sync + 'static) {
        self.store.health().when_damaged(move |damage| listener(damage.to_string()));
    }

    /// The id of the store, in hexadecimal digits; drawn when it was created.
    pub fn store_id(&self) -> String {
        self.store.id().to_string()
    }

    /// Rejects new requests, finishes accepted ones, and ends the service's threads. Call it after the listeners are drained. May be
    /// called more than once.
    pub async fn drain(&self) {
        self.store.drain().await;
    }
}
