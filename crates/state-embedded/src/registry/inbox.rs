//! [`WatchInbox`]: the changes that a watcher has not read yet, bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use state::{Instance, RegistryChange};
use tokio::sync::Notify;

/// Changes that a watcher has not read yet.
pub(super) struct WatchInbox {
    pub(super) instance: Instance,
    pub(super) prefix: String,
    changes_max: usize,
    bytes_max: usize,
    state: Mutex<InboxState>,
    changed: Notify,
}

#[derive(Default)]
struct InboxState {
    changes: VecDeque<RegistryChange>,
    bytes: usize,
    /// More changes came than fit; the inbox is empty and accepts nothing until the watcher has noticed.
    has_overflowed: bool,
    is_closed: bool,
}

/// The result of [`WatchInbox::pop`].
pub(super) enum NextChange {
    Overflow,
    Change(RegistryChange),
    Empty,
    Closed,
}

impl WatchInbox {
    /// An inbox for the keys of `instance` below `prefix`, of at most `changes_max` changes with `bytes_max` bytes of values.
    pub(super) fn new(instance: Instance, prefix: String, changes_max: usize, bytes_max: usize) -> Self {
        Self { instance, prefix, changes_max, bytes_max, state: Mutex::default(), changed: Notify::new() }
    }

    /// Adds a change if its key is below the prefix. Returns false if the inbox overflowed because of it.
    pub(super) fn push(&self, instance: &Instance, change: &RegistryChange) -> bool {
        let (key, bytes) = match change {
            RegistryChange::Set(entry) => (&entry.key, entry.value.len()),
            RegistryChange::Removed(key, _) => (key, 0),
            RegistryChange::Reset => return true,
        };
        if *instance != self.instance || !key.as_str().starts_with(&self.prefix) {
            return true;
        }
        let mut state = self.lock();
        if state.has_overflowed {
            return true;
        }
        if state.changes.len() >= self.changes_max || state.bytes + bytes > self.bytes_max {
            state.has_overflowed = true;
            state.changes = VecDeque::new();
            state.bytes = 0;
        } else {
            state.changes.push_back(change.clone());
            state.bytes += bytes;
        }
        let fits = !state.has_overflowed;
        drop(state);
        self.changed.notify_one();
        fits
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Removes the next change; with `overflow_only`, only checks for an overflow.
    pub(super) fn pop(&self, overflow_only: bool) -> NextChange {
        let mut state = self.lock();
        if std::mem::take(&mut state.has_overflowed) {
            return NextChange::Overflow;
        }
        if overflow_only {
            return NextChange::Empty;
        }
        match state.changes.pop_front() {
            Some(change) => {
                if let RegistryChange::Set(entry) = &change {
                    state.bytes -= entry.value.len();
                }
                NextChange::Change(change)
            }
            None if state.is_closed => NextChange::Closed,
            None => NextChange::Empty,
        }
    }

    /// Waits for a push or the close. One wake-up is remembered, so that none is lost between [`Self::pop`] and this.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().expect("no thread panics with an inbox's lock")
    }
}
