//! [`Hints`]: notifications about changed containers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Notifies embedded triggers of changes in a container, so that they need not poll. Cheap to clone.
///
/// The value is the newest LSN of the container. It is only a hint: it starts at 0 after a restart and when a container is created
/// again. A subscriber reads the change feed once at the start and whenever the value changes.
#[derive(Clone, Debug, Default)]
pub struct Hints(Arc<Mutex<HashMap<String, watch::Sender<u64>>>>);

impl Hints {
    /// Subscribes to the container `dbs/<database>/colls/<container>`, by names and without encoding. It need not exist yet.
    pub fn subscribe(&self, path: &str) -> watch::Receiver<u64> {
        let mut hints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Entries without subscribers are removed here, so that the map is bounded by the subscriptions.
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
