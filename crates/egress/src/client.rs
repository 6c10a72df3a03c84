//! [`Client`]: sends requests over pooled connections.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use http_messages::{Body, BoxError, Budget, BufferedBody, ReadError};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioTimer;

use crate::connector::{ConnectorState, HttpConnector};
use crate::error::{OptionsError, SendError};
use crate::metrics::Metrics;
use crate::options::{HttpVersion, Options, milliseconds};
use crate::proxy::Proxies;
use crate::roots::Roots;
use crate::tasks::Tasks;

/// Sends requests; cheap to clone, and all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    pool: legacy::Client<HttpConnector, Body>,
    shared: Arc<Shared>,
    /// The budget that response bodies share with other bodies of the process.
    bodies: Budget,
}

#[derive(Debug)]
struct Shared {
    state: Arc<ConnectorState>,
    tasks: Tasks,
    metrics: Metrics,
    request_timeout: Duration,
    response_bytes_max: usize,
}

/// A time limit for one request, in its extensions; overrides [`Options::request_timeout_ms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTimeout(pub Duration);

impl Client {
    /// Creates a client without connections, which counts in `metrics`.
    ///
    /// # Errors
    ///
    /// If a proxy's address or a certificate file is wrong.
    pub fn new(options: &Options, metrics: &Metrics) -> Result<Self, OptionsError> {
        let state = Arc::new(ConnectorState {
            proxies: Proxies::new(&options.proxy)?,
            addresses: options.addresses.clone(),
            roots: Roots::new(options)?,
            connect_timeout: milliseconds(options.connect_timeout_ms),
            metrics: metrics.clone(),
        });
        let tasks = Tasks::default();
        let head_bytes_max = options.response_head_bytes_max.get().max(HEAD_BYTES_MIN);
        let pool = legacy::Client::builder(tasks.clone())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(milliseconds(options.pool_idle_timeout_ms))
            .pool_max_idle_per_host(options.pool_idle_per_host_max.get())
            .http1_max_buf_size(head_bytes_max as usize)
            .http2_max_header_list_size(head_bytes_max)
            .http2_only(options.http_version == HttpVersion::Http2)
            .build(HttpConnector(Arc::clone(&state)));
        let shared = Shared {
            state,
            tasks,
            metrics: metrics.clone(),
            request_timeout: milliseconds(options.request_timeout_ms),
            response_bytes_max: options.response_bytes_max.get(),
        };
        Ok(Self { pool, shared: Arc::new(shared), bodies: Budget::default() })
    }

    /// Reads complete responses ([`Client::call`]) within the budget of the whole process. Without it the client has a budget of its own.
    #[must_use]
    pub fn with_bodies(self, bodies: Budget) -> Self {
        Self { bodies, ..self }
    }

    /// Sends a request with an absolute URI, and returns as soon as the head of the response has arrived; its body streams. A
    /// request that failed because its pooled connection had just closed is sent again, if no part of it was sent.
    ///
    /// A response of 101 has hyper's upgrade in its extensions.
    ///
    /// # Errors
    ///
    /// See [`SendError`]. A response with an error status is not an error.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Body>, SendError> {
        let after = self.time_limit(&request);
        let response = self.within(after, self.exchange(request)).await?;
        Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
    }

    /// Sends a request with an absolute URI, and returns when the whole response has arrived.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; also if the body of the response is larger than [`Options::response_bytes_max`].
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        let after = self.time_limit(&request);
        let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        let whole = async {
            let (head, body) = self.exchange(request).await?.into_parts();
            let body = self.collect(body).await?;
            Ok(Response::from_parts(head, body))
        };
        self.within(after, whole).await
    }

    /// Reads the body of a response of at most `bytes_max` bytes, within the budget of [`Client::with_bodies`].
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn read(&self, body: &mut Body, bytes_max: usize) -> Result<BufferedBody, ReadError> {
        self.bodies.read(body, bytes_max).await
    }

    /// Closes every connection and waits until it is closed; for the end of the process. Running requests fail, so callers should
    /// end first.
    pub async fn close(&self) {
        self.shared.tasks.end().await;
    }

    fn time_limit<B>(&self, request: &Request<B>) -> Duration {
        request.extensions().get::<RequestTimeout>().map_or(self.shared.request_timeout, |limit| limit.0)
    }

    /// Counts a request, and limits its time.
    async fn within<T>(
        &self,
        after: Duration,
        exchange: impl Future<Output = Result<T, SendError>>,
    ) -> Result<T, SendError> {
        self.shared.metrics.request();
        let result = match tokio::time::timeout(after, exchange).await {
            Ok(result) => result,
            Err(_late) => Err(SendError::Timeout { after }),
        };
        if let Err(error) = &result {
            self.shared.metrics.failure(error);
        }
        result
    }

    async fn exchange(&self, mut request: Request<Body>) -> Result<Response<Incoming>, SendError> {
        let uri = request.uri();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(SendError::Address { uri: uri.to_string() });
        }
        let proxy = self.shared.state.forwarding_proxy(uri);
        if let Some(authorization) = proxy.as_ref().and_then(Intercept::basic_auth).cloned() {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        // The connection determines the HTTP version, not the version of the received request; the same applies to fields that
        // HTTP/2 does not have (RFC 9113 section 8.2.2), which hyper removes where needed.
        *request.version_mut() = Version::HTTP_11;
        self.pool.request(request).await.map_err(from_pool)
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, SendError> {
        let read = self.bodies.read(&mut body, self.shared.response_bytes_max).await;
        let held = read.map_err(|error| match error {
            ReadError::TooLarge { bytes_max } => SendError::BodyTooLarge { bytes_max },
            ReadError::Broken(cause) => SendError::Protocol { cause: cause.into() },
            error => SendError::OverBudget { cause: Arc::new(error) },
        })?;
        Ok(held.into_bytes())
    }
}

impl tower::Service<Request<Body>> for Client {
    type Response = Response<Body>;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, SendError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}

/// The smallest read buffer that the HTTP/1 implementation allows, in bytes.
const HEAD_BYTES_MIN: u32 = 8192;

/// Finds our connector's error inside the pool's error.
fn from_pool(error: legacy::Error) -> SendError {
    match error.source().and_then(|source| source.downcast_ref::<SendError>()) {
        Some(ours) => ours.clone(),
        None => SendError::Protocol { cause: Arc::new(error) },
    }
}
