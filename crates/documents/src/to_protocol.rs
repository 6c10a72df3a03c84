//! Builds responses of the Cosmos DB REST API: system properties, lists, headers, error bodies. The only file that renders errors.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_messages::Body;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::catalog::{Container, Database};
use crate::decide::item_etag;
use crate::error::RequestFailure;
use crate::error_table;
use crate::feed_origins::FeedOrigins;
use crate::resource_id::{database_rid, item_rid, range_rid};
use crate::store::Item;

/// Characters that are escaped in the `x-ms-alt-content-path` header.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Characters that are not allowed in a header.
const HEADER_UNSAFE: &AsciiSet = CONTROLS;

/// A response without the headers that all responses have.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) origins: Option<FeedOrigins>,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, headers: HeaderMap::new(), body: body.into(), origins: None }
    }

    /// 200 with a JSON value.
    pub(crate) fn json(body: &Value) -> Self {
        Self::new(StatusCode::OK, body.to_string())
    }

    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::new(status, "")
    }

    /// Adds a header. Omits a value that is not allowed in a header; all values of the service are ASCII.
    pub(crate) fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// The headers of a resource in a container; the content paths name the container.
    pub(crate) fn of_container(self, container: &Container, lsn: u64) -> Self {
        let names = format!("{}/colls/{}", database_path(container), segment(&container.id));
        self.at(lsn).with("x-ms-alt-content-path", names).with("x-ms-content-path", container.rid())
    }

    /// The headers of a container; the content paths name the database. Java builds the container's link from this path and the
    /// container's id, and reads the feed by that link.
    pub(crate) fn of_database(self, container: &Container, lsn: u64) -> Self {
        self.at(lsn)
            .with("x-ms-alt-content-path", database_path(container))
            .with("x-ms-content-path", database_rid(container.database))
    }

    fn at(self, lsn: u64) -> Self {
        self.with("x-ms-session-token", format!("0:-1#{lsn}")).with("lsn", lsn.to_string())
    }

    /// The complete response.
    pub(crate) fn into_response(self, activity: &str) -> Response<Body> {
        let reply = self
            .with("x-ms-activity-id", activity)
            .with("x-ms-request-charge", "1")
            .with("x-ms-version", "2020-07-15");
        let mut response = Response::new(http_messages::full(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        if !matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(origins) = reply.origins {
            response.extensions_mut().insert(origins);
        }
        response
    }
}

/// The error response. Its body is always JSON: SDKs read `message` from it without a check.
pub(crate) fn refused(failure: &RequestFailure, activity: &str) -> Reply {
    let inner =
        failure.errors_json.clone().unwrap_or_else(|| json!({"Errors": [failure.message]}).to_string());
    let body = json!({
        "code": failure.error.code,
        "message": format!("Message: {inner}\r\nActivityId: {activity}, chappe/{}", env!("CARGO_PKG_VERSION")),
    });
    let mut reply = Reply::new(failure.error.status(), body.to_string());
    if failure.substatus != 0 {
        reply = reply.with("x-ms-substatus", failure.substatus.to_string());
    }
    if let Some(retry_after) = failure.retry_after {
        let retry_after_ms = retry_after.as_millis();
        reply = reply.with("x-ms-retry-after-ms", retry_after_ms.to_string());
        reply = reply.with("retry-after", retry_after_ms.div_ceil(1000).to_string());
    }
    reply
}

/// Replaces characters of a client's id that are not allowed in a header.
pub(crate) fn header_safe(text: &str) -> String {
    utf8_percent_encode(text, HEADER_UNSAFE).to_string()
}

/// A list: `{"_rid","<key>","_count"}`. Rows are JSON texts; each is copied once.
pub(crate) fn list<Row: AsRef<str>>(rid: &str, key: &str, rows: &[Row]) -> String {
    let start = format!("{{\"_rid\":{},\"{key}\":[", Value::from(rid));
    let end = format!("],\"_count\":{}}}", rows.len());
    let row_bytes: usize = rows.iter().map(|row| row.as_ref().len() + 1).sum();
    let mut text = String::with_capacity(start.len() + row_bytes + end.len());
    text.push_str(&start);
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(row.as_ref());
    }
    text.push_str(&end);
    text
}

