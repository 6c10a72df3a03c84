//! Items: points, queries and the change feed.

use std::time::SystemTime;

use bytes::Bytes;
use bytestring::ByteString;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};
use trace::TraceContext;

use super::{AccountClient, ContainerName, CosmosRequest, CosmosResponse, rfc1123};
use crate::error::RequestError;

/// The outcome of a conditional write.
pub(crate) enum ItemWrite {
    /// It was accepted; the new etag.
    Accepted(String),
    /// The etag did not match, or the item does not exist any more.
    PreconditionFailed,
    /// An item with this id exists already.
    AlreadyExists,
}

/// One page of documents.
pub(crate) struct ItemPage {
    pub(crate) page: DocumentPage,
    pub(crate) continuation: Option<String>,
}

/// Where a feed without a continuation is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartFrom {
    Beginning,
    Now,
    At(SystemTime),
}

/// A read of a part of a container's feed.
pub(crate) struct FeedRequest<'a> {
    pub(crate) container: &'a ContainerName,
    /// The physical partition.
    pub(crate) range_id: &'a str,
    /// The bounds of effective partition keys, if only a part of the partition is read.
    pub(crate) epk_range: Option<(&'a str, &'a str)>,
    pub(crate) continuation: Option<&'a str>,
    pub(crate) start: StartFrom,
    pub(crate) items_max: u32,
}

#[derive(Deserialize)]
struct Documents<'a> {
    #[serde(borrow, rename = "Documents")]
    documents: Vec<&'a RawValue>,
}

/// The documents of a page, as slices of the response.
pub(crate) struct DocumentPage {
    pub(crate) documents: Vec<ByteString>,
    /// The documents as the text of a JSON array.
    pub(crate) array: ByteString,
}

impl AccountClient {
    pub(crate) async fn read_item(
        &self,
        name: &ContainerName,
        id: &str,
        key: &str,
    ) -> Result<Option<CosmosResponse>, RequestError> {
        let request =
            CosmosRequest::new(Method::GET, name.item_path(id)).header("x-ms-documentdb-partitionkey", key);
        let response = self.send(request).await?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        response.success().map(Some)
    }

    pub(crate) async fn create_item(
        &self,
        name: &ContainerName,
        key: &str,
        document: &Map<String, Json>,
        trace: Option<TraceContext>,
    ) -> Result<ItemWrite, RequestError> {
        let body = serde_json::to_vec(document).expect("a JSON object is writable");
        let request = CosmosRequest::new(Method::POST, name.items_path())
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
    ) -> Result<CosmosResponse, RequestError> {
        let request = CosmosRequest::new(Method::POST, name.items_path())
            .header("x-ms-documentdb-partitionkey", key)
            .header("x-ms-documentdb-is-upsert", "true")
            // The stored document is not needed here.
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
    ) -> Result<ItemWrite, RequestError> {
        let body = serde_json::to_vec(document).expect("a JSON object is writable");
        let request = CosmosRequest::new(Method::PUT, name.item_path(id))
            .header("x-ms-documentdb-partitionkey", key)
            .header("if-match", condition.0)
            .header("prefer", "return=minimal")
            .json(body)
            .traced(condition.1);
        written(self.send(request).await?)
    }

    /// Deletes the item if its etag still matches.
    pub(crate) async fn delete_item(
        &self,
        name: &ContainerName,
        id: &str,
        key: &str,
        etag: &str,
    ) -> Result<(), RequestError> {
        let request = CosmosRequest::new(Method::DELETE, name.item_path(id))
            .header("x-ms-documentdb-partitionkey", key)
            .header("if-match", etag);
        let response = self.send(request).await?;
        if matches!(response.status, StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED) {
            return Ok(());
        }
        response.success().map(drop)
    }

