//! HTTP proxying: a worker that announces the capability `HttpUri` gets the HTTP request itself, beside the invocation.
//!
//! Both halves carry the id of the invocation, and the worker joins them. Its response streams back, and the outcome needs both:
//! the end of the HTTP response and the answer to the invocation, which come in either order. So the head of the response is held
//! back until the first byte of its body, or until the invocation is answered: a failure before the worker sent that byte is a 500, and
//! a later one breaks the client's connection off. Nothing is held whole on either way.
//!
//! Which worker has an invocation is known only once it has it, so that the request goes out after the invocation; workers take the two
//! in either order, and wait for the second one for 15 seconds.

mod exchange;
mod forward;
mod head;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use egress::{AddressPolicy, Base, Client, HttpVersion, ProxyChoice};
use http::{Response, StatusCode, Uri};
use http_body::Body as _;
use http_messages::{Body, empty, full};
use trace::TraceContext;
use worker_protocol::RpcHttp;

use super::dispatch::Dispatch;
use super::extensions::ClientAddress;
use super::matched::MatchedRequest;
use super::request;
use super::respond::malformed;
use crate::invoke::{Function, TriggerData};
use crate::metrics::Rejected;
use crate::running_app::{HttpProxying, RunningApp};
use crate::worker::{CancellationToken, InvokeOptions, WorkerAddressSender};
use exchange::{Exchange, InvocationState, Permits};
use forward::forward;
use head::ProxiedHead;
use upload::RequestUpload;

/// How long a connection to a worker may take, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 1000;

/// How long an unused connection to a worker is kept, in milliseconds: less than the 5 s after which Node.js closes it, as a request
/// that meets the close would be lost.
const IDLE_TIMEOUT_MS: u64 = 3000;

/// Unused connections to one worker.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// A client for the HTTP servers of workers: to this machine only, and never by a proxy.
pub(crate) fn client() -> Client {
    let here = |network: &str| network.parse().expect("a network");
    let options = egress::Options {
        connect_timeout_ms: CONNECT_TIMEOUT_MS.try_into().expect("not zero"),
        pool_idle_timeout_ms: IDLE_TIMEOUT_MS.try_into().expect("not zero"),
        pool_idle_per_host_max: IDLE_CONNECTIONS_MAX.try_into().expect("not zero"),
        http_version: HttpVersion::Http1,
        addresses: AddressPolicy {
            base: Base::DenyAll,
            allow: vec![here("127.0.0.0/8"), here("::1")],
            deny: Vec::new(),
        },
        proxy: ProxyChoice::Off,
        native_roots: false,
        ..egress::Options::default()
    };
    // What is counted of proxied requests is `functions_http_proxied`; the counters of egress are for the world outside.
    Client::new(&options, &egress::Metrics::default()).expect("no proxy and no certificates are named")
}

impl Dispatch {
    /// Answers a request by handing it to the worker as it is.
    pub(super) async fn proxy(
        &self,
        running: &RunningApp,
        proxying: HttpProxying,
        function: Arc<Function>,
        matched: MatchedRequest<'_>,
        body: Body,
        permits: Permits,
    ) -> Response<Body> {
        let (body, shown) = match self.to_stream(&function, body).await {
            Ok(read) => read,
            Err(refusal) => return refusal,
        };
        let id = uuid::Uuid::new_v4().to_string();
        let url = request::function_url(matched.parts, matched.path);
        let Ok(uri) = url.parse::<Uri>() else { return malformed() };
        let client = matched.parts.extensions.get::<ClientAddress>().map(|client| client.0);
        let head = ProxiedHead::new(matched.parts, &uri, client, &id);
        let (cancellation_source, cancellation) = CancellationToken::channel();
        let (address_sender, address_receiver) = WorkerAddressSender::channel();
        let options = InvokeOptions { timeout: None, cancellation, worker_address: Some(address_sender) };
        let trigger_data = trigger_data(&function, matched, proxying, &url, &shown, options);
        let upload = RequestUpload::new(body, self.body_bytes_max);
        let name = function.name().to_owned();
        let invoker = running.invoker.clone();
        let held = invoker.active.delay_drain();
        let invocation = tokio::spawn(async move {
            let result = invoker.attempt(&function, trigger_data, &id).await;
            drop(held);
            result
        });
        let exchange = Exchange {
            function: name,
            verdict: InvocationState::Open(invocation),
            cancellation_source: Some(cancellation_source),
            upload: upload.clone(),
            logs: self.logs.clone(),
            ended: exchange::OutcomeCounter::new(&self.metrics),
            _permits: permits,
        };
        let client = self.proxy.clone();
        exchange.answer(forward(client, head, upload, address_receiver)).await
    }

    /// The body to stream, and what bindings see of it: they need it whole, where they name its properties.
    async fn to_stream(&self, function: &Function, body: Body) -> Result<(Body, Bytes), Response<Body>> {
        if function.needs_binding_data {
            let bytes = self.read_body(body).await?;
            return Ok((full(bytes.clone()), bytes));
        }
        let bytes_max = u64::try_from(self.body_bytes_max).unwrap_or(u64::MAX);
        if body.size_hint().lower() > bytes_max {
            self.rejected(Rejected::BodyTooLarge);
            return Err(empty(StatusCode::PAYLOAD_TOO_LARGE));
        }
        Ok((body, Bytes::new()))
    }
}

/// What the worker learns by the invocation: nothing of the request itself, but values of the route, which some need there.
fn trigger_data(
    function: &Function,
    matched: MatchedRequest<'_>,
    proxying: HttpProxying,
    url: &str,
    shown: &Bytes,
    options: InvokeOptions,
) -> TriggerData {
    let MatchedRequest { parts, route_values, typed, .. } = matched;
    let (metadata, binding_data) =
        request::binding_data(parts, shown, route_values, typed, function.needs_binding_data);
    let mut data = RpcHttp::default();
    if proxying.needs_route_values {
        data.params = route_values.iter().cloned().collect();
    }
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    TriggerData {
        origin: request::origin(url),
        data: data.into(),
        metadata,
        binding_data,
        reason: "This function was programmatically called via the host APIs.".to_owned(),
        parent: traceparent.and_then(TraceContext::parse),
        options,
        ..TriggerData::default()
    }
}
