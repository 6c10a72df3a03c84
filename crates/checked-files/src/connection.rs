//! Connections to a checked database, and the statements that do not depend on its tables.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::health::Health;
use crate::store_id::StoreId;
use crate::vfs;

/// Opens a database for reading while a [`CheckedDatabase`](crate::CheckedDatabase) writes it.
///
/// # Errors
///
/// If SQLite refuses.
pub fn open_reader(path: &Path, cache_kib: u32, health: &Health) -> rusqlite::Result<Connection> {
    vfs::register()?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    // A log with a missing end is kept for a repair.
    let is_damaged = health.damage().is_some();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_damaged)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// The store's id, and the number of its last commit.
pub(crate) fn identity(connection: &Connection) -> rusqlite::Result<(StoreId, u64)> {
    connection.query_row("SELECT id, sequence FROM store", [], |row| {
        Ok((StoreId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
    })
}

/// The findings of SQLite's own check; empty if there is none.
pub(crate) fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

pub(crate) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// A file as a URI that selects the VFS of this crate.
pub(crate) fn uri(path: &Path) -> String {
    let mut text = String::from("file:");
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.:\\".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text + "?vfs=" + &vfs::NAME.to_string_lossy()
}
