//! Items: points, queries and the change feed.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use trace::TraceContext;

use super::{Answer, Client, ContainerName, Outgoing, rfc1123};
use crate::error::RequestError;

/// What became of a write with a condition.
pub(crate) enum Written {
    /// It was accepted; the new etag.
    Accepted(String),
    /// The condition did not hold, or the item is gone.
    Changed,
    /// An item of this id already exists.
    Taken,
}

/// One page of documents.
pub(crate) struct Page {
    pub(crate) documents: Vec<Box<RawValue>>,
    pub(crate) continuation: Option<String>,
}

/// Where reading a feed begins that has no position yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedStart {
    Beginning,
    Now,
    At(SystemTime),
}

/// Which part of a container's feed is read, and from where.
pub(crate) struct Feed<'a> {
    pub(crate) container: &'a ContainerName,
    /// The physical partition.
    pub(crate) range_id: &'a str,
    /// A part of it, as marks of the hash range, where it is not read whole.
    pub(crate) hashes: Option<(&'a str, &'a str)>,
    pub(crate) continuation: Option<&'a str>,
    pub(crate) start: FeedStart,
    pub(crate) items_max: u32,
}

#[derive(Deserialize)]
struct Documents {
    #[serde(rename = "Documents")]
    documents: Vec<Box<RawValue>>,
}

impl Client {
    pub(crate) async fn read_item(
        &self,
        name: &ContainerName,
        id: &str,
        key: &str,
    ) -> Result<Option<Answer>, RequestError> {
        let request =
            Outgoing::new(Method::GET, name.item_path(id)).header("x-ms-documentdb-partitionkey", key);
        let answer = self.send(request).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.success().map(Some)
    }

    pub(crate) async fn create_item(
        &self,
        name: &ContainerName,
        key: &str,
        document: &Map<String, Json>,
        trace: Option<TraceContext>,
    ) -> Result<Written, RequestError> {
        let body = serde_json::to_vec(document).expect("a JSON object is writable");
        let request = Outgoing::new(Method::POST, name.items_path())
            .header("x-ms-documentdb-partitionkey", key)
            .json(body)
            .traced(trace);
        written(self.send(request).await?)
    }

    pub(crate) async fn upsert_item(
        &self,
        name: &ContainerName,
        key: &str,
        document: Bytes,
        trace: TraceContext,
    ) -> Result<Answer, RequestError> {
        let request = Outgoing::new(Method::POST, name.items_path())
            .header("x-ms-documentdb-partitionkey", key)
            .header("x-ms-documentdb-is-upsert", "true")
            // Nobody reads the stored document here.
            .header("prefer", "return=minimal")
            .json(document)
            .traced(Some(trace));
        self.send(request).await
    }

    pub(crate) async fn replace_item(
        &self,
        name: &ContainerName,
        id: &str,
        key: &str,
        document: &Map<String, Json>,
        condition: (&str, Option<TraceContext>),
    ) -> Result<Written, RequestError> {
        let body = serde_json::to_vec(document).expect("a JSON object is writable");
        let request = Outgoing::new(Method::PUT, name.item_path(id))
            .header("x-ms-documentdb-partitionkey", key)
            .header("if-match", condition.0)
            .header("prefer", "return=minimal")
            .json(body)
            .traced(condition.1);
        written(self.send(request).await?)
    }

    /// Deletes the item if it still is as its etag says.
    pub(crate) async fn delete_item(
        &self,
        name: &ContainerName,
        id: &str,
        key: &str,
        etag: &str,
    ) -> Result<(), RequestError> {
        let request = Outgoing::new(Method::DELETE, name.item_path(id))
            .header("x-ms-documentdb-partitionkey", key)
            .header("if-match", etag);
        let answer = self.send(request).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED) {
            return Ok(());
        }
        answer.success().map(drop)
    }

    /// One page of a query, over one partition if `key` names it.
    pub(crate) async fn query(
        &self,
        name: &ContainerName,
        key: Option<&str>,
        query: &Json,
        continuation: Option<&str>,
    ) -> Result<Page, RequestError> {
        let mut request = Outgoing::new(Method::POST, name.items_path()).json(query.to_string());
        request = request
            .header("content-type", "application/query+json")
            .header("x-ms-documentdb-isquery", "true")
            .header("x-ms-max-item-count", "-1");
        request = match key {
            Some(key) => request.header("x-ms-documentdb-partitionkey", key),
            None => request.header("x-ms-documentdb-query-enablecrosspartition", "true"),
        };
        if let Some(continuation) = continuation {
            request = request.header("x-ms-continuation", continuation);
        }
        let answer = self.send(request).await?.success()?;
        let continuation =
            answer.header("x-ms-continuation").filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Page { documents: answer.documents()?, continuation })
    }

    /// One read of a change feed. 200, 304 and refusals alike come back as they are.
    pub(crate) async fn feed(&self, feed: &Feed<'_>) -> Result<Answer, RequestError> {
        let mut request = Outgoing::new(Method::GET, feed.container.items_path())
            .header("a-im", "Incremental Feed")
            .header("x-ms-max-item-count", &feed.items_max.to_string())
            .header("x-ms-documentdb-partitionkeyrangeid", feed.range_id);
        if let Some((min, max)) = feed.hashes {
            request = request
                .header("x-ms-read-key-type", "EffectivePartitionKeyRange")
                .header("x-ms-start-epk", min)
                .header("x-ms-end-epk", max);
        }
        request = match (feed.continuation, feed.start) {
            (Some(continuation), _) => request.header("if-none-match", continuation),
            (None, FeedStart::Beginning) => request,
            (None, FeedStart::Now) => request.header("if-none-match", "*"),
            (None, FeedStart::At(time)) => request.header("if-modified-since", &rfc1123(time)),
        };
        self.send(request).await
    }
}

impl Answer {
    /// The documents of a page, as their text.
    pub(crate) fn documents(&self) -> Result<Vec<Box<RawValue>>, RequestError> {
        let parsed: Result<Documents, _> = serde_json::from_slice(&self.body);
        parsed.map(|page| page.documents).map_err(|error| self.malformed(error.to_string()))
    }
}

fn written(answer: Answer) -> Result<Written, RequestError> {
    match answer.status {
        StatusCode::CONFLICT => Ok(Written::Taken),
        StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND => Ok(Written::Changed),
        _ => {
            let answer = answer.success()?;
            let etag = answer.etag().ok_or_else(|| answer.malformed("there is no etag header".to_owned()))?;
            Ok(Written::Accepted(etag))
        }
    }
}
