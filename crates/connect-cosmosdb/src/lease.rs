//! Lease documents: the owner and the position of each part of a container's feed.
//!
//! The documents are those of the change feed processor of the .NET SDK, so that its hosts and ours can share a lease
//! container.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};

use crate::client::PartitionKeyRange;

/// Our property in `properties` that says where the feed begins; [`BEGINNING`] is its only value.
const START: &str = "chappe.start";
const BEGINNING: &str = "beginning";

/// The name under which a source owns leases: `instance.process.number`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseOwner {
    /// The host; the same after a restart.
    pub(crate) instance: String,
    /// The process; differs after a restart.
    pub(crate) process: String,
    /// The source within the process.
    pub(crate) number: u64,
}

/// A lease document as it was last read or written.
#[derive(Clone, Debug)]
pub(crate) struct LeaseDocument {
    document: Map<String, Json>,
    pub(crate) etag: String,
}

/// A range of effective partition keys (hashes) that a lease covers: `min` inclusive, `max` exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EpkRange {
    pub(crate) min: String,
    pub(crate) max: String,
}

impl LeaseOwner {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '.');
        let number = parts.next()?.parse().ok()?;
        let process = parts.next()?.to_owned();
        Some(Self { instance: parts.next()?.to_owned(), process, number })
    }
}

impl fmt::Display for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.instance, self.process, self.number)
    }
}

impl LeaseDocument {
    /// Reads a document of the lease container; `None` if it is not a lease.
    pub(crate) fn read(document: Map<String, Json>, etag: Option<String>) -> Option<Self> {
        let own_etag = document.get("_etag").and_then(Json::as_str).map(str::to_owned);
        let lease = Self { etag: etag.or(own_etag)?, document };
        lease.text("LeaseToken").or_else(|| lease.text("PartitionId"))?;
        lease.text("id")?;
        Some(lease)
    }

    /// The document of a lease without an owner. `from_beginning`: without a continuation, the feed is read from its beginning,
    /// even if the trigger starts from now.
    pub(crate) fn new_document(
        prefix: &str,
        range: &PartitionKeyRange,
        continuation: Option<&str>,
        from_beginning: bool,
        now: SystemTime,
    ) -> Map<String, Json> {
        let id = format!("{prefix}..{}", range.id);
        let bounds = json!({
            "min": range.min, "max": range.max, "isMinInclusive": true, "isMaxInclusive": false,
        });
        // Hosts of the .NET SDK preserve the properties of a lease.
        let properties = if from_beginning { json!({ START: BEGINNING }) } else { json!({}) };
        let document = json!({
            "id": id,
            // For lease containers that are partitioned by /partitionKey.
            "partitionKey": id,
            "version": 0,
            "LeaseToken": range.id,
            "FeedRange": { "Range": bounds },
            "Owner": null,
            "ContinuationToken": continuation,
            "properties": properties,
            "timestamp": timestamp(now),
            "Mode": "Incremental Feed",
        });
        let Json::Object(document) = document else { unreachable!("the literal above is an object") };
        document
    }

    pub(crate) fn id(&self) -> &str {
        self.text("id").expect("a lease has an id: read() checked it")
    }

    /// The physical partition or range that the lease covers. Documents of older hosts name it `PartitionId`.
    pub(crate) fn token(&self) -> &str {
        self.text("LeaseToken").or_else(|| self.text("PartitionId")).expect("read() checked it")
    }

    pub(crate) fn owner(&self) -> Option<&str> {
        self.text("Owner").filter(|owner| !owner.is_empty())
    }

    pub(crate) fn continuation(&self) -> Option<&str> {
        self.text("ContinuationToken").filter(|token| !token.is_empty())
    }

    /// Whether the feed is read from its beginning if there is no continuation.
    pub(crate) fn begins_at_start(&self) -> bool {
        let start = self.document.get("properties").and_then(|properties| properties.get(START));
        start.and_then(Json::as_str) == Some(BEGINNING)
    }

