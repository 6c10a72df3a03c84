//! The tables of the database and the statements on them. No decisions.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use checked_files::{Health, Layout};
use rusqlite::{Connection, OptionalExtension, Row, params};
use state::{Instance, Key, Name, Version};

use super::grants::LeaseRow;
use super::session::{InstanceKey, StoredValue};

/// Format of the file, stored in the database. 2: pages have checksums.
const FORMAT: u32 = 2;

/// The name of the part in a data folder, for `--accept-loss`.
const PART: &str = "registry";

const CACHE_KIB: u32 = 2048;

const TABLES: &str = "
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO counters VALUES ('version_limit', 0), ('fence', 0);
    CREATE TABLE keys (
        instance TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        expires_at INTEGER,
        value BLOB NOT NULL,
        PRIMARY KEY (instance, key)
    ) STRICT;
    CREATE INDEX keys_by_expiry ON keys (expires_at) WHERE expires_at IS NOT NULL;
    CREATE TABLE leases (
        instance TEXT NOT NULL,
        name TEXT NOT NULL,
        owner TEXT NOT NULL,
        fence INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (instance, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX leases_by_expiry ON leases (expires_at);
";

/// Numbers that must not decrease.
pub(super) struct Counters {
    /// No version at or above this was ever used.
    pub(super) version_limit: u64,
    /// The largest fence that was ever used.
    pub(super) fence: u64,
}

/// The layout of the registry's file.
pub(super) fn layout(file: &Path) -> Layout<'_> {
    Layout { part: PART, path: file, format: FORMAT, tables: TABLES, cache_kib: CACHE_KIB }
}

/// Opens the database for reading beside the writer.
pub(super) fn open_for_reading(file: &Path, health: &Health) -> rusqlite::Result<Connection> {
    checked_files::open_reader(file, CACHE_KIB, health)
}

pub(super) fn counters(connection: &Connection) -> rusqlite::Result<Counters> {
    let read = |name: &str| {
        connection.query_row("SELECT value FROM counters WHERE name = ?1", [name], |row| number(row, 0))
    };
    Ok(Counters { version_limit: read("version_limit")?, fence: read("fence")? })
}

pub(super) fn set_counter(connection: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE counters SET value = ?2 WHERE name = ?1")?
        .execute(params![name, value.cast_signed()])
        .map(drop)
}

/// Time as it is stored: nanoseconds since 1970, at most what 64 bits hold (the year 2262).
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn time(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds.unsigned_abs())
}

/// A number that only rises from 0; it never reaches the sign bit of the database's 64 bits.
fn number(row: &Row<'_>, column: impl rusqlite::RowIndex) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredValue> {
    Ok(StoredValue {
        version: Version(number(row, "version")?),
        expires_at: row.get::<_, Option<i64>>("expires_at")?.map(time),
        value: Bytes::from(row.get::<_, Vec<u8>>("value")?),
    })
}

pub(super) fn get(connection: &Connection, key: &InstanceKey) -> rusqlite::Result<Option<StoredValue>> {
    connection
        .prepare_cached("SELECT version, expires_at, value FROM keys WHERE instance = ?1 AND key = ?2")?
        .query_row(params![key.0.as_str(), key.1.as_str()], stored)
        .optional()
}

/// A key without its value: what a writer needs to decide.
pub(super) fn find(
    connection: &Connection,
    key: &InstanceKey,
) -> rusqlite::Result<Option<(Version, Option<SystemTime>)>> {
    connection
        .prepare_cached("SELECT version, expires_at FROM keys WHERE instance = ?1 AND key = ?2")?
        .query_row(params![key.0.as_str(), key.1.as_str()], |row| {
            Ok((Version(number(row, 0)?), row.get::<_, Option<i64>>(1)?.map(time)))
        })
        .optional()
}

