//! Reads of items, for the readers and, inside its transaction, for the writer.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};
use trace::TraceContext;

use super::Item;
use crate::effective_key::effective_key;
use crate::error::RequestFailure;
use crate::partition_key::{PartitionKey, PartitionKeyDefinition};
use crate::resource_id::{ContainerNumber, ItemNumber};

const COLUMNS: &str = "number, lsn, ts, traceparent, accepted_ns, body";

/// The items of a container that a read covers.
#[derive(Clone, Debug)]
pub(crate) enum ItemRange {
    /// All of them.
    Container,
    /// Items with this partition key text.
    Key(String),
    /// Items whose key begins with this text, such as `["a",`.
    KeyPrefix(String),
    /// Items whose effective key is in this range, without its end.
    EffectiveRange(String, String),
}

/// Where an ordered read of items begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ItemsAfter {
    /// After this item, in order of creation.
    Number(u64),
    /// After this LSN, in order of the feed.
    Lsn(u64),
}

impl ItemRange {
    /// Whether the range contains an item with this key text.
    fn admits(&self, key: &str) -> bool {
        match self {
            Self::Container => true,
            Self::Key(wanted) => key == wanted,
            Self::KeyPrefix(prefix) => key.starts_with(prefix),
            // A stored key has the form of the header. Python's end of a prefix is the prefix and `FF`; texts compare.
            Self::EffectiveRange(start, end) => PartitionKey::parse_header(key).is_ok_and(|key| {
                let effective = effective_key(&key);
                effective >= *start && effective < *end
            }),
        }
    }

    /// The range of a partition key header: a complete key, or a prefix of a hierarchical one.
    pub(crate) fn of_key(
        key: PartitionKey,
        definition: &PartitionKeyDefinition,
    ) -> Result<Self, RequestFailure> {
        match key.0.len() {
            0 => Ok(Self::Container),
            levels if levels < definition.paths.len() => Ok(Self::KeyPrefix(key.prefix_text())),
            _ => Ok(Self::Key(key.full(definition)?.to_text())),
        }
    }
}

/// An item by its key and id, whether expired or not, and when it expires.
pub(super) fn any_item(
    connection: &Connection,
    container: ContainerNumber,
    key: &str,
    id: &str,
) -> Result<Option<(Item, Option<i64>)>, RequestFailure> {
    let sql =
        format!("SELECT {COLUMNS}, expires_at FROM items WHERE container = ?1 AND key = ?2 AND id = ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_row(params![container.0, key, id], |row| Ok((item_of(row)?, row.get(6)?)));
    Ok(found.optional()?)
}

/// An item, also an expired one, by its key and id; if there is none, by its key and number. Also returns when it expires.
pub(super) fn any_item_at(
    connection: &Connection,
    container: ContainerNumber,
    key: &str,
    id: &str,
    number: Option<ItemNumber>,
) -> Result<Option<(Item, Option<i64>)>, RequestFailure> {
    let by_id = any_item(connection, container, key, id)?;
    let (None, Some(number)) = (&by_id, number) else { return Ok(by_id) };
    let sql =
        format!("SELECT {COLUMNS}, expires_at FROM items WHERE container = ?1 AND number = ?2 AND key = ?3");
    let number = i64::try_from(number.0).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let found =
        statement.query_row(params![container.0, number, key], |row| Ok((item_of(row)?, row.get(6)?)));
    Ok(found.optional()?)
}

/// The same, unless it has expired.
pub(crate) fn item_at(
    connection: &Connection,
    container: ContainerNumber,
    key: &str,
    id: &str,
    number: Option<ItemNumber>,
    now_ts: i64,
) -> Result<Option<Item>, RequestFailure> {
    let found = any_item_at(connection, container, key, id, number)?;
    Ok(found.filter(|(_, expiry)| expiry.is_none_or(|expiry| expiry > now_ts)).map(|(item, _)| item))
}

/// An item by its number, unless it has expired.
pub(crate) fn item_by_number(
    connection: &Connection,
    container: ContainerNumber,
    number: ItemNumber,
    now_ts: i64,
) -> Result<Option<Item>, RequestFailure> {
    let sql = format!(
        "SELECT {COLUMNS} FROM items WHERE container = ?1 AND number = ?2 AND (expires_at IS NULL OR expires_at > ?3)"
    );
    let number = i64::try_from(number.0).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row(params![container.0, number, now_ts], item_of).optional()?)
}

