//! [`OpenDatabaseError`]: why a database is not opened.

use std::path::PathBuf;

use crate::health::{Damage, is_damage};
use crate::mark::MarkError;

/// Why a database is not opened. Nothing of its files was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenDatabaseError {
    /// The database file is missing or empty, but another file shows that it held data.
    #[error(
        "the file {} is {what}, although {} shows that it held data; nothing was changed: restore a backup, or continue without its \
         data with --accept-loss={part}", file.display(), witness.display()
    )]
    Missing {
        /// The database file.
        file: PathBuf,
        /// `missing` or `empty`.
        what: &'static str,
        /// The file that shows that it held data.
        witness: PathBuf,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
    },
    /// The file belongs to another store: the files of two data folders were mixed.
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
    /// The mark is missing or damaged; nothing proves that all acknowledged data is there.
    #[error(
        "cannot prove that {} holds all acknowledged data; restore a backup, or continue with the data that it holds with \
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
    /// Acknowledged commits are missing at its end; it is not copied.
    #[error(transparent)]
    LostEnd(Damage),
    /// The file cannot be read at all.
    #[error(
        "the file {} is damaged and cannot be opened; nothing was changed: restore a backup, or move the file and those whose \
         names begin with its name away, and continue without their data with --accept-loss={part}", file.display()
    )]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// The name of the part, for `--accept-loss`.
        part: &'static str,
        /// The error of SQLite.
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
        /// The newest format that this version can read.
        known: u32,
    },
    /// The mark cannot be created.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The operating system returned an error.
    #[error("cannot read or write {}", .0.display())]
    Io(PathBuf, #[source] std::io::Error),
    /// SQLite returned an error that does not mean damage.
    #[error("cannot open the database {}", file.display())]
    Database {
        /// The database file.
        file: PathBuf,
        /// The error of SQLite.
        #[source]
        cause: rusqlite::Error,
    },
}

impl OpenDatabaseError {
    pub(crate) fn from_sqlite(file: &std::path::Path, part: &'static str, cause: rusqlite::Error) -> Self {
        let file = file.to_owned();
        if is_damage(&cause) {
            return Self::Damaged { file, part, cause };
        }
        Self::Database { file, cause }
    }
}
