//! A SignalR service over the network: its REST data plane, version 1, as the management SDK calls it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use egress::RequestTimeout;
use functions_contract::BindingError;
use http::{Method, Request, Response, StatusCode, Uri, header};
use identity::{AccessKey, Algorithm, Claims, SignalRConnectionString};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use trace::TraceContext;

use crate::error_table;
use crate::options::Options;
use crate::output::{GroupAction, GroupMember, Recipient, SignalRGroupAction, SignalRMessage};
use crate::service::{NegotiationInfo, SignalRService};

/// What a path segment may contain unescaped (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How services over the network are called; all bindings of a connector share one.
pub(crate) struct RestClient {
    egress: egress::Client,
    options: Options,
    /// Permits for requests (`requests_max`); `None`: there is no limit.
    permits: Option<Semaphore>,
}

impl RestClient {
    pub(crate) fn new(egress: egress::Client, options: Options) -> Self {
        let permits = options.requests_max.map(|max| Semaphore::new(max.get().min(Semaphore::MAX_PERMITS)));
        Self { egress, options, permits }
    }

    /// Sends a request, and repeats it as often as the options allow.
    async fn send(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, egress::SendError> {
        let mut repetition = 0;
        loop {
            let result = self.send_once(request.clone()).await;
            let asked = match &result {
                _ if repetition == self.options.retries_max => return result,
                Ok(response) if !is_transient(response.status()) => return result,
                Ok(response) => retry_after(response),
                Err(_) => None,
            };
            tokio::time::sleep(self.options.retry_delay(repetition, asked)).await;
            repetition += 1;
        }
    }

    async fn send_once(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, egress::SendError> {
        let _permit = match &self.permits {
            Some(permits) => Some(permits.acquire().await.expect("the permits are never closed")),
            None => None,
        };
        if let Some(ms) = self.options.request_timeout_ms {
            request.extensions_mut().insert(RequestTimeout(Duration::from_millis(ms.get())));
        }
        self.egress.call(request).await
    }
}

/// Whether the same request may succeed later. The retry contract of the management SDK: 500 may be the time-out of a message that was
/// sent.
fn is_transient(status: StatusCode) -> bool {
    status.as_u16() > 500 || status == StatusCode::TOO_MANY_REQUESTS
}

/// The pause in seconds that the service asks for.
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The service that a connection string names.
pub(crate) struct RemoteService {
    connection: SignalRConnectionString,
    key: AccessKey,
    client: Arc<RestClient>,
}

impl RemoteService {
    pub(crate) fn new(connection: SignalRConnectionString, key: AccessKey, client: Arc<RestClient>) -> Self {
        Self { connection, key, client }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        trace: TraceContext,
    ) -> Result<(), BindingError> {
        let url = format!("{}{path}", self.connection.server_url());
        let what = format!("{method} {url}");
        let token = self.sign(
            &Claims::new(),
            &format!("{}{path}", self.connection.audience_base()),
            Duration::from_secs(self.client.options.request_token_lifetime_s.get()),
        );
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("traceparent", trace.to_traceparent())
            .body(body);
        let request =
            request.map_err(|error| BindingError::Value(format!("{url} is not a valid address: {error}")))?;
        let response = self.client.send(&request).await.map_err(|error| BindingError::System {
            error: &error_table::UNREACHABLE,
            what: format!("{what} has no response; check the connection string, and that the service runs"),
            retryable: true,
            cause: Some(Box::new(error)),
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            // The member is gone, so there is nothing to remove; the management SDK treats it the same way.
            StatusCode::NOT_FOUND if path.contains("/groups/") && what.starts_with("DELETE") => Ok(()),
            status => Err(BindingError::System {
                error: &error_table::REJECTED,
                what: format!("{what} returned {status}: {}", excerpt(response.body())),
                retryable: is_transient(status),
                cause: None,
            }),
        }
    }

    fn sign(&self, claims: &Claims, audience: &str, lifetime: Duration) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        identity::sign(claims, audience, now, now + lifetime.as_secs(), &self.key, Algorithm::Hs256)
    }
}

#[async_trait::async_trait]
impl SignalRService for RemoteService {
    fn name(&self) -> String {
        self.connection.server_url()
    }

    fn client_access(
        &self,
        hub: &str,
        user: Option<&str>,
        claims: &Claims,
        lifetime: Duration,
        _origin: Option<&Uri>,
    ) -> Result<NegotiationInfo, BindingError> {
        let hub = hub.to_ascii_lowercase();
        let mut claims = claims.clone();
        if let Some(user) = user {
            claims.push("asrs.s.uid", user);
        }
        let audience = format!("{}/client/?hub={hub}", self.connection.audience_base());
        Ok(NegotiationInfo {
            url: format!("{}/client/?hub={hub}", self.connection.client_url()),
            access_token: self.sign(&claims, &audience, lifetime),
        })
    }

    async fn send(
        &self,
        hub: &str,
        message: &SignalRMessage,
        trace: TraceContext,
    ) -> Result<(), BindingError> {
        let path = match &message.recipient {
            Recipient::All => String::new(),
            Recipient::Connection(id) => format!("/connections/{}", segment(id)),
            Recipient::User(id) => format!("/users/{}", segment(id)),
            Recipient::Group(name) => format!("/groups/{}", segment(name)),
        };
        let target = serde_json::Value::from(message.target.as_str());
        let body = format!("{{\"target\":{target},\"arguments\":{}}}", message.arguments.get());
        self.call(Method::POST, &Operation::V1(path).path(hub), Bytes::from(body), trace).await
    }

    async fn change_group(
        &self,
        hub: &str,
        change: &SignalRGroupAction,
        trace: TraceContext,
    ) -> Result<(), BindingError> {
        let (method, operation) = group_operation(change);
        self.call(method, &operation.path(hub), Bytes::new(), trace).await
    }
}

/// The path of an operation below its hub, in the oldest API version that has it.
#[derive(Debug, PartialEq, Eq)]
enum Operation {
    V1(String),
    V2022(String),
}

impl Operation {
    fn path(&self, hub: &str) -> String {
        let hub = segment(&hub.to_ascii_lowercase());
        match self {
            Self::V1(path) => format!("/api/v1/hubs/{hub}{path}"),
            Self::V2022(path) => format!("/api/hubs/{hub}{path}?api-version=2022-06-01"),
        }
    }
}

fn group_operation(change: &SignalRGroupAction) -> (Method, Operation) {
    let (method, group) = match &change.action {
        GroupAction::Add(group) => (Method::PUT, Some(segment(group))),
        GroupAction::Remove(group) => (Method::DELETE, Some(segment(group))),
        GroupAction::RemoveAll => (Method::DELETE, None),
    };
    let operation = match (&change.member, group) {
        (GroupMember::Connection(id), Some(group)) => {
            Operation::V1(format!("/groups/{group}/connections/{}", segment(id)))
        }
        (GroupMember::User(id), Some(group)) => {
            Operation::V1(format!("/groups/{group}/users/{}", segment(id)))
        }
        // Version 1 cannot remove a connection from all its groups.
        (GroupMember::Connection(id), None) => {
            Operation::V2022(format!("/connections/{}/groups", segment(id)))
        }
        (GroupMember::User(id), None) => Operation::V1(format!("/users/{}/groups", segment(id))),
    };
    (method, operation)
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The start of a response body, short enough for a log line.
fn excerpt(body: &Bytes) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

#[cfg(test)]
mod tests;
