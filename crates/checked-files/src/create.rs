//! Creates a database, or rewrites one of format 1 with checksums.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::connection::{connect, integrity, uri};
use crate::error::OpenDatabaseError;
use crate::files::{mark_path, remove, sync, with_ending};
use crate::layout::Layout;
use crate::mark::Mark;
use crate::page::PAGE_BYTES;
use crate::store_id::StoreId;
use crate::vfs;

const STORE_TABLE: &str = "CREATE TABLE store (id BLOB NOT NULL, sequence INTEGER NOT NULL) STRICT;";

/// Creates the database under a temporary name, so that an incomplete one never has its final name; then its mark.
pub(crate) fn create(layout: &Layout<'_>) -> Result<(), OpenDatabaseError> {
    let temporary = with_ending(layout.path, ".new");
    let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
    remove(&temporary)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = connect(&temporary, flags).map_err(failed)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64).map_err(failed)?;
    vfs::reserve_bytes(&connection).map_err(failed)?;
    let tables = format!("BEGIN; {} {STORE_TABLE}", layout.tables);
    connection.execute_batch(&tables).map_err(failed)?;
    finish(connection, layout, &temporary)
}

/// Rewrites a database of format 1 with checksums, under a temporary name. The old one remains until the new one is complete.
pub(crate) fn add_checksums(layout: &Layout<'_>) -> Result<(), OpenDatabaseError> {
    let temporary = with_ending(layout.path, ".new");
    let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
    remove(&temporary)?;
    tracing::info!(file = %layout.path.display(), "adding checksums to a database of an older format");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let old = Connection::open_with_flags(layout.path, flags).map_err(failed)?;
    vfs::reserve_bytes(&old).map_err(failed)?;
    let findings = integrity(&old).map_err(failed)?;
    if let Some(finding) = findings.into_iter().next() {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(failed(rusqlite::Error::SqliteFailure(code, Some(finding))));
    }
    let target = uri(&temporary);
    old.execute("VACUUM INTO ?1", [target]).map_err(failed)?;
    // The last connection that closes moves the log into the file and removes it.
    old.close().map_err(|(_, cause)| failed(cause))?;
    if with_ending(layout.path, "-wal").exists() {
        let busy = std::io::Error::other("another process has the database open");
        return Err(OpenDatabaseError::Io(layout.path.to_owned(), busy));
    }
    let connection = connect(&temporary, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.execute_batch(&format!("BEGIN; {STORE_TABLE}")).map_err(failed)?;
    finish(connection, layout, &temporary)
}

/// Completes a new database in an open transaction, and gives it its final name.
fn finish(connection: Connection, layout: &Layout<'_>, temporary: &Path) -> Result<(), OpenDatabaseError> {
    let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
    let id = StoreId(*uuid::Uuid::new_v4().as_bytes());
    connection.execute("INSERT INTO store VALUES (?1, 0)", [id.0]).map_err(failed)?;
    connection.pragma_update(None, "user_version", layout.format).map_err(failed)?;
    connection.execute_batch("COMMIT").map_err(failed)?;
    connection.close().map_err(|(_, cause)| failed(cause))?;
    sync(temporary)?;
    std::fs::rename(temporary, layout.path)
        .map_err(|cause| OpenDatabaseError::Io(layout.path.to_owned(), cause))?;
    Mark::create(&mark_path(layout.path), id, 0)?;
    Ok(())
}