    /// One page of a query; within one partition if there is a `key`.
    pub(crate) async fn query(
        &self,
        name: &ContainerName,
        key: Option<&str>,
        query: &Json,
        continuation: Option<&str>,
    ) -> Result<ItemPage, RequestError> {
        let mut request = CosmosRequest::new(Method::POST, name.items_path()).json(query.to_string());
        // -1 leaves it to the account.
        let page_rows = self.query_page_rows.map_or_else(|| "-1".to_owned(), |rows| rows.to_string());
        request = request
            .header("content-type", "application/query+json")
            .header("x-ms-documentdb-isquery", "true")
            .header("x-ms-max-item-count", &page_rows);
        request = match key {
            Some(key) => request.header("x-ms-documentdb-partitionkey", key),
            None => request.header("x-ms-documentdb-query-enablecrosspartition", "true"),
        };
        if let Some(continuation) = continuation {
            request = request.header("x-ms-continuation", continuation);
        }
        let response = self.send(request).await?.success()?;
        let continuation =
            response.header("x-ms-continuation").filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(ItemPage { page: response.documents()?, continuation })
    }

    /// One read of a change feed. Responses with any status are returned: 200, 304 and errors.
    pub(crate) async fn feed(&self, feed: &FeedRequest<'_>) -> Result<CosmosResponse, RequestError> {
        let mut request = CosmosRequest::new(Method::GET, feed.container.items_path())
            .header("a-im", "Incremental Feed")
            .header("x-ms-max-item-count", &feed.items_max.to_string())
            .header("x-ms-documentdb-partitionkeyrangeid", feed.range_id);
        if let Some((min, max)) = feed.epk_range {
            request = request
                .header("x-ms-read-key-type", "EffectivePartitionKeyRange")
                .header("x-ms-start-epk", min)
                .header("x-ms-end-epk", max);
        }
        request = match (feed.continuation, feed.start) {
            (Some(continuation), _) => request.header("if-none-match", continuation),
            (None, StartFrom::Beginning) => request,
            (None, StartFrom::Now) => request.header("if-none-match", "*"),
            (None, StartFrom::At(time)) => request.header("if-modified-since", &rfc1123(time)),
        };
        self.send(request).await
    }
}

impl CosmosResponse {
    /// The documents of a page. The body is parsed once, and no text is copied.
    pub(crate) fn documents(&self) -> Result<DocumentPage, RequestError> {
        let body = ByteString::try_from(self.body.clone());
        let body = body.map_err(|_| self.malformed("it is not UTF-8".to_owned()))?;
        let page: Documents<'_> =
            serde_json::from_str(&body).map_err(|error| self.malformed(error.to_string()))?;
        let documents: Vec<ByteString> =
            page.documents.iter().map(|document| body.slice_ref(document.get())).collect();
        Ok(DocumentPage { array: array_around(&body, &page.documents), documents })
    }
}

/// The array that these elements form in a text, from bracket to bracket.
fn array_around(text: &ByteString, elements: &[&RawValue]) -> ByteString {
    let (Some(first), Some(last)) = (elements.first(), elements.last()) else {
        return ByteString::from_static("[]");
    };
    let offset = |address: usize| address - text.as_ptr().addr();
    let start = offset(first.get().as_ptr().addr());
    let end = offset(last.get().as_ptr().addr()) + last.get().len();
    let open = text[..start].rfind('[').expect("an element of an array follows its bracket");
    let close = end + text[end..].find(']').expect("the bracket of an array follows its last element");
    text.slice_ref(&text[open..=close])
}

fn written(response: CosmosResponse) -> Result<ItemWrite, RequestError> {
    match response.status {
        StatusCode::CONFLICT => Ok(ItemWrite::AlreadyExists),
        StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND => Ok(ItemWrite::PreconditionFailed),
        _ => {
            let response = response.success()?;
            let etag =
                response.etag().ok_or_else(|| response.malformed("there is no etag header".to_owned()))?;
            Ok(ItemWrite::Accepted(etag))
        }
    }
}
