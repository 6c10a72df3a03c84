//! [`Unsettled`]: the entries that were handed out and are not settled yet.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The entries of a source that were handed out and are not settled yet. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    /// The ids of entries whose delivery was dropped without a result.
    dropped: Vec<String>,
}

/// The entries of one delivery; dropping it without [`UnsettledEntries::settled`] abandons them.
#[derive(Debug)]
pub(super) struct UnsettledEntries {
    unsettled: Unsettled,
    pub(super) ids: Vec<String>,
    is_settled: bool,
}

impl Unsettled {
    pub(super) fn hand_out(&self, ids: Vec<String>) -> UnsettledEntries {
        self.with(|state| state.count += ids.len());
        UnsettledEntries { unsettled: self.clone(), ids, is_settled: false }
    }

    pub(super) fn count(&self) -> usize {
        self.with(|state| state.count)
    }

    pub(super) fn has_dropped(&self) -> bool {
        self.with(|state| !state.dropped.is_empty())
    }

    pub(super) fn take_dropped(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.dropped))
    }

    /// Ids that could not be abandoned; they are tried again.
    pub(super) fn restore_dropped(&self, ids: Vec<String>) {
        self.with(|state| state.dropped.extend(ids));
    }

    /// Waits until a delivery was settled or dropped. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UnsettledEntries {
    pub(super) fn settled(mut self) {
        self.is_settled = true;
    }
}

impl Drop for UnsettledEntries {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        self.unsettled.with(|state| {
            state.count -= ids.len();
            if !self.is_settled {
                state.dropped.extend(ids);
            }
        });
        self.unsettled.0.changed.notify_one();
    }
}
