//! [`Sender`]: sends one event to its upstream and receives the response.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use http_messages::{BoxError, ErrorChain, ReadError};
use identity::KeySet;
use trace::Tracer;

use super::identity::{ManagedIdentity, ManagedIdentityError};
use super::in_process::{InProcessUpstream, InProcessUpstreams};
use super::metrics::{Metrics, RequestLabels};
use super::options::Options;
use super::request::{self, Content};
use super::template::{AddressError, Category, UpstreamTemplates};
use realtime_engine::ClientConnection;
use tracing::Instrument as _;

/// The address in requests to upstreams of this process, which nothing resolves.
const IN_PROCESS_ADDRESS: &str = "http://localhost/runtime/webhooks/signalr";

/// Sends events to upstreams.
#[derive(Debug)]
pub(crate) struct Sender {
    templates: RwLock<Arc<UpstreamTemplates>>,
    pub(crate) in_process: InProcessUpstreams,
    pub(crate) keys: KeySource,
    pub(crate) egress: egress::Client,
    /// Used by templates that ask for its tokens.
    identity: ManagedIdentity,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: Metrics,
    pub(crate) timeout: Duration,
    pub(crate) answer_bytes_max: usize,
}

/// The response of an upstream.
#[derive(Debug)]
pub(crate) struct UpstreamResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A response whose headers have been received.
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) body: http_messages::Body,
}

/// Why there is no response of an upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendFailure {
    #[error("no template matches this event")]
    NoTemplate,
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("cannot fetch a token for the upstream")]
    Token(#[from] ManagedIdentityError),
    #[error("the upstream in this process is not available: {0}")]
    InProcess(String),
    #[error("cannot reach the upstream")]
    Unreachable(#[source] egress::SendError),
    #[error("the upstream did not respond within {0:?}")]
    Timeout(Duration),
    #[error("the upstream's response has more than {0} bytes")]
    TooLarge(usize),
    #[error("the upstream's response was interrupted")]
    Broken(#[source] BoxError),
    #[error("cannot read the upstream's response")]
    NoRoom(#[source] ReadError),
}

impl SendFailure {
    /// The value of the metric's label.
    fn name(&self) -> &'static str {
        match self {
            Self::NoTemplate => "no_template",
            Self::Address(_) => "address",
            Self::Token(_) => "token",
            Self::InProcess(_) => "in_process",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::TooLarge(_) => "too_large",
            Self::Broken(_) => "broken",
            Self::NoRoom(_) => "no_room",
        }
    }

    /// Whether a retry would fail for the same reason.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::NoTemplate | Self::Address(_) => true,
            Self::Unreachable(cause) => matches!(cause, egress::SendError::Address { .. }),
            Self::InProcess(_)
            | Self::Token(_)
            | Self::Timeout(_)
            | Self::TooLarge(_)
            | Self::Broken(_)
            | Self::NoRoom(_) => false,
        }
    }

    /// The text for the client that called. Details may name hosts, so they are included only if the client's token asks for
    /// them.
    pub(crate) fn for_client(&self, with_details: bool) -> String {
        match self {
            // The emulator's text.
            Self::TooLarge(_) => "Invocation failed, response too large.".to_owned(),
            Self::Address(error) => format!("Invocation failed, {error}"),
            _ if with_details => format!("Invocation failed, error: {}", ErrorChain(self)),
            Self::Timeout(_) => "Invocation failed, the upstream did not respond in time".to_owned(),
            _ => "Invocation failed, the upstream cannot be reached".to_owned(),
        }
    }
}

/// The source of the keys that sign a request; keys may be replaced while the service runs.
#[derive(Clone)]
pub(crate) struct KeySource(Arc<dyn Fn() -> Arc<KeySet> + Send + Sync>);

impl KeySource {
    /// Keys that `current` returns.
    pub(crate) fn new(current: impl Fn() -> Arc<KeySet> + Send + Sync + 'static) -> Self {
        Self(Arc::new(current))
    }
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySource(..)")
    }
}

impl Sender {
    /// Creates a sender. `templates` and the identity endpoint were checked with the options.
    pub(crate) fn new(
        options: &Options,
        templates: UpstreamTemplates,
        keys: KeySource,
        egress: egress::Client,
        tracer: Tracer,
        metrics: Metrics,
    ) -> Self {
        let identity = ManagedIdentity::new(options, egress.clone());
        Self {
            templates: RwLock::new(Arc::new(templates)),
            in_process: InProcessUpstreams::default(),
            keys,
            egress,
            identity,
            tracer,
            metrics,
            timeout: Duration::from_millis(options.request_timeout_ms.get()),
            answer_bytes_max: options.answer_bytes_max.get(),
        }
    }

