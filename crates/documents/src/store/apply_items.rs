//! Executes operations on items; the operations of one change share one LSN.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use supervision::is_mutated;

use super::write_time::WriteTime;
use super::{ChangeRejection, ChangeResult, Item, ItemOperation, ItemResult, rows};
use crate::catalog::Container;
use crate::decide::{Effect, Verb, check_ttl, decide, expires_at, item_etag, item_ttl, unique_keys_collide};
use crate::error::RequestFailure;
use crate::error_table;
use crate::resource_id::ItemNumber;

/// The current LSN and item number of a container.
struct FeedPosition {
    lsn: u64,
    last_item: u64,
}

pub(super) fn apply(
    connection: &Connection,
    container: &Container,
    operations: Vec<ItemOperation>,
    now: WriteTime,
) -> Result<ChangeResult, ChangeRejection> {
    let mut position = advance(connection, container)?;
    let before = position.last_item;
    let mut outcomes = Vec::with_capacity(operations.len());
    for (index, operation) in operations.into_iter().enumerate() {
        let outcome = apply_one(connection, container, operation, &mut position, now);
        outcomes.push(outcome.map_err(|failure| ChangeRejection { operation: index, failure })?);
    }
    if position.last_item != before {
        let sql = "UPDATE containers SET last_item = ?2 WHERE number = ?1";
        connection.prepare_cached(sql)?.execute(params![container.number.0, signed(position.last_item)])?;
    }
    Ok(ChangeResult::Items { lsn: position.lsn, outcomes })
}

/// Advances the container to its next LSN.
fn advance(connection: &Connection, container: &Container) -> Result<FeedPosition, RequestFailure> {
    let sql = "UPDATE containers SET lsn = lsn + 1 WHERE number = ?1 RETURNING lsn, last_item";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([container.number.0], |row| {
        Ok(FeedPosition { lsn: rows::unsigned(row.get(0)?), last_item: rows::unsigned(row.get(1)?) })
    });
    found.optional()?.ok_or_else(|| RequestFailure::owner_missing("The container"))
}

fn apply_one(
    connection: &Connection,
    container: &Container,
    operation: ItemOperation,
    position: &mut FeedPosition,
    now: WriteTime,
) -> Result<ItemResult, RequestFailure> {
    let (key, id) = (&operation.key, &operation.id);
    let existing = rows::any_item_at(connection, container.number, key, id, operation.number)?;
    let existing = match existing {
        // Expired but not removed yet: its id is free.
        Some((item, expiry)) if expiry.is_some_and(|expiry| expiry <= now.ts) => {
            delete(connection, container, item.number)?;
            None
        }
        other => other.map(|(item, _)| item),
    };
    let etag = existing.as_ref().map(|item| item_etag(container.number, item.lsn));
    let effect = decide(operation.verb, &operation.conditions, etag.as_deref())?;
    match (effect, existing) {
        (Effect::Insert, _) => {
            position.last_item += 1;
            let number = ItemNumber(position.last_item);
            let item = write(connection, container, operation, None, number, position.lsn, now)?;
            Ok(ItemResult { created: true, item: Some(item) })
        }
        (Effect::Overwrite, Some(existing)) => {
            let number = existing.number;
            let lsn = if is_mutated("change-keeps-its-lsn") { existing.lsn } else { position.lsn };
            let item = write(connection, container, operation, Some(&existing), number, lsn, now)?;
            Ok(ItemResult { created: false, item: Some(item) })
        }
        (Effect::Delete, Some(existing)) => {
            delete(connection, container, existing.number)?;
            Ok(ItemResult { created: false, item: None })
        }
        (Effect::Nothing, existing) => Ok(ItemResult { created: false, item: existing }),
        (Effect::Overwrite | Effect::Delete, None) => unreachable!("decide asks for an item that is there"),
    }
}

