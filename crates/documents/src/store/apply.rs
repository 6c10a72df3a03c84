//! Executes changes inside the writer's transaction: databases and containers here, items in `apply_items.rs`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::apply_items;
use super::write_time::WriteTime;
use super::{ChangeRejection, ChangeResult, StoreChange};
use crate::Error;
use crate::catalog::{CatalogSnapshot, Container, Database, default_ttl, unique_keys};
use crate::error::RequestFailure;
use crate::error_table;
use crate::partition_key::PartitionKeyDefinition;
use crate::resource_id::{ContainerNumber, DatabaseNumber};

/// Creates tables that were added later. Older versions ignore them, so they need no new format.
pub(super) fn complete_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS database_offers (
            database INTEGER PRIMARY KEY REFERENCES databases (number),
            offer TEXT NOT NULL
        ) STRICT;",
    )
}

/// Executes one change; also returns the container that it changed and the container's new LSN.
pub(super) fn apply(
    connection: &Connection,
    catalog: &CatalogSnapshot,
    account: &str,
    change: StoreChange,
    now: WriteTime,
) -> Result<(ChangeResult, Option<(String, u64)>), ChangeRejection> {
    let definition = |()| (ChangeResult::Definition, None);
    match change {
        StoreChange::CreateDatabase { id, offer } => {
            Ok(create_database(connection, account, &id, offer.as_ref(), now).map(definition)?)
        }
        StoreChange::ReplaceDatabaseOffer { database, offer } => {
            let sql = "UPDATE database_offers SET offer = ?2 WHERE database = ?1";
            let changed = connection.execute(sql, params![database.0, offer.to_string()])?;
            Ok(exists(changed, "The database of the offer").map(definition)?)
        }
        StoreChange::DeleteDatabase { database } => {
            for container in catalog.containers_of(database) {
                delete_container(connection, container.number)?;
            }
            connection.execute("DELETE FROM database_offers WHERE database = ?1", [database.0])?;
            let deleted = connection.execute("DELETE FROM databases WHERE number = ?1", [database.0])?;
            Ok(exists(deleted, "The database").map(definition)?)
        }
        StoreChange::CreateContainer { database, id, definition: body, offer } => {
            Ok(create_container(connection, database, &id, &body, offer.as_ref(), now).map(definition)?)
        }
        StoreChange::ReplaceContainer { container, definition: body, if_match } => {
            let container = catalog.by_number(container).ok_or_else(container_gone)?;
            Ok(replace_container(connection, container, &body, if_match, now).map(definition)?)
        }
        StoreChange::ReplaceOffer { container, offer } => {
            let sql = "UPDATE containers SET offer = ?2 WHERE number = ?1";
            let changed = connection.execute(sql, params![container.0, offer.to_string()])?;
            Ok(exists(changed, "The container of the offer").map(definition)?)
        }
        StoreChange::DeleteContainer { container } => {
            Ok(delete_container(connection, container).map(definition)?)
        }
        StoreChange::Items { container, operations } => {
            let container = catalog.by_number(container).ok_or_else(container_gone)?;
            let changed = apply_items::apply(connection, container, operations, now)?;
            let hint = if let ChangeResult::Items { lsn, .. } = &changed {
                Some((container.path(), *lsn))
            } else {
                None
            };
            Ok((changed, hint))
        }
        StoreChange::DeletePartition { container, key } => {
            let sql = "DELETE FROM items WHERE container = ?1 AND key = ?2";
            connection.prepare_cached(sql)?.execute(params![container.0, key])?;
            Ok((ChangeResult::Definition, None))
        }
    }
}

/// All databases and containers of the account.
pub(super) fn load_catalog(connection: &Connection, account: &str) -> Result<CatalogSnapshot, Error> {
    let damaged = |error: rusqlite::Error| Error::Damaged(error.to_string());
    let databases = {
        let sql = "SELECT d.number, d.id, d.ts, o.offer FROM databases d
            LEFT JOIN database_offers o ON o.database = d.number WHERE d.account = ?1";
        let mut statement = connection.prepare_cached(sql).map_err(damaged)?;
        let rows = statement.query_map([account], |row| {
            let offer: Option<String> = row.get(3)?;
            let number = DatabaseNumber(row.get(0)?);
            Ok((Database { number, id: row.get(1)?, ts: row.get(2)?, offer: None }, offer))
        });
        let found = rows.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(damaged)?;
        found.into_iter().map(with_offer).collect::<Result<Vec<_>, _>>()?
    };
    let sql = "SELECT c.number, c.database, d.id, c.id, c.version, c.ts, c.definition, c.offer
        FROM containers c JOIN databases d ON d.number = c.database WHERE d.account = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(damaged)?;
    let mut rows = statement.query([account]).map_err(damaged)?;
    let mut containers = Vec::new();
    while let Some(row) = rows.next().map_err(damaged)? {
        containers.push(container_of(row)?);
    }
    Ok(CatalogSnapshot::new(databases, containers))
}

/// Removes at most `items_max` items that expired at or before `ts`.
pub(super) fn sweep(connection: &Connection, ts: i64, items_max: usize) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM items WHERE rowid IN
        (SELECT rowid FROM items WHERE expires_at IS NOT NULL AND expires_at <= ?1 LIMIT ?2)";
    connection.prepare_cached(sql)?.execute(params![ts, i64::try_from(items_max).unwrap_or(i64::MAX)])
}

