//! The events of a delivery: one object or an array, in the Event Grid schema or as CloudEvents 1.0; a CloudEvent also in binary mode,
//! with its attributes in headers. Pure. Events keep the text in which they came.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

/// Why a body has no events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("The body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("The body must be an event, or an array of events.")]
    Form,
}

/// The events of a request, each as the text of a JSON object.
pub(crate) fn events(headers: &HeaderMap, body: &Bytes) -> Result<Vec<String>, EnvelopeError> {
    if headers.contains_key("ce-specversion") {
        return Ok(vec![binary(headers, body)]);
    }
    let text = std::str::from_utf8(body).map_err(|_| EnvelopeError::Form)?;
    let text = text.trim_start_matches('\u{feff}').trim();
    let events: Vec<&RawValue> = match text.as_bytes().first() {
        Some(b'[') => serde_json::from_str(text)?,
        Some(b'{') => vec![serde_json::from_str(text)?],
        _ => {
            // The error of the parser says where the JSON ends, if it is none.
            serde_json::from_str::<serde::de::IgnoredAny>(text)?;
            return Err(EnvelopeError::Form);
        }
    };
    if events.iter().any(|event| !event.get().starts_with('{')) {
        return Err(EnvelopeError::Form);
    }
    Ok(events.into_iter().map(|event| event.get().to_owned()).collect())
}

/// A CloudEvent in binary mode as the structured one that functions get.
fn binary(headers: &HeaderMap, body: &Bytes) -> String {
    let mut event = Map::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            event.insert(attribute.to_owned(), Json::String(attribute_text(value.as_bytes())));
        }
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.is_empty() {
        event.insert("datacontenttype".to_owned(), content_type.into());
    }
    let is_json = content_type.split(';').next().is_some_and(|kind| {
        let kind = kind.trim().to_ascii_lowercase();
        kind == "application/json" || kind.ends_with("+json")
    });
    let json = if is_json { serde_json::from_slice(body).ok() } else { None };
    let (name, data) = match (json, std::str::from_utf8(body)) {
        (Some(json), _) => ("data", json),
        (None, Ok(text)) => ("data", text.into()),
        (None, Err(_)) => ("data_base64", base64(body).into()),
    };
    if !body.is_empty() {
        event.insert(name.to_owned(), data);
    }
    Json::Object(event).to_string()
}

/// The text of an attribute: percent-encoded, or quoted by senders of older versions (CloudEvents HTTP binding, section 3.1.3.2).
fn attribute_text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text =
        unquoted.map_or_else(|| text.to_string(), |text| text.replace("\\\"", "\"").replace("\\\\", "\\"));
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What a function needs of an event beside its text.
pub(crate) struct EventParts {
    /// `data`, as JSON text; `None` if it is absent or null.
    pub(crate) data: Option<String>,
    /// `traceparent` of a CloudEvent.
    pub(crate) trace: Option<trace::TraceContext>,
}

impl EventParts {
    /// Reads an event, which is a JSON object.
    pub(crate) fn read(event: &str) -> Self {
        let properties: std::collections::HashMap<String, &RawValue> =
            serde_json::from_str(event).unwrap_or_default();
        let data = properties.get("data").map(|data| data.get()).filter(|data| *data != "null");
        let traceparent =
            properties.get("traceparent").and_then(|text| serde_json::from_str::<String>(text.get()).ok());
        Self {
            data: data.map(str::to_owned),
            trace: traceparent.and_then(|text| trace::TraceContext::parse(&text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect()
    }

    fn read(body: &str) -> Result<Vec<String>, String> {
        events(&HeaderMap::new(), &Bytes::copy_from_slice(body.as_bytes())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_text_of_one_event_and_of_an_array_is_unchanged() {
        assert_eq!(
            read(r#"[{"b": 1.50, "a": 2},{"c":3}]"#).unwrap(),
            [r#"{"b": 1.50, "a": 2}"#, r#"{"c":3}"#]
        );
        assert_eq!(read("\u{feff} {\"id\":\"1\"} ").unwrap(), ["{\"id\":\"1\"}"]);
        assert!(read("[]").unwrap().is_empty());
    }

    #[test]
    fn a_body_without_events_is_an_error() {
        for body in ["1", "\"x\"", "[1]", "[{}, null]"] {
            assert_eq!(
                read(body),
                Err("The body must be an event, or an array of events.".to_owned()),
                "{body}"
            );
        }
        assert!(read("{").unwrap_err().starts_with("The body is not JSON: "));
        assert!(read("").unwrap_err().starts_with("The body is not JSON: "));
    }

    #[test]
    fn a_cloud_event_in_binary_mode_becomes_a_structured_one() {
        let attributes = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-type", "card.moved"),
            ("ce-source", "/board"),
            ("ce-id", "7"),
            ("ce-subject", "M%C3%BCller"),
            ("ce-note", "\"a \\\"b\\\"\""),
            ("content-type", "application/json"),
            ("host", "here"),
        ]);
        let event = events(&attributes, &Bytes::from_static(b"{\"n\":1}")).unwrap().remove(0);
        let event: Json = serde_json::from_str(&event).unwrap();
        let expected = serde_json::json!({
            "specversion": "1.0", "type": "card.moved", "source": "/board", "id": "7", "subject": "Müller", "note": "a \"b\"",
            "datacontenttype": "application/json", "data": {"n": 1},
        });
        assert_eq!(event, expected);
        let bytes =
            events(&headers(&[("ce-specversion", "1.0")]), &Bytes::from_static(b"\xff")).unwrap().remove(0);
        assert_eq!(bytes, r#"{"specversion":"1.0","data_base64":"/w=="}"#);
    }

    #[test]
    fn data_and_trace_of_an_event_are_found() {
        let parts = EventParts::read(
            r#"{"data": {"a":1.0}, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        );
        assert_eq!(parts.data.as_deref(), Some("{\"a\":1.0}"));
        assert!(parts.trace.is_some());
        let none = EventParts::read(r#"{"data": null}"#);
        assert!(none.data.is_none() && none.trace.is_none());
    }
}
