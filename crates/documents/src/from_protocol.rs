//! Parses requests of the Cosmos DB REST API: addresses, headers, bodies. The only file with names of the request format.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, request};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use trace::TraceContext;

use crate::Options;
use crate::decide::Conditions;
use crate::error::RequestFailure;
use crate::error_table;
use crate::partition_key::PartitionKey;
use crate::query::{PageLimits, Parameters};

/// Properties that the service sets; values from clients are dropped.
pub(crate) const SYSTEM_PROPERTIES: [&str; 6] = ["_rid", "_self", "_etag", "_ts", "_attachments", "_lsn"];

/// The resource of a path. Databases and containers are addressed by name or by resource id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Account,
    Databases,
    Database(String),
    Containers(String),
    Container(ContainerAddress),
    Ranges(ContainerAddress),
    Items(ContainerAddress),
    Item(ContainerAddress, String),
    PartitionDelete(ContainerAddress),
    /// `sprocs`, `triggers`, `udfs` or `conflicts`, and whether one of them is named.
    Scripts(ContainerAddress, ScriptKind, bool),
    Users(String, bool),
    ClientKeys,
    Offers,
    Offer(String),
    /// The address resolution of direct mode.
    DirectAddresses,
    Unknown,
}

/// A container's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContainerAddress {
    pub(crate) database: String,
    pub(crate) container: String,
}

/// Other resources of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScriptKind {
    StoredProcedures,
    Triggers,
    UserDefinedFunctions,
    Conflicts,
}

impl Address {
    /// Parses a path. Slashes at its ends are ignored: Python appends one to many paths.
    pub(crate) fn parse(path: &str) -> Self {
        let decoded: Vec<Cow<'_, str>> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
            .collect();
        let segments: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            [] => Self::Account,
            ["dbs"] => Self::Databases,
            ["dbs", database] => Self::Database((*database).to_owned()),
            ["dbs", database, "colls"] => Self::Containers((*database).to_owned()),
            ["dbs", database, "colls", container, rest @ ..] => {
                let owner =
                    ContainerAddress { database: (*database).to_owned(), container: (*container).to_owned() };
                Self::below_container(owner, rest)
            }
            ["dbs", database, "users", rest @ ..] => Self::Users((*database).to_owned(), !rest.is_empty()),
            ["dbs", _, "clientencryptionkeys", ..] => Self::ClientKeys,
            ["offers"] => Self::Offers,
            ["offers", rid] => Self::Offer((*rid).to_owned()),
            ["addresses"] => Self::DirectAddresses,
            _ => Self::Unknown,
        }
    }

    fn below_container(owner: ContainerAddress, rest: &[&str]) -> Self {
        match rest {
            [] => Self::Container(owner),
            ["pkranges"] => Self::Ranges(owner),
            ["docs"] => Self::Items(owner),
            ["docs", id] => Self::Item(owner, (*id).to_owned()),
            ["operations", "partitionkeydelete"] => Self::PartitionDelete(owner),
            ["sprocs", rest @ ..] => Self::Scripts(owner, ScriptKind::StoredProcedures, !rest.is_empty()),
            ["triggers", rest @ ..] => Self::Scripts(owner, ScriptKind::Triggers, !rest.is_empty()),
            ["udfs", rest @ ..] => Self::Scripts(owner, ScriptKind::UserDefinedFunctions, !rest.is_empty()),
            ["conflicts", rest @ ..] => Self::Scripts(owner, ScriptKind::Conflicts, !rest.is_empty()),
            _ => Self::Unknown,
        }
    }
}

/// A request with its complete body.
#[derive(Debug)]
pub(crate) struct DocumentRequest {
    pub(crate) method: Method,
    pub(crate) address: Address,
    /// `scheme://host[:port]/` of the request.
    pub(crate) origin: String,
    pub(crate) body: Bytes,
    /// Whether the caller is in this process.
    pub(crate) in_process: bool,
    pub(crate) activity: String,
    headers: HeaderMap,
}

/// Where a read of the change feed starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FeedStart {
    Beginning,
    Now,
    /// After this LSN.
    After(u64),
    /// From this second on.
    Time(i64),
}

/// A query and its parameters.
#[derive(Debug)]
pub(crate) struct QueryBody {
    pub(crate) text: String,
    pub(crate) parameters: Parameters,
}

impl DocumentRequest {
    pub(crate) fn new(head: request::Parts, address: Address, body: Bytes, activity: String) -> Self {
        let scheme = head.uri.scheme_str().unwrap_or("http");
        let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let authority =
            head.uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("localhost");
        Self {
            address,
            origin: format!("{scheme}://{authority}/"),
            in_process: is_from_this_process(&head.extensions),
            method: head.method,
            headers: head.headers,
            body,
            activity,
        }
    }

