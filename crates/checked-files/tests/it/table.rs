//! A store with one table, and an index that lists it, for the tests.

use std::path::{Path, PathBuf};

use checked_files::{CheckedDatabase, Layout, LossPolicy, OpenDatabaseError};
use rusqlite::{Connection, params};

/// The tables of format 1 and of today.
pub(crate) const TABLES: &str =
    "CREATE TABLE rows (id TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
     CREATE UNIQUE INDEX rows_by_id ON rows (id);
     CREATE INDEX rows_by_number ON rows (number);";

pub(crate) fn layout(path: &Path) -> Layout<'_> {
    Layout { part: "rows", path, format: 2, tables: TABLES, cache_kib: 256 }
}

pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("rows.sqlite")
}

pub(crate) fn open(folder: &Path) -> Result<CheckedDatabase, OpenDatabaseError> {
    CheckedDatabase::open(&layout(&file(folder)), LossPolicy::Refuse)
}

pub(crate) fn open_accepting(folder: &Path) -> Result<CheckedDatabase, OpenDatabaseError> {
    CheckedDatabase::open(&layout(&file(folder)), LossPolicy::Accept)
}

pub(crate) fn body(number: i64) -> String {
    format!("row {number} ").repeat(5 + usize::try_from(number).expect("small") * 13 % 80)
}

/// Commits one row and acknowledges it, as a store does.
pub(crate) fn put(database: &mut CheckedDatabase, number: i64) -> rusqlite::Result<()> {
    let connection = &database.connection;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let put = || {
        let sql = "INSERT INTO rows VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![format!("id{number}"), number, body(number)])?;
        let sequence = CheckedDatabase::count_commit(connection)?;
        connection.execute_batch("COMMIT")?;
        Ok(sequence)
    };
    match put() {
        Ok(sequence) => {
            database.acknowledge(sequence);
            Ok(())
        }
        Err(error) => {
            connection.execute_batch("ROLLBACK")?;
            Err(error)
        }
    }
}

/// Reads every row by the index and by its id; returns the number of rows, each as it was written.
pub(crate) fn read(connection: &Connection, count: i64) -> rusqlite::Result<i64> {
    let mut statement =
        connection.prepare("SELECT number, body FROM rows WHERE number >= 0 ORDER BY number")?;
    let listed = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let listed: Vec<_> = listed.collect::<Result<_, _>>()?;
    for (number, text) in &listed {
        assert_eq!(*text, body(*number), "row {number} was changed silently");
    }
    let mut statement = connection.prepare("SELECT number, body FROM rows WHERE id = ?1")?;
    let mut found = 0;
    for number in 0..count {
        let mut rows = statement.query([format!("id{number}")])?;
        if let Some(row) = rows.next()? {
            assert_eq!((row.get::<_, i64>(0)?, row.get::<_, String>(1)?), (number, body(number)));
            found += 1;
        }
    }
    assert_eq!(listed.len() as i64, found, "the listing and the index by id disagree");
    Ok(found)
}

/// Copies the state that a kill at this moment would leave.
pub(crate) fn image(folder: &Path, to: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_name().expect("a name");
        std::fs::copy(&path, to.join(name)).expect("the file can be copied");
    }
    // The shared-memory file is not usable after a kill in this form.
    drop(std::fs::remove_file(to.join("rows.sqlite-shm")));
}
