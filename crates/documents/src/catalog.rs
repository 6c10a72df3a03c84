//! [`Catalog`]: the account's databases and containers in memory, found by name or by resource id.
//!
//! The writer replaces it after each change of a database or container; requests use it without SQLite.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

use crate::partition_key::{PartitionKeyDefinition, parse_path};
use crate::resource_id::{ContainerNumber, DatabaseNumber, container_rid, database_rid};

/// A database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) number: DatabaseNumber,
    pub(crate) id: String,
    /// Seconds since the Unix epoch of the last change.
    pub(crate) ts: i64,
    /// The offer's `content`, if the database has throughput.
    pub(crate) offer: Option<Value>,
}

/// A container, as of its last committed change.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) number: ContainerNumber,
    pub(crate) database: DatabaseNumber,
    pub(crate) database_id: String,
    pub(crate) id: String,
    /// Counts the changes of the definition.
    pub(crate) version: u32,
    pub(crate) ts: i64,
    /// The definition with defaults, without system properties.
    pub(crate) definition: Map<String, Value>,
    /// The offer's `content`, if the container has throughput.
    pub(crate) offer: Option<Value>,
    pub(crate) partition_key: PartitionKeyDefinition,
    /// `defaultTtl`: `None` is off, -1 is on without a default, otherwise seconds.
    pub(crate) default_ttl: Option<i64>,
    /// Each unique key's paths.
    pub(crate) unique_keys: Vec<Vec<Vec<String>>>,
}

impl Container {
    pub(crate) fn rid(&self) -> String {
        container_rid(self.database, self.number)
    }

    /// `dbs/<database>/colls/<container>`, by names.
    pub(crate) fn path(&self) -> String {
        format!("dbs/{}/colls/{}", self.database_id, self.id)
    }

    /// The `_self` of the container.
    pub(crate) fn self_link(&self) -> String {
        format!("dbs/{}/colls/{}/", database_rid(self.database), self.rid())
    }
}

/// Parses the default TTL of a container's definition.
pub(crate) fn default_ttl(definition: &Map<String, Value>) -> Result<Option<i64>, &'static str> {
    match definition.get("defaultTtl") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(ttl) if ttl == -1 || (1..=i64::from(i32::MAX)).contains(&ttl) => Ok(Some(ttl)),
            _ => Err("defaultTtl must be -1 or a whole number of seconds from 1 to 2147483647"),
        },
    }
}

/// Parses the unique keys of a container's definition.
pub(crate) fn unique_keys(definition: &Map<String, Value>) -> Result<Vec<Vec<Vec<String>>>, &'static str> {
    const WRONG: &str = "uniqueKeyPolicy.uniqueKeys must be an array of at most 10 objects {\"paths\":[…]} of 1 to 16 paths such as /a/b";
    let keys = definition.get("uniqueKeyPolicy").and_then(|policy| policy.get("uniqueKeys"));
    let Some(keys) = keys.filter(|keys| !keys.is_null()) else { return Ok(Vec::new()) };
    let keys = keys.as_array().filter(|keys| keys.len() <= 10).ok_or(WRONG)?;
    let paths = |key: &Value| -> Option<Vec<Vec<String>>> {
        let paths = key.get("paths")?.as_array().filter(|paths| (1..=16).contains(&paths.len()))?;
        paths.iter().map(|path| parse_path(path.as_str()?)).collect()
    };
    keys.iter().map(|key| paths(key).ok_or(WRONG)).collect()
}

/// One committed state of the account.
#[derive(Debug, Default)]
pub(crate) struct CatalogSnapshot {
    databases: BTreeMap<String, Arc<Database>>,
    containers: BTreeMap<(DatabaseNumber, String), Arc<Container>>,
}

impl CatalogSnapshot {
    pub(crate) fn new(databases: Vec<Database>, containers: Vec<Container>) -> Self {
        Self {
            databases: databases.into_iter().map(|it| (it.id.clone(), Arc::new(it))).collect(),
            containers: containers
                .into_iter()
                .map(|it| ((it.database, it.id.clone()), Arc::new(it)))
                .collect(),
        }
    }

    /// A database by its name or resource id.
    pub(crate) fn database(&self, name: &str) -> Option<&Arc<Database>> {
        let by_rid = || self.databases.values().find(|database| database_rid(database.number) == name);
        self.databases.get(name).or_else(by_rid)
    }

    /// A container of a database by its name or resource id.
    pub(crate) fn container(&self, database: DatabaseNumber, name: &str) -> Option<&Arc<Container>> {
        let by_name = self.containers.get(&(database, name.to_owned()));
        by_name.or_else(|| self.containers_of(database).find(|container| container.rid() == name))
    }

    pub(crate) fn by_number(&self, number: ContainerNumber) -> Option<&Arc<Container>> {
        self.containers.values().find(|container| container.number == number)
    }

    pub(crate) fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.databases.values()
    }

    pub(crate) fn containers(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.containers.values()
    }

    pub(crate) fn containers_of(&self, database: DatabaseNumber) -> impl Iterator<Item = &Arc<Container>> {
        let from = (database, String::new());
        let until = (DatabaseNumber(database.0 + 1), String::new());
        self.containers.range(from..until).map(|(_, container)| container)
    }
}

/// The newest [`CatalogSnapshot`], shared between the writer and the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog(Arc<RwLock<Arc<CatalogSnapshot>>>);

impl Catalog {
    pub(crate) fn now(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, snapshot: CatalogSnapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
