//! [`LeaseStore`]: lease documents as they lie in the lease container.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value as Json, json};
use trace::TraceContext;

use crate::client::{Client, ContainerName, KeyRange, Written};
use crate::error::RequestError;
use crate::lease::{Lease, Owner};
use crate::partition_key;

/// How long the document lives that says that somebody initialises, in seconds; its owner may have died.
const LOCK_TTL_SECONDS: u64 = 30;

/// The sources of this process that are alive, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Siblings {
    alive: Arc<Mutex<Alive>>,
}

#[derive(Debug, Default)]
struct Alive {
    numbers: HashSet<u64>,
    next: u64,
}

/// A living source's number; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct SourceNumber {
    siblings: Siblings,
    pub(crate) number: u64,
}

/// What became of a change of a lease.
pub(crate) enum Change {
    Made(Lease),
    /// Somebody was faster; what the document is now, if it still exists.
    Refused(Option<Lease>),
}

/// The leases of one trigger.
#[derive(Debug)]
pub(crate) struct LeaseStore {
    pub(crate) leases: Client,
    pub(crate) lease_container: ContainerName,
    pub(crate) monitored: Client,
    pub(crate) monitored_container: ContainerName,
    /// `{processor name}{host}_{database rid}_{container rid}`: the same for all hosts of a trigger.
    pub(crate) prefix: String,
    pub(crate) owner: Owner,
    pub(crate) siblings: Siblings,
}

impl Siblings {
    pub(crate) fn born(&self) -> SourceNumber {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.next += 1;
        let number = alive.next;
        alive.numbers.insert(number);
        SourceNumber { siblings: self.clone(), number }
    }

    fn lives(&self, number: u64) -> bool {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).numbers.contains(&number)
    }
}

impl Drop for SourceNumber {
    fn drop(&mut self) {
        let mut alive = self.siblings.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.numbers.remove(&self.number);
    }
}

impl LeaseStore {
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether an owner is known to be dead before its lease expires: an earlier process of this host (only one process
    /// may use a host's name at a time), or a source of this process that is gone.
    pub(crate) fn has_gone(&self, owner: &Owner) -> bool {
        owner.instance == self.owner.instance
            && (owner.process != self.owner.process || !self.siblings.lives(owner.number))
    }

    /// Makes the documents that a processor expects, unless they are there.
    ///
    /// Every step may be repeated and may run at two hosts at once: an item that exists is left as it is. So the `.lock`
    /// document, for which other hosts wait, need not be waited for here.
    /// `from_beginning` stands in the leases, so that a crash before the first checkpoint does not change where the feed begins.
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
            self.create(Lease::new_document(&self.prefix, &range, None, from_beginning, now).into()).await?;
        }
        self.create(json!({ "id": info, "partitionKey": info })).await?;
        if let Some(etag) = locked {
            self.leases.delete_item(&self.lease_container, &lock, &key(&lock), &etag).await?;
        }
        Ok(())
    }

    /// All leases of the trigger, whoever holds them.
    pub(crate) async fn list(&self) -> Result<Vec<Lease>, RequestError> {
        let query = json!({
            "query": "SELECT * FROM c WHERE STARTSWITH(c.id, @prefix)",
            "parameters": [{ "name": "@prefix", "value": format!("{}..", self.prefix) }],
        });
        let mut leases = Vec::new();
        let mut continuation: Option<String> = None;
        loop {
            let page =
                self.leases.query(&self.lease_container, None, &query, continuation.as_deref()).await?;
            let documents = page.documents.iter().filter_map(|text| serde_json::from_str(text.get()).ok());
            leases.extend(documents.filter_map(|document: Map<String, Json>| Lease::read(document, None)));
            continuation = page.continuation;
            if continuation.is_none() {
                return Ok(leases);
            }
        }
    }

    /// Writes a lease, if it still is as its etag says.
    pub(crate) async fn replace(&self, lease: Lease) -> Result<Change, RequestError> {
        let id = lease.id();
        let condition = (lease.etag.as_str(), Some(unrecorded()));
        let written = self
            .leases
            .replace_item(&self.lease_container, id, &key(id), lease.document(), condition)
            .await?;
        match written {
            Written::Accepted(etag) => Ok(Change::Made(lease.with_etag(etag))),
            Written::Changed | Written::Taken => Ok(Change::Refused(self.read(id).await?)),
        }
    }

    /// Makes the leases of the partitions that came out of this one, then removes it; whether there are any.
    pub(crate) async fn replace_by_children(&self, parent: &Lease) -> Result<bool, RequestError> {
        let ranges = self.monitored.key_ranges(&self.monitored_container).await?;
        let children: Vec<&KeyRange> =
            ranges.iter().filter(|range| range.parents.iter().any(|id| id == parent.token())).collect();
        if children.is_empty() {
            return Ok(false);
        }
        for range in children {
            let (continuation, start) = (parent.continuation(), parent.begins_at_start());
            let document = Lease::new_document(&self.prefix, range, continuation, start, SystemTime::now());
            self.create(document.into()).await?;
        }
        let id = parent.id();
        self.leases.delete_item(&self.lease_container, id, &key(id), &parent.etag).await?;
        Ok(true)
    }

    async fn read(&self, id: &str) -> Result<Option<Lease>, RequestError> {
        let Some(answer) = self.leases.read_item(&self.lease_container, id, &key(id)).await? else {
            return Ok(None);
        };
        Ok(Lease::read(answer.object()?, answer.etag()))
    }

    /// Makes a document unless it exists; its etag if it was made.
    async fn create(&self, document: Json) -> Result<Option<String>, RequestError> {
        let Json::Object(document) = document else { unreachable!("lease documents are objects") };
        let id = document.get("id").and_then(Json::as_str).unwrap_or_default();
        let created =
            self.leases.create_item(&self.lease_container, &key(id), &document, Some(unrecorded())).await?;
        match created {
            Written::Accepted(etag) => Ok(Some(etag)),
            Written::Taken | Written::Changed => Ok(None),
        }
    }
}

/// Lease containers are partitioned by `/id` or by `/partitionKey`, which both hold the id.
fn key(id: &str) -> String {
    partition_key::header_for(Some(id))
}

/// Book-keeping is not worth a trace of its own.
fn unrecorded() -> TraceContext {
    TraceContext { sampled: false, ..TraceContext::root() }
}
