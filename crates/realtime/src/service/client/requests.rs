//! Server-Sent Events and long polling: messages to the client are in responses to GET, messages from the client in POST
//! requests; DELETE ends long polling. The statuses are those of ASP.NET Core's `HttpConnectionDispatcher` (reference, 1.3). Each
//! request is authenticated.

mod parts;
mod received;

use std::pin::Pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use http_messages::{Body, BoxError};
use signalr_protocol::TransportType;

use super::admission::{NewConnection, new_connection, open_session};
use super::caller::Caller;
use super::rejections::{id_in_use, other_transport, unknown_id};
use crate::error_table;
use crate::rejection::Rejection;
use crate::service::Shared;
use crate::service::body::read_body;
use crate::store::sessions::{Kind, Session};
use crate::store::{EARLY_BYTES_MAX, EarlyBytes, Negotiations};
use realtime_engine::{
    ConnectionId, EngineHandle, HttpTransport, HttpTransportKind, Hub, PollId, PollResult, Transport,
};
use received::{FRAMING_BYTES, plain, response_to};

/// Responds to a GET with an endless event stream.
pub(super) async fn events(
    shared: &Arc<Shared>,
    caller: Caller<'_>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Rejection> {
    match session(shared, &caller)? {
        Found::Http(_, http_transport) if http_transport.kind() == HttpTransportKind::ServerSentEvents => {
            return Err(id_in_use());
        }
        Found::Http(..) | Found::WebSocket => return Err(other_transport()),
        Found::Nothing => {}
    }
    let (connection, http_transport) =
        begin(shared, caller, headers, HttpTransportKind::ServerSentEvents).await?;
    let poll = http_transport.begin_poll();
    let engine = shared.engine.clone();
    let events = Events { engine, connection, http_transport, poll, has_begun: false, next: None };
    let mut response = Response::new(events.boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that buffers the response would deliver nothing.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    never_cached(&mut response);
    Ok(response)
}

/// Responds to a GET when there are messages.
pub(super) async fn poll(
    shared: &Arc<Shared>,
    caller: Caller<'_>,
    headers: &HeaderMap,
) -> Result<Response<Body>, Rejection> {
    let interval = caller.claims.system().poll_interval_s.map(Duration::from_secs);
    let interval = interval.unwrap_or(Duration::from_millis(shared.options().poll_interval_ms));
    let http_transport = match session(shared, &caller)? {
        Found::Http(_, http_transport) if http_transport.kind() == HttpTransportKind::LongPolling => {
            http_transport
        }
        Found::Http(..) | Found::WebSocket => return Err(other_transport()),
        Found::Nothing => {
            let (_, http_transport) = begin(shared, caller, headers, HttpTransportKind::LongPolling).await?;
            // An immediate response: it tells the client that the connection is open.
            http_transport.end_poll(Instant::now());
            return Ok(polled(StatusCode::OK, Vec::new()));
        }
    };
    let polling = Polling { poll: http_transport.begin_poll(), http_transport: &http_transport };
    let taken = tokio::time::timeout(interval, http_transport.next_messages(polling.poll)).await;
    Ok(match taken {
        Ok(PollResult::Messages(messages)) => polled(StatusCode::OK, messages),
        Ok(PollResult::Superseded | PollResult::Ended) => polled(StatusCode::NO_CONTENT, Vec::new()),
        Err(_nothing) => polled(StatusCode::OK, Vec::new()),
    })
}

/// Responds to a POST with hub messages of the client.
pub(super) async fn send(
    shared: &Shared,
    caller: &Caller<'_>,
    body: Body,
) -> Result<Response<Body>, Rejection> {
    let found = session(shared, caller)?;
    if matches!(found, Found::WebSocket) {
        let message = "POST requests are not allowed for WebSocket connections.";
        return Err(Rejection::new(&error_table::WRONG_TRANSPORT, message)
            .with_status(StatusCode::METHOD_NOT_ALLOWED));
    }
    // The largest message plus the framing of its hub protocol.
    let bytes_max = shared.options().engine.message_bytes_max as usize + FRAMING_BYTES;
    let Found::Http(connection, http_transport) = found else {
        let payload = read_body(shared, body, bytes_max).await?;
        return store_early(shared, caller, &payload);
    };
    if body.size_hint().upper().is_none_or(|bytes| bytes > bytes_max as u64)
        && shared.servers.accepts_parts(&caller.hub, connection)
    {
        return parts::send(shared, connection, &http_transport, body).await;
    }
    let _turn = http_transport.begin_whole_send().await;
    let payload = read_body(shared, body, bytes_max).await?;
    if payload.is_empty() {
        return Ok(plain(StatusCode::OK));
    }
    response_to(shared.engine.receive(connection, payload.clone()).await?)
}

/// Stores what a client sends before its first GET: with these transports the handshake may arrive before the connection is open.
fn store_early(shared: &Shared, caller: &Caller<'_>, payload: &[u8]) -> Result<Response<Body>, Rejection> {
    let secret = caller.query.id().ok_or_else(unknown_id)?;
    let user_id = caller.claims.user_id();
    match negotiations(shared).store_early(secret, &caller.hub, user_id, payload, Instant::now()) {
        EarlyBytes::Stored => Ok(plain(StatusCode::OK)),
        EarlyBytes::Unknown => Err(unknown_id()),
        EarlyBytes::TooMuch => {
            let message = format!(
                "before a client has connected, it may send {EARLY_BYTES_MAX} bytes; connect by a GET first"
            );
            Err(Rejection::new(&error_table::TOO_MANY_REQUESTS, message))
        }
    }
}

/// Responds to a DELETE, with which a long-polling client closes its connection.
pub(super) async fn delete(shared: &Shared, caller: &Caller<'_>) -> Result<Response<Body>, Rejection> {
    match session(shared, caller)? {
        Found::Http(connection, http_transport)
            if http_transport.kind() == HttpTransportKind::LongPolling =>
        {
            shared.engine.leave(connection, true).await?;
            Ok(plain(StatusCode::ACCEPTED))
        }
        Found::Http(..) | Found::WebSocket => {
            let message = "Cannot terminate this connection using the DELETE verb.";
            Err(Rejection::new(&error_table::WRONG_TRANSPORT, message))
        }
        Found::Nothing => Err(unknown_id()),
    }
}

/// The result of looking up a connection token.
enum Found {
    Http(ConnectionId, Arc<HttpTransport>),
    WebSocket,
    /// The connection is not open yet.
    Nothing,
}

/// The client's session, if its connection is open. A request without a connection token is rejected with the text of ASP.NET
/// Core, which clients compare.
fn session(shared: &Shared, caller: &Caller<'_>) -> Result<Found, Rejection> {
    let missing = || Rejection::new(&error_table::MISSING_CONNECTION_ID, "Connection ID required");
    let secret = caller.query.id().ok_or_else(missing)?;
    Ok(match shared.sessions.get(secret, &caller.hub, caller.claims.user_id()) {
        None if is_used(shared, secret, &caller.hub) => Found::WebSocket,
        None => Found::Nothing,
        Some(Session { connection, kind: Kind::Http(http_transport), .. }) => {
            Found::Http(connection, http_transport)
        }
        Some(Session { kind: Kind::Stateful, .. }) => Found::WebSocket,
    })
}

fn negotiations(shared: &Shared) -> MutexGuard<'_, Negotiations> {
    shared.negotiations.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a WebSocket was opened with this connection token recently. The token is removed later: a WebSocket does not need it
/// again.
fn is_used(shared: &Shared, secret: &str, hub: &Hub) -> bool {
    negotiations(shared).is_used(secret, hub, Instant::now())
}

/// Opens a connection with the connection token that was negotiated.
async fn begin(
    shared: &Shared,
    caller: Caller<'_>,
    headers: &HeaderMap,
    transport: HttpTransportKind,
) -> Result<(ConnectionId, Arc<HttpTransport>), Rejection> {
    let hub = caller.hub.clone();
    let user_id = caller.claims.user_id().map(Into::into);
    let name = match transport {
        HttpTransportKind::ServerSentEvents => TransportType::ServerSentEvents,
        HttpTransportKind::LongPolling => TransportType::LongPolling,
    };
    let NewConnection { secret, mut admission, early } = new_connection(shared, caller, headers, name)?;
    let secret = secret.expect("the session was looked up by this token before");
    let (connection, http_transport) = (admission.connection, shared.engine.http_transport(transport));
    let kind = Kind::Http(Arc::clone(&http_transport));
    admission.guard = Some(open_session(shared, &secret, Session { connection, hub, user_id, kind }));
    shared.engine.attach(Transport::Http(Arc::clone(&http_transport)), admission).await?;
    if !early.is_empty() {
        shared.engine.receive(connection, early.into()).await?;
    }
    Ok((connection, http_transport))
}

fn polled(status: StatusCode, messages: Vec<Bytes>) -> Response<Body> {
    let mut response = http_messages::empty(status);
    never_cached(&mut response);
    if !messages.is_empty() {
        let body = http_body_util::Full::new(Bytes::from(messages.concat()));
        *response.body_mut() = body.map_err(|never| match never {}).boxed_unsync();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    response
}

pub(super) fn never_cached(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(EXPIRES, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
}

/// A running poll; tells the transport when it ends, also if the request is cancelled.
struct Polling<'a> {
    http_transport: &'a HttpTransport,
    poll: PollId,
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.http_transport.end_poll(Instant::now());
    }
}

type Next = Pin<Box<dyn Future<Output = PollResult> + Send>>;

/// The body of an event stream. When it is dropped, the client has disconnected.
struct Events {
    engine: EngineHandle,
    connection: ConnectionId,
    http_transport: Arc<HttpTransport>,
    poll: PollId,
    has_begun: bool,
    next: Option<Next>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if !std::mem::replace(&mut self.has_begun, true) {
            // A comment, so that proxies and browsers treat the stream as open.
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b":\r\n\r\n")))));
        }
        let (http_transport, poll) = (Arc::clone(&self.http_transport), self.poll);
        let next = self
            .next
            .get_or_insert_with(|| Box::pin(async move { http_transport.next_messages(poll).await }));
        let taken = std::task::ready!(next.as_mut().poll(context));
        self.next = None;
        Poll::Ready(match taken {
            PollResult::Messages(messages) => Some(Ok(Frame::data(as_events(&messages)))),
            PollResult::Superseded | PollResult::Ended => None,
        })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.http_transport.end_poll(Instant::now());
        // If the shard's command queue is full, the shard notices by itself that the client reads no messages any more.
        self.engine.try_leave(self.connection);
    }
}

/// Formats each message as one event: a `data:` line for each of its lines, and an empty line.
fn as_events(messages: &[Bytes]) -> Bytes {
    let mut events = BytesMut::new();
    for message in messages {
        // In an event stream both characters end a line; within a hub message they are white space between tokens.
        for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
            events.put_slice(b"data: ");
            events.put_slice(line);
            events.put_slice(b"\r\n");
        }
        events.put_slice(b"\r\n");
    }
    events.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_is_one_event() {
        let messages = [Bytes::from_static(b"{}\x1e"), Bytes::from_static(b"{\"a\":[\n1,\r\n2]}\x1e")];
        let expected = b"data: {}\x1e\r\n\r\ndata: {\"a\":[\r\ndata: 1,\r\ndata: \r\ndata: 2]}\x1e\r\n\r\n";
        assert_eq!(as_events(&messages), &expected[..]);
        let old = [Bytes::from_static(b"[1,\r2]\x1e")];
        assert_eq!(as_events(&old), &b"data: [1,\r\ndata: 2]\x1e\r\n\r\n"[..]);
    }
}