/// A row of a scan.
#[derive(Debug)]
pub(crate) struct ScannedRow<'r> {
    /// Number or LSN, by the order of the scan.
    pub(crate) position: u64,
    /// Size of the item's JSON, in bytes; 0 if the item is not in the range.
    pub(crate) bytes: usize,
    row: Option<&'r Row<'r>>,
}

impl ScannedRow<'_> {
    /// The item, unless it has expired or is outside of the range.
    pub(crate) fn item(&self) -> Result<Option<Item>, RequestFailure> {
        Ok(self.row.map(item_of).transpose()?)
    }

    /// The same, without a copy of the body.
    pub(crate) fn borrowed_item(&self) -> Result<Option<Item<&str>>, RequestFailure> {
        let Some(row) = self.row else { return Ok(None) };
        let body = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?;
        Ok(Some(item_with(row, body)?))
    }
}

/// Passes rows in order to `take` until it returns false or there are no more. Also passes rows outside of the range, so that their
/// cost is counted.
pub(crate) fn each_row(
    connection: &Connection,
    container: ContainerNumber,
    scope: &ItemRange,
    after: ItemsAfter,
    now_ts: i64,
    mut take: impl FnMut(&ScannedRow<'_>) -> Result<bool, RequestFailure>,
) -> Result<(), RequestFailure> {
    let (column, after) = match after {
        ItemsAfter::Number(number) => ("number", number),
        ItemsAfter::Lsn(lsn) => ("lsn", lsn),
    };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {COLUMNS}, {column}, key, expires_at FROM items
         WHERE container = ?1 AND {column} > ?2 ORDER BY {column}, number"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![container.0, after])?;
    while let Some(row) = rows.next()? {
        let position = unsigned(row.get(6)?);
        let expiry: Option<i64> = row.get(8)?;
        let key = row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?;
        let belongs = expiry.is_none_or(|expiry| expiry > now_ts) && scope.admits(key);
        let bytes = if belongs { row.get_ref(5)?.as_bytes().map_or(0, <[u8]>::len) } else { 0 };
        if !take(&ScannedRow { position, bytes, row: belongs.then_some(row) })? {
            break;
        }
    }
    Ok(())
}

/// The newest LSN of a container.
pub(crate) fn newest_lsn(connection: &Connection, container: ContainerNumber) -> Result<u64, RequestFailure> {
    let mut statement = connection.prepare_cached("SELECT lsn FROM containers WHERE number = ?1")?;
    let lsn = statement.query_row([container.0], |row| row.get(0)).optional()?;
    lsn.map(unsigned).ok_or_else(|| RequestFailure::owner_missing("The container"))
}

/// The LSN before the first item written at `ts` or later; the newest LSN if there is none.
pub(crate) fn lsn_before_time(
    connection: &Connection,
    container: ContainerNumber,
    ts: i64,
) -> Result<u64, RequestFailure> {
    let mut statement =
        connection.prepare_cached("SELECT min(lsn) FROM items WHERE container = ?1 AND ts >= ?2")?;
    let first: Option<i64> = statement.query_row(params![container.0, ts], |row| row.get(0))?;
    first.map_or_else(|| newest_lsn(connection, container), |lsn| Ok(unsigned(lsn - 1)))
}

/// How many items a container holds and how many bytes of JSON they are.
pub(crate) fn usage(
    connection: &Connection,
    container: ContainerNumber,
) -> Result<(u64, u64), RequestFailure> {
    let sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM items WHERE container = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([container.0], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))?)
}

/// A stored body as JSON.
pub(crate) fn parse_body(body: &str) -> Result<Map<String, Value>, RequestFailure> {
    serde_json::from_str(body).map_err(|error| {
        tracing::error!(%error, "a stored item is not a JSON object; the database is damaged");
        RequestFailure::damaged()
    })
}

/// LSNs and counts are never negative in the file.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn item_of(row: &Row<'_>) -> rusqlite::Result<Item> {
    item_with(row, row.get(5)?)
}

fn item_with<Body>(row: &Row<'_>, body: Body) -> rusqlite::Result<Item<Body>> {
    let trace: Option<String> = row.get(3)?;
    Ok(Item {
        number: ItemNumber(unsigned(row.get(0)?)),
        lsn: unsigned(row.get(1)?),
        ts: row.get(2)?,
        trace: trace.as_deref().and_then(TraceContext::parse),
        accepted_ns: unsigned(row.get(4)?),
        body,
    })
}
