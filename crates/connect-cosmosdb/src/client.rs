//! [`AccountClient`]: the requests of the protocol that triggers and bindings need.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Extensions, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full};
use http_messages::{Body, BoxError, Budget, ReadError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value as Json};
use tokio::sync::Semaphore;
use trace::TraceContext;

use crate::error::RequestError;
use crate::shared::Shared;
use crate::transport::AccountTransport;

mod container;
mod item;

pub(crate) use container::{ContainerProperties, NewContainer, PartitionKeyRange};
pub(crate) use item::{DocumentPage, FeedRequest, ItemWrite, StartFrom};

/// Characters that are escaped in a path segment: all but the unreserved ones of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The API version that the JavaScript and Python SDKs send.
const API_VERSION: &str = "2020-07-15";

/// One account, over one transport. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AccountClient {
    transport: AccountTransport,
    /// Scheme and authority; the services of this process expect absolute addresses in requests.
    endpoint: Uri,
    response_bytes_max: usize,
    bodies: Budget,
    throttled_retries_max: u32,
    throttled_wait_max: Duration,
    query_page_rows: Option<NonZeroU32>,
    /// For requests over the network only.
    request_timeout: Option<Duration>,
    /// Permits for requests over the network, which all accounts of the connector share; `None`: there is no limit.
    permits: Option<Arc<Semaphore>>,
}

/// A database and a container in it, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContainerName {
    pub(crate) database: String,
    pub(crate) container: String,
}

/// A request without its account.
struct CosmosRequest {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

/// A response of the account, with any status.
pub(crate) struct CosmosResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    pub(crate) body: Bytes,
    /// Method and path of the request, for error texts.
    what: String,
}

impl AccountClient {
    pub(crate) fn new(transport: AccountTransport, endpoint: &Uri, shared: &Shared) -> Self {
        let options = &shared.options;
        let is_remote = transport.is_remote();
        Self {
            transport,
            endpoint: endpoint.clone(),
            response_bytes_max: options.response_bytes_max.get(),
            bodies: shared.bodies.clone(),
            throttled_retries_max: options.throttled_retries_max,
            throttled_wait_max: Duration::from_millis(options.throttled_wait_ms_max),
            query_page_rows: options.query_page_rows,
            request_timeout: options.request_timeout().filter(|_| is_remote),
            permits: shared.permits.clone().filter(|_| is_remote),
        }
    }

    /// The host name of the account, as it appears in lease prefixes.
    pub(crate) fn host(&self) -> &str {
        self.endpoint.host().unwrap_or("localhost")
    }

    /// Whether both have the same endpoint.
    pub(crate) fn same_account(&self, other: &Self) -> bool {
        self.endpoint.authority() == other.endpoint.authority()
    }

    pub(crate) fn transport(&self) -> &AccountTransport {
        &self.transport
    }

    /// Sends a request, and repeats it while the account throttles it (429, 449).
    async fn send(&self, request: CosmosRequest) -> Result<CosmosResponse, RequestError> {
        let mut waited = Duration::ZERO;
        for _ in 0..self.throttled_retries_max {
            let response = self.send_once(&request).await?;
            let Some(pause) = response.retry_after() else { return Ok(response) };
            waited += pause;
            if waited > self.throttled_wait_max {
                return Ok(response);
            }
            tokio::time::sleep(pause).await;
        }
        self.send_once(&request).await
    }

    /// Sends a request when there is a permit for it, within the time limit.
    async fn send_once(&self, outgoing: &CosmosRequest) -> Result<CosmosResponse, RequestError> {
        let _permit = match &self.permits {
            Some(permits) => Some(permits.acquire().await.expect("the permits are never closed")),
            None => None,
        };
        let Some(after) = self.request_timeout else { return self.exchange(outgoing).await };
        tokio::time::timeout(after, self.exchange(outgoing)).await.unwrap_or_else(|_| {
            let what = format!("{} {}", outgoing.method, outgoing.path);
            Err(RequestError::TimedOut { what, after })
        })
    }

    async fn exchange(&self, outgoing: &CosmosRequest) -> Result<CosmosResponse, RequestError> {
        let what = format!("{} {}", outgoing.method, outgoing.path);
        let request = self.request(outgoing);
        let response = self
            .transport
            .call(request)
            .await
            .map_err(|cause| RequestError::Unreachable { endpoint: self.endpoint.to_string(), cause })?;
        let (head, body) = response.into_parts();
        let body = self.read(body).await;
        let body = body.map_err(|cause| RequestError::Unreadable { what: what.clone(), cause })?;
        Ok(CosmosResponse {
            status: head.status,
            headers: head.headers,
            extensions: head.extensions,
            body,
            what,
        })
    }

