//! The file: its lock, its format, its tables, and how connections to it are set up.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::Error;

/// The newest on-disk format that we read and write. Raise it with every change that an older version would get wrong.
const FORMAT: i64 = 1;

/// `body` stands last, so that what comes before it is read without touching the pages of a large item.
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

/// Makes the folder and takes it for this process.
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

/// Opens the file for writing; makes the tables if it is new.
pub(super) fn open(path: &Path, bytes_max: Option<u64>) -> Result<Connection, Error> {
    let failed = |cause| Error::Database { path: path.to_owned(), cause };
    let mut connection = Connection::open(path).map_err(failed)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > FORMAT {
        return Err(Error::Format { path: path.to_owned(), found, known: FORMAT });
    }
    // FULL syncs the log at every commit: without it, a commit that was acknowledged could be lost with the power.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;")
        .map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(32);
    if found == 0 {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(TABLES).map_err(failed)?;
        transaction.pragma_update(None, "user_version", FORMAT).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    if let Some(bytes_max) = bytes_max {
        let page_bytes: u32 =
            connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(failed)?;
        let pages = i64::try_from(bytes_max / u64::from(page_bytes.max(1))).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed)?;
    }
    Ok(connection)
}

/// Opens the file for reading, beside the writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let failed = |cause| Error::Database { path: path.to_owned(), cause };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;")
        .map_err(failed)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
    Ok(connection)
}