/// Stores an item, over the existing one or as a new one.
fn write(
    connection: &Connection,
    container: &Container,
    operation: ItemOperation,
    existing: Option<&Item>,
    number: ItemNumber,
    lsn: u64,
    now: WriteTime,
) -> Result<Item, RequestFailure> {
    let document = new_document(container, &operation, existing, now)?;
    // If the container has no TTL, the item's may be invalid; it is used if the container gets one later.
    let ttl = if container.default_ttl.is_some() {
        item_ttl(&document)?
    } else {
        item_ttl(&document).unwrap_or(None)
    };
    let expiry = expires_at(container.default_ttl, ttl, now.ts);
    let id = document.get("id").and_then(Value::as_str).expect("documents with an id come here").to_owned();
    if existing.is_some() && id != operation.id {
        free_id(connection, container, &operation.key, &id, number, now)?;
    }
    if !container.unique_keys.is_empty() {
        check_unique(connection, container, &operation.key, number, &document, now)?;
    }
    let body = serde_json::to_string(&document).expect("JSON values print as JSON");
    let sql = "INSERT INTO items (container, number, key, id, lsn, ts, ttl, expires_at, traceparent, accepted_ns, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
        ON CONFLICT (container, number) DO UPDATE SET id = ?4, lsn = ?5, ts = ?6, ttl = ?7, expires_at = ?8,
            traceparent = ?9, accepted_ns = ?10, body = ?11";
    connection.prepare_cached(sql)?.execute(params![
        container.number.0,
        signed(number.0),
        operation.key,
        id,
        signed(lsn),
        now.ts,
        ttl,
        expiry,
        operation.trace.to_traceparent(),
        signed(now.ns),
        body,
    ])?;
    Ok(Item { number, lsn, ts: now.ts, body, trace: Some(operation.trace), accepted_ns: now.ns })
}

/// The new content of the item.
fn new_document(
    container: &Container,
    operation: &ItemOperation,
    existing: Option<&Item>,
    now: WriteTime,
) -> Result<Map<String, Value>, RequestFailure> {
    if operation.verb != Verb::Patch {
        return Ok(operation.document.clone().expect("writes other than patch and delete carry a document"));
    }
    let existing = existing.expect("decide lets a patch through only where an item is");
    let document = rows::parse_body(&existing.body)?;
    let patch = operation.patch.as_ref().expect("a patch operation carries its patch");
    if let Some(condition) = &patch.condition {
        let seen = crate::to_protocol::item_value(container, existing, false)?;
        if !condition.holds_for(&seen, now.ts)? {
            let message = "The condition of the patch is false for the current item.";
            return Err(RequestFailure::new(&error_table::PRECONDITION_FAILED, message));
        }
    }
    let (id, ttl) = (document.get("id").cloned().unwrap_or_default(), document.get("ttl").cloned());
    let patched = patch.apply(document)?;
    if patched.get("ttl") != ttl.as_ref() {
        check_ttl(&patched)?;
    }
    let key = container.partition_key.extract(&patched)?;
    let same_id = patched.get("id") == Some(&id);
    if key.to_text() != operation.key || !same_id {
        return Err(RequestFailure::bad_request(
            "A patch must not change the id or the partition key of an item.",
        ));
    }
    Ok(patched)
}

/// Makes sure that an item can get this id: a replace may change the id.
fn free_id(
    connection: &Connection,
    container: &Container,
    key: &str,
    id: &str,
    number: ItemNumber,
    now: WriteTime,
) -> Result<(), RequestFailure> {
    match rows::any_item(connection, container.number, key, id)? {
        Some((other, expiry)) if other.number != number => {
            if expiry.is_some_and(|expiry| expiry <= now.ts) {
                return delete(connection, container, other.number);
            }
            let message =
                "Another item with the new id and this partition key exists already. Choose another id.";
            Err(RequestFailure::new(&error_table::CONFLICT, message))
        }
        _ => Ok(()),
    }
}

/// Searches the partition for another item with the same unique values.
fn check_unique(
    connection: &Connection,
    container: &Container,
    key: &str,
    number: ItemNumber,
    document: &Map<String, Value>,
    now: WriteTime,
) -> Result<(), RequestFailure> {
    let sql = "SELECT body FROM items WHERE container = ?1 AND key = ?2 AND number <> ?3
        AND (expires_at IS NULL OR expires_at > ?4)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params![container.number.0, key, signed(number.0), now.ts])?;
    while let Some(row) = found.next()? {
        let other = rows::parse_body(&row.get::<_, String>(0)?)?;
        if unique_keys_collide(container, document, &other) {
            let message = "Another item of this partition key value has the same values in a unique key of the container.";
            return Err(RequestFailure::new(&error_table::CONFLICT, message));
        }
    }
    Ok(())
}

fn delete(connection: &Connection, container: &Container, number: ItemNumber) -> Result<(), RequestFailure> {
    let sql = "DELETE FROM items WHERE container = ?1 AND number = ?2";
    connection.prepare_cached(sql)?.execute(params![container.number.0, signed(number.0)])?;
    Ok(())
}

/// SQLite's integers are signed; LSNs and nanoseconds stay below 2^63 for the next centuries.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
