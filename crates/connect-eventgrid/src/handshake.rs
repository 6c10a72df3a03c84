//! The handshakes by which a sender learns that the webhook wants its events. Pure.

use bytes::Bytes;
use functions_contract::PushResponse;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value as Json, json};

use crate::response::{plain, status, typed};

/// The origins by which the clouds of Azure introduce themselves (CloudEvents abuse protection); the Azure Functions extension allows
/// these and no others.
const ORIGINS: [&str; 5] = [
    "eventgrid.azure.net",
    "eventgrid.azure.us",
    "eventgrid.azure.cn",
    "eventgrid.azure.eaglex.ic.gov",
    "eventgrid.azure.microsoft.scloud",
];

/// The response to `OPTIONS`: the origin that may deliver (CloudEvents HTTP webhook, section 4).
pub(crate) fn options(headers: &HeaderMap) -> PushResponse {
    let asked =
        headers.get("webhook-request-origin").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The caller has the key of the extension; the origin is the caller's own statement.
    let allowed = ORIGINS.into_iter().find(|origin| origin.eq_ignore_ascii_case(asked.trim()));
    let mut response = status(StatusCode::OK);
    let allowed = allowed.map(HeaderValue::from_static).or_else(|| HeaderValue::from_str(asked.trim()).ok());
    let allowed = allowed.filter(|origin| !origin.is_empty());
    let allowed = allowed.unwrap_or(HeaderValue::from_static(ORIGINS[0]));
    response.headers_mut().insert("webhook-allowed-origin", allowed);
    if headers.contains_key("webhook-request-rate") {
        response.headers_mut().insert("webhook-allowed-rate", HeaderValue::from_static("*"));
    }
    response
}

/// The response to `aeg-event-type: SubscriptionValidation`: the code of the event, which is in an array, or a CloudEvent, whose data is
/// JSON in a text.
pub(crate) fn validation(body: &Bytes) -> PushResponse {
    match code(body) {
        Some(code) => {
            let body = json!({ "validationResponse": code }).to_string();
            typed(StatusCode::OK, "application/json; charset=utf-8", body)
        }
        None => plain(StatusCode::BAD_REQUEST, "The validation event has no data.validationCode."),
    }
}

fn code(body: &[u8]) -> Option<String> {
    let event: Map<String, Json> = match serde_json::from_slice(body).ok()? {
        Json::Array(events) => events.into_iter().next()?.as_object()?.clone(),
        Json::Object(event) => event,
        _ => return None,
    };
    let data = match event.get("data")? {
        Json::String(text) => serde_json::from_str(text).ok()?,
        data => data.clone(),
    };
    functions_contract::find_property(data.as_object()?, "validationCode")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &str) -> (u16, String) {
        let response = validation(&Bytes::copy_from_slice(body.as_bytes()));
        (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
    }

    #[test]
    fn a_validation_event_of_either_schema_gets_its_code_back() {
        let expected = (200, r#"{"validationResponse":"c-1"}"#.to_owned());
        assert_eq!(
            answered(r#"[{"id":"1","data":{"validationCode":"c-1","validationUrl":"https://x"}}]"#),
            expected
        );
        assert_eq!(answered(r#"{"id":"1","data":"{\"validationCode\":\"c-1\"}"}"#), expected);
        assert_eq!(answered(r#"{"id":"1","data":{"ValidationCode":"c-1"}}"#), expected);
        for body in ["", "[]", "[{}]", r#"[{"data":{}}]"#, r#"{"data":"x"}"#, "1"] {
            assert_eq!(answered(body).0, 400, "{body}");
        }
    }

    #[test]
    fn the_origin_that_asks_is_allowed_and_a_rate_is_answered() {
        let allowed = |pairs: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = pairs
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            let response = options(&headers);
            let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (header("webhook-allowed-origin").unwrap(), header("webhook-allowed-rate"))
        };
        assert_eq!(allowed(&[("webhook-request-origin", "EventGrid.azure.us")]).0, "eventgrid.azure.us");
        assert_eq!(allowed(&[("webhook-request-origin", "events.example")]).0, "events.example");
        let with_rate = [("webhook-request-origin", "events.example"), ("webhook-request-rate", "120")];
        assert_eq!(allowed(&with_rate).1.as_deref(), Some("*"));
        assert_eq!(allowed(&[]), ("eventgrid.azure.net".to_owned(), None));
    }
}
