//! [`OpenStoreError`]: why a store could not be opened, in words for whoever operates it; and the causes that the contracts'
//! own errors carry.

use std::io;
use std::path::{Path, PathBuf};

use crate::platform;

/// Why a store could not be opened. Nothing in the data directory was changed.
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
        /// Who has it: `process 123`, or `another process` where that is not known.
        owner: String,
    },
    /// It was written by a later version of this program.
    #[error(
        "the data directory {} has on-disk format {found}, and this version knows formats up to {known}; start the \
         version that wrote it or a later one, or choose another data directory",
        directory.display()
    )]
    NewerFormat {
        /// The data directory.
        directory: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this version knows.
        known: u32,
    },
    /// There are files in it, but no readable `format` file: it is not a data directory of ours, or is damaged.
    #[error(
        "the directory {} has no valid 'format' file, so it is not a data directory of this program; choose an empty or \
         new one",
        directory.display()
    )]
    NotOurs {
        /// The data directory.
        directory: PathBuf,
    },
    /// This user may not read or write there.
    #[error(
        "no permission to read and write the data directory {}; change its owner or mode, or choose another one",
        directory.display()
    )]
    Permission {
        /// The data directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It lies on a file system that is mounted read-only.
    #[error(
        "the data directory {} is on a read-only file system; remount it writable or choose another one",
        directory.display()
    )]
    ReadOnly {
        /// The data directory.
        directory: PathBuf,
        /// What the system said.
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
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Records that were durable once are damaged or missing.
    #[error(
        "the journal file {} is damaged at byte {position} ({what}); nothing was changed: restore a backup, or go on with \
         empty journals with --accept-loss=journal",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage begins, in bytes.
        position: u64,
        /// What was found there.
        what: &'static str,
    },
    /// Acknowledged records are missing at the end of the journal.
    #[error(
        "the journal in {} lost its end (it ends at group {found}, and group {acknowledged} was acknowledged): its files are \
         damaged, cut or missing; nothing was changed: restore a backup, or go on without the missing records with \
         --accept-loss=journal",
        directory.display()
    )]
    LostTail {
        /// The journal's folder.
        directory: PathBuf,
        /// The last group of records that is there.
        found: u64,
        /// The last group that was acknowledged.
        acknowledged: u64,
    },
    /// Files of two data directories were mixed.
    #[error(
        "the file {} belongs to another data directory; put back the files that belong together, or restore a backup",
        file.display()
    )]
    AnotherStore {
        /// The file that belongs elsewhere.
        file: PathBuf,
    },
    /// A part that an older version always made is missing.
    #[error(
        "{} is missing from a data directory that was used before; nothing was changed: restore a backup, or go on without \
         what it held with --accept-loss={part}",
        file.display()
    )]
    Missing {
        /// What is missing.
        file: PathBuf,
        /// The name of the part.
        part: &'static str,
    },
    /// A part is damaged, not the one that was there, or of a later version.
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
        /// What the database said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system refused something else.
    #[error(
        "cannot open the data directory {}; remove the cause, or choose another directory",
        directory.display()
    )]
    Io {
        /// The data directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

impl OpenStoreError {
    /// Gives a system error in the data directory the words for its kind.
    pub(crate) fn from_io(directory: &Path, cause: io::Error) -> Self {
        let directory = directory.to_owned();
        match cause.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission { directory, cause },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { directory, cause },
            _ if platform::is_no_space(&cause) => Self::NoSpace { directory, cause },
            _ => Self::Io { directory, cause },
        }
    }

    /// The same for a database whose file was looked at first.
    pub(crate) fn from_checked(file: &Path, cause: checked_files::OpenDatabaseError) -> Self {
        use checked_files::OpenDatabaseError::{Database, Io};
        match cause {
            Database { cause, .. } => Self::from_database(file, cause),
            Io(file, cause) => Self::from_io(file.parent().unwrap_or(&file), cause),
            cause => Self::Part(cause),
        }
    }

    /// The same for the database, which reports the system's refusals in its own codes.
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

/// The cause inside a contract's error once the store is closed.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed; open it anew")]
pub(crate) struct StoreClosed;

/// The cause inside a contract's error after a failed flush: what the device holds is not known any more.
#[derive(Debug, thiserror::Error)]
#[error("an earlier write to the device failed; the store takes no more writes until it is opened anew")]
pub(crate) struct WriteFailedBefore;
