//! [`LeaseStore`]: the lease documents of a trigger in the lease container.

use std::time::SystemTime;

use serde_json::{Map, Value as Json, json};
use trace::TraceContext;

use crate::client::{AccountClient, ContainerName, ItemWrite, PartitionKeyRange};
use crate::error::RequestError;
use crate::lease::{LeaseDocument, LeaseOwner};
use crate::live_sources::LiveSources;
use crate::partition_key;

/// The TTL of the `.lock` document, in seconds: its owner may die before it deletes the document.
const LOCK_TTL_SECONDS: u64 = 30;

/// The outcome of a conditional write of a lease.
pub(crate) enum LeaseWrite {
    /// It was written.
    Written(LeaseDocument),
    /// Another host changed the document; its current content, if it still exists.
    Conflict(Option<LeaseDocument>),
}

/// The leases of one trigger.
#[derive(Debug)]
pub(crate) struct LeaseStore {
    pub(crate) leases: AccountClient,
    pub(crate) lease_container: ContainerName,
    pub(crate) monitored: AccountClient,
    pub(crate) monitored_container: ContainerName,
    /// `{processor name}{host}_{database rid}_{container rid}`: the same for all hosts of a trigger.
    pub(crate) prefix: String,
    pub(crate) owner: LeaseOwner,
    pub(crate) live_sources: LiveSources,
}

impl LeaseStore {
    pub(crate) fn owner(&self) -> &LeaseOwner {
        &self.owner
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether an owner is known to be gone before its lease expires: an earlier process of this host (only one process at a
    /// time may use a host's name), or a source of this process that was closed.
    pub(crate) fn is_gone(&self, owner: &LeaseOwner) -> bool {
        owner.instance == self.owner.instance
            && (owner.process != self.owner.process || !self.live_sources.is_live(owner.number))
    }

    /// Creates the documents that a change feed processor expects, unless they exist.
    ///
    /// Every step may be repeated, and may run on two hosts at once: an existing item stays as it is. Therefore this host does
    /// not wait for the `.lock` document, for which other hosts wait. `from_beginning` is stored in the leases, so that a
    /// crash before the first checkpoint does not change where the feed begins.
    pub(crate) async fn initialise(&self, from_beginning: bool) -> Result<(), RequestError> {
        let info = format!("{}.info", self.prefix);
        let initialised = self.leases.read_item(&self.lease_container, &info, &key(&info)).await?.is_some();
        if initialised && !self.list().await?.is_empty() {
            return Ok(());
        }
        let lock = format!("{}.lock", self.prefix);
        let locked =
            self.create(json!({ "id": lock, "partitionKey": lock, "ttl": LOCK_TTL_SECONDS })).await?;
        let now = SystemTime::now();
        for range in self.monitored.key_ranges(&self.monitored_container).await? {
            self.create(LeaseDocument::new_document(&self.prefix, &range, None, from_beginning, now).into())
                .await?;
        }
        self.create(json!({ "id": info, "partitionKey": info })).await?;
        if let Some(etag) = locked {
            self.leases.delete_item(&self.lease_container, &lock, &key(&lock), &etag).await?;
        }
        Ok(())
    }

    /// All leases of the trigger, of every owner.
    pub(crate) async fn list(&self) -> Result<Vec<LeaseDocument>, RequestError> {
        let query = json!({
            "query": "SELECT * FROM c WHERE STARTSWITH(c.id, @prefix)",
            "parameters": [{ "name": "@prefix", "value": format!("{}..", self.prefix) }],
        });
        let mut leases = Vec::new();
        let mut continuation: Option<String> = None;
        loop {
            let page =
                self.leases.query(&self.lease_container, None, &query, continuation.as_deref()).await?;
            let documents = page.page.documents.iter().filter_map(|text| serde_json::from_str(text).ok());
            leases.extend(
                documents.filter_map(|document: Map<String, Json>| LeaseDocument::read(document, None)),
            );
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(leases);
            }
        }
    }

    /// Writes a lease if its etag still matches.
    pub(crate) async fn replace(&self, lease: LeaseDocument) -> Result<LeaseWrite, RequestError> {
        let id = lease.id();
        let condition = (lease.etag.as_str(), Some(unsampled()));
        let written = self
            .leases
            .replace_item(&self.lease_container, id, &key(id), lease.document(), condition)
            .await?;
        match written {
            ItemWrite::Accepted(etag) => Ok(LeaseWrite::Written(lease.with_etag(etag))),
            ItemWrite::PreconditionFailed | ItemWrite::AlreadyExists => {
                Ok(LeaseWrite::Conflict(self.read(id).await?))
            }
        }
    }

    /// Creates the leases of the partitions into which this one was split, then deletes it; `false` if it was not split.
    pub(crate) async fn replace_by_children(&self, parent: &LeaseDocument) -> Result<bool, RequestError> {
        let ranges = self.monitored.key_ranges(&self.monitored_container).await?;
        let children: Vec<&PartitionKeyRange> =
            ranges.iter().filter(|range| range.parents.iter().any(|id| id == parent.token())).collect();
        if children.is_empty() {
            return Ok(false);
        }
        for range in children {
            let (continuation, start) = (parent.continuation(), parent.begins_at_start());
            let document =
                LeaseDocument::new_document(&self.prefix, range, continuation, start, SystemTime::now());
            self.create(document.into()).await?;
        }
        let id = parent.id();
        self.leases.delete_item(&self.lease_container, id, &key(id), &parent.etag).await?;
        Ok(true)
    }

    async fn read(&self, id: &str) -> Result<Option<LeaseDocument>, RequestError> {
        let Some(response) = self.leases.read_item(&self.lease_container, id, &key(id)).await? else {
            return Ok(None);
        };
        Ok(LeaseDocument::read(response.object()?, response.etag()))
    }

    /// Creates a document unless it exists; the etag of the new document.
    async fn create(&self, document: Json) -> Result<Option<String>, RequestError> {
        let Json::Object(document) = document else { unreachable!("lease documents are objects") };
        let id = document.get("id").and_then(Json::as_str).unwrap_or_default();
        let created =
            self.leases.create_item(&self.lease_container, &key(id), &document, Some(unsampled())).await?;
        match created {
            ItemWrite::Accepted(etag) => Ok(Some(etag)),
            ItemWrite::AlreadyExists | ItemWrite::PreconditionFailed => Ok(None),
        }
    }
}

/// Lease containers are partitioned by `/id` or by `/partitionKey`; both properties contain the id.
fn key(id: &str) -> String {
    partition_key::header_for(Some(id))
}

/// Writes of leases are not traced.
fn unsampled() -> TraceContext {
    TraceContext { sampled: false, ..TraceContext::root() }
}
