//! [`Health`]: whether a store may be written, shared by all that use it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Why a store is read-only. Its text is a whole sentence for an operator.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Damage {
    /// A part of the file is not as it was written.
    #[error(
        "the file {} is damaged ({what}); what can be read and proved is still answered, and nothing is written any more: \
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
         write-ahead log is damaged, cut or missing; nothing is written any more: stop the process and restore a backup, or \
         go on without them with --accept-loss={part}", file.display(), acknowledged - found
    )]
    LostEnd {
        /// The database file.
        file: PathBuf,
        /// The last commit that is there.
        found: u64,
        /// The last commit that was acknowledged.
        acknowledged: u64,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
    },
    /// The mark cannot be written, so that a loss could not be seen later.
    #[error("the file {} cannot be written ({what}); nothing is written any more until the process starts again", file.display())]
    Mark {
        /// The mark's file.
        file: PathBuf,
        /// What the system said.
        what: String,
    },
}

/// Whether a store may be written. Clones share the answer, which changes once at most: from sound to damaged.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

#[derive(Default)]
struct Shared {
    damage: OnceLock<Damage>,
    /// Who is told.
    listeners: Mutex<Vec<Listener>>,
}

type Listener = Box<dyn Fn(&Damage) + Send + Sync>;

impl Health {
    /// Makes the store read-only. The first reason stays.
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

    /// Tells a listener once the store is damaged; at once where it is. It is kept as long as the store.
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

    /// Makes the store read-only if an error of SQLite means that its file is damaged; says whether it does.
    pub fn note(&self, file: &std::path::Path, error: &rusqlite::Error) -> bool {
        let is_damage = is_damage(error);
        if is_damage {
            self.set_damaged(Damage::File { file: file.to_owned(), what: error.to_string() });
        }
        is_damage
    }

    /// Why the store is read-only; none while it may be written.
    pub fn damage(&self) -> Option<&Damage> {
        self.0.damage.get()
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Health").field(&self.damage()).finish()
    }
}

/// Whether an error of SQLite means that the file is not as it was written, or that the device cannot read it.
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