    /// The range of effective partition keys, if the lease covers a part of a partition (`version` 1).
    pub(crate) fn epk_range(&self) -> Option<EpkRange> {
        if self.document.get("version").and_then(Json::as_i64) != Some(1) {
            return None;
        }
        let range = self.document.get("FeedRange")?.get("Range")?;
        let mark = |name: &str| range.get(name).and_then(Json::as_str).map(str::to_owned);
        Some(EpkRange { min: mark("min")?, max: mark("max")? })
    }

    /// Whether its owner has not renewed it for `expiry`.
    pub(crate) fn expired(&self, now: SystemTime, expiry: Duration) -> bool {
        self.renewed_at().is_none_or(|at| at + expiry < now)
    }

    /// The lease with this owner (`None`: released), renewed at `now`.
    #[must_use]
    pub(crate) fn held_by(&self, owner: Option<&LeaseOwner>, now: SystemTime) -> Self {
        let mut lease = self.clone();
        lease.set("Owner", owner.map_or(Json::Null, |owner| owner.to_string().into()));
        lease.set("timestamp", timestamp(now).into());
        lease
    }

    #[must_use]
    pub(crate) fn advanced_to(&self, continuation: &str, now: SystemTime) -> Self {
        let mut lease = self.clone();
        lease.set("ContinuationToken", continuation.into());
        lease.set("timestamp", timestamp(now).into());
        lease
    }

    /// The lease after it was written.
    #[must_use]
    pub(crate) fn with_etag(self, etag: String) -> Self {
        Self { etag, ..self }
    }

    pub(crate) fn document(&self) -> &Map<String, Json> {
        &self.document
    }

    fn renewed_at(&self) -> Option<SystemTime> {
        let stamped = self.text("timestamp").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let written = self.document.get("_ts").and_then(Json::as_i64);
        let written = || written.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        stamped.or_else(written).map(SystemTime::from)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Json::as_str)
    }

    fn set(&mut self, key: &str, value: Json) {
        self.document.insert(key.to_owned(), value);
    }
}

fn timestamp(now: SystemTime) -> String {
    jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_with_dots_in_its_instance_is_parsed_back() {
        let owner = LeaseOwner { instance: "host.local".to_owned(), process: "p1".to_owned(), number: 7 };
        assert_eq!(LeaseOwner::parse(&owner.to_string()), Some(owner));
        assert_eq!(LeaseOwner::parse("d3b07384-d9a0-4c9b-8f5e-000000000000"), None);
    }

    #[test]
    fn a_lease_of_the_dotnet_sdk_is_read() {
        let document = json!({
            "id": "localhost_AQ==_AQI=..AA-BB", "version": 1, "LeaseToken": "AA-BB", "_etag": "\"1\"",
            "FeedRange": {"Range": {"min": "AA", "max": "BB"}}, "Owner": "other",
            "ContinuationToken": "\"18\"", "timestamp": "2026-11-20T21:36:21.1234567Z",
        });
        let lease = LeaseDocument::read(document.as_object().unwrap().clone(), None).unwrap();
        assert_eq!(
            (lease.token(), lease.owner(), lease.continuation()),
            ("AA-BB", Some("other"), Some("\"18\""))
        );
        assert_eq!(lease.epk_range(), Some(EpkRange { min: "AA".to_owned(), max: "BB".to_owned() }));
        let at: jiff::Timestamp = "2026-11-20T21:37:00Z".parse().unwrap();
        assert!(!lease.expired(at.into(), Duration::from_secs(60)));
        assert!(lease.expired(at.into(), Duration::from_secs(30)));
    }

    #[test]
    fn a_lease_token_under_its_old_name_is_read() {
        let document = json!({"id": "x..0", "PartitionId": "0", "_etag": "e", "_ts": 5});
        let lease = LeaseDocument::read(document.as_object().unwrap().clone(), None).unwrap();
        assert_eq!((lease.token(), lease.owner()), ("0", None));
    }
}
