//! [`delivery`]: the request with which a service of this process delivers events, without a socket.

use bytes::Bytes;
use functions_contract::PushRequest;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The schema of delivered events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// An array of events in the Event Grid schema.
    EventGrid,
    /// One CloudEvent 1.0, an object.
    CloudEvent,
    /// An array of CloudEvents 1.0.
    CloudEventBatch,
}

/// The request that delivers events to a function, for the host's `push` with the extension `eventgrid`. `events` is JSON in the schema's
/// form. The response is that of the webhook: 202 for success; anything else means that all of the events must be delivered again.
pub fn delivery(function: &str, schema: Schema, events: Bytes) -> PushRequest {
    let content_type = match schema {
        Schema::EventGrid => "application/json; charset=utf-8",
        Schema::CloudEvent => "application/cloudevents+json; charset=utf-8",
        Schema::CloudEventBatch => "application/cloudevents-batch+json; charset=utf-8",
    };
    let name = utf8_percent_encode(function, NON_ALPHANUMERIC);
    let address = format!("http://localhost/runtime/webhooks/eventgrid?functionName={name}");
    let mut request = Request::new(events);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = address.parse().expect("escaped text is part of a valid address");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request.headers_mut().insert("aeg-event-type", HeaderValue::from_static("Notification"));
    request
}
