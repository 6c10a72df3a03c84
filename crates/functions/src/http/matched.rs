//! A request whose route matched a function, and the trigger data of its invocation.

use http::request::Parts;
use trace::TraceContext;

use super::body::ReceivedBody;
use super::request;
use crate::invoke::{Function, TriggerData};
use crate::keys::KnownKey;

/// A request to a function, without its body.
pub(super) struct MatchedRequest<'a> {
    pub(super) parts: &'a Parts,
    /// The path, decoded and normalised.
    pub(super) path: &'a str,
    pub(super) route_values: &'a [(String, String)],
    /// Route values in the types of their constraints, for expressions.
    pub(super) typed: serde_json::Map<String, serde_json::Value>,
    /// The valid key that the caller sent.
    pub(super) key: Option<KnownKey>,
}

pub(super) fn trigger_data(
    matched: MatchedRequest<'_>,
    received: ReceivedBody,
    function: &Function,
) -> TriggerData {
    let MatchedRequest { parts, path, route_values, typed, key } = matched;
    let url = request::function_url(parts, path);
    let parent = request::header_text(parts, "traceparent").and_then(|text| TraceContext::parse(&text));
    // `tracestate` has no meaning without its parent (W3C Trace Context, section 3.3).
    let trace_state = parent.and_then(|_| request::header_text(parts, "tracestate")).unwrap_or_default();
    let headers = request::headers(parts);
    let body = &received.for_bindings;
    let (metadata, binding_data) =
        request::binding_data(parts, &headers, body, route_values, typed, function);
    TriggerData {
        // For bindings only.
        origin: if function.has_bindings() { request::origin(&url) } else { None },
        data: request::to_worker(parts, headers, url, received.data, route_values, key.as_ref()).into(),
        metadata,
        binding_data,
        reason: "This function was programmatically called via the host APIs.".to_owned(),
        parent,
        trace_state,
        baggage: request::baggage(parts),
        ..TriggerData::default()
    }
}
