//! `:watch`: who comes and goes in a hub, live, as lines of JSON or as server-sent events.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::ACCEPT;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use http_messages::{Body, BoxError};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::super::unix_now;
use super::Call;
use crate::engine::{ConnectionId, Filter, Sight, SightEvent, Tap, Target, UserId};
use crate::error::{Refusal, TraceError};
use crate::from_protocol::group;
use crate::service::Shared;
use crate::to_protocol;

/// How often something is said where nothing happens, so that whoever stands between does not take the answer for dead, and a
/// watcher that is gone is noticed.
const ALIVE: Duration = Duration::from_secs(15);

/// How the events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One JSON object a line (`application/x-ndjson`).
    Lines,
    /// Server-sent events (`text/event-stream`).
    Events,
}

impl Call<'_> {
    /// An answer that does not end by itself while the caller's token is valid and the service runs.
    pub(super) async fn watch(&self) -> Result<Response<Body>, Refusal> {
        let permit = Arc::clone(&self.shared.watchers).try_acquire_owned().map_err(|_| {
            let message =
                format!("as many watch as may: {} (watchers_max)", self.shared.options.watchers_max);
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TooManyWatchers", message)
        })?;
        let connection = self.text("connection").map(ConnectionId::parse).transpose().map_err(|_| {
            Refusal::bad_request("InvalidConnection", "connection is no connection id").about("connection")
        })?;
        let filter = Filter {
            hub: Some(self.hub.clone()),
            user: self.text("user").map(UserId::new),
            group: self.text("group").map(group).transpose()?,
            connection,
            presence_only: true,
        };
        let tap = self.shared.engine.tap(filter).await?;
        let accept = self.head.headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let is_events = |value: &str| value.to_ascii_lowercase().contains("text/event-stream");
        let form = if { accept }.any(is_events) { Form::Events } else { Form::Lines };
        // A time that no clock reaches is none.
        let left = self.expires_at.map(|end| Duration::from_secs(end.saturating_sub(unix_now())));
        let until = left.and_then(|left| Instant::now().checked_add(left));
        let body = watching(tap, form, until, permit);
        let kind = match form {
            Form::Lines => "application/x-ndjson",
            Form::Events => "text/event-stream",
        };
        Ok(to_protocol::stream(kind, body))
    }
}

/// Everything that a filter lets pass, as lines of JSON: for [`crate::Handle::trace`].
pub(crate) async fn trace(shared: &Shared, filter: Filter) -> Result<Body, TraceError> {
    let permit = Arc::clone(&shared.watchers).try_acquire_owned();
    let permit = permit.map_err(|_| TraceError::TooMany(shared.options.watchers_max))?;
    let tap = shared.engine.tap(filter).await?;
    Ok(watching(tap, Form::Lines, None, permit))
}

fn watching(tap: Tap, form: Form, until: Option<Instant>, permit: OwnedSemaphorePermit) -> Body {
    let watch = Watch { tap, form, until, begun: false, missed: None, _permit: permit };
    Watching { next: Some(Box::pin(watch.part())) }.boxed_unsync()
}

/// One watcher.
struct Watch {
    tap: Tap,
    form: Form,
    until: Option<Instant>,
    begun: bool,
    /// Events that were left out, and how many others are to be written before that is said.
    missed: Option<(u64, usize)>,
    _permit: OwnedSemaphorePermit,
}

impl Watch {
    /// The next part of the answer, and the watcher unless it was the last.
    async fn part(mut self) -> (Bytes, Option<Self>) {
        if !self.begun {
            // Says that everything from here on is seen.
            self.begun = true;
            return (self.written(&json!({ "event": "watching" })), Some(self));
        }
        let until = self.until;
        let ended = async move {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let (said, goes_on) = tokio::select! {
            sight = self.tap.next() => match sight {
                Some(sight) => (self.seen(&sight), true),
                None => (self.written(&json!({ "event": "end", "reason": "Stopping" })), false),
            },
            () = ended => (self.written(&json!({ "event": "end", "reason": "TokenExpired" })), false),
            () = tokio::time::sleep(ALIVE) => (self.written(&json!({ "event": "alive" })), true),
        };
        (said, goes_on.then_some(self))
    }

    /// An event, and behind it what was left out, if the place for that is here. Events are left out while others wait: those happened
    /// before, and are written before. Whoever asks for the lists again when it is told has not older events to come.
    fn seen(&mut self, sight: &Sight) -> Bytes {
        let said = self.written(&shown(sight));
        self.missed = match self.missed.take() {
            Some((missed, before)) => Some((missed, before.saturating_sub(1))),
            None => Some(self.tap.take_missed())
                .filter(|missed| *missed > 0)
                .map(|missed| (missed, self.tap.waiting())),
        };
        let Some((missed, _)) = self.missed.take_if(|(_, before)| *before == 0) else { return said };
        let told = self.written(&json!({ "event": "missed", "count": missed }));
        [said, told].concat().into()
    }

    fn written(&self, event: &Value) -> Bytes {
        match self.form {
            Form::Lines => format!("{event}\n").into(),
            Form::Events => format!("data: {event}\n\n").into(),
        }
    }
}

/// An event as it is written. Times are in milliseconds since the Unix epoch.
fn shown(sight: &Sight) -> Value {
    let mut shown = match &sight.event {
        SightEvent::Connected { protocol, transport } => {
            json!({ "event": "connected", "protocol": protocol.name(), "transport": transport })
        }
        SightEvent::Attached(true) => json!({ "event": "resumed" }),
        SightEvent::Attached(false) => json!({ "event": "suspended" }),
        SightEvent::Ended { reason, error } => {
            json!({ "event": "disconnected", "reason": reason.name(), "error": error })
        }
        SightEvent::Joined(group) => json!({ "event": "joined", "group": group.as_str() }),
        SightEvent::Left(group) => json!({ "event": "left", "group": group.as_str() }),
        SightEvent::Sent { to, method, receivers } => {
            json!({ "event": "sent", "to": receiver(to), "method": method, "receivers": receivers })
        }
        SightEvent::Received { message_type, method, bytes } => {
            json!({ "event": "received", "type": message_type, "method": method, "bytes": bytes })
        }
    };
    shown["hub"] = sight.hub.name().into();
    let at = sight.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    shown["at"] = json!(u64::try_from(at).unwrap_or(u64::MAX));
    if let Some(connection) = sight.connection {
        shown["connectionId"] = connection.to_string().into();
    }
    if let Some(user) = &sight.user {
        shown["userId"] = user.as_str().into();
    }
    shown
}

/// Who was meant, for people.
fn receiver(to: &Target) -> String {
    match to {
        Target::All => "everybody".to_owned(),
        Target::Group(group) => format!("group {group}"),
        Target::User(user) => format!("user {user}"),
        Target::Connection(connection) => format!("connection {connection}"),
    }
}

type Part = Pin<Box<dyn Future<Output = (Bytes, Option<Watch>)> + Send>>;

/// The body of the answer: each part is made when the one before has been taken.
struct Watching {
    next: Option<Part>,
}

impl http_body::Body for Watching {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(next) = self.next.as_mut() else { return Poll::Ready(None) };
        match next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready((said, watch)) => {
                self.next = watch.map(|watch| Box::pin(watch.part()) as Part);
                Poll::Ready(Some(Ok(Frame::data(said))))
            }
        }
    }
}