    /// The value of a header, if it is present and not empty.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    /// A boolean header: true if it is `true`, `True` or `1`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.header(name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
    }

    /// Whether it is a query, by its header or content type. Check [`DocumentRequest::is_query_plan`] first: Python's plan requests have neither.
    pub(crate) fn is_query(&self) -> bool {
        let content_type = self.header("content-type").unwrap_or_default();
        self.flag("x-ms-documentdb-isquery") || content_type.starts_with("application/query+json")
    }

    pub(crate) fn is_query_plan(&self) -> bool {
        self.flag("x-ms-cosmos-is-query-plan-request")
    }

    pub(crate) fn is_upsert(&self) -> bool {
        self.flag("x-ms-documentdb-is-upsert")
    }

    pub(crate) fn is_batch(&self) -> bool {
        self.flag("x-ms-cosmos-is-batch-request")
    }

    pub(crate) fn prefers_minimal_response(&self) -> bool {
        self.header("prefer").is_some_and(|prefer| prefer.eq_ignore_ascii_case("return=minimal"))
    }

    pub(crate) fn conditions(&self) -> Conditions {
        let text = |name| self.header(name).map(str::to_owned);
        Conditions { if_match: text("if-match"), if_none_match: text("if-none-match") }
    }

    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.header("traceparent").and_then(TraceContext::parse)
    }

    pub(crate) fn partition_key(&self) -> Result<Option<PartitionKey>, RequestFailure> {
        let header = self.header("x-ms-documentdb-partitionkey");
        Ok(header.map(PartitionKey::parse_header).transpose()?)
    }

    /// The requested page size.
    pub(crate) fn page_limits(&self, options: &Options) -> Result<PageLimits, RequestFailure> {
        let items = match self.header("x-ms-max-item-count") {
            None => options.page_items,
            Some(text) => match text.parse::<i64>() {
                Ok(-1) => options.page_items_max,
                Ok(0) => options.page_items,
                Ok(wanted) if wanted > 0 => usize::try_from(wanted).unwrap_or(usize::MAX),
                _ => {
                    let message = "x-ms-max-item-count must be -1 or a whole number above 0.";
                    return Err(RequestFailure::bad_request(message));
                }
            },
        };
        Ok(PageLimits {
            items: items.min(options.page_items_max),
            bytes: options.page_bytes_max,
            sort_rows: options.sort_rows_max,
        })
    }

    /// The requested range of effective keys, without its end; `None` for all keys. Python may send the kind of range without start
    /// and end, which also means all.
    pub(crate) fn effective_range(&self) -> Option<(String, String)> {
        let start = self.header("x-ms-start-epk").unwrap_or_default().to_uppercase();
        let end = self.header("x-ms-end-epk").unwrap_or("FF").to_uppercase();
        (!start.is_empty() || end != "FF").then_some((start, end))
    }

    pub(crate) fn continuation(&self) -> Option<&str> {
        self.header("x-ms-continuation")
    }

    /// Whether this reads the change feed (header `A-IM`).
    pub(crate) fn is_change_feed(&self) -> Result<bool, RequestFailure> {
        match self.header("a-im") {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("Incremental Feed") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("Full-Fidelity Feed") => {
                Err(RequestFailure::not_supported(
                    "The change feed mode \"all versions and deletes\" (A-IM: Full-Fidelity Feed)",
                ))
            }
            Some(text) => Err(RequestFailure::bad_request(format!("The A-IM header {text:?} is unknown."))),
        }
    }

    /// Whether the change feed separates an item from the metadata of its change.
    pub(crate) fn separates_metadata(&self) -> Result<bool, RequestFailure> {
        match self.header("x-ms-cosmos-changefeed-wire-format-version") {
            None => Ok(false),
            Some("2021-09-15") => Ok(true),
            Some(other) => Err(RequestFailure::not_supported(&format!(
                "The version {other:?} of the change feed's format (x-ms-cosmos-changefeed-wire-format-version)"
            ))),
        }
    }

    /// Where the change feed starts. An etag has precedence over a date: Python keeps sending its first date.
    pub(crate) fn feed_start(&self) -> Result<FeedStart, RequestFailure> {
        match (self.header("if-none-match"), self.header("if-modified-since")) {
            (Some("*"), _) => Ok(FeedStart::Now),
            (Some(etag), _) => etag.trim_matches('"').parse().map(FeedStart::After).map_err(|_| {
                RequestFailure::bad_request(
                    "If-None-Match is no position of this change feed. Use the etag of an earlier answer.",
                )
            }),
            (None, None) => Ok(FeedStart::Beginning),
            (None, Some(date)) => {
                let time = jiff::fmt::rfc2822::parse(date).map_err(|_| {
                    RequestFailure::bad_request(
                        "If-Modified-Since must be a date such as Fri, 20 Nov 2026 21:36:21 GMT.",
                    )
                })?;
                Ok(FeedStart::Time(time.timestamp().as_second()))
            }
        }
    }

    /// Rejects unsupported headers that would change the meaning of the request. Other unknown headers are ignored: newer SDKs send
    /// more of them.
    pub(crate) fn check_headers(&self) -> Result<(), RequestFailure> {
        for name in ["x-ms-documentdb-pre-trigger-include", "x-ms-documentdb-post-trigger-include"] {
            if self.header(name).is_some() {
                return Err(RequestFailure::not_supported(&format!("Running triggers (header {name})")));
            }
        }
        let level = self.header("x-ms-consistency-level").unwrap_or("Session");
        if ["Strong", "BoundedStaleness"].iter().any(|strong| strong.eq_ignore_ascii_case(level)) {
            let message =
                format!("The consistency level {level} is stronger than the account's, which is Session.");
            return Err(RequestFailure::bad_request(message));
        }
        // Some SDKs send `<container rid>,0`.
        let range = self.header("x-ms-documentdb-partitionkeyrangeid").unwrap_or("0");
        if range.rsplit(',').next() != Some("0") {
            let message = format!(
                "The partition key range {range:?} does not exist; the container has one range, with id 0."
            );
            return Err(RequestFailure::new(&error_table::GONE, message).with_substatus(1002));
        }
        Ok(())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, RequestFailure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if error.to_string().starts_with("recursion limit") {
                "is nested deeper than 128 levels".to_owned()
            } else {
                format!("is not valid JSON: {error}")
            };
            RequestFailure::bad_request(format!("The request body {what}."))
        })
    }

    /// The body as a JSON object, without system properties.
    pub(crate) fn object(&self) -> Result<Map<String, Value>, RequestFailure> {
        without_system_properties(self.json()?)
    }

    /// The body of a query.
    pub(crate) fn query_body(&self, options: &Options) -> Result<QueryBody, RequestFailure> {
        let body = self.json()?;
        let text = body.get("query").and_then(Value::as_str).ok_or_else(|| {
            RequestFailure::bad_request(
                "The body of a query must be {\"query\":\"SELECT …\",\"parameters\":[…]}.",
            )
        })?;
        if text.len() > options.query_bytes_max {
            let most = options.query_bytes_max;
            return Err(RequestFailure::bad_request(format!(
                "The query has {} bytes; at most {most} are allowed.",
                text.len()
            )));
        }
        let mut parameters = Parameters::new();
        for parameter in body.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let name = parameter.get("name").and_then(Value::as_str).filter(|name| name.starts_with('@'));
            let name = name.ok_or_else(|| {
                RequestFailure::bad_request(
                    "Each parameter of a query must be {\"name\":\"@name\",\"value\":…}.",
                )
            })?;
            // A parameter without a value was undefined in JavaScript.
            if let Some(value) = parameter.get("value") {
                parameters.insert(name.to_owned(), value.clone());
            }
        }
        Ok(QueryBody { text: text.to_owned(), parameters })
    }
}

