//! [`Webhook`]: the upstream as a listener for connection events: category `connections`.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use http_messages::ErrorChain;

use super::request::Content;
use super::send::{SendFailure, Sender, UpstreamResponse};
use super::template::Category;
use crate::events::{ConnectionChange, ConnectionEvent, ConnectionListener, DeliveryError, EventKind, Retry};
use realtime_engine::Hub;

/// Delivers connection events to upstreams.
#[derive(Debug)]
pub(crate) struct Webhook(pub(crate) Arc<Sender>);

#[async_trait::async_trait]
impl ConnectionListener for Webhook {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn subscribes_to(&self, hub: &Hub, kind: EventKind) -> bool {
        self.0.has_upstream(hub.name(), Category::Connections, kind.name())
    }

    async fn deliver(&self, event: &ConnectionEvent) -> Result<(), DeliveryError> {
        let content = match &event.change {
            ConnectionChange::Connected => Content::connected(),
            ConnectionChange::Disconnected { error, .. } => Content::disconnected(error.as_deref()),
        };
        let name = event.change.kind().name();
        match self.0.send(&event.client, Category::Connections, name, content).await {
            Ok(answer) => evaluate(&answer),
            // The function that subscribed to it has gone meanwhile, or the app that was starting has none.
            Err(SendFailure::NoTemplate) => Ok(()),
            Err(failure) => {
                let retry = if failure.is_final() { Retry::Never } else { Retry::Later };
                Err(DeliveryError { cause: ErrorChain(&failure).to_string(), retry })
            }
        }
    }
}

/// The result of a response. An upstream that refuses (4xx: a wrong key, no such function) would refuse again; one that is
/// overloaded or broken may recover.
fn evaluate(answer: &UpstreamResponse) -> Result<(), DeliveryError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let may_pass = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    let asked = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry = match asked.map(Duration::from_secs) {
        _ if !may_pass => Retry::Never,
        Some(pause) => Retry::After(pause),
        None => Retry::Later,
    };
    Err(DeliveryError { cause: format!("the upstream responded with status {}", status.as_u16()), retry })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;

    #[test]
    fn the_status_decides_whether_an_event_is_retried() {
        let check = |status: u16, after: Option<&'static str>, expected: Option<Retry>| {
            let status = StatusCode::from_u16(status).unwrap();
            let headers: HeaderMap =
                after.map(|after| (RETRY_AFTER, HeaderValue::from_static(after))).into_iter().collect();
            let result = evaluate(&UpstreamResponse { status, headers, body: Bytes::new() });
            assert_eq!(result.err().map(|failure| failure.retry), expected, "{status}");
        };
        for status in [200, 202, 204] {
            check(status, None, None);
        }
        for status in [301, 400, 401, 403, 404, 410, 415] {
            check(status, Some("1"), Some(Retry::Never));
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            check(status, None, Some(Retry::Later));
            check(status, Some(" 7 "), Some(Retry::After(Duration::from_secs(7))));
            check(status, Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some(Retry::Later));
        }
    }
}
