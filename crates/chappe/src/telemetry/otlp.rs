//! Export of spans to a collector: OTLP over HTTP with protobuf bodies.
//!
//! The field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and `collector/trace/v1/trace_service.proto`
//! (version 1). Only the fields that we set are declared; the others are optional.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use prost::Message;
use tokio::sync::watch;
use trace::{SpanRecord, Tracer};

/// Most spans in one request.
const BATCH_SPANS_MAX: usize = 512;
/// How long a span waits for others before a batch is sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait before the next request to a collector that did not respond.
const BACK_OFF: Duration = Duration::from_secs(10);

/// Sends the spans that a [`Tracer`] recorded to a collector until it is stopped.
#[derive(Clone)]
pub(crate) struct Exporter {
    tracer: Tracer,
    client: egress::Client,
    endpoint: String,
    cursor: u64,
    failing: bool,
}

impl Exporter {
    /// Creates an exporter to `endpoint`, the collector's base address (`/v1/traces` is added).
    pub(crate) fn new(tracer: Tracer, client: egress::Client, endpoint: &str) -> Self {
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Self { tracer, client, endpoint, cursor: 0, failing: false }
    }

    /// Exports until `stopping` turns true, then once more.
    pub(crate) async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            let pause = if self.failing { BACK_OFF } else { INTERVAL };
            let stop = tokio::select! {
                () = tokio::time::sleep(pause) => false,
                _ = stopping.wait_for(|stop| *stop) => true,
            };
            while self.export_batch().await {}
            if stop {
                return;
            }
        }
    }

    /// Sends one batch; returns whether more may be waiting. A batch that fails is sent again later, if the ring still contains it.
    async fn export_batch(&mut self) -> bool {
        let exported = self.tracer.since(self.cursor, BATCH_SPANS_MAX);
        if exported.missed > 0 {
            tracing::warn!(spans = exported.missed, "spans were forgotten before they could be exported");
        }
        self.cursor += exported.missed;
        if exported.spans.is_empty() {
            return false;
        }
        let full = exported.spans.len() == BATCH_SPANS_MAX;
        match self.send(&exported.spans).await {
            Ok(()) => {
                self.cursor = exported.next;
                self.failing = false;
                full
            }
            Err(why) => {
                if !self.failing {
                    tracing::warn!(
                        endpoint = self.endpoint,
                        why,
                        "spans could not be exported; trying again later"
                    );
                }
                self.failing = true;
                false
            }
        }
    }

    async fn send(&self, spans: &[SpanRecord]) -> Result<(), String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(Bytes::from(encode(spans)))
            .map_err(|cause| cause.to_string())?;
        let response = self.client.call(request).await.map_err(|cause| http_messages::error_chain(&cause))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the collector answered {status}")),
        }
    }
}

/// The body of an `ExportTraceServiceRequest`.
pub(super) fn encode(spans: &[SpanRecord]) -> Vec<u8> {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { string_value: Some(value.to_owned()) }),
    };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "chappe"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ],
    };
    let spans = spans.iter().map(|span| Span {
        trace_id: span.context.trace_id.to_bytes().to_vec(),
        span_id: span.context.span_id.to_bytes().to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind: SPAN_KIND_INTERNAL,
        start_time_unix_nano: span.start_unix_ns,
        end_time_unix_nano: span.end_unix_ns,
        attributes: span.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        links: span
            .links
            .iter()
            .map(|link| Link {
                trace_id: link.trace_id.to_bytes().to_vec(),
                span_id: link.span_id.to_bytes().to_vec(),
            })
            .collect(),
        status: span.error.as_ref().map(|why| Status { message: why.clone(), code: STATUS_CODE_ERROR }),
    });
    let scope_spans = ScopeSpans { scope: Some(Scope { name: "chappe".to_owned() }), spans: spans.collect() };
    let resource_spans = ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans] };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

const SPAN_KIND_INTERNAL: i32 = 1;
const STATUS_CODE_ERROR: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}