/// Whether the caller is in this process. Other principals (a client of a hub) have no access to documents.
pub(crate) fn is_from_this_process(extensions: &Extensions) -> bool {
    matches!(extensions.get(), Some(identity::Principal::InProcess { .. }))
}

/// A JSON value as an item: an object without system properties.
pub(crate) fn without_system_properties(value: Value) -> Result<Map<String, Value>, RequestFailure> {
    let Value::Object(mut object) = value else {
        return Err(RequestFailure::bad_request("The request body must be a JSON object."));
    };
    object.retain(|name, _| !SYSTEM_PROPERTIES.contains(&name.as_str()));
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parsed_with_and_without_slashes_and_escapes() {
        let owner = || ContainerAddress { database: "db 1".to_owned(), container: "c".to_owned() };
        assert_eq!(Address::parse("/"), Address::Account);
        assert_eq!(Address::parse("/dbs/db%201/colls/c/docs/"), Address::Items(owner()));
        assert_eq!(
            Address::parse("//dbs/db%201/colls/c/docs/a%20b"),
            Address::Item(owner(), "a b".to_owned())
        );
        assert_eq!(
            Address::parse("/dbs/db%201/colls/c/operations/partitionkeydelete"),
            Address::PartitionDelete(owner())
        );
        assert_eq!(Address::parse("/nowhere"), Address::Unknown);
    }
}
