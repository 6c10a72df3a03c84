//! [`Watcher`]: the existing keys page by page, then the changes during and after that.
//!
//! A change during the read may already be in a page. Each page knows the version up to which it is complete, so a queued
//! change is dropped if its version is not above that of the page that covers its key. When a watcher's inbox overflows, it
//! is emptied, and the watch starts again with [`RegistryChange::Reset`].

use std::collections::VecDeque;
use std::sync::Arc;

use state::{Instance, Key, KeyEntry, RegistryChange, RegistryError, Version, Watch};

use super::inbox::{NextChange, WatchInbox};
use super::read::{PageRange, ReadQueue};
use super::session::Shared;
use crate::error::StoreClosed;
use crate::options::RegistryOptions;

/// Most keys of one page.
const PAGE_KEYS_MAX: usize = 256;
/// Most bytes of values of one page.
const PAGE_BYTES_MAX: usize = 1 << 20;

pub(super) struct Watcher {
    reads: ReadQueue,
    inbox: Arc<WatchInbox>,
    phase: Phase,
    /// For each page: its last key (`None`: it goes to the end), and the version up to which it is complete.
    covered: Vec<(Option<Key>, Version)>,
}

enum Phase {
    /// Existing keys are being read: the entries not yet returned, and where to continue.
    Existing { entries: VecDeque<KeyEntry>, after: Option<Key> },
    /// The last page: the entries not yet returned. Changes follow.
    LastPage(VecDeque<KeyEntry>),
}

impl Phase {
    const fn start() -> Self {
        Self::Existing { entries: VecDeque::new(), after: None }
    }
}

impl Watcher {
    /// Starts a watch; fails if `is_closed` says that the registry is closed.
    pub(super) fn new(
        reads: ReadQueue,
        shared: &Shared,
        options: &RegistryOptions,
        instance: &Instance,
        prefix: &str,
        is_closed: impl FnOnce() -> bool,
    ) -> Result<Self, RegistryError> {
        // Two of the largest values must fit; otherwise a single large one would reset the watch for ever.
        let bytes_max = options.watch_bytes_max.max(2 * Key::VALUE_BYTES_MAX);
        let changes_max = options.watch_changes_max.max(1);
        let inbox = Arc::new(WatchInbox::new(instance.clone(), prefix.to_owned(), changes_max, bytes_max));
        let mut watchers = shared.watchers.lock().expect("no thread panics with the watchers' lock");
        // Checked under the lock: the end of the watches takes it too.
        if is_closed() {
            return Err(RegistryError::Backend(Box::new(StoreClosed)));
        }
        watchers.push(Arc::downgrade(&inbox));
        drop(watchers);
        Ok(Self { reads, inbox, phase: Phase::start(), covered: Vec::new() })
    }

    /// Whether a page already includes this change.
    fn is_covered(&mut self, change: &RegistryChange) -> bool {
        let (key, version) = match change {
            RegistryChange::Set(entry) => (&entry.key, entry.version),
            RegistryChange::Removed(key, version) => (key, *version),
            RegistryChange::Reset => return false,
        };
        if self.covered.iter().all(|(_, complete)| *complete < version) {
            // Versions only rise: no page covers what follows.
            self.covered.clear();
            return false;
        }
        let page = self.covered.iter().find(|(to, _)| to.as_ref().is_none_or(|to| key <= to));
        page.is_some_and(|(_, complete)| version <= *complete)
    }

    /// Reads the next page. Cancel-safe.
    async fn read_page(&mut self, after: Option<Key>) -> Result<(), RegistryError> {
        let range = PageRange {
            instance: self.inbox.instance.clone(),
            prefix: self.inbox.prefix.clone(),
            after,
            keys_max: PAGE_KEYS_MAX,
            bytes_max: PAGE_BYTES_MAX,
        };
        let page = self.reads.page(range).await?;
        let last = page.entries.last().map(|entry| entry.key.clone());
        let entries = VecDeque::from(page.entries);
        if page.is_last {
            self.covered.push((None, page.applied));
            self.phase = Phase::LastPage(entries);
        } else {
            self.covered.push((last.clone(), page.applied));
            self.phase = Phase::Existing { entries, after: last };
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Watch for Watcher {
    async fn next(&mut self) -> Option<RegistryChange> {
        loop {
            let (waiting, next_page) = match &mut self.phase {
                Phase::Existing { entries, after } => (entries.pop_front(), Some(after.clone())),
                Phase::LastPage(entries) => (entries.pop_front(), None),
            };
            if let Some(entry) = waiting {
                return Some(RegistryChange::Set(entry));
            }
            match self.inbox.pop(next_page.is_some()) {
                NextChange::Overflow => {
                    self.phase = Phase::start();
                    self.covered.clear();
                    return Some(RegistryChange::Reset);
                }
                NextChange::Change(change) if self.is_covered(&change) => {}
                NextChange::Change(change) => return Some(change),
                NextChange::Closed => return None,
                NextChange::Empty => match next_page {
                    Some(after) => {
                        if let Err(error) = self.read_page(after).await {
                            tracing::warn!(%error, "a watch ends because the existing keys cannot be read");
                            return None;
                        }
                    }
                    None => self.inbox.changed().await,
                },
            }
        }
    }
}