/// A database with its system properties.
pub(crate) fn database(database: &Database) -> Value {
    let rid = database_rid(database.number);
    json!({
        "id": database.id,
        "_rid": rid,
        "_self": format!("dbs/{rid}/"),
        "_etag": database_etag(database),
        "_colls": "colls/",
        "_users": "users/",
        "_ts": database.ts,
    })
}

pub(crate) fn database_etag(database: &Database) -> String {
    format!("\"{:08x}-0000-0001-0000-{:012x}\"", database.number.0, database.ts)
}

/// A container with its system properties.
pub(crate) fn container(container: &Container) -> Value {
    let mut value = container.definition.clone();
    let system = json!({
        "_rid": container.rid(),
        "_self": container.self_link(),
        "_etag": container_etag(container),
        "_docs": "docs/",
        "_sprocs": "sprocs/",
        "_triggers": "triggers/",
        "_udfs": "udfs/",
        "_conflicts": "conflicts/",
        "_ts": container.ts,
    });
    merge(&mut value, system);
    Value::Object(value)
}

pub(crate) fn container_etag(container: &Container) -> String {
    format!("\"{:08x}-0000-0002-0000-{:012x}\"", container.number.0, container.version)
}

/// The only partition key range of a container.
pub(crate) fn range(container: &Container, lsn: u64) -> Value {
    let rid = range_rid(container.database, container.number);
    json!({
        "_rid": rid,
        "id": "0",
        "_etag": range_etag(container),
        "minInclusive": "",
        "maxExclusive": "FF",
        "ridPrefix": 0,
        "_self": format!("{}pkranges/{rid}/", container.self_link()),
        "throughputFraction": 1,
        "status": "online",
        "parents": [],
        "_ts": container.ts,
        "lsn": lsn,
    })
}

/// The ranges of a container never change, so neither does their etag.
pub(crate) fn range_etag(container: &Container) -> String {
    format!("\"{:08x}-0000-0003-0000-000000000000\"", container.number.0)
}

/// An item as text, followed by its system properties; in the feed also by its LSN. The item's own text is not parsed, and copied
/// once.
pub(crate) fn item<Body: AsRef<str>>(container: &Container, item: &Item<Body>, in_feed: bool) -> String {
    let own = item.body.as_ref();
    let own = own.strip_suffix('}').unwrap_or(own);
    let comma = if own == "{" { "" } else { "," };
    let rid = item_rid(container.database, container.number, item.number);
    let etag = Value::from(item_etag(container.number, item.lsn));
    let lsn = if in_feed { format!(",\"_lsn\":{}", item.lsn) } else { String::new() };
    let system = format!(
        "{comma}\"_rid\":\"{rid}\",\"_self\":\"{}docs/{rid}/\",\"_etag\":{etag},\"_attachments\":\"attachments/\",\"_ts\":{}{lsn}}}",
        container.self_link(),
        item.ts,
    );
    let mut text = String::with_capacity(own.len() + system.len());
    text.push_str(own);
    text.push_str(&system);
    text
}

/// A change of the feed in the format that separates the item from the metadata of the change.
pub(crate) fn change<Body: AsRef<str>>(container: &Container, changed: &Item<Body>) -> String {
    format!(
        "{{\"current\":{},\"metadata\":{{\"lsn\":{},\"crts\":{}}}}}",
        item(container, changed, false),
        changed.lsn,
        changed.ts
    )
}

/// The same as JSON.
pub(crate) fn item_value(
    container: &Container,
    stored: &Item,
    in_feed: bool,
) -> Result<Value, RequestFailure> {
    serde_json::from_str(&item(container, stored, in_feed)).map_err(|error| {
        tracing::error!(%error, "a stored item is not a JSON object; the database is damaged");
        RequestFailure::new(&error_table::UNAVAILABLE, "A stored item cannot be read. The log has the cause.")
    })
}

/// `dbs/<database>` by name, percent-encoded.
fn database_path(container: &Container) -> String {
    format!("dbs/{}", segment(&container.database_id))
}

fn segment(name: &str) -> String {
    utf8_percent_encode(name, PATH_SEGMENT).to_string()
}

fn merge(into: &mut Map<String, Value>, system: Value) {
    if let Value::Object(system) = system {
        into.extend(system);
    }
}
