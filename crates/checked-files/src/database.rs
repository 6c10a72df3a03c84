//! [`Database`]: an SQLite file opened for writing, with its checksums, its mark and its health.
//!
//! ```text
//! x.sqlite        pages with checksums, see `page.rs`
//! x.sqlite-wal    SQLite's write-ahead log
//! x.mark          up to where writes were acknowledged, see `mark.rs`
//! ```
//!
//! The table `store` has one row: the store's id, and the number of its last commit.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::page::{FORMAT_AT, PAGE_BYTES, RESERVED_AT, RESERVED_BYTES};
use crate::{Damage, Health, Mark, MarkError, OpenError, vfs};

/// Pages in the write-ahead log at which SQLite moves them to the database file; SQLite's own default.
const CHECKPOINT_PAGES: u32 = 1000;

const STORE_TABLE: &str = "CREATE TABLE store (id BLOB NOT NULL, sequence INTEGER NOT NULL) STRICT;";

/// Which store a file belongs to; drawn when the store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

impl std::fmt::Display for StoreId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// What to do where acknowledged data is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLoss {
    /// Refuse, or open read-only where something can be read.
    Refuse,
    /// Go on with what is there.
    Accept,
}

/// What a store expects of its file.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// The name of the part, for `--accept-loss`.
    pub part: &'static str,
    /// The database file. The others' names begin like it.
    pub path: &'a Path,
    /// The format that this version reads and writes, at least 2: kept as `user_version`. A file of format 1 has the same
    /// tables and no checksums, and is rewritten with them.
    pub format: u32,
    /// The statements that make the tables.
    pub tables: &'a str,
    /// The size of the connection's cache, in KiB.
    pub cache_kib: u32,
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    /// The connection that writes.
    pub connection: Connection,
    /// Whether it may be written.
    pub health: Health,
    path: PathBuf,
    id: StoreId,
    mark: Mark,
    /// Whether acknowledged commits are missing, and somebody accepted that.
    pub lost_end: bool,
}

