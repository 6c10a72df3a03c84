//! `:watch`: the live connection events of a hub, as lines of JSON or as server-sent events.

use std::time::Duration;

use http::Response;
use http::header::ACCEPT;
use tokio::time::Instant;

use super::request::RestRequest;
use crate::error_table;
use crate::names::group;
use crate::rejection::Rejection;
use crate::service::trace::{EventFormat, event_stream, watcher_permit};
use crate::to_protocol;
use crate::unix_time::unix_now;
use http_messages::Body;
use realtime_engine::{ConnectionId, TraceFilter, UserId};

impl RestRequest<'_> {
    /// A response that lasts until the caller's token expires or the service shuts down.
    pub(super) async fn watch(&self) -> Result<Response<Body>, Rejection> {
        let permit = watcher_permit(self.shared)
            .map_err(|error| Rejection::new(&error_table::TOO_MANY_WATCHERS, error.to_string()))?;
        let connection = self.text("connection").map(ConnectionId::parse).transpose().map_err(|_| {
            Rejection::new(
                &error_table::INVALID_CONNECTION,
                "the parameter connection is not a connection id",
            )
            .about("connection")
        })?;
        let filter = TraceFilter {
            hub: Some(self.hub.clone()),
            user: self.text("user").map(UserId::new),
            group: self.text("group").map(group).transpose()?,
            connection,
            presence_only: true,
        };
        let tap = self.shared.engine.subscribe_trace(filter).await?;
        let accept = self.head.headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let is_events = |value: &str| value.to_ascii_lowercase().contains("text/event-stream");
        let format =
            if { accept }.any(is_events) { EventFormat::ServerSentEvents } else { EventFormat::JsonLines };
        // An expiry beyond the range of the clock counts as no expiry.
        let left = self.expires_at.map(|end| Duration::from_secs(end.saturating_sub(unix_now())));
        let until = left.and_then(|left| Instant::now().checked_add(left));
        let body = event_stream(tap, format, until, permit);
        let content_type = match format {
            EventFormat::JsonLines => "application/x-ndjson",
            EventFormat::ServerSentEvents => "text/event-stream",
        };
        Ok(to_protocol::stream(content_type, body))
    }
}
