//! Watches: the present keys page by page, then the changes that came meanwhile and later.
//!
//! A change that came while the pages were read may be in a page already. Each page knows the version up to which it is
//! complete, so a waiting change is dropped where its version is not above that of the page that covers its key. What
//! does not fit into a watcher's inbox empties it and starts the watch anew, with [`KeyChange::Reset`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use state::{Instance, Key, KeyChange, KeyEntry, RegistryError, Version, Watch};
use tokio::sync::Notify;

use super::{Registry, Shared};
use crate::error::StoreClosed;

/// Keys of one page of the present.
const PAGE_KEYS_MAX: usize = 256;
/// Bytes of values of one page of the present.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Changes that a watcher has not read yet.
pub(super) struct Inbox {
    instance: Instance,
    prefix: String,
    state: Mutex<InboxState>,
    arrived: Notify,
    changes_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct InboxState {
    changes: VecDeque<KeyChange>,
    bytes: usize,
    /// More came than fits; the inbox is empty and takes nothing until the watcher notices.
    overflowed: bool,
    closed: bool,
}

pub(super) struct Watcher {
    registry: Registry,
    inbox: Arc<Inbox>,
    phase: Phase,
    /// Up to which key each page went (`None`: to the end), and up to which version it is complete.
    covered: Vec<(Option<Key>, Version)>,
}

enum Phase {
    /// The present is being read; holds what was read and not yet given out, and where to read on.
    Present { entries: VecDeque<KeyEntry>, after: Option<Key> },
    /// The last page; changes follow when it is given out.
    LastPage(VecDeque<KeyEntry>),
}

impl Phase {
    const fn start() -> Self {
        Self::Present { entries: VecDeque::new(), after: None }
    }
}

/// What the inbox holds for the watcher.
enum Arrival {
    Overflow,
    Change(KeyChange),
    Nothing,
    Closed,
}

impl Inbox {
    /// Takes a change if it lies below the prefix. Answers false where it made the inbox overflow.
    fn push(&self, instance: &Instance, change: &KeyChange) -> bool {
        let (key, bytes) = match change {
            KeyChange::Set(entry) => (&entry.key, entry.value.len()),
            KeyChange::Removed(key, _) => (key, 0),
            KeyChange::Reset => return true,
        };
        if *instance != self.instance || !key.as_str().starts_with(&self.prefix) {
            return true;
        }
        let mut state = self.state.lock().expect("no thread panics with an inbox's lock");
        if state.overflowed {
            return true;
        }
        if state.changes.len() >= self.changes_max || state.bytes + bytes > self.bytes_max {
            state.overflowed = true;
            state.changes = VecDeque::new();
            state.bytes = 0;
        } else {
            state.changes.push_back(change.clone());
            state.bytes += bytes;
        }
        let kept = !state.overflowed;
        drop(state);
        self.arrived.notify_one();
        kept
    }

    fn close(&self) {
        self.state.lock().expect("no thread panics with an inbox's lock").closed = true;
        self.arrived.notify_one();
    }

    /// Takes the next change, or with `overflow_only` looks only whether there were too many.
    fn take(&self, overflow_only: bool) -> Arrival {
        let mut state = self.state.lock().expect("no thread panics with an inbox's lock");
        if std::mem::take(&mut state.overflowed) {
            return Arrival::Overflow;
        }
        if overflow_only {
            return Arrival::Nothing;
        }
        match state.changes.pop_front() {
            Some(change) => {
                if let KeyChange::Set(entry) = &change {
                    state.bytes -= entry.value.len();
                }
                Arrival::Change(change)
            }
            None if state.closed => Arrival::Closed,
            None => Arrival::Nothing,
        }
    }
}

impl Shared {
    /// Tells the watchers of changes, in version order. Answers how many inboxes overflowed.
    pub(super) fn publish(&self, changes: &[(Instance, KeyChange)]) -> u64 {
        let mut overflows = 0;
        let mut watchers = self.watchers.lock().expect("no thread panics with the watchers' lock");
        watchers.retain(|watcher| {
            let Some(inbox) = watcher.upgrade() else { return false };
            overflows +=
                changes.iter().filter(|(instance, change)| !inbox.push(instance, change)).count() as u64;
            true
        });
        overflows
    }

