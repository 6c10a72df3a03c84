//! The trigger of one function: handshakes, and events that invoke it.

use bytes::Bytes;
use bytestring::ByteString;
use functions_contract::{PushError, PushEvent, PushFunction, PushRequest, PushResponse, PushTrigger, Value};
use futures_util::{StreamExt as _, stream};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;

use crate::envelope::{EventParts, events};
use crate::handshake;
use crate::response::{plain, status};

/// How many events an invocation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    One,
    Many,
}

/// The trigger of one function.
pub(crate) struct EventGridTrigger {
    pub(crate) function: String,
    pub(crate) cardinality: Cardinality,
    /// Whether the function gets text instead of JSON (`dataType`).
    pub(crate) is_text: bool,
    /// The most invocations at a time for one delivery.
    pub(crate) invocations_max: usize,
}

#[async_trait::async_trait]
impl PushTrigger for EventGridTrigger {
    fn addresses(&self) -> Vec<String> {
        vec![self.function.to_lowercase()]
    }

    async fn receive(&self, request: PushRequest, function: &dyn PushFunction) -> PushResponse {
        let (parts, body) = request.into_parts();
        if parts.method == Method::OPTIONS {
            return handshake::options(&parts.headers);
        }
        let event_type = parts.headers.get("aeg-event-type").and_then(|value| value.to_str().ok());
        match event_type.unwrap_or_default().to_ascii_lowercase().as_str() {
            "subscriptionvalidation" => handshake::validation(&body),
            "notification" => self.notification(&parts.headers, &body, function).await,
            "unsubscribe" | "subscriptiondeletion" => status(StatusCode::ACCEPTED),
            _ if is_cloud_event(&parts.headers) => self.notification(&parts.headers, &body, function).await,
            _ => plain(
                StatusCode::BAD_REQUEST,
                "The header aeg-event-type must be Notification, SubscriptionValidation or Unsubscribe.",
            ),
        }
    }
}

impl EventGridTrigger {
    async fn notification(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        function: &dyn PushFunction,
    ) -> PushResponse {
        let events = match events(headers, body) {
            Ok(events) => events,
            Err(error) => return plain(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let invocations: Vec<PushEvent> = match self.cardinality {
            Cardinality::One => events.into_iter().map(|event| self.one(event)).collect(),
            Cardinality::Many if events.is_empty() => Vec::new(),
            Cardinality::Many => vec![self.many(&events)],
        };
        // One that fails makes the sender deliver all of them again, so that the others end first.
        let invocations = stream::iter(invocations).map(|event| function.invoke(event));
        let results: Vec<_> = invocations.buffer_unordered(self.invocations_max).collect().await;
        match results.into_iter().filter_map(Result::err).max_by_key(severity) {
            None => status(StatusCode::ACCEPTED),
            Some(error) => failed(&error),
        }
    }

    fn one(&self, event: String) -> PushEvent {
        let parts = EventParts::read(&event);
        let metadata = parts.data.map(|data| ("data".to_owned(), Value::Json(data.into())));
        let event = ByteString::from(event);
        PushEvent {
            data: if self.is_text { Value::Text(event) } else { Value::Json(event) },
            metadata: metadata.into_iter().collect(),
            reason: reason(),
            parent: parts.trace,
            links: Vec::new(),
        }
    }

    fn many(&self, events: &[String]) -> PushEvent {
        let parts: Vec<EventParts> = events.iter().map(|event| EventParts::read(event)).collect();
        let data: Vec<&str> = parts.iter().map(|parts| parts.data.as_deref().unwrap_or("null")).collect();
        let array = |items: &[&str]| Value::Json(format!("[{}]", items.join(",")).into());
        let texts: Vec<&str> = events.iter().map(String::as_str).collect();
        PushEvent {
            data: if self.is_text {
                Value::Many(texts.into_iter().map(|event| Value::Text(event.into())).collect())
            } else {
                array(&texts)
            },
            metadata: vec![("data".to_owned(), array(&data))],
            reason: reason(),
            parent: None,
            links: parts.iter().filter_map(|parts| parts.trace).collect(),
        }
    }
}

/// As the Azure Functions extension logs it.
fn reason() -> String {
    format!("EventGrid trigger fired at {}", Timestamp::now())
}

/// Whether a sender other than Event Grid delivers CloudEvents, without its headers.
fn is_cloud_event(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_structured =
        content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/cloudevents"));
    is_structured || headers.contains_key("ce-specversion")
}

/// Of several errors, the one for the response: a failure of a function takes precedence over a temporary error.
fn severity(error: &PushError) -> u8 {
    match error {
        PushError::Overloaded => 0,
        PushError::Unavailable(_) => 1,
        _ => 2,
    }
}

/// Event Grid delivers again after each of these; after 429 and 503 later than after 500.
fn failed(error: &PushError) -> PushResponse {
    let mut response = plain(error.status(), &error.to_string());
    if matches!(error, PushError::Overloaded | PushError::Unavailable(_)) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(test)]
mod tests;