fn with_offer((database, offer): (Database, Option<String>)) -> Result<Database, Error> {
    let offer = offer.map(|text| serde_json::from_str(&text)).transpose();
    let offer = offer.map_err(|error| Error::Damaged(format!("the offer of a database: {error}")))?;
    Ok(Database { offer, ..database })
}

fn container_of(row: &Row<'_>) -> Result<Container, Error> {
    let damaged = |error: &dyn std::fmt::Display| Error::Damaged(format!("a container's row: {error}"));
    let get = |index: usize| row.get::<_, String>(index).map_err(|error| damaged(&error));
    let number = |index: usize| row.get::<_, i64>(index).map_err(|error| damaged(&error));
    let small = |index: usize| u32::try_from(number(index)?).map_err(|error| damaged(&error));
    let definition: Map<String, Value> = serde_json::from_str(&get(6)?).map_err(|error| damaged(&error))?;
    let offer: Option<String> = row.get(7).map_err(|error| damaged(&error))?;
    let partition_key = PartitionKeyDefinition::from_json(definition.get("partitionKey"));
    Ok(Container {
        number: ContainerNumber(small(0)?),
        database: DatabaseNumber(small(1)?),
        database_id: get(2)?,
        id: get(3)?,
        version: small(4)?,
        ts: number(5)?,
        offer: offer.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| damaged(&error))?,
        partition_key: partition_key.map_err(|error| damaged(&error))?,
        default_ttl: default_ttl(&definition).map_err(|error| damaged(&error))?,
        unique_keys: unique_keys(&definition).map_err(|error| damaged(&error))?,
        definition,
    })
}

fn create_database(
    connection: &Connection,
    account: &str,
    id: &str,
    offer: Option<&Value>,
    now: WriteTime,
) -> Result<(), RequestFailure> {
    let sql = "INSERT INTO databases (account, id, ts) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let made = connection.execute(sql, params![account, id, now.ts])?;
    unless_taken(made, &format!("A database with id {id:?} exists already."))?;
    if let Some(offer) = offer {
        let sql = "INSERT INTO database_offers (database, offer) VALUES (?1, ?2)";
        connection.execute(sql, params![connection.last_insert_rowid(), offer.to_string()])?;
    }
    Ok(())
}

fn create_container(
    connection: &Connection,
    database: DatabaseNumber,
    id: &str,
    definition: &Map<String, Value>,
    offer: Option<&Value>,
    now: WriteTime,
) -> Result<(), RequestFailure> {
    let found = "SELECT 1 FROM databases WHERE number = ?1";
    if connection.query_row(found, [database.0], |_| Ok(())).optional()?.is_none() {
        return Err(RequestFailure::owner_missing("The database"));
    }
    let sql = "INSERT INTO containers (database, id, version, ts, definition, offer)
        VALUES (?1, ?2, 1, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let definition = serde_json::to_string(definition).expect("JSON values print as JSON");
    let offer = offer.map(Value::to_string);
    let made = connection.execute(sql, params![database.0, id, now.ts, definition, offer])?;
    unless_taken(made, &format!("A container with id {id:?} exists already in this database."))
}

fn replace_container(
    connection: &Connection,
    container: &Container,
    definition: &Map<String, Value>,
    if_match: Option<u32>,
    now: WriteTime,
) -> Result<(), RequestFailure> {
    if if_match.is_some_and(|version| version != container.version) {
        let message = "The container was changed since it was read: its etag is not the one in If-Match.";
        return Err(RequestFailure::new(&error_table::PRECONDITION_FAILED, message));
    }
    let sql = "UPDATE containers SET version = version + 1, ts = ?2, definition = ?3 WHERE number = ?1";
    let text = serde_json::to_string(definition).expect("JSON values print as JSON");
    let changed = connection.execute(sql, params![container.number.0, now.ts, text])?;
    exists(changed, "The container")?;
    let ttl = default_ttl(definition).map_err(RequestFailure::bad_request)?;
    if ttl != container.default_ttl {
        // Every item's expiry follows the container's new default.
        let sql = "UPDATE items SET expires_at = CASE
            WHEN ?2 IS NULL OR ttl = -1 OR (ttl IS NULL AND ?2 = -1) THEN NULL
            ELSE ts + coalesce(ttl, ?2) END WHERE container = ?1";
        connection.execute(sql, params![container.number.0, ttl])?;
    }
    Ok(())
}

fn delete_container(connection: &Connection, container: ContainerNumber) -> Result<(), RequestFailure> {
    connection.execute("DELETE FROM items WHERE container = ?1", [container.0])?;
    exists(connection.execute("DELETE FROM containers WHERE number = ?1", [container.0])?, "The container")
}

fn container_gone() -> RequestFailure {
    RequestFailure::owner_missing("The container")
}

fn exists(rows: usize, what: &str) -> Result<(), RequestFailure> {
    if rows == 0 { Err(RequestFailure::not_found(what)) } else { Ok(()) }
}

fn unless_taken(rows: usize, message: &str) -> Result<(), RequestFailure> {
    if rows == 0 { Err(RequestFailure::new(&error_table::CONFLICT, message)) } else { Ok(()) }
}
