//! Trials: one fault in one file of a killed process must not change or lose data silently. `CHAPPE_SOAK_DAMAGE` is the number of
//! trials of each kind (default 30), `CHAPPE_SEED` repeats them.

use std::path::{Path, PathBuf};

use checked_files::{OpenDatabaseError, open_reader};
use tempfile::TempDir;

use crate::table::{self, file};

/// Rows that were acknowledged: the first half is in the database file, the second in the write-ahead log.
const ROWS: i64 = 300;

/// The outcome of a trial.
#[derive(Debug, PartialEq, Eq)]
enum TrialOutcome {
    /// All data is intact.
    Intact,
    /// It was not opened.
    Rejected,
    /// It is read-only from the start.
    ReadOnly,
    /// A read failed, and every later write.
    ReadFailed,
}

/// Repeatable random numbers: xorshift.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let seed = std::env::var("CHAPPE_SEED").ok().and_then(|text| text.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| now.subsec_nanos().into());
        println!("CHAPPE_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn trials() -> usize {
    std::env::var("CHAPPE_SOAK_DAMAGE").map_or(30, |text| text.parse().expect("a number"))
}

/// The files of a process that was killed after [`ROWS`] acknowledgements.
fn killed() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut database = table::open(folder.path()).expect("the database opens");
    for number in 0..ROWS {
        table::put(&mut database, number).expect("the row is stored");
        if number == ROWS / 2 {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            database.connection.query_row(sql, [], |_| Ok(())).expect("the log can be emptied");
        }
    }
    let image = tempfile::tempdir().expect("a temporary folder");
    table::image(folder.path(), image.path());
    assert_eq!(classify(image.path()), TrialOutcome::Intact, "without a fault all data is intact");
    let image = tempfile::tempdir().expect("a temporary folder");
    table::image(folder.path(), image.path());
    image
}

/// Opens the database, reads everything, and tries to write after a failed read.
fn classify(folder: &Path) -> TrialOutcome {
    let mut database = match table::open(folder) {
        Ok(database) => database,
        Err(error @ OpenDatabaseError::Database { .. }) => panic!("not reported as damage: {error:?}"),
        Err(_) => return TrialOutcome::Rejected,
    };
    if database.health.damage().is_some() {
        assert!(table::put(&mut database, 1000).is_err(), "a read-only database accepted a write");
        return TrialOutcome::ReadOnly;
    }
    let reader = open_reader(database.path(), 256, &database.health).expect("a reader opens");
    match table::read(&reader, ROWS) {
        Ok(ROWS) => TrialOutcome::Intact,
        Ok(found) => panic!("{} rows were lost silently", ROWS - found),
        Err(error) => {
            assert!(database.health.note(database.path(), &error), "not reported as damage: {error}");
            TrialOutcome::ReadFailed
        }
    }
}

/// Applies a fault to a new copy.
fn trial(killed: &TempDir, fault: impl FnOnce(&Path)) -> TrialOutcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    table::image(killed.path(), folder.path());
    fault(folder.path());
    classify(folder.path())
}

fn log(folder: &Path) -> PathBuf {
    folder.join("rows.sqlite-wal")
}

fn mark(folder: &Path) -> PathBuf {
    folder.join("rows.mark")
}

fn flip(path: &Path, random: &mut Random) {
    let mut bytes = std::fs::read(path).expect("the file can be read");
    let at = random.below(bytes.len() as u64);
    bytes[usize::try_from(at).expect("an index")] ^= 1 << random.below(8);
    std::fs::write(path, bytes).expect("the file can be written");
}

fn truncate(path: &Path, random: &mut Random) {
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("the file opens");
    let bytes = file.metadata().expect("it has a length").len();
    file.set_len(random.below(bytes)).expect("the file can be cut");
}

#[test]
fn a_flipped_bit_in_the_database_file_is_detected_or_harmless() {
    let (killed, mut random) = (killed(), Random::new());
    let seen: Vec<_> =
        (0..trials()).map(|_| trial(&killed, |folder| flip(&file(folder), &mut random))).collect();
    // Pages that the log replaces, and those that are free, may be damaged without harm.
    assert!(seen.iter().any(|seen| *seen != TrialOutcome::Intact), "{seen:?}");
}

#[test]
fn a_flipped_bit_in_the_log_is_detected_or_harmless() {
    let (killed, mut random) = (killed(), Random::new());
    let seen: Vec<_> =
        (0..trials()).map(|_| trial(&killed, |folder| flip(&log(folder), &mut random))).collect();
    assert!(seen.contains(&TrialOutcome::ReadOnly), "{seen:?}");
}

