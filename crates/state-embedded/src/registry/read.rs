//! [`ReadQueue`]: how callers and watchers ask the reading thread.

use std::sync::Arc;

use state::{Instance, Key, KeyEntry, RegistryError, Version};
use tokio::sync::oneshot;

use super::session::InstanceKey;
use crate::error::StoreClosed;
use crate::queue::Queue;

/// A request of a caller.
pub(super) enum RegistryRead {
    /// One key.
    Get { key: InstanceKey, reply: oneshot::Sender<Result<Option<KeyEntry>, RegistryError>> },
    /// Some keys, in order.
    Page { range: PageRange, reply: oneshot::Sender<Result<KeyPage, RegistryError>> },
}

/// Which keys to read.
pub(super) struct PageRange {
    pub(super) instance: Instance,
    pub(super) prefix: String,
    /// Only keys after this one.
    pub(super) after: Option<Key>,
    pub(super) keys_max: usize,
    /// Bytes of values.
    pub(super) bytes_max: usize,
}

/// Existing keys below a prefix, in order, as of one moment.
pub(super) struct KeyPage {
    pub(super) entries: Vec<KeyEntry>,
    /// The page includes all changes up to this version.
    pub(super) applied: Version,
    /// Whether no keys follow.
    pub(super) is_last: bool,
}

/// The queue of the reading thread; clones share it.
#[derive(Clone)]
pub(super) struct ReadQueue(pub(super) Arc<Queue<RegistryRead>>);

impl ReadQueue {
    pub(super) async fn get(&self, key: InstanceKey) -> Result<Option<KeyEntry>, RegistryError> {
        self.request(|reply| RegistryRead::Get { key, reply }).await
    }

    pub(super) async fn page(&self, range: PageRange) -> Result<KeyPage, RegistryError> {
        self.request(|reply| RegistryRead::Page { range, reply }).await
    }

    /// Rejects further requests; accepted ones are still executed.
    pub(super) fn close(&self) {
        self.0.close();
    }

    async fn request<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, RegistryError>>) -> RegistryRead,
    ) -> Result<T, RegistryError> {
        let (reply, replied) = oneshot::channel();
        let closed = || RegistryError::Backend(Box::new(StoreClosed));
        self.0.push(make(reply), 1).await.map_err(|_| closed())?;
        replied.await.map_err(|_| closed())?
    }
}
