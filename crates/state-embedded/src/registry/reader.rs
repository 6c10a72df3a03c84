//! The reading thread: looks into the database and the session keys at one moment.

use std::path::PathBuf;
use std::sync::Arc;

use checked_files::Health;
use rusqlite::Connection;
use state::{Instance, Key, KeyEntry, RegistryError, Version};
use supervision::Unit;
use tokio::sync::oneshot;

use super::{Session, Shared, tables};
use crate::queue::{Popped, Queue};

/// What can be asked.
pub(super) enum Read {
    /// One key.
    Get { home: (Instance, Key), reply: oneshot::Sender<Result<Option<KeyEntry>, RegistryError>> },
    /// Some keys in order.
    Page {
        instance: Instance,
        prefix: String,
        after: Option<Key>,
        keys_max: usize,
        bytes_max: usize,
        reply: oneshot::Sender<Result<Page, RegistryError>>,
    },
}

/// Present keys below a prefix, in order, all at one moment.
pub(super) struct Page {
    pub(super) entries: Vec<KeyEntry>,
    /// All changes up to this version are in it.
    pub(super) applied: Version,
    /// Whether no keys come after these.
    pub(super) is_last: bool,
}

pub(super) struct Reader {
    connection: Connection,
    file: PathBuf,
    health: Health,
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(connection: Connection, file: PathBuf, health: Health, shared: Arc<Shared>) -> Self {
        Self { connection, file, health, shared }
    }

    /// Runs until the queue is closed and empty.
    pub(super) fn run(&self, queue: &Queue<Read>, unit: &Unit) {
        let mut reads = Vec::new();
        while queue.pop_all(&mut reads, None) == Popped::Items {
            unit.fault_point();
            for read in reads.drain(..) {
                self.answer(read);
            }
        }
    }

    /// Whoever asked may be gone; then nobody needs the answer.
    fn answer(&self, read: Read) {
        match read {
            Read::Get { home, reply } => {
                drop(reply.send(self.get(home).map_err(|error| self.failed(error))));
            }
            Read::Page { instance, prefix, after, keys_max, bytes_max, reply } => {
                let page = self.page(&instance, &prefix, after.as_ref(), keys_max, bytes_max);
                drop(reply.send(page.map_err(|error| self.failed(error))));
            }
        }
    }

    /// Damage that one read meets ends writing: nobody knows what else is damaged.
    fn failed(&self, error: rusqlite::Error) -> RegistryError {
        self.health.note(&self.file, &error);
        RegistryError::Backend(error.into())
    }

    fn get(&self, home: (Instance, Key)) -> rusqlite::Result<Option<KeyEntry>> {
        let session = self.shared.session.read().expect("no thread panics with the session's lock");
        let stored = match session.keys.get(&home) {
            Some(stored) => Some(stored.clone()),
            None => tables::get(&self.connection, &home)?,
        };
        drop(session);
        let now = (self.shared.clock)();
        Ok(stored.filter(|stored| !stored.is_expired(now)).map(|stored| stored.entry(home.1)))
    }

    fn page(
        &self,
        instance: &Instance,
        prefix: &str,
        after: Option<&Key>,
        keys_max: usize,
        bytes_max: usize,
    ) -> rusqlite::Result<Page> {
        let session = self.shared.session.read().expect("no thread panics with the session's lock");
        let now = (self.shared.clock)();
        let after = after.map(Key::as_str).filter(|after| *after >= prefix);
        let mut entries = Vec::new();
        // One more than asked for tells whether there are others. Both sources stop where the page is full for sure.
        let room = keys_max.saturating_add(1);
        let mut bytes = 0_usize;
        tables::scan(&self.connection, instance, after.unwrap_or(prefix), after.is_none(), |key, stored| {
            if !key.as_str().starts_with(prefix) {
                return false;
            }
            if !stored.is_expired(now) {
                bytes = bytes.saturating_add(stored.value.len());
                entries.push(stored.entry(key));
            }
            entries.len() < room && bytes <= bytes_max
        })?;
        entries.extend(
            session_keys(&session, instance, prefix, after)
                .filter(|entry| entry.expires_at.is_none_or(|at| at > now))
                .take(room),
        );
        let applied = session.applied;
        drop(session);
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        let fitting = fitting(&entries, keys_max, bytes_max);
        let is_last = fitting == entries.len() && bytes <= bytes_max;
        entries.truncate(fitting);
        Ok(Page { entries, applied, is_last })
    }
}

/// Session keys below `prefix` and after `after`, in order.
fn session_keys(
    session: &Session,
    instance: &Instance,
    prefix: &str,
    after: Option<&str>,
) -> impl Iterator<Item = KeyEntry> {
    // No key sorts before a space, because control characters are not allowed. A prefix that can be no key (too long,
    // or with a control character) has no keys below it either.
    let from = after.unwrap_or(if prefix.is_empty() { " " } else { prefix });
    let from = Key::new(from).ok().map(|from| (instance.clone(), from));
    from.into_iter()
        .flat_map(|from| session.keys.range(from..))
        .take_while(move |((of, key), _)| of == instance && key.as_str().starts_with(prefix))
        .filter(move |((_, key), _)| after.is_none_or(|after| key.as_str() > after))
        .map(|((_, key), stored)| stored.clone().entry(key.clone()))
}

/// How many of the entries make a page: at least one, or paging would not get on.
fn fitting(entries: &[KeyEntry], keys_max: usize, bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    for (count, entry) in entries.iter().take(keys_max).enumerate() {
        bytes = bytes.saturating_add(entry.value.len());
        if count > 0 && bytes > bytes_max {
            return count;
        }
    }
    entries.len().min(keys_max)
}
