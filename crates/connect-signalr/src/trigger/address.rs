//! How a request finds its function: by hub, category and event, without regard to case. Pure.

use bytes::Bytes;
use functions_contract::{PushExtension, PushRequest, PushResponse};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use super::headers::{UpstreamHeaders, media_type};
use super::message::{JSON, MESSAGEPACK};

/// In the extensions of a request: the service of this process that makes it, by the name that
/// [`SignalRService::name`](crate::SignalRService::name) gives. Requests from sockets have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProcessCaller(pub String);

/// The address of the trigger for an event; `service` is the name of the service of this process that has the event, `None` for requests
/// over HTTP.
pub fn trigger_address(service: Option<&str>, hub: &str, category: &str, event: &str) -> String {
    let key = [hub, category, event].map(str::to_lowercase).join("\n");
    match service {
        Some(service) => format!("{service}\n{key}"),
        None => key,
    }
}

/// The extension `signalr`.
pub(crate) struct Routing;

impl PushExtension for Routing {
    fn name(&self) -> &'static str {
        "signalr"
    }

    fn address(&self, request: &PushRequest) -> Result<String, Box<PushResponse>> {
        if ![JSON, MESSAGEPACK].contains(&media_type(request.headers())) {
            let why = "The content type must be application/json or application/x-msgpack.";
            return Err(Box::new(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)));
        }
        let headers = UpstreamHeaders(request.headers());
        let [hub, category, event] = ["hub", "category", "event"].map(|name| headers.text(name));
        if hub.is_empty() || category.is_empty() || event.is_empty() {
            let why = "The headers X-ASRS-Hub, X-ASRS-Category and X-ASRS-Event are needed.";
            return Err(Box::new(plain(StatusCode::BAD_REQUEST, why)));
        }
        let caller = request.extensions().get::<InProcessCaller>();
        Ok(trigger_address(caller.map(|caller| caller.0.as_str()), &hub, &category, &event))
    }

    fn not_found(&self, request: &PushRequest) -> PushResponse {
        let headers = UpstreamHeaders(request.headers());
        let [hub, category, event] = ["hub", "category", "event"].map(|name| headers.text(name));
        let why =
            format!("No function has a signalRTrigger for hub {hub}, category {category}, event {event}.");
        plain(StatusCode::NOT_FOUND, &why)
    }
}

/// A response with a text for people.
pub(crate) fn plain(status: StatusCode, text: &str) -> PushResponse {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
