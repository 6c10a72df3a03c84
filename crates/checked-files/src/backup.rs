//! [`backup`]: copies a database that may be open.

use std::path::Path;

use rusqlite::{OpenFlags, config::DbConfig};

use crate::connection::{connect, identity};
use crate::error::OpenDatabaseError;
use crate::files::{mark_path, sync};
use crate::find::{Found, check_format, find};
use crate::health::Damage;
use crate::layout::{Layout, LossPolicy};
use crate::mark::Mark;
use crate::vfs;

/// Copies a database, as of one moment, to a new file with its own mark. A process may have it open: SQLite's locks isolate reader
/// and writer.
///
/// # Errors
///
/// If it is missing or damaged, if it lost acknowledged commits, or if the copy cannot be written.
pub fn backup(layout: &Layout<'_>, to: &Path) -> Result<(), OpenDatabaseError> {
    let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
    vfs::register().map_err(failed)?;
    if !matches!(find(layout, LossPolicy::Refuse)?, Found::Checked) {
        let what = "it has no checksums yet; start this version once with this data folder";
        return Err(OpenDatabaseError::Io(layout.path.to_owned(), std::io::Error::other(what)));
    }
    // Read first: everything acknowledged until now must be in the copy.
    let acknowledged = Mark::open(&mark_path(layout.path))?.sequence();
    let connection = connect(layout.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    check_format(&connection, layout)?;
    let target = to.to_str().ok_or_else(|| {
        let what = "the name of the copy is not UTF-8";
        OpenDatabaseError::Io(to.to_owned(), std::io::Error::other(what))
    })?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(failed)?;
    let copied = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let (id, found) = identity(&copied).map_err(failed)?;
    drop(copied);
    if found < acknowledged {
        let file = layout.path.to_owned();
        return Err(OpenDatabaseError::LostEnd(Damage::LostEnd {
            file,
            found,
            acknowledged,
            part: layout.part,
        }));
    }
    sync(to)?;
    Mark::create(&mark_path(to), id, found)?;
    Ok(())
}
