//! [`StoreChange`]: what the writer can do, and its result.

use serde_json::{Map, Value};
use trace::TraceContext;

use super::item::Item;
use crate::decide::{Conditions, Verb};
use crate::error::RequestFailure;
use crate::patch::Patch;
use crate::resource_id::{ContainerNumber, DatabaseNumber, ItemNumber};

/// A change to the store.
#[derive(Clone, Debug)]
pub(crate) enum StoreChange {
    CreateDatabase {
        id: String,
        offer: Option<Value>,
    },
    ReplaceDatabaseOffer {
        database: DatabaseNumber,
        offer: Value,
    },
    DeleteDatabase {
        database: DatabaseNumber,
    },
    CreateContainer {
        database: DatabaseNumber,
        id: String,
        definition: Map<String, Value>,
        offer: Option<Value>,
    },
    ReplaceContainer {
        container: ContainerNumber,
        definition: Map<String, Value>,
        if_match: Option<u32>,
    },
    ReplaceOffer {
        container: ContainerNumber,
        offer: Value,
    },
    DeleteContainer {
        container: ContainerNumber,
    },
    Items {
        container: ContainerNumber,
        operations: Vec<ItemOperation>,
    },
    DeletePartition {
        container: ContainerNumber,
        key: String,
    },
}

/// One operation on an item.
#[derive(Clone, Debug)]
pub(crate) struct ItemOperation {
    pub(crate) verb: Verb,
    /// The partition key's text.
    pub(crate) key: String,
    /// The id of the item; for create and upsert, of the new document.
    pub(crate) id: String,
    /// The item's number if `id` is a resource id of this container: used if no item has that id.
    pub(crate) number: Option<ItemNumber>,
    pub(crate) conditions: Conditions,
    /// The new item, without system properties: for create, upsert and replace.
    pub(crate) document: Option<Map<String, Value>>,
    /// For patch.
    pub(crate) patch: Option<Patch>,
    /// The span of the write.
    pub(crate) trace: TraceContext,
}

/// The result of a [`StoreChange`].
#[derive(Debug)]
pub(crate) enum ChangeResult {
    /// A database or container was created, replaced or deleted; the catalog contains the change.
    Definition,
    /// One result for each operation.
    Items { lsn: u64, outcomes: Vec<ItemResult> },
}

/// The result of an [`ItemOperation`].
#[derive(Debug)]
pub(crate) struct ItemResult {
    pub(crate) created: bool,
    /// The current item; `None` if it was deleted.
    pub(crate) item: Option<Item>,
}

/// Why a change was rejected, and which of its operations failed.
#[derive(Debug)]
pub(crate) struct ChangeRejection {
    pub(crate) operation: usize,
    pub(crate) failure: RequestFailure,
}

impl<T: Into<RequestFailure>> From<T> for ChangeRejection {
    fn from(failure: T) -> Self {
        Self { operation: 0, failure: failure.into() }
    }
}
