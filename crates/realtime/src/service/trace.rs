//! The live event stream: a response body that lasts while the service runs, for `:watch` (`rest/watch.rs`) and for
//! [`crate::Handle::trace`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Shared;
use http_messages::{Body, BoxError};
use realtime_engine::{Stopped, Target, TraceEvent, TraceEventKind, TraceFilter, TraceSubscription};

/// Why a caller cannot watch events.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The limit on watchers is reached.
    #[error("too many watchers; the limit is {0} (realtime.watchers_max)")]
    TooManyWatchers(usize),
    /// The service is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Interval of keep-alive events while nothing happens: proxies close idle responses, and a watcher that has disconnected is
/// noticed only by writing to it.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The format of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventFormat {
    /// One JSON object per line (`application/x-ndjson`).
    JsonLines,
    /// Server-sent events (`text/event-stream`).
    ServerSentEvents,
}

/// The events that match a filter, as lines of JSON.
pub(crate) async fn trace(shared: &Shared, filter: TraceFilter) -> Result<Body, TraceError> {
    let permit = watcher_permit(shared)?;
    let tap = shared.engine.subscribe_trace(filter).await?;
    Ok(event_stream(tap, EventFormat::JsonLines, None, permit))
}

/// One of the watchers that are counted; dropping it ends the count.
#[derive(Debug)]
pub(super) struct WatcherPermit(Arc<AtomicUsize>);

impl WatcherPermit {
    /// Counts one more watcher; `None` if there are `max` already.
    fn acquire(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let more = |count: usize| (count < max).then_some(count + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for WatcherPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts one more watcher while the permit exists.
pub(super) fn watcher_permit(shared: &Shared) -> Result<WatcherPermit, TraceError> {
    // Not a semaphore: its size cannot be reduced while permits are in use.
    let max = shared.options().watchers_max;
    WatcherPermit::acquire(&shared.watchers, max).ok_or(TraceError::TooManyWatchers(max))
}

/// The response body for one watcher; it ends at `until`, when the watcher's token expires.
pub(super) fn event_stream(
    tap: TraceSubscription,
    format: EventFormat,
    until: Option<Instant>,
    permit: WatcherPermit,
) -> Body {
    let watcher = Watcher { tap, format, until, has_begun: false, missed: None, _permit: permit };
    EventStream { next: Some(Box::pin(watcher.next_part())) }.boxed_unsync()
}

/// One watcher.
struct Watcher {
    tap: TraceSubscription,
    format: EventFormat,
    until: Option<Instant>,
    has_begun: bool,
    /// The number of missed events to report, and how many older events are written before.
    missed: Option<(u64, usize)>,
    _permit: WatcherPermit,
}

impl Watcher {
    /// The next part of the response, and the watcher unless it was the last part.
    async fn next_part(mut self) -> (Bytes, Option<Self>) {
        if !self.has_begun {
            // Tells the caller that it sees every event from here on.
            self.has_begun = true;
            return (self.encode(&json!({ "event": "watching" })), Some(self));
        }
        let until = self.until;
        let ended = async move {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let (part, goes_on) = tokio::select! {
            sight = self.tap.next() => match sight {
                Some(sight) => (self.encode_with_missed(&sight), true),
                None => (self.encode(&json!({ "event": "end", "reason": "Stopping" })), false),
            },
            () = ended => (self.encode(&json!({ "event": "end", "reason": "TokenExpired" })), false),
            () = tokio::time::sleep(KEEP_ALIVE_INTERVAL) => (self.encode(&json!({ "event": "alive" })), true),
        };
        (part, goes_on.then_some(self))
    }

    /// An event, followed by the report of missed events when it is due. Events are missed while older ones wait, so the older ones are
    /// written first: a caller that reads the lists again after the report gets no event from before it.
    fn encode_with_missed(&mut self, sight: &TraceEvent) -> Bytes {
        let encoded = self.encode(&event_json(sight));
        self.missed = match self.missed.take() {
            Some((missed, before)) => Some((missed, before.saturating_sub(1))),
            None => Some(self.tap.take_missed())
                .filter(|missed| *missed > 0)
                .map(|missed| (missed, self.tap.waiting())),
        };
        let Some((missed, _)) = self.missed.take_if(|(_, before)| *before == 0) else { return encoded };
        let report = self.encode(&json!({ "event": "missed", "count": missed }));
        [encoded, report].concat().into()
    }

    fn encode(&self, event: &Value) -> Bytes {
        match self.format {
            EventFormat::JsonLines => format!("{event}\n").into(),
            EventFormat::ServerSentEvents => format!("data: {event}\n\n").into(),
        }
    }
}

/// An event as JSON. Times are in milliseconds since the Unix epoch.
fn event_json(sight: &TraceEvent) -> Value {
    let mut json = match &sight.event {
        TraceEventKind::Connected { protocol, transport } => {
            json!({ "event": "connected", "protocol": protocol.name(), "transport": transport })
        }
        TraceEventKind::Attached(true) => json!({ "event": "resumed" }),
        TraceEventKind::Attached(false) => json!({ "event": "suspended" }),
        TraceEventKind::Ended { reason, error } => {
            json!({ "event": "disconnected", "reason": reason.name(), "error": error })
        }
        TraceEventKind::Joined(group) => json!({ "event": "joined", "group": group.as_str() }),
        TraceEventKind::Left(group) => json!({ "event": "left", "group": group.as_str() }),
        TraceEventKind::Sent { to, method, receivers } => {
            json!({ "event": "sent", "to": receiver(to), "method": method, "receivers": receivers })
        }
        TraceEventKind::Received { message_type, method, bytes } => {
            json!({ "event": "received", "type": message_type, "method": method, "bytes": bytes })
        }
    };
    json["hub"] = sight.hub.name().into();
    let at = sight.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    json["at"] = json!(u64::try_from(at).unwrap_or(u64::MAX));
    if let Some(connection) = sight.connection {
        json["connectionId"] = connection.to_string().into();
    }
    if let Some(user) = &sight.user {
        json["userId"] = user.as_str().into();
    }
    json
}

/// The receivers as text.
fn receiver(to: &Target) -> String {
    match to {
        Target::All => "everybody".to_owned(),
        Target::Group(group) => format!("group {group}"),
        Target::User(user) => format!("user {user}"),
        Target::Connection(connection) => format!("connection {connection}"),
    }
}

type NextPart = Pin<Box<dyn Future<Output = (Bytes, Option<Watcher>)> + Send>>;

/// The response body: each part is produced when the previous one has been read.
struct EventStream {
    next: Option<NextPart>,
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(next) = self.next.as_mut() else { return Poll::Ready(None) };
        match next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((part, watcher)) => {
                self.next = watcher.map(|watcher| Box::pin(watcher.next_part()) as NextPart);
                Poll::Ready(Some(Ok(Frame::data(part))))
            }
        }
    }
}
