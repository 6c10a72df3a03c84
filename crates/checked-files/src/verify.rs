//! [`verify`]: reads everything in a database and reports damage.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::connection::{connect, identity, integrity};
use crate::error::OpenDatabaseError;
use crate::find::{Found, check_format, find, mark};
use crate::layout::{Layout, LossPolicy};
use crate::page::{self, PAGE_BYTES};
use crate::{health, vfs};

/// Reads everything in a database that no process has open. Returns a description of each damage; empty if there is none. Changes
/// nothing.
///
/// # Errors
///
/// As [`CheckedDatabase::open`](crate::CheckedDatabase::open).
pub fn verify(layout: &Layout<'_>) -> Result<Vec<String>, OpenDatabaseError> {
    let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
    vfs::register().map_err(failed)?;
    match find(layout, LossPolicy::Refuse)? {
        Found::Nothing => return Ok(Vec::new()),
        Found::WithoutChecksums => {
            let connection =
                Connection::open_with_flags(layout.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
            return integrity(&connection).map_err(failed);
        }
        Found::Checked => {}
    }
    let connection = connect(layout.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    check_format(&connection, layout)?;
    let (id, sequence) = identity(&connection).map_err(failed)?;
    let (_, damage) = mark(layout, id, sequence, LossPolicy::Refuse)?;
    let mut findings = match integrity(&connection) {
        Ok(findings) => findings,
        // A damaged page ends SQLite's check; the others are read without SQLite.
        Err(cause) if health::is_damage(&cause) => damaged_pages(layout.path)?,
        Err(cause) => return Err(failed(cause)),
    };
    findings.extend(damage.map(|damage| damage.to_string()));
    Ok(findings)
}

/// A line that lists the damaged pages.
fn damaged_pages(path: &Path) -> Result<Vec<String>, OpenDatabaseError> {
    let io = |cause| OpenDatabaseError::Io(path.to_owned(), cause);
    let mut file = File::open(path).map_err(io)?;
    let pages = file.metadata().map_err(io)?.len() / PAGE_BYTES as u64;
    let mut page = [0; PAGE_BYTES];
    let mut damaged = Vec::new();
    for number in 1..=u32::try_from(pages).unwrap_or(u32::MAX) {
        file.read_exact(&mut page).map_err(io)?;
        // A page that was never written holds zeros; it is not in use.
        if page != [0; PAGE_BYTES] && !page::is_intact(&page, number) {
            damaged.push(number.to_string());
        }
    }
    let count = damaged.len();
    damaged.truncate(20);
    let listed = if damaged.is_empty() { "in its log".to_owned() } else { damaged.join(", ") };
    Ok(vec![format!("{}: damaged pages: {listed} ({count} in the file)", path.display())])
}
