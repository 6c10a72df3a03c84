//! The file: its lock, its format, its tables, and how connections to it are set up.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use checked_files::{CheckedDatabase, Health, Layout, LossPolicy};
use rusqlite::Connection;

use crate::{Error, Options};

/// The newest supported on-disk format. Raise it with every change that an older version would misread.
/// 2: pages have checksums.
const FORMAT: u32 = 2;

/// The name of the part in a data folder, for `--accept-loss`.
const PART: &str = "documents";

/// The database file in the options' folder.
pub(super) const FILE: &str = "documents.sqlite";

/// `body` is the last column, so that the others are read without the pages of a large item.
/// `items_by_lsn` is the change feed; it is not unique, because the operations of a batch share one LSN.
const TABLES: &str = "
CREATE TABLE databases (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    ts INTEGER NOT NULL,
    UNIQUE (account, id)
) STRICT;
CREATE TABLE containers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    database INTEGER NOT NULL REFERENCES databases (number),
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    definition TEXT NOT NULL,
    offer TEXT,
    lsn INTEGER NOT NULL DEFAULT 0,
    last_item INTEGER NOT NULL DEFAULT 0,
    UNIQUE (database, id)
) STRICT;
CREATE TABLE items (
    container INTEGER NOT NULL REFERENCES containers (number),
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    lsn INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    ttl INTEGER,
    expires_at INTEGER,
    traceparent TEXT,
    accepted_ns INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX items_by_id ON items (container, key, id);
CREATE UNIQUE INDEX items_by_number ON items (container, number);
CREATE INDEX items_by_lsn ON items (container, lsn);
CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL;
";

/// Creates the folder and locks it for this process.
pub(super) fn lock_folder(folder: &Path) -> Result<File, Error> {
    let failed = |cause| Error::Folder { path: folder.to_owned(), cause };
    fs::create_dir_all(folder).map_err(failed)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Opens the file for writing; creates it if it does not exist.
pub(super) fn open(options: &Options, path: &Path) -> Result<CheckedDatabase, Error> {
    let layout = Layout { part: PART, path, format: FORMAT, tables: TABLES, cache_kib: 8192 };
    let loss_policy = if options.accept_loss { LossPolicy::Accept } else { LossPolicy::Refuse };
    let database = CheckedDatabase::open(&layout, loss_policy)?;
    if let Some(bytes_max) = options.database_bytes_max {
        let failed = |cause| Error::Database { path: path.to_owned(), cause };
        let connection = &database.connection;
        let page_bytes: u32 =
            connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(failed)?;
        let pages = i64::try_from(bytes_max / u64::from(page_bytes.max(1))).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed)?;
    }
    Ok(database)
}

/// Reads everything in a folder that no process has open. Returns a description of each damage; empty if there is none.
pub(crate) fn verify(folder: &Path) -> Result<Vec<String>, Error> {
    let _lock = lock_folder(folder)?;
    let path = folder.join(FILE);
    let layout = Layout { part: PART, path: &path, format: FORMAT, tables: TABLES, cache_kib: 8192 };
    Ok(checked_files::verify(&layout)?)
}

/// Copies the store, as of one moment, to a new folder. A process may have it open.
pub(crate) fn backup(folder: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(|cause| Error::Folder { path: to.to_owned(), cause })?;
    let path = folder.join(FILE);
    let layout = Layout { part: PART, path: &path, format: FORMAT, tables: TABLES, cache_kib: 8192 };
    Ok(checked_files::backup(&layout, &to.join(FILE))?)
}

/// Opens the file for reading while the writer has it open.
pub(super) fn open_reader(path: &Path, health: &Health) -> Result<Connection, Error> {
    checked_files::open_reader(path, 4096, health)
        .map_err(|cause| Error::Database { path: path.to_owned(), cause })
}
