//! [`Hints`]: notifications about changed containers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

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