    /// Ends all watches, once their inboxes are empty.
    pub(super) fn close_watches(&self) {
        let mut watchers = self.watchers.lock().expect("no thread panics with the watchers' lock");
        for inbox in watchers.drain(..).filter_map(|watcher| watcher.upgrade()) {
            inbox.close();
        }
    }
}

impl Watcher {
    pub(super) fn new(registry: Registry, instance: &Instance, prefix: &str) -> Result<Self, RegistryError> {
        let inbox = Arc::new(Inbox {
            instance: instance.clone(),
            prefix: prefix.to_owned(),
            state: Mutex::default(),
            arrived: Notify::new(),
            changes_max: registry.options.watch_changes_max.max(1),
            // Two of the largest values, or a single large one would reset the watch for ever.
            bytes_max: registry.options.watch_bytes_max.max(2 * Key::VALUE_BYTES_MAX),
        });
        let mut watchers = registry.shared.watchers.lock().expect("no thread panics with the watchers' lock");
        if registry.writes.is_closed() {
            return Err(RegistryError::Backend(Box::new(StoreClosed)));
        }
        watchers.push(Arc::downgrade(&inbox));
        drop(watchers);
        Ok(Self { registry, inbox, phase: Phase::start(), covered: Vec::new() })
    }

    /// Whether a page has told this change already.
    fn is_told(&mut self, change: &KeyChange) -> bool {
        let (key, version) = match change {
            KeyChange::Set(entry) => (&entry.key, entry.version),
            KeyChange::Removed(key, version) => (key, *version),
            KeyChange::Reset => return false,
        };
        if self.covered.iter().all(|(_, complete)| *complete < version) {
            // Versions only rise, so the pages have nothing to say about what follows.
            self.covered.clear();
            return false;
        }
        let page = self.covered.iter().find(|(to, _)| to.as_ref().is_none_or(|to| key <= to));
        page.is_some_and(|(_, complete)| version <= *complete)
    }

    /// Reads the next page of the present. Nothing changes where this is cancelled.
    async fn read_page(&mut self, after: Option<Key>) -> Result<(), RegistryError> {
        let (instance, prefix) = (&self.inbox.instance, &self.inbox.prefix);
        let page =
            self.registry.page(instance, prefix, after.as_ref(), PAGE_KEYS_MAX, PAGE_BYTES_MAX).await?;
        let last = page.entries.last().map(|entry| entry.key.clone());
        let entries = VecDeque::from(page.entries);
        if page.is_last {
            self.covered.push((None, page.applied));
            self.phase = Phase::LastPage(entries);
        } else {
            self.covered.push((last.clone(), page.applied));
            self.phase = Phase::Present { entries, after: last };
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Watch for Watcher {
    async fn next(&mut self) -> Option<KeyChange> {
        loop {
            let (waiting, read_on) = match &mut self.phase {
                Phase::Present { entries, after } => (entries.pop_front(), Some(after.clone())),
                Phase::LastPage(entries) => (entries.pop_front(), None),
            };
            if let Some(entry) = waiting {
                return Some(KeyChange::Set(entry));
            }
            match self.inbox.take(read_on.is_some()) {
                Arrival::Overflow => {
                    self.phase = Phase::start();
                    self.covered.clear();
                    return Some(KeyChange::Reset);
                }
                Arrival::Change(change) if self.is_told(&change) => {}
                Arrival::Change(change) => return Some(change),
                Arrival::Closed => return None,
                Arrival::Nothing => match read_on {
                    Some(after) => {
                        if let Err(error) = self.read_page(after).await {
                            tracing::warn!(%error, "a watch ends because the present keys cannot be read");
                            return None;
                        }
                    }
                    // `Notify` keeps one wake-up, so a push between the look and this wait is not lost.
                    None => self.inbox.arrived.notified().await,
                },
            }
        }
    }
}