#[test]
fn a_truncated_file_is_rejected_or_read_only() {
    let (killed, mut random) = (killed(), Random::new());
    for _ in 0..trials() {
        let seen = trial(&killed, |folder| truncate(&log(folder), &mut random));
        assert!(matches!(seen, TrialOutcome::ReadOnly | TrialOutcome::Rejected), "{seen:?}");
        let seen = trial(&killed, |folder| truncate(&file(folder), &mut random));
        // The pages that the log contains are still complete.
        assert!(
            matches!(seen, TrialOutcome::ReadFailed | TrialOutcome::Rejected | TrialOutcome::Intact),
            "{seen:?}"
        );
    }
}

#[test]
fn a_missing_or_empty_file_is_never_created_again() {
    let killed = killed();
    for lost in [file, log, mark] {
        for empty in [false, true] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            table::image(killed.path(), folder.path());
            let path = lost(folder.path());
            if empty {
                std::fs::write(&path, []).expect("the file can be emptied");
            } else {
                std::fs::remove_file(&path).expect("the file is there");
            }
            let rest = |path: PathBuf| std::fs::read(path).ok();
            let before = (rest(file(folder.path())), rest(log(folder.path())));
            match table::open(folder.path()) {
                Ok(database) => {
                    let damage = database.health.damage().expect("a loss is told").to_string();
                    assert!(path == log(folder.path()) && damage.contains("--accept-loss=rows"), "{damage}");
                }
                Err(error) => {
                    assert!(error.to_string().contains("--accept-loss=rows"), "{error}");
                    assert_eq!(
                        before,
                        (rest(file(folder.path())), rest(log(folder.path()))),
                        "files were changed"
                    );
                }
            }
            let mut database = table::open_accepting(folder.path()).expect("the loss is accepted");
            let left = table::read(&database.connection, ROWS).expect("what is left can be read");
            assert!(left < ROWS || path == mark(folder.path()), "{left}");
            table::put(&mut database, 1000).expect("it can be written again");
        }
    }
}

/// Damage while the process runs: pages of the log and of the file are checked whenever they are read.
#[test]
fn damage_to_an_open_database_is_detected_and_ends_writing() {
    let mut random = Random::new();
    for (of_log, place) in [(true, log as fn(&Path) -> PathBuf), (false, file)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut database = table::open(folder.path()).expect("the database opens");
        for number in 0..ROWS {
            table::put(&mut database, number).expect("the row is stored");
        }
        if !of_log {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            database.connection.query_row(sql, [], |_| Ok(())).expect("the log can be emptied");
        }
        let reader = open_reader(database.path(), 256, &database.health).expect("a reader opens");
        let path = place(folder.path());
        let mut bytes = std::fs::read(&path).expect("the file can be read");
        // Every page of it, so that any read finds damage.
        let first = if of_log { 32 + 24 } else { 4096 };
        let step = if of_log { 24 + 4096 } else { 4096 };
        for at in (first..bytes.len()).step_by(step) {
            bytes[at + usize::try_from(random.below(4000)).expect("small")] ^= 8;
        }
        std::fs::write(&path, bytes).expect("the file can be written");
        let read = table::read(&reader, ROWS).expect_err("every page is damaged");
        assert!(database.health.note(database.path(), &read), "{read}");
        assert!(matches!(database.health.damage(), Some(checked_files::Damage::File { .. })));
        if of_log {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let moved = database.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            assert!(moved.is_err(), "damaged frames were moved into the database file");
        }
    }
}

/// A transaction larger than the cache writes frames of the log twice, which must not look like damage.
#[test]
fn a_transaction_larger_than_the_cache_can_read_its_pages() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let database = table::open(folder.path()).expect("the database opens");
    let connection = &database.connection;
    connection.execute_batch("PRAGMA cache_size = 10; BEGIN IMMEDIATE").expect("it begins");
    for number in 0..3000 {
        let sql = "INSERT INTO rows VALUES (?1, ?2, ?3)";
        let values = rusqlite::params![format!("id{}", number * 7919 % 3000), number, "x".repeat(300)];
        connection.execute(sql, values).expect("the row is stored");
        if number % 10 == 0 {
            let sql = "SELECT count(*) FROM rows WHERE body LIKE 'x%'";
            let count: i64 =
                connection.query_row(sql, [], |row| row.get(0)).expect("its own pages can be read");
            assert_eq!(count, number + 1);
        }
        if number == 1000 || number == 2000 {
            connection.execute_batch("COMMIT; BEGIN IMMEDIATE").expect("it goes on");
        }
        if number == 2500 {
            connection.execute_batch("SAVEPOINT s").expect("it begins");
            connection.execute("DELETE FROM rows", []).expect("they go");
            connection.execute_batch("ROLLBACK TO s; RELEASE s").expect("they come back");
        }
    }
    connection.execute_batch("COMMIT").expect("it ends");
    let check: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("it can be checked");
    assert_eq!(check, "ok");
}