    /// The templates that are in effect now.
    pub(crate) fn templates(&self) -> Arc<UpstreamTemplates> {
        Arc::clone(&self.templates.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the templates; requests that were begun continue to the upstream that they had.
    pub(crate) fn set_templates(&self, templates: UpstreamTemplates) {
        *self.templates.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(templates);
    }

    /// Sends an event to the upstream of the first template that matches, and reads the whole response within the request
    /// timeout.
    pub(crate) async fn send(
        &self,
        client: &ClientConnection,
        category: Category,
        event: &str,
        content: Content,
    ) -> Result<UpstreamResponse, SendFailure> {
        let (began, mut span) = self.start(client, category, event);
        let traceparent = span.context().to_traceparent();
        let whole = async {
            let answer = self.exchange(client, category, event, content, &traceparent).await?;
            let (head, body) = answer.into_parts();
            let body = self.read(body).await?;
            Ok(UpstreamResponse { status: head.status, headers: head.headers, body })
        };
        let result = self.in_time(whole.instrument(log_fields(&span))).await;
        let status = result.as_ref().map(|answer| answer.status);
        self.count(category, began, &mut span, status);
        result
    }

    /// Sends an event to the upstream of the first template that matches, and returns the response when its headers are received.
    /// The caller limits the time of the rest.
    pub(crate) async fn begin(
        &self,
        client: &ClientConnection,
        category: Category,
        event: &str,
        content: Content,
    ) -> Result<ResponseHead, SendFailure> {
        let (began, mut span) = self.start(client, category, event);
        let traceparent = span.context().to_traceparent();
        let result = self
            .in_time(
                self.exchange(client, category, event, content, &traceparent).instrument(log_fields(&span)),
            )
            .await;
        let status = result.as_ref().map(http::Response::status);
        self.count(category, began, &mut span, status);
        result.map(|answer| ResponseHead { status: answer.status(), body: answer.into_body() })
    }

    /// Starts the span of a request.
    fn start(&self, client: &ClientConnection, category: Category, event: &str) -> (Instant, trace::Span) {
        let mut span = self.tracer.start("upstream", None);
        span.set("hub", client.hub.name());
        span.set("category", category.as_str());
        span.set("event", event);
        (Instant::now(), span)
    }

    async fn in_time<A>(
        &self,
        exchange: impl Future<Output = Result<A, SendFailure>>,
    ) -> Result<A, SendFailure> {
        let late = |_late| Err(SendFailure::Timeout(self.timeout));
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or_else(late)
    }

    /// Counts the outcome of a request.
    fn count(
        &self,
        category: Category,
        began: Instant,
        span: &mut trace::Span,
        status: Result<StatusCode, &SendFailure>,
    ) {
        let outcome = match status {
            Ok(status) => {
                span.set("status", status.as_str());
                if status.is_success() { "answered" } else { "status" }
            }
            Err(failure) => {
                span.fail(ErrorChain(failure).to_string());
                failure.name()
            }
        };
        self.metrics.requests.get_or_create(&RequestLabels { category: category.as_str(), outcome }).inc();
        self.metrics.request_seconds.observe(began.elapsed().as_secs_f64());
    }

    async fn exchange(
        &self,
        client: &ClientConnection,
        category: Category,
        event: &str,
        content: Content,
        traceparent: &str,
    ) -> Result<http::Response<http_messages::Body>, SendFailure> {
        let hub = client.hub.name();
        let signature = request::signature(&client.id.to_string(), &(self.keys.0)());
        let templates = self.templates();
        let Some(template) = templates.find(hub, category, event) else {
            let found = self.in_process.find(hub, category.as_str(), event);
            let upstream = found.ok_or(SendFailure::NoTemplate)?;
            let address = Uri::from_static(IN_PROCESS_ADDRESS);
            let mut request = request::build(address, client, category, event, content, &signature);
            request::trace(&mut request, traceparent);
            return self.hand_over(&*upstream, request).await;
        };
        let address = template.address(hub, category, event)?;
        let mut request = request::build(address, client, category, event, content, &signature);
        request::trace(&mut request, traceparent);
        if let Some(resource) = &template.token_for {
            request::authorize(&mut request, &self.identity.token(resource).await?);
        }
        // `in_time` limits the whole exchange; this limit covers only the time to the headers.
        request.extensions_mut().insert(egress::RequestTimeout(self.timeout));
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        self.egress.send(request).await.map_err(|cause| match cause {
            egress::SendError::Timeout { after } => SendFailure::Timeout(after),
            other => SendFailure::Unreachable(other),
        })
    }

    /// Hands an event to an upstream of this process.
    async fn hand_over(
        &self,
        upstream: &dyn InProcessUpstream,
        request: http::Request<Bytes>,
    ) -> Result<http::Response<http_messages::Body>, SendFailure> {
        let response = upstream.send(request).await.map_err(SendFailure::InProcess)?;
        let response = response.ok_or(SendFailure::NoTemplate)?;
        Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync()))
    }

    /// Whether an upstream subscribes to an event.
    pub(crate) fn has_upstream(&self, hub: &str, category: Category, event: &str) -> bool {
        self.templates().find(hub, category, event).is_some()
            || self.in_process.find(hub, category.as_str(), event).is_some()
    }

    /// Whether some upstream may subscribe to events of a hub.
    pub(crate) fn concerns(&self, hub: &str) -> bool {
        self.templates().concern(hub) || self.in_process.concern(hub)
    }

    /// Whether there is an upstream at all.
    pub(crate) fn has_upstreams(&self) -> bool {
        !self.templates().is_empty() || !self.in_process.is_empty()
    }

    /// The whole body of a response, up to the size limit.
    async fn read(&self, mut body: http_messages::Body) -> Result<Bytes, SendFailure> {
        match self.egress.read(&mut body, self.answer_bytes_max).await {
            // Parts of it may wait long for their client; the limits of its connection apply then.
            Ok(held) => Ok(Bytes::clone(&held)),
            Err(ReadError::TooLarge { bytes_max }) => Err(SendFailure::TooLarge(bytes_max)),
            Err(ReadError::Broken(cause)) => Err(SendFailure::Broken(cause)),
            Err(error) => Err(SendFailure::NoRoom(error)),
        }
    }
}

/// A span that adds the ids of a request to its log lines.
fn log_fields(span: &trace::Span) -> tracing::Span {
    let context = span.context();
    tracing::error_span!("upstream", trace_id = %context.trace_id, span_id = %context.span_id)
}
