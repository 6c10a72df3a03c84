//! [`Transport`]: the transport of a connection. A shard owns the sockets of its WebSockets. Server-Sent Events and long polling are
//! responses to HTTP requests; the shard shares an [`HttpTransport`] with the code that writes those responses.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use supervision::is_mutated;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::shard::{Backlog, PendingFrame};

/// The transport of a connection.
#[derive(Debug)]
pub enum Transport {
    /// A WebSocket, after the upgrade.
    Socket(edge::Socket),
    /// Responses to HTTP requests.
    Http(Arc<HttpTransport>),
}

/// The kind of an HTTP transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpTransportKind {
    /// One long response.
    ServerSentEvents,
    /// Consecutive responses.
    LongPolling,
}

/// A buffer of messages for a client: its shard adds messages, and the client's requests read them.
#[derive(Debug)]
pub struct HttpTransport {
    kind: HttpTransportKind,
    state: Mutex<State>,
    changed: Notify,
    /// Bytes pending in all HTTP transports.
    bytes: Gauge,
    /// Locked by requests that send: shared for requests that are forwarded as a whole, exclusive for one that is forwarded in
    /// parts.
    sending: RwLock<()>,
}

/// The result of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollResult {
    /// The pending messages, framed by the hub protocol.
    Messages(Vec<Bytes>),
    /// A newer poll has replaced this one.
    Superseded,
    /// The connection has ended, and all messages were read.
    Ended,
}

/// Identifies a poll: a request that reads messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollId(u64);

#[derive(Debug)]
struct State {
    backlog: Backlog,
    /// The newest poll.
    poll: u64,
    /// Polls that wait for messages now.
    waiting_polls: u32,
    /// Since when no poll waits.
    idle_since: Instant,
    /// When messages were last read, or added to an empty buffer.
    last_read_at: Instant,
    ended: bool,
}

impl HttpTransport {
    /// A transport for a new client.
    pub(crate) fn new(kind: HttpTransportKind, now: Instant, bytes: Gauge) -> Arc<Self> {
        let state = State {
            backlog: Backlog::default(),
            poll: 0,
            waiting_polls: 0,
            idle_since: now,
            last_read_at: now,
            ended: false,
        };
        let (state, sending) = (Mutex::new(state), RwLock::default());
        Arc::new(Self { kind, state, changed: Notify::new(), bytes, sending })
    }

    /// Its kind.
    pub fn kind(&self) -> HttpTransportKind {
        self.kind
    }

    /// Waits until no request of the client is being forwarded in parts; for a request that is forwarded as a whole.
    pub async fn begin_whole_send(&self) -> RwLockReadGuard<'_, ()> {
        self.sending.read().await
    }

    /// Waits until no other request of the client is being forwarded; for a request that is forwarded in parts, which other bytes
    /// must not interrupt.
    pub async fn begin_partial_send(&self) -> RwLockWriteGuard<'_, ()> {
        self.sending.write().await
    }

    /// Starts a poll, which replaces the previous one.
    pub fn begin_poll(&self) -> PollId {
        let mut state = self.lock();
        state.poll += 1;
        state.waiting_polls += 1;
        let poll = PollId(state.poll);
        drop(state);
        self.changed.notify_waiters();
        poll
    }

    /// Whether it is the first poll of the connection.
    pub fn is_first(poll: PollId) -> bool {
        poll.0 == 1
    }

    /// Ends a poll of [`HttpTransport::begin_poll`].
    pub fn end_poll(&self, now: Instant) {
        let mut state = self.lock();
        state.waiting_polls = state.waiting_polls.saturating_sub(1);
        state.idle_since = now;
    }

    /// Waits for messages, and removes and returns all of them. Cancel-safe.
    pub async fn next_messages(&self, poll: PollId) -> PollResult {
        loop {
            // Registered before the state is read, so that no change in between is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(taken) = self.try_next_messages(poll) {
                return taken;
            }
            changed.await;
        }
    }

    /// As [`HttpTransport::next_messages`], without waiting; `None` if there is nothing yet.
    pub fn try_next_messages(&self, poll: PollId) -> Option<PollResult> {
        let mut state = self.lock();
        if state.poll != poll.0 {
            return Some(PollResult::Superseded);
        }
        if !state.backlog.is_empty() {
            self.count(state.backlog.bytes(), 0);
            state.last_read_at = Instant::now();
            return Some(PollResult::Messages(std::mem::take(&mut state.backlog).into_bytes()));
        }
        state.ended.then_some(PollResult::Ended)
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Pending bytes.
    pub(super) fn bytes(&self) -> usize {
        self.lock().backlog.bytes()
    }

    /// Pending bytes to which the policy for slow clients applies.
    pub(super) fn policed_bytes(&self) -> usize {
        self.lock().backlog.policed_bytes()
    }

    /// When messages were last read.
    pub(super) fn last_read_at(&self) -> Instant {
        self.lock().last_read_at
    }

    /// Applies `put` to the pending messages.
    pub(super) fn put<T>(&self, put: impl FnOnce(&mut Backlog) -> T) -> T {
        let mut state = self.lock();
        let before = state.backlog.bytes();
        let result = put(&mut state.backlog);
        self.count(before, state.backlog.bytes());
        if before == 0 {
            // The buffer was empty before.
            state.last_read_at = Instant::now();
        }
        drop(state);
        self.changed.notify_waiters();
        result
    }

    pub(super) fn push(&self, pending_frame: PendingFrame) {
        self.put(|backlog| backlog.push(pending_frame));
    }

    /// Marks the connection as ended; pending messages can still be read.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// Since when no poll waits; `None` while one does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.waiting_polls == 0).then_some(state.idle_since)
    }

    fn count(&self, before: usize, after: usize) {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes.inc_by(signed(after) - signed(before));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpTransport {
    fn drop(&mut self) {
        if is_mutated("bytes-stay-counted") {
            return;
        }
        self.count(self.bytes(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_at_is_the_time_of_the_first_pending_message() {
        let start = Instant::now();
        let http = HttpTransport::new(HttpTransportKind::LongPolling, start, Gauge::default());
        while Instant::now() == start {}
        http.push(PendingFrame::required(Bytes::from_static(b"a")));
        let first = http.last_read_at();
        assert!(first > start, "there was nothing to read before");
        while Instant::now() == first {}
        http.push(PendingFrame::required(Bytes::from_static(b"b")));
        assert_eq!(http.last_read_at(), first);
    }

    #[tokio::test]
    async fn a_newer_poll_replaces_the_older_one_and_reads_the_end_after_the_messages() {
        let http = HttpTransport::new(HttpTransportKind::LongPolling, Instant::now(), Gauge::default());
        let first = http.begin_poll();
        assert!(HttpTransport::is_first(first) && http.idle_since().is_none());
        let waiting = tokio::spawn({
            let http = Arc::clone(&http);
            async move { http.next_messages(first).await }
        });
        let second = http.begin_poll();
        assert_eq!(waiting.await.unwrap(), PollResult::Superseded);
        http.push(PendingFrame::required(Bytes::from_static(b"a")));
        http.push(PendingFrame::required(Bytes::from_static(b"b")));
        http.end();
        let both = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        assert_eq!(http.next_messages(second).await, PollResult::Messages(both));
        assert_eq!(http.next_messages(second).await, PollResult::Ended);
        http.end_poll(Instant::now());
        http.end_poll(Instant::now());
        assert!(http.idle_since().is_some());
    }
}
