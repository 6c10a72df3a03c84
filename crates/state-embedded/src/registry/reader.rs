//! The reading thread: reads the database and the session keys as of one moment.

use std::path::PathBuf;
use std::sync::Arc;

use checked_files::Health;
use rusqlite::Connection;
use state::{Instance, Key, KeyEntry, RegistryError};
use supervision::{TurnOutcome, Turns, Unit, Wait};

use super::read::{KeyPage, PageRange, RegistryRead};
use super::session::{InstanceKey, SessionKeys, Shared};
use super::tables;
use crate::queue::{Popped, Queue};

pub(super) struct RegistryReader {
    connection: Connection,
    file: PathBuf,
    health: Health,
    shared: Arc<Shared>,
}

/// A reader and the queue of its requests.
pub(super) struct RegistryReaderTurns {
    pub(super) reader: RegistryReader,
    pub(super) queue: Arc<Queue<RegistryRead>>,
}

impl Turns for RegistryReaderTurns {
    /// Answers the waiting requests. Ends when the queue is closed and empty.
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        // Dropped by a panic, so that the callers learn of it.
        let mut reads = Vec::new();
        match self.queue.pop_all(&mut reads, wait.until(None)) {
            Popped::Items => {}
            Popped::Deadline => return TurnOutcome::Idle,
            Popped::Closed => return TurnOutcome::Ended,
        }
        unit.fault_point();
        for read in reads {
            self.reader.execute(read);
        }
        TurnOutcome::Worked
    }
}

impl RegistryReader {
    pub(super) fn new(connection: Connection, file: PathBuf, health: Health, shared: Arc<Shared>) -> Self {
        Self { connection, file, health, shared }
    }

    /// The caller may no longer wait for the result.
    fn execute(&self, read: RegistryRead) {
        match read {
            RegistryRead::Get { key, reply } => {
                drop(reply.send(self.get(key).map_err(|error| self.failed(error))));
            }
            RegistryRead::Page { range, reply } => {
                drop(reply.send(self.page(&range).map_err(|error| self.failed(error))));
            }
        }
    }

    /// Damage that a read finds ends all writing: nobody knows what else is damaged.
    fn failed(&self, error: rusqlite::Error) -> RegistryError {
        self.health.note(&self.file, &error);
        RegistryError::Backend(error.into())
    }

    fn get(&self, key: InstanceKey) -> rusqlite::Result<Option<KeyEntry>> {
        let session = self.shared.session();
        let stored = match session.keys.get(&key) {
            Some(stored) => Some(stored.clone()),
            None => tables::get(&self.connection, &key)?,
        };
        drop(session);
        let now = self.shared.now();
        Ok(stored.filter(|stored| !stored.is_expired(now)).map(|stored| stored.entry(key.1)))
    }

    fn page(&self, range: &PageRange) -> rusqlite::Result<KeyPage> {
        let PageRange { instance, prefix, after, keys_max, bytes_max } = range;
        let (keys_max, bytes_max) = (*keys_max, *bytes_max);
        let prefix = prefix.as_str();
        let session = self.shared.session();
        let now = self.shared.now();
        let after = after.as_ref().map(Key::as_str).filter(|after| *after >= prefix);
        let mut entries = Vec::new();
        // One key more than requested shows whether others follow. Both sources stop as soon as the page is surely full.
        let entries_max = keys_max.saturating_add(1);
        let mut bytes = 0_usize;
        tables::scan(&self.connection, instance, after.unwrap_or(prefix), after.is_none(), |key, stored| {
            if !key.as_str().starts_with(prefix) {
                return false;
            }
            if !stored.is_expired(now) {
                bytes = bytes.saturating_add(stored.value.len());
                entries.push(stored.entry(key));
            }
            entries.len() < entries_max && bytes <= bytes_max
        })?;
        entries.extend(
            session_keys(&session, instance, prefix, after)
                .filter(|entry| entry.expires_at.is_none_or(|at| at > now))
                .take(entries_max),
        );
        let applied = session.applied;
        drop(session);
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        let fitting = fitting(&entries, keys_max, bytes_max);
        let is_last = fitting == entries.len() && bytes <= bytes_max;
        entries.truncate(fitting);
        Ok(KeyPage { entries, applied, is_last })
    }
}

/// SessionKeys keys below `prefix` and after `after`, in order.
fn session_keys(
    session: &SessionKeys,
    instance: &Instance,
    prefix: &str,
    after: Option<&str>,
) -> impl Iterator<Item = KeyEntry> {
    // No key sorts before a space, because control characters are not allowed. There are no keys below a prefix that is
    // not a valid key itself (too long, or with a control character).
    let from = after.unwrap_or(if prefix.is_empty() { " " } else { prefix });
    let from = Key::new(from).ok().map(|from| (instance.clone(), from));
    from.into_iter()
        .flat_map(|from| session.keys.range(from..))
        .take_while(move |((of, key), _)| of == instance && key.as_str().starts_with(prefix))
        .filter(move |((_, key), _)| after.is_none_or(|after| key.as_str() > after))
        .map(|((_, key), stored)| stored.clone().entry(key.clone()))
}

/// How many of the entries fit into a page: at least one, so that paging advances.
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
