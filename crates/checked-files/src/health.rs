//! [`Health`]: whether a store may be written, shared by all its users.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Why a store is read-only. Its text is a complete sentence for an operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Damage {
    /// A page or record is damaged.
    #[error(
        "the file {} is damaged ({what}); intact data can still be read, but nothing more is written: \
         stop the process, run `chappe check --data`, and restore a backup", file.display()
    )]
    File {
        /// The damaged file.
        file: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file ends before the last acknowledged write.
    #[error(
        "the file {} lost {} acknowledged commits (it ends at commit {found}, and commit {acknowledged} was acknowledged): its \
         write-ahead log is damaged, truncated or missing; nothing more is written: stop the process and restore a backup, or \
         continue without them with --accept-loss={part}", file.display(), acknowledged - found
    )]
    LostEnd {
        /// The database file.
        file: PathBuf,
        /// The last commit in the file.
        found: u64,
        /// The last commit that was acknowledged.
        acknowledged: u64,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
    },
    /// The mark cannot be written: a later loss could not be detected.
    #[error("the file {} cannot be written ({what}); nothing more is written until the process starts again", file.display())]
    Mark {
        /// The mark's file.
        file: PathBuf,
        /// The error of the operating system.
        what: String,
    },
}

/// Whether a store may be written. Clones share the state, which changes at most once: from intact to damaged.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

#[derive(Default)]
struct Shared {
    damage: OnceLock<Damage>,
    /// Called once when the store is damaged.
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn(&Damage) + Send + Sync>;

impl Health {
    /// Makes the store read-only; only the first damage is recorded.
    pub fn set_damaged(&self, damage: Damage) {
        let mut is_first = false;
        let damage = self.0.damage.get_or_init(|| {
            is_first = true;
            damage
        });
        if is_first {
            tracing::error!("{damage}");
            for listener in &*self.listeners() {
                listener(damage);
            }
        }
    }

    /// Calls a listener when the store is damaged; at once if it already is.
    pub fn when_damaged(&self, listener: impl Fn(&Damage) + Send + Sync + 'static) {
        let mut listeners = self.listeners();
        if let Some(damage) = self.damage() {
            listener(damage);
        }
        listeners.push(Box::new(listener));
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the store read-only if an error of SQLite means that its file is damaged; returns whether it does.
    pub fn note(&self, file: &std::path::Path, error: &rusqlite::Error) -> bool {
        let is_damage = is_damage(error);
        if is_damage {
            self.set_damaged(Damage::File { file: file.to_owned(), what: error.to_string() });
        }
        is_damage
    }

    /// Why the store is read-only; `None` while it may be written.
    pub fn damage(&self) -> Option<&Damage> {
        self.0.damage.get()
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Health").field(&self.damage()).finish()
    }
}

/// Whether an error of SQLite means that the file is damaged, or that the device cannot read it.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    let rusqlite::Error::SqliteFailure(error, _) = error else {
        // A value of another type than the one that was stored.
        return matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
        );
    };
    let primary = error.extended_code & 0xff;
    matches!(primary, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB)
        || matches!(
            error.extended_code,
            ffi::SQLITE_IOERR_DATA | ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_READ
        )
}
