//! [`OpenError`]: why a database is not opened.

use std::path::PathBuf;

use crate::MarkError;

/// Why a database is not opened. Nothing of its files was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database file is missing or empty, and others of its files show that it was there.
    #[error(
        "the file {} is {what}, although {} shows that it held data; nothing was changed: restore a backup, or go on without \
         what it held with --accept-loss={part}", file.display(), witness.display()
    )]
    Missing {
        /// The database file.
        file: PathBuf,
        /// `missing` or `empty`.
        what: &'static str,
        /// The file that shows that it was there.
        witness: PathBuf,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
    },
    /// The file was made by another store: somebody mixed two data folders.
    #[error(
        "the file {} belongs to another data folder than {}; put back the files that belong together, or restore a backup",
        file.display(), mark.display()
    )]
    AnotherStore {
        /// The database file.
        file: PathBuf,
        /// The mark beside it.
        mark: PathBuf,
    },
    /// The mark is missing or damaged, so that nothing proves that the end of the database is there.
    #[error(
        "nothing shows whether {} holds all that was acknowledged; restore a backup, or go on with what it holds with \
         --accept-loss={part}", file.display()
    )]
    NoMark {
        /// The database file.
        file: PathBuf,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
        /// What is wrong with the mark.
        #[source]
        cause: MarkError,
    },
    /// Acknowledged commits are missing at its end, so that it is not copied.
    #[error(transparent)]
    LostEnd(crate::Damage),
    /// The file cannot be read at all.
    #[error(
        "the file {} is damaged and cannot be opened; nothing was changed: restore a backup, or move the file and those whose \
         names begin like it away and go on without what they held with --accept-loss={part}", file.display()
    )]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
    /// Written by a newer version.
    #[error(
        "the file {} has format {found}, and this version reads formats up to {known}; start the newer version that wrote it",
        file.display()
    )]
    Format {
        /// The database file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The mark cannot be made.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The system refused.
    #[error("read or write {}", .0.display())]
    Io(PathBuf, #[source] std::io::Error),
    /// SQLite refused for another reason than damage.
    #[error("open the database {}", file.display())]
    Database {
        /// The database file.
        file: PathBuf,
        /// What SQLite said.
        #[source]
        cause: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn from_sqlite(file: &std::path::Path, part: &'static str, cause: rusqlite::Error) -> Self {
        let file = file.to_owned();
        if crate::is_damage(&cause) {
            return Self::Damaged { file, part, cause };
        }
        Self::Database { file, cause }
    }
}
