//! Opening files: new ones, those of the older format, those of another store, copies.

use checked_files::{OpenDatabaseError, backup, verify};
use rusqlite::Connection;

use crate::table::{self, file, layout};

#[test]
fn a_new_database_is_intact_after_it_is_closed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut database = table::open(folder.path()).expect("the database opens");
    table::put(&mut database, 0).expect("the row is stored");
    let id = database.id();
    drop(database);
    assert_eq!(verify(&layout(&file(folder.path()))).expect("it can be read"), Vec::<String>::new());
    let database = table::open(folder.path()).expect("the database opens");
    assert_eq!((database.id(), table::read(&database.connection, 1)), (id, Ok(1)));
}

#[test]
fn a_database_of_format_1_gets_checksums_and_keeps_its_data() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let old = Connection::open(file(folder.path())).expect("the old file opens");
    old.execute_batch(&format!("PRAGMA journal_mode = WAL; {} PRAGMA user_version = 1;", table::TABLES))
        .expect("the tables are made");
    for number in 0..200 {
        let sql = "INSERT INTO rows VALUES (?1, ?2, ?3)";
        let values = rusqlite::params![format!("id{number}"), number, table::body(number)];
        old.execute(sql, values).expect("the row is stored");
    }
    // As a killed process leaves it: with a log.
    let killed = tempfile::tempdir().expect("a temporary folder");
    table::image(folder.path(), killed.path());
    drop(old);
    assert!(std::fs::metadata(killed.path().join("rows.sqlite-wal")).expect("there is a log").len() > 0);
    let mut database = table::open(killed.path()).expect("the old database is taken over");
    assert_eq!(table::read(&database.connection, 200), Ok(200));
    table::put(&mut database, 200).expect("the row is stored");
    drop(database);
    let mut bytes = std::fs::read(file(killed.path())).expect("the file can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file(killed.path()), bytes).expect("the file can be written");
    let complaints = verify(&layout(&file(killed.path())));
    assert!(complaints.is_err() || complaints.is_ok_and(|complaints| !complaints.is_empty()));
}

#[test]
fn files_of_two_stores_are_rejected() {
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for folder in [&one, &other] {
        let mut database = table::open(folder.path()).expect("the database opens");
        table::put(&mut database, 0).expect("the row is stored");
    }
    std::fs::copy(file(other.path()), file(one.path())).expect("the file can be copied");
    let error = table::open(one.path()).expect_err("another store's file");
    assert!(matches!(error, OpenDatabaseError::AnotherStore { .. }), "{error}");
}

#[test]
fn a_newer_format_is_rejected() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = table::open(folder.path()).expect("the database opens");
    database.connection.pragma_update(None, "user_version", 3).expect("the pragma is known");
    drop(database);
    let error = table::open(folder.path()).expect_err("format 3 is unknown");
    assert!(matches!(error, OpenDatabaseError::Format { found: 3, known: 2, .. }), "{error}");
}

#[test]
fn a_backup_between_writes_is_a_complete_database() {
    let (folder, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let mut database = table::open(folder.path()).expect("the database opens");
    for number in 0..50 {
        table::put(&mut database, number).expect("the row is stored");
    }
    backup(&layout(&file(folder.path())), &file(to.path())).expect("it can be copied");
    table::put(&mut database, 50).expect("the row is stored");
    assert_eq!(verify(&layout(&file(to.path()))).expect("it can be read"), Vec::<String>::new());
    let mut copied = table::open(to.path()).expect("the copy opens");
    assert_eq!(table::read(&copied.connection, 51), Ok(50));
    table::put(&mut copied, 50).expect("the copy can be written");
}