impl Database {
    /// Opens the database for writing, making it where there is nothing.
    ///
    /// Where acknowledged commits are missing at its end, it is opened read-only (see [`Health`]), unless the loss is accepted.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or something shows that it is not the database that was there. Nothing is changed then.
    pub fn open(layout: &Layout<'_>, at_loss: AtLoss) -> Result<Self, OpenError> {
        let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
        vfs::register().map_err(failed)?;
        match find(layout, at_loss)? {
            Found::Nothing => make(layout)?,
            Found::WithoutChecksums => add_checksums(layout)?,
            Found::Checked => {}
        }
        let connection = connect(layout.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        // Until it is known that nothing is missing, what the log holds stays as it is.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
        check_format(&connection, layout)?;
        let (id, sequence) = identity(&connection).map_err(failed)?;
        let (mark, damage) = mark(layout, id, sequence, at_loss)?;
        let health = Health::default();
        let lost_end = damage.is_some();
        if let Some(damage) = damage.filter(|_| at_loss == AtLoss::Refuse) {
            health.set_damaged(damage);
            connection.pragma_update(None, "query_only", true).map_err(failed)?;
        } else {
            // FULL: a commit is on disk when it is acknowledged, also when the power goes.
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

    /// Counts a commit; to be called within each transaction whose outcome somebody is told.
    ///
    /// # Errors
    ///
    /// If SQLite refuses.
    pub fn count_commit(connection: &Connection) -> rusqlite::Result<u64> {
        let sql = "UPDATE store SET sequence = sequence + 1 RETURNING sequence";
        connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    /// Marks a commit as acknowledged; to be called when it is on disk, before anybody is told.
    pub fn acknowledge(&mut self, sequence: u64) {
        if let Err(error) = self.mark.write(sequence) {
            let file = mark_path(&self.path);
            self.health.set_damaged(Damage::Mark { file, what: error.to_string() });
        }
    }
}

/// Opens the database for reading, beside its writer.
///
/// # Errors
///
/// If SQLite refuses.
pub fn open_reader(path: &Path, cache_kib: u32, health: &Health) -> rusqlite::Result<Connection> {
    vfs::register()?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;")?;
    // What is left of a log whose end is missing stays for whoever repairs it.
    let is_damaged = health.damage().is_some();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_damaged)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Reads everything of a database that no process has open, and says what is wrong; nothing if it is sound. Changes nothing.
///
/// # Errors
///
/// As [`Database::open`], which comes first.
pub fn verify(layout: &Layout<'_>) -> Result<Vec<String>, OpenError> {
    let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
    vfs::register().map_err(failed)?;
    match find(layout, AtLoss::Refuse)? {
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
    let (_, damage) = mark(layout, id, sequence, AtLoss::Refuse)?;
    let mut complaints = match integrity(&connection) {
        Ok(complaints) => complaints,
        // A page that is not as it was written ends the check; the others are looked at without SQLite.
        Err(cause) if crate::is_damage(&cause) => damaged_pages(layout.path)?,
        Err(cause) => return Err(failed(cause)),
    };
    complaints.extend(damage.map(|damage| damage.to_string()));
    Ok(complaints)
}

/// A line for the pages that do not have their checksum.
fn damaged_pages(path: &Path) -> Result<Vec<String>, OpenError> {
    let io = |cause| OpenError::Io(path.to_owned(), cause);
    let mut file = File::open(path).map_err(io)?;
    let pages = file.metadata().map_err(io)?.len() / PAGE_BYTES as u64;
    let mut page = [0; PAGE_BYTES];
    let mut damaged = Vec::new();
    for number in 1..=u32::try_from(pages).unwrap_or(u32::MAX) {
        file.read_exact(&mut page).map_err(io)?;
        // A page that was reserved and never written holds zeros, and is not in use.
        if page != [0; PAGE_BYTES] && !crate::page::is_sound(&page, number) {
            damaged.push(number.to_string());
        }
    }
    let count = damaged.len();
    damaged.truncate(20);
    let listed = if damaged.is_empty() { "in its log".to_owned() } else { damaged.join(", ") };
    Ok(vec![format!(
        "{}: pages are not as they were written: {listed} ({count} in the file)",
        path.display()
    )])
}

/// Copies a database, as it is at one moment, to a new file with its own mark. A process may have it open: SQLite's locks keep
/// reader and writer apart.
///
/// # Errors
///
/// If it is missing or damaged, if it lost acknowledged commits, or if the copy cannot be written.
pub fn backup(layout: &Layout<'_>, to: &Path) -> Result<(), OpenError> {
    let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
    vfs::register().map_err(failed)?;
    if !matches!(find(layout, AtLoss::Refuse)?, Found::Checked) {
        let what = "it has no checksums yet: start this version with it once";
        return Err(OpenError::Io(layout.path.to_owned(), std::io::Error::other(what)));
    }
    // Read first: what was acknowledged by now must be in the copy.
    let acknowledged = Mark::open(&mark_path(layout.path))?.sequence();
    let connection = connect(layout.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    check_format(&connection, layout)?;
    let target = to.to_str().ok_or_else(|| {
        let what = "the name of the copy is not UTF-8";
        OpenError::Io(to.to_owned(), std::io::Error::other(what))
    })?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(failed)?;
    let copied = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let (id, found) = identity(&copied).map_err(failed)?;
    drop(copied);
    if found < acknowledged {
        let file = layout.path.to_owned();
        return Err(OpenError::LostEnd(Damage::LostEnd { file, found, acknowledged, part: layout.part }));
    }
    sync(to)?;
    Mark::create(&mark_path(to), id, found)?;
    sync_folder(to)
}

enum Found {
    Nothing,
    WithoutChecksums,
    Checked,
}

/// What is in the place of the database. A file that is missing or empty is never opened where others show that it was there:
/// SQLite would take their content for rubbish and remove it.
fn find(layout: &Layout<'_>, at_loss: AtLoss) -> Result<Found, OpenError> {
    let path = layout.path;
    let io = |cause| OpenError::Io(path.to_owned(), cause);
    let mut start = [0; 100];
    let filled = match File::open(path) {
        Ok(file) => {
            let mut content = Vec::new();
            file.take(100).read_to_end(&mut content).map_err(io)?;
            start[..content.len()].copy_from_slice(&content);
            Some(content.len())
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        Err(cause) => return Err(io(cause)),
    };
    let log = with_ending(path, "-wal");
    let has_log = std::fs::metadata(&log).is_ok_and(|file| file.len() > 0);
    let has_mark = mark_path(path).exists();
    if filled.unwrap_or(0) == 0 {
        if !has_log && !has_mark {
            return Ok(Found::Nothing);
        }
        if at_loss == AtLoss::Accept {
            set_aside(&[path, &log, &with_ending(path, "-shm"), &mark_path(path)])?;
            return Ok(Found::Nothing);
        }
        return Err(OpenError::Missing {
            file: path.to_owned(),
            what: if filled.is_some() { "empty" } else { "missing" },
            witness: if has_log { log } else { mark_path(path) },
            part: layout.part,
        });
    }
    // Format 1 may stand in the log yet, with 0 in the file. Two fields and the mark tell a file of before from one of today, so
    // that no single flipped bit makes one look like the other.
    let format = u32::from_be_bytes([
        start[FORMAT_AT],
        start[FORMAT_AT + 1],
        start[FORMAT_AT + 2],
        start[FORMAT_AT + 3],
    ]);
    let is_old = format <= 1 && start[RESERVED_AT] == 0 && !has_mark;
    if !is_old && format > layout.format && start[RESERVED_AT] != RESERVED_BYTES {
        return Err(OpenError::Format { file: path.to_owned(), found: format, known: layout.format });
    }
    Ok(if is_old { Found::WithoutChecksums } else { Found::Checked })
}

fn check_format(connection: &Connection, layout: &Layout<'_>) -> Result<(), OpenError> {
    let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > layout.format {
        return Err(OpenError::Format { file: layout.path.to_owned(), found, known: layout.format });
    }
    Ok(())
}

/// Makes the database beside its place, so that there is never half of one, and its mark when it is there.
fn make(layout: &Layout<'_>) -> Result<(), OpenError> {
    let beside = with_ending(layout.path, ".new");
    let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
    remove(&beside)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = connect(&beside, flags).map_err(failed)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64).map_err(failed)?;
    vfs::reserve_bytes(&connection).map_err(failed)?;
    let tables = format!("BEGIN; {} {STORE_TABLE}", layout.tables);
    connection.execute_batch(&tables).map_err(failed)?;
    finish(connection, layout, &beside)
}

/// Rewrites a database of format 1 with checksums, beside its place. It is the old one until the new one is complete.
fn add_checksums(layout: &Layout<'_>) -> Result<(), OpenError> {
    let beside = with_ending(layout.path, ".new");
    let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
    remove(&beside)?;
    tracing::info!(file = %layout.path.display(), "adding checksums to a database of an older format");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let old = Connection::open_with_flags(layout.path, flags).map_err(failed)?;
    vfs::reserve_bytes(&old).map_err(failed)?;
    let complaints = integrity(&old).map_err(failed)?;
    if let Some(complaint) = complaints.into_iter().next() {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(failed(rusqlite::Error::SqliteFailure(code, Some(complaint))));
    }
    let target = uri(&beside);
    old.execute("VACUUM INTO ?1", [target]).map_err(failed)?;
    // As the last connection it moves the log into the file, and removes the log.
    old.close().map_err(|(_, cause)| failed(cause))?;
    if with_ending(layout.path, "-wal").exists() {
        let busy = std::io::Error::other("another process has the database open");
        return Err(OpenError::Io(layout.path.to_owned(), busy));
    }
    let connection = connect(&beside, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    connection.execute_batch(&format!("BEGIN; {STORE_TABLE}")).map_err(failed)?;
    finish(connection, layout, &beside)
}

/// Ends the making of a database in an open transaction, and puts it into its place.
fn finish(connection: Connection, layout: &Layout<'_>, beside: &Path) -> Result<(), OpenError> {
    let failed = |cause| OpenError::from_sqlite(layout.path, layout.part, cause);
    let id = StoreId(*uuid::Uuid::new_v4().as_bytes());
    connection.execute("INSERT INTO store VALUES (?1, 0)", [id.0]).map_err(failed)?;
    connection.pragma_update(None, "user_version", layout.format).map_err(failed)?;
    connection.execute_batch("COMMIT").map_err(failed)?;
    connection.close().map_err(|(_, cause)| failed(cause))?;
    sync(beside)?;
    std::fs::rename(beside, layout.path).map_err(|cause| OpenError::Io(layout.path.to_owned(), cause))?;
    Mark::create(&mark_path(layout.path), id, 0)?;
    sync_folder(layout.path)
}

/// The mark beside the database, and what it says of the end of the database.
fn mark(
    layout: &Layout<'_>,
    id: StoreId,
    sequence: u64,
    at_loss: AtLoss,
) -> Result<(Mark, Option<Damage>), OpenError> {
    let path = mark_path(layout.path);
    let mark = match Mark::open(&path) {
        Ok(mark) => mark,
        // Nothing was ever acknowledged, or somebody accepts that it cannot be known.
        Err(MarkError::Missing(_)) if sequence == 0 => return Ok((Mark::create(&path, id, 0)?, None)),
        Err(MarkError::Missing(_) | MarkError::Damaged(_)) if at_loss == AtLoss::Accept => {
            return Ok((Mark::create(&path, id, sequence)?, None));
        }
        Err(cause) => {
            return Err(OpenError::NoMark { file: layout.path.to_owned(), part: layout.part, cause });
        }
    };
    if mark.store() != id {
        return Err(OpenError::AnotherStore { file: layout.path.to_owned(), mark: path });
    }
    if mark.sequence() <= sequence {
        return Ok((mark, None));
    }
    let damage = Damage::LostEnd {
        file: layout.path.to_owned(),
        found: sequence,
        acknowledged: mark.sequence(),
        part: layout.part,
    };
    if at_loss == AtLoss::Refuse {
        return Ok((mark, Some(damage)));
    }
    tracing::warn!("accepted: {damage}");
    Ok((Mark::create(&path, id, sequence)?, Some(damage)))
}

fn identity(connection: &Connection) -> rusqlite::Result<(StoreId, u64)> {
    connection.query_row("SELECT id, sequence FROM store", [], |row| {
        Ok((StoreId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
    })
}

fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// A file as a URI that names our VFS.
fn uri(path: &Path) -> String {
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

/// Puts files that are not needed any more out of the way, without losing them.
fn set_aside(files: &[&Path]) -> Result<(), OpenError> {
    for file in files.iter().filter(|file| file.exists()) {
        let aside = with_ending(file, ".lost");
        std::fs::rename(file, &aside).map_err(|cause| OpenError::Io((*file).to_owned(), cause))?;
        tracing::warn!(file = %aside.display(), "kept what is left of a lost database");
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), OpenError> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(OpenError::Io(path.to_owned(), cause))
        }
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), OpenError> {
    let synced = File::options().read(true).write(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|cause| OpenError::Io(path.to_owned(), cause))
}

/// Makes the names in the folder of a file durable.
fn sync_folder(path: &Path) -> Result<(), OpenError> {
    // Windows cannot open a folder; NTFS logs its changes.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|cause| OpenError::Io(folder.to_owned(), cause))?;
    }
    let _ = path;
    Ok(())
}

fn mark_path(path: &Path) -> PathBuf {
    path.with_extension("mark")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