    /// Reads a response body of at most `response_bytes_max`.
    async fn read(&self, mut body: Body) -> Result<Bytes, BoxError> {
        match self.bodies.read(&mut body, self.response_bytes_max).await {
            Ok(body) => Ok(body.into_bytes()),
            Err(ReadError::TooLarge { bytes_max }) => {
                Err(format!("it is larger than {bytes_max} bytes (connect.cosmosdb.response_bytes_max)")
                    .into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn request(&self, outgoing: &CosmosRequest) -> Request<Body> {
        let mut parts = self.endpoint.clone().into_parts();
        parts.path_and_query = Some(outgoing.path.parse().expect("a percent-encoded path is valid"));
        let uri = Uri::from_parts(parts).expect("an endpoint with a path is a URI");
        let mut request = Request::new(body_of(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = outgoing.headers.clone();
        let headers = request.headers_mut();
        headers.insert("x-ms-date", header_value(&rfc1123_now()));
        headers.insert("x-ms-version", HeaderValue::from_static(API_VERSION));
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            http::header::USER_AGENT,
            HeaderValue::from_static(concat!("chappe/", env!("CARGO_PKG_VERSION"))),
        );
        request
    }
}

impl ContainerName {
    fn path(&self) -> String {
        format!("{}/colls/{}", database_path(&self.database), encode(&self.container))
    }

    fn items_path(&self) -> String {
        format!("{}/docs", self.path())
    }

    fn item_path(&self, id: &str) -> String {
        format!("{}/docs/{}", self.path(), encode(id))
    }
}

impl std::fmt::Display for ContainerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.database, self.container)
    }
}

impl CosmosRequest {
    fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: HeaderMap::new(), body: Bytes::new() }
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), header_value(value));
        self
    }

    fn json(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    fn traced(self, trace: Option<TraceContext>) -> Self {
        match trace {
            Some(trace) => self.header("traceparent", &trace.to_traceparent()),
            None => self,
        }
    }
}

impl CosmosResponse {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn etag(&self) -> Option<String> {
        self.header("etag").map(str::to_owned)
    }

    pub(crate) fn substatus(&self) -> u32 {
        self.header("x-ms-substatus").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The response itself if its status is a success, otherwise the error that the account reported.
    pub(crate) fn success(self) -> Result<Self, RequestError> {
        if self.status.is_success() { Ok(self) } else { Err(self.rejected()) }
    }

    pub(crate) fn rejected(self) -> RequestError {
        let body: Option<Map<String, Json>> = serde_json::from_slice(&self.body).ok();
        let message = body.as_ref().and_then(|body| body.get("message")).and_then(Json::as_str);
        // Azure Cosmos DB appends lines about its replicas; the first line contains the reason.
        let message =
            message.and_then(|text| text.lines().next()).unwrap_or("the account gave no reason").to_owned();
        let substatus = self.substatus();
        RequestError::Rejected { what: self.what, status: self.status, substatus, message }
    }

    pub(crate) fn object(&self) -> Result<Map<String, Json>, RequestError> {
        serde_json::from_slice(&self.body).map_err(|error| self.malformed(error.to_string()))
    }

    pub(crate) fn malformed(&self, why: String) -> RequestError {
        RequestError::Malformed { what: self.what.clone(), why }
    }

    /// The pause that the account asks for, if it throttled the request.
    fn retry_after(&self) -> Option<Duration> {
        let retry_with = self.status.as_u16() == 449;
        if self.status != StatusCode::TOO_MANY_REQUESTS && !retry_with {
            return None;
        }
        let wait_ms = self.header("x-ms-retry-after-ms").and_then(|text| text.parse::<f64>().ok());
        let wait_ms = wait_ms.filter(|ms| ms.is_finite() && *ms >= 0.0).unwrap_or(100.0);
        Some(Duration::from_secs_f64((wait_ms / 1000.0).min(60.0)))
    }
}

fn database_path(database: &str) -> String {
    format!("/dbs/{}", encode(database))
}

fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn body_of(bytes: Bytes) -> Body {
    if bytes.is_empty() {
        return Body::new(Empty::new().map_err(|never| -> BoxError { match never {} }));
    }
    Body::new(Full::new(bytes).map_err(|never| -> BoxError { match never {} }))
}

/// `Fri, 20 Nov 2026 21:36:21 GMT`, the form that the signature requires.
fn rfc1123_now() -> String {
    rfc1123(SystemTime::now())
}

fn rfc1123(time: SystemTime) -> String {
    let timestamp = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&timestamp).expect("the clock shows a year of four digits")
}
