//! [`OpenStoreError`]: why a store cannot be opened, for the operator; and the causes inside the errors of the contracts.

use std::io;
use std::path::{Path, PathBuf};

use crate::platform;

/// Why a store cannot be opened. The data directory is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenStoreError {
    /// Another process has it open.
    #[error(
        "the data directory {} is in use by {owner}; stop that process or choose another data directory",
        directory.display()
    )]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// `process 123`, or `another process` if the id is unknown.
        owner: String,
    },
    /// A later version of this program wrote it.
    #[error(
        "the data directory {} has on-disk format {found}, and this version supports formats up to {known}; start the \
         version that wrote it or a later one, or choose another data directory",
        directory.display()
    )]
    NewerFormat {
        /// The data directory.
        directory: PathBuf,
        /// The format of the directory.
        found: u32,
        /// The newest format that this version supports.
        known: u32,
    },
    /// It contains files, but no valid `format` file: it is another program's directory, or damaged.
    #[error(
        "the directory {} has no valid 'format' file, so it is not a data directory of this program; choose an empty or \
         new one",
        directory.display()
    )]
    NotOurs {
        /// The data directory.
        directory: PathBuf,
    },
    /// The user lacks permission.
    #[error(
        "no permission to read and write the data directory {}; change its owner or mode, or choose another one",
        directory.display()
    )]
    Permission {
        /// The data directory.
        directory: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// Its file system is mounted read-only.
    #[error(
        "the data directory {} is on a read-only file system; remount it writable or choose another one",
        directory.display()
    )]
    ReadOnly {
        /// The data directory.
        directory: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// The device is full.
    #[error(
        "no space left for the data directory {}; free some space or choose another one",
        directory.display()
    )]
    NoSpace {
        /// The data directory.
        directory: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
    /// Acknowledged records are damaged or missing.
    #[error(
        "the journal file {} is damaged at byte {position} ({what}); nothing was changed: restore a backup, or continue with \
         empty journals with --accept-loss=journal",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage begins, in bytes.
        position: u64,
        /// The damage.
        what: &'static str,
    },
    /// Acknowledged records are missing at the end of the journal.
    #[error(
        "the journal in {} lost its end (it ends at group {found}, and group {acknowledged} was acknowledged): its files are \
         damaged, truncated or missing; nothing was changed: restore a backup, or continue without the missing records with \
         --accept-loss=journal",
        directory.display()
    )]
    LostTail {
        /// The journal's folder.
        directory: PathBuf,
        /// The last complete group of records.
        found: u64,
        /// The last group that was acknowledged.
        acknowledged: u64,
    },
    /// The files of two data directories were mixed.
    #[error(
        "the file {} belongs to another data directory; put back the files that belong together, or restore a backup",
        file.display()
    )]
    AnotherStore {
        /// The file of the other directory.
        file: PathBuf,
    },
    /// A part that an older version always created is missing.
    #[error(
        "{} is missing from a data directory that was used before; nothing was changed: restore a backup, or continue without \
         its data with --accept-loss={part}",
        file.display()
    )]
    Missing {
        /// The missing file.
        file: PathBuf,
        /// The name of the part.
        part: &'static str,
    },
    /// A part is damaged, replaced by another one, or of a later version.
    #[error(transparent)]
    Part(checked_files::OpenDatabaseError),
    /// The registry's database cannot be used.
    #[error(
        "cannot open the registry's database {}; remove the cause, or restore a backup",
        file.display()
    )]
    Database {
        /// The database file.
        file: PathBuf,
        /// The error of SQLite.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another error of the operating system.
    #[error(
        "cannot open the data directory {}; remove the cause, or choose another directory",
        directory.display()
    )]
    Io {
        /// The data directory.
        directory: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: io::Error,
    },
}

impl OpenStoreError {
    /// The error for an error of the operating system in the data directory.
    pub(crate) fn from_io(directory: &Path, cause: io::Error) -> Self {
        let directory = directory.to_owned();
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission { directory, cause },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { directory, cause },
            _ if platform::is_no_space(&cause) => Self::NoSpace { directory, cause },
            _ => Self::Io { directory, cause },
        }
    }

    /// The error for an error of a checked database.
    pub(crate) fn from_checked(file: &Path, cause: checked_files::OpenDatabaseError) -> Self {
        use checked_files::OpenDatabaseError::{Database, Io};
        match cause {
            Database { cause, .. } => Self::from_database(file, cause),
            Io(file, cause) => Self::from_io(file.parent().unwrap_or(&file), cause),
            cause => Self::Part(cause),
        }
    }

    /// The error for an error of SQLite, which has codes of its own for errors of the operating system.
    pub(crate) fn from_database(file: &Path, cause: rusqlite::Error) -> Self {
        let directory = file.parent().unwrap_or(file);
        let kind = match cause.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
            Some(rusqlite::ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
            Some(rusqlite::ErrorCode::PermissionDenied) => io::ErrorKind::PermissionDenied,
            _ => return Self::Database { file: file.to_owned(), cause: cause.into() },
        };
        Self::from_io(directory, io::Error::new(kind, cause))
    }
}

/// The cause inside the errors of a closed store.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
pub(crate) struct StoreClosed;

/// The cause inside the errors after a failed flush: the content of the device is unknown.
#[derive(Debug, thiserror::Error)]
#[error("an earlier write to the device failed; the store accepts no writes until the next start")]
pub(crate) struct WriteFailedBefore;
