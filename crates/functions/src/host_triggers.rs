//! `warmupTrigger` and `webhookTrigger`: the pushed events that belong to no outside system.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use functions_contract::{
    AppSettings, BindingError, BindingSpec, Connector, Direction, PushEvent, PushExtension, PushFunction,
    PushRequest, PushResponse, PushTrigger, Value, query_pairs, query_parameter,
};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value as Json};

/// The connector for the triggers of the host itself.
pub(crate) struct HostTriggers;

/// The name of the extension of [`HostTriggers`] that runs before the app gets requests.
pub(crate) const WARMUP: &str = "warmup";

const WARMUP_KIND: &str = "warmupTrigger";
const WEBHOOK_KIND: &str = "webhookTrigger";

#[async_trait::async_trait]
impl Connector for HostTriggers {
    fn kinds(&self) -> &'static [(&'static str, Direction)] {
        &[(WARMUP_KIND, Direction::In), (WEBHOOK_KIND, Direction::In)]
    }

    fn push_extension(&self, kind: &str) -> Option<Arc<dyn PushExtension>> {
        if kind.eq_ignore_ascii_case(WARMUP_KIND) {
            return Some(Arc::new(Warmup));
        }
        kind.eq_ignore_ascii_case(WEBHOOK_KIND).then(|| Arc::new(Webhook) as Arc<dyn PushExtension>)
    }

    async fn push_trigger(
        &self,
        spec: &BindingSpec,
        _: &dyn AppSettings,
    ) -> Result<Arc<dyn PushTrigger>, BindingError> {
        if spec.kind.eq_ignore_ascii_case(WARMUP_KIND) {
            return Ok(Arc::new(WarmupTrigger));
        }
        Ok(Arc::new(WebhookTrigger { address: spec.function.to_ascii_lowercase() }))
    }
}

/// The extension of `warmupTrigger`: only the host pushes its event.
struct Warmup;

/// A function that runs before the app gets its first request.
struct WarmupTrigger;

impl PushExtension for Warmup {
    fn name(&self) -> &'static str {
        WARMUP
    }

    fn has_webhook(&self) -> bool {
        false
    }

    fn address(&self, _: &PushRequest) -> Result<String, Box<PushResponse>> {
        Ok(String::new())
    }

    fn not_found(&self, _: &PushRequest) -> PushResponse {
        // An app without such a function is warm.
        Response::new(Bytes::new())
    }
}

#[async_trait::async_trait]
impl PushTrigger for WarmupTrigger {
    /// An app has one such function, as in Azure.
    fn addresses(&self) -> Vec<String> {
        vec![String::new()]
    }

    async fn receive(&self, _: PushRequest, function: &dyn PushFunction) -> PushResponse {
        let event = PushEvent {
            data: Value::Json("{}".into()),
            metadata: Vec::new(),
            reason: "The app is being warmed up.".to_owned(),
            parent: None,
            links: Vec::new(),
        };
        let result = function.invoke(event).await;
        status(result.map_or_else(|error| error.status(), |_| StatusCode::OK))
    }
}

/// The extension of `webhookTrigger`.
struct Webhook;

/// A function that takes requests to `/runtime/webhooks/webhook?functionName={its name}`.
struct WebhookTrigger {
    address: String,
}

impl PushExtension for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn address(&self, request: &PushRequest) -> Result<String, Box<PushResponse>> {
        let name = function_name(request);
        name.map(|name| name.to_ascii_lowercase()).ok_or_else(|| {
            let why =
                "The address of this webhook is /runtime/webhooks/webhook?functionName=<name>&code=<key>.\n";
            Box::new(plain(StatusCode::BAD_REQUEST, why.to_owned()))
        })
    }

    fn not_found(&self, request: &PushRequest) -> PushResponse {
        let name = function_name(request).unwrap_or_default();
        plain(StatusCode::NOT_FOUND, format!("No function with a webhookTrigger is named '{name}'.\n"))
    }
}

#[async_trait::async_trait]
impl PushTrigger for WebhookTrigger {
    fn addresses(&self) -> Vec<String> {
        vec![self.address.clone()]
    }