pub(super) fn put(connection: &Connection, key: &InstanceKey, stored: &StoredValue) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO keys (instance, key, version, expires_at, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (instance, key) DO UPDATE SET
                 version = excluded.version, expires_at = excluded.expires_at, value = excluded.value",
        )?
        .execute(params![
            key.0.as_str(),
            key.1.as_str(),
            stored.version.0.cast_signed(),
            stored.expires_at.map(nanoseconds),
            &stored.value[..],
        ])
        .map(drop)
}

pub(super) fn delete(connection: &Connection, key: &InstanceKey) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM keys WHERE instance = ?1 AND key = ?2")?
        .execute(params![key.0.as_str(), key.1.as_str()])
        .map(drop)
}

/// Passes the keys from `from` on (or after it) to `each`, in order, until it returns false.
pub(super) fn scan(
    connection: &Connection,
    instance: &Instance,
    from: &str,
    inclusive: bool,
    mut each: impl FnMut(Key, StoredValue) -> bool,
) -> rusqlite::Result<()> {
    let select = if inclusive {
        "SELECT key, version, expires_at, value FROM keys WHERE instance = ?1 AND key >= ?2 ORDER BY key"
    } else {
        "SELECT key, version, expires_at, value FROM keys WHERE instance = ?1 AND key > ?2 ORDER BY key"
    };
    let mut statement = connection.prepare_cached(select)?;
    let mut rows = statement.query(params![instance.as_str(), from])?;
    while let Some(row) = rows.next()? {
        let key = Key::new(row.get::<_, String>("key")?).expect("only valid keys are written");
        if !each(key, stored(row)?) {
            break;
        }
    }
    Ok(())
}

/// Expired keys, at most `keys_max`.
pub(super) fn expired(
    connection: &Connection,
    now: SystemTime,
    keys_max: usize,
) -> rusqlite::Result<Vec<InstanceKey>> {
    connection
        .prepare_cached("SELECT instance, key FROM keys WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2")?
        .query_map(params![nanoseconds(now), i64::try_from(keys_max).unwrap_or(i64::MAX)], |row| {
            let (instance, key) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            let instance = Instance::new(&instance).expect("only valid instances are written");
            Ok((instance, Key::new(key).expect("only valid keys are written")))
        })?
        .collect()
}

/// Whether any key or lease can expire.
pub(super) fn has_expiring(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM keys WHERE expires_at IS NOT NULL) OR EXISTS (SELECT 1 FROM leases)",
        )?
        .query_row([], |row| row.get(0))
}

pub(super) fn lease(connection: &Connection, lease: &(Instance, Name)) -> rusqlite::Result<Option<LeaseRow>> {
    connection
        .prepare_cached("SELECT owner, fence, expires_at FROM leases WHERE instance = ?1 AND name = ?2")?
        .query_row(params![lease.0.as_str(), lease.1.as_str()], |row| {
            Ok(LeaseRow { owner: row.get(0)?, fence: number(row, 1)?, expires_at: time(row.get(2)?) })
        })
        .optional()
}

pub(super) fn put_lease(
    connection: &Connection,
    lease: &(Instance, Name),
    row: &LeaseRow,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO leases (instance, name, owner, fence, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (instance, name) DO UPDATE SET
                 owner = excluded.owner, fence = excluded.fence, expires_at = excluded.expires_at",
        )?
        .execute(params![
            lease.0.as_str(),
            lease.1.as_str(),
            row.owner,
            row.fence.cast_signed(),
            nanoseconds(row.expires_at)
        ])
        .map(drop)
}

pub(super) fn delete_lease(connection: &Connection, lease: &(Instance, Name)) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM leases WHERE instance = ?1 AND name = ?2")?
        .execute(params![lease.0.as_str(), lease.1.as_str()])
        .map(drop)
}

/// Removes expired leases, at most `leases_max`. Fences come from a counter and do not decrease by that.
pub(super) fn delete_expired_leases(
    connection: &Connection,
    now: SystemTime,
    leases_max: usize,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM leases WHERE (instance, name) IN
                 (SELECT instance, name FROM leases WHERE expires_at <= ?1 LIMIT ?2)",
        )?
        .execute(params![nanoseconds(now), i64::try_from(leases_max).unwrap_or(i64::MAX)])
}
