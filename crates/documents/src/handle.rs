//! [`Handle`]: the service as the rest of the process uses it, beside sending it requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use trace::TraceContext;

use crate::store::Store;

/// Tells which container has news, so that an embedded trigger need not poll. Cheap to clone.
///
/// The number is the newest LSN of the container. It is a hint: it starts at 0 after a restart and when a container is
/// made again; whoever waits should read the feed whenever it changes, and once at the beginning.
#[derive(Clone, Debug, Default)]
pub struct Hints(Arc<Mutex<HashMap<String, watch::Sender<u64>>>>);

impl Hints {
    /// Follows the container at `dbs/<database>/colls/<container>`, by names and without encoding. It need not exist yet.
    pub fn subscribe(&self, path: &str) -> watch::Receiver<u64> {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Entries that nobody follows any more are dropped here, so that the map is bounded by its followers.
        hints.retain(|_, sender| sender.receiver_count() > 0);
        hints.entry(path.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    pub(crate) fn publish(&self, path: &str, lsn: u64) {
        let hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = hints.get(path) {
            sender.send_replace(lsn);
        }
    }
}

/// Where the documents of one answer of the change feed came from, in the order of the documents: LSN, the write's span,
/// and when it was accepted. In the extensions of answers to in-process callers; never on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedOrigins(pub Vec<(u64, TraceContext, SystemTime)>);

/// What the wiring holds of the service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) store: Store,
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