    async fn receive(&self, request: PushRequest, function: &dyn PushFunction) -> PushResponse {
        let (parts, body) = request.into_parts();
        let Ok(data) = body_value(&parts.headers, body) else {
            return plain(
                StatusCode::BAD_REQUEST,
                "The body is not JSON, as its content type says.\n".to_owned(),
            );
        };
        let query = query_pairs(parts.uri.query().unwrap_or_default()).into_iter();
        // The key of the extension is not for the function.
        let query = query.filter(|(name, _)| !name.eq_ignore_ascii_case("code"));
        let query: Map<String, Json> = query.map(|(name, value)| (name, Json::String(value))).collect();
        let json = |object: Map<String, Json>| Value::Json(Json::Object(object).to_string().into());
        let event = PushEvent {
            data,
            metadata: vec![
                ("Method".to_owned(), Value::Text(parts.method.as_str().into())),
                ("Headers".to_owned(), json(headers(&parts.headers))),
                ("Query".to_owned(), json(query)),
            ],
            reason: "A request to its webhook.".to_owned(),
            parent: traceparent(&parts.headers),
            links: Vec::new(),
        };
        match function.invoke(event).await {
            Ok(value) => response_of(value),
            // Details are in the log only, as with HTTP functions.
            Err(error) => status(error.status()),
        }
    }
}

fn traceparent(headers: &HeaderMap) -> Option<trace::TraceContext> {
    trace::TraceContext::parse(headers.get("traceparent")?.to_str().ok()?)
}

fn headers(headers: &HeaderMap) -> Map<String, Json> {
    let mut all = Map::new();
    for name in headers.keys().filter(|name| *name != "x-functions-key") {
        let values: Vec<_> =
            headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        all.insert(name.as_str().to_owned(), Json::String(values.join(",")));
    }
    all
}

/// The body by its content type: JSON, text, or bytes.
fn body_value(headers: &HeaderMap, body: Bytes) -> Result<Value, serde_json::Error> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let is_json = media_type == "application/json" || media_type.ends_with("+json");
    if is_json {
        serde_json::from_slice::<serde::de::IgnoredAny>(&body)?;
    }
    let is_text = media_type.starts_with("text/") || media_type == "application/x-www-form-urlencoded";
    Ok(match ByteString::try_from(body.clone()) {
        Ok(text) if is_json => Value::Json(text),
        Ok(text) if is_text => Value::Text(text),
        _ => Value::Bytes(body),
    })
}

fn response_of(value: Value) -> PushResponse {
    let typed = |content_type: &'static str, body: Bytes| {
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    };
    match value {
        Value::Null => status(StatusCode::NO_CONTENT),
        Value::Text(text) => typed("text/plain; charset=utf-8", text.into_bytes()),
        Value::Bytes(bytes) => typed("application/octet-stream", bytes),
        other => typed("application/json; charset=utf-8", crate::to_protocol::json_text(other).into_bytes()),
    }
}

fn status(status: StatusCode) -> PushResponse {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

fn plain(status: StatusCode, text: String) -> PushResponse {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn function_name(request: &PushRequest) -> Option<String> {
    query_parameter(request.uri().query().unwrap_or_default(), "functionName")
}

#[cfg(test)]
mod tests {
    use functions_contract::suite::{PushFactory, PushOutcome, check_push};

    use super::*;
    use crate::app::MergedSettings;

    struct Webhooks;

    fn request(function: &str, body: &str) -> PushRequest {
        http::Request::builder()
            .method("POST")
            .uri(format!("/runtime/webhooks/webhook?functionName={function}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .expect("a request")
    }

    #[async_trait::async_trait]
    impl PushFactory for Webhooks {
        fn extension(&self) -> Arc<dyn PushExtension> {
            HostTriggers.push_extension(WEBHOOK_KIND).expect("its events are pushed")
        }

        async fn trigger(&self) -> Arc<dyn PushTrigger> {
            let spec = BindingSpec {
                function: "Hook".to_owned(),
                name: "event".to_owned(),
                kind: WEBHOOK_KIND.to_owned(),
                direction: Direction::In,
                properties: Map::new(),
            };
            let settings = MergedSettings::from_pairs("host", []);
            HostTriggers.push_trigger(&spec, &settings).await.expect("a valid declaration")
        }

        fn request(&self, number: u64) -> PushRequest {
            request("hook", &number.to_string())
        }

        fn refused(&self) -> Vec<PushRequest> {
            vec![request("hook", "{")]
        }

        fn unknown(&self) -> PushRequest {
            request("other", "1")
        }

        fn number(&self, event: &PushEvent) -> u64 {
            let Value::Json(text) = &event.data else { panic!("{event:?}") };
            text.parse().expect("a number")
        }

        fn outcome(&self, response: &PushResponse) -> PushOutcome {
            match response.status().as_u16() {
                200 => {
                    let text = std::str::from_utf8(response.body()).expect("text");
                    PushOutcome::Succeeded(Some(text.parse().expect("a number")))
                }
                429 | 503 => PushOutcome::Temporary,
                _ => PushOutcome::Failed,
            }
        }
    }

    #[tokio::test]
    async fn the_webhook_keeps_the_contract_of_push_triggers() {
        check_push(&Webhooks).await;
    }
}
