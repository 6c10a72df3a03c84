//! [`CheckedDatabase`]: an SQLite file opened for writing, with checksums, a mark and its health.
//!
//! ```text
//! x.sqlite        pages with checksums, see `page.rs`
//! x.sqlite-wal    SQLite's write-ahead log
//! x.mark          the last acknowledged commit, see `mark.rs`
//! ```
//!
//! The table `store` has one row: the id of the store and the number of its last commit.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::connection::{connect, identity};
use crate::create::{add_checksums, create};
use crate::error::OpenDatabaseError;
use crate::files::{mark_path, sync, with_ending};
use crate::find::{Found, check_format, find, mark};
use crate::health::{Damage, Health};
use crate::layout::{Layout, LossPolicy};
use crate::mark::Mark;
use crate::store_id::StoreId;
use crate::vfs;

/// Size of the write-ahead log at which SQLite starts a checkpoint, in pages; the default of SQLite.
const CHECKPOINT_PAGES: u32 = 1000;

/// An open database.
#[derive(Debug)]
pub struct CheckedDatabase {
    /// The writing connection.
    pub connection: Connection,
    /// Whether it may be written.
    pub health: Health,
    path: PathBuf,
    id: StoreId,
    mark: Mark,
    /// Whether acknowledged commits are missing.
    pub lost_end: bool,
}

impl CheckedDatabase {
    /// Opens the database for writing; creates it if there is none.
    ///
    /// If acknowledged commits are missing at its end, it is opened read-only (see [`Health`]), unless the loss is accepted.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a file shows that it is not the same database as before. Then nothing is changed.
    pub fn open(layout: &Layout<'_>, loss_policy: LossPolicy) -> Result<Self, OpenDatabaseError> {
        let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
        vfs::register().map_err(failed)?;
        match find(layout, loss_policy)? {
            Found::Nothing => create(layout)?,
            Found::WithoutChecksums => add_checksums(layout)?,
            Found::Checked => {}
        }
        // A killed process may have left a commit that was not flushed. It must not be read before a power failure can no longer
        // undo it.
        let log = with_ending(layout.path, "-wal");
        if log.try_exists().map_err(|cause| OpenDatabaseError::Io(log.clone(), cause))? {
            sync(&log)?;
        }
        let connection = connect(layout.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        // The log is not changed before it is certain that nothing is missing.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
        check_format(&connection, layout)?;
        let (id, sequence) = identity(&connection).map_err(failed)?;
        let (mark, damage) = mark(layout, id, sequence, loss_policy)?;
        let health = Health::default();
        let lost_end = damage.is_some();
        if let Some(damage) = damage.filter(|_| loss_policy == LossPolicy::Refuse) {
            health.set_damaged(damage);
            connection.pragma_update(None, "query_only", true).map_err(failed)?;
        } else {
            // FULL: an acknowledged commit survives a power failure.
            connection
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;",
                )
                .map_err(failed)?;
            connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(failed)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
        }
        connection.pragma_update(None, "cache_size", -i64::from(layout.cache_kib)).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection, health, path: layout.path.to_owned(), id, mark, lost_end })
    }

    /// The store's id.
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Increments the commit number. Call it within each transaction whose result is acknowledged.
    ///
    /// # Errors
    ///
    /// If SQLite refuses.
    pub fn count_commit(connection: &Connection) -> rusqlite::Result<u64> {
        let sql = "UPDATE store SET sequence = sequence + 1 RETURNING sequence";
        connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// Records a commit in the mark. Call it when the commit is on disk, before it is acknowledged.
    pub fn acknowledge(&mut self, sequence: u64) {
        if let Err(error) = self.mark.write(sequence) {
            let file = mark_path(&self.path);
            self.health.set_damaged(Damage::Mark { file, what: error.to_string() });
        }
    }
}
