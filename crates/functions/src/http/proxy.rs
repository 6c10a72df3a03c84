//! HTTP proxying: a worker with the capability `HttpUri` receives the HTTP request itself, in addition to the invocation.
//!
//! The request and the invocation contain the same invocation id, by which the worker joins them. Its HTTP response is streamed back.
//! The outcome depends on both ends, which come in either order: the end of the HTTP response and the invocation response. Therefore
//! the head of the response is delayed until the first byte of its body, or until the invocation response. A failure before the
//! worker sent that byte becomes a 500; a later failure aborts the client's connection. No body is buffered as a whole.
//!
//! The worker of an invocation is known only once the pool has assigned it, so the request is sent after the invocation. Workers accept
//! the two in either order, and wait 15 seconds for the second one.

mod exchange;
mod forward;
mod head;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use egress::{AddressPolicy, Base, Client, HttpVersion, ProxyChoice};
use http::{Response, Uri};
use http_body::Body as _;
use http_messages::{Body, full};
use trace::TraceContext;
use worker_protocol::RpcHttp;

use super::dispatch::Dispatch;
use super::extensions::ClientAddress;
use super::matched::MatchedRequest;
use super::request;
use super::respond::{self, malformed};
use crate::error_table::response;
use crate::generation::{Generation, GenerationGuard, HttpProxying};
use crate::invoke::{Function, TriggerData};
use crate::worker::{CancellationToken, InvokeOptions, WorkerAddressSender};
use exchange::{Exchange, InvocationState, Permits};
use forward::forward;
use head::ProxiedHead;
use upload::RequestUpload;

/// The time limit of connecting to a worker, in milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 1000;

/// How long an idle connection to a worker is kept, in milliseconds: less than the 5 s after which Node.js closes it, because a request
/// at that moment would be lost.
const IDLE_TIMEOUT_MS: u64 = 3000;

/// The most idle connections to one worker.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// A client for the HTTP servers of workers: to this machine only, and never through a proxy.
pub(crate) fn client() -> Client {
    let loopback = |network: &str| network.parse().expect("a network");
    let options = egress::Options {
        connect_timeout_ms: CONNECT_TIMEOUT_MS.try_into().expect("not zero"),
        pool_idle_timeout_ms: IDLE_TIMEOUT_MS.try_into().expect("not zero"),
        pool_idle_per_host_max: IDLE_CONNECTIONS_MAX.try_into().expect("not zero"),
        http_version: HttpVersion::Http1,
        addresses: AddressPolicy {
            base: Base::DenyAll,
            allow: vec![loopback("127.0.0.0/8"), loopback("::1")],
            deny: Vec::new(),
        },
        proxy: ProxyChoice::Off,
        native_roots: false,
        ..egress::Options::default()
    };
    // Proxied requests are counted by `functions_http_proxied`, not by the metrics of egress.
    Client::new(&options, &egress::Metrics::default()).expect("no proxy and no certificates are named")
}

impl Dispatch {
    /// Handles a request by forwarding it to the worker.
    pub(super) async fn proxy(
        &self,
        running: GenerationGuard,
        proxying: HttpProxying,
        function: Arc<Function>,
        matched: MatchedRequest<'_>,
        body: Body,
        permits: Permits,
    ) -> Response<Body> {
        let (body, for_bindings) = match self.streamed_body(&running, &function, body).await {
            Ok(read) => read,
            Err(rejection) => return rejection,
        };
        let id = uuid::Uuid::new_v4().to_string();
        let url = request::function_url(matched.parts, matched.path);
        let Ok(uri) = url.parse::<Uri>() else { return malformed() };
        let client = matched.parts.extensions.get::<ClientAddress>().map(|client| client.0);
        let head = ProxiedHead::new(matched.parts, &uri, client, &id);
        let (cancellation_source, cancellation) = CancellationToken::channel();
        let (address_sender, address_receiver) = WorkerAddressSender::channel();
        let worker_address = Some(address_sender);
        let options = InvokeOptions { cancellation, worker_address, ..InvokeOptions::default() };
        let trigger_data = trigger_data(&function, matched, proxying, &url, &for_bindings, options);
        let upload = RequestUpload::new(body, running.http.body_bytes_max);
        let name = function.name().to_owned();
        let invoker = running.invoker.clone();
        let drain_guard = invoker.active.delay_drain();
        let invocation = tokio::spawn(async move {
            let result = invoker.attempt(&function, trigger_data, &id).await;
            drop(drain_guard);
            result
        });
        let exchange = Exchange {
            _worker: address_receiver.clone(),
            function: name,
            invocation: InvocationState::Active(invocation),
            cancellation_source: Some(cancellation_source),
            upload: upload.clone(),
            logs: self.logs.clone(),
            ended: exchange::OutcomeCounter::new(&self.metrics),
            _permits: permits,
            _generation: running,
        };
        let client = self.proxy.clone();
        exchange.answer(forward(client, head, upload, address_receiver)).await
    }

    /// The body to stream, and the bytes for bindings, which need the whole body if they refer to its properties.
    async fn streamed_body(
        &self,
        running: &Generation,
        function: &Function,
        body: Body,
    ) -> Result<(Body, Bytes), Response<Body>> {
        if function.needs_binding_data {
            let bytes = self.read_body(body).await?;
            return Ok((full(bytes.clone()), bytes));
        }
        let bytes_max = u64::try_from(running.http.body_bytes_max).unwrap_or(u64::MAX);
        if body.size_hint().lower() > bytes_max {
            return Err(respond::error(&response::BODY_TOO_LARGE));
        }
        Ok((body, Bytes::new()))
    }
}

/// The trigger data of a proxied invocation: without the request, but with route values for workers that require them.
fn trigger_data(
    function: &Function,
    matched: MatchedRequest<'_>,
    proxying: HttpProxying,
    url: &str,
    for_bindings: &Bytes,
    options: InvokeOptions,
) -> TriggerData {
    let MatchedRequest { parts, route_values, typed, .. } = matched;
    let headers = request::headers(parts);
    let (metadata, binding_data) =
        request::binding_data(parts, &headers, for_bindings, route_values, typed, function);
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
