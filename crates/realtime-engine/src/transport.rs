//! [`Transport`]: by what a client is reached. WebSockets are sockets of the shard's own; Server-Sent Events and long polling are
//! answers to HTTP requests, and share an [`HttpTransport`] with whoever writes those answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::shard::{Backlog, Piece};

/// By what a client is reached.
#[derive(Debug)]
pub enum Transport {
    /// A WebSocket, after its upgrade.
    Socket(edge::Socket),
    /// An answer to an HTTP request.
    Http(Arc<HttpTransport>),
}

/// Which HTTP transport it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpTransportKind {
    /// One long answer.
    ServerSentEvents,
    /// One answer after the other.
    LongPolling,
}

/// Where a shard puts messages for a client of an HTTP transport, and the client's requests take them from.
#[derive(Debug)]
pub struct HttpTransport {
    kind: HttpTransportKind,
    state: Mutex<State>,
    changed: Notify,
    /// Bytes that wait in all outlets.
    bytes: Gauge,
    /// Held by requests that send: many whole ones share it, one that is handed on in pieces has it alone.
    sending: RwLock<()>,
}

/// What a request for messages gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollResult {
    /// The messages that waited, each as it is framed by its hub protocol.
    Messages(Vec<Bytes>),
    /// A newer request takes them.
    Superseded,
    /// The connection has ended, and everything was taken.
    Ended,
}

/// One request for messages among those of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollId(u64);

#[derive(Debug)]
struct State {
    backlog: Backlog,
    /// The newest request that came to take messages.
    poll: u64,
    /// Requests that wait for messages now.
    waiting_polls: u32,
    /// Since when none has.
    idle_since: Instant,
    /// When messages were last taken, or put in where none waited.
    taken_at: Instant,
    ended: bool,
}

impl HttpTransport {
    /// An outlet for a client that has just come.
    pub(crate) fn new(kind: HttpTransportKind, now: Instant, bytes: Gauge) -> Arc<Self> {
        let state = State {
            backlog: Backlog::default(),
            poll: 0,
            waiting_polls: 0,
            idle_since: now,
            taken_at: now,
            ended: false,
        };
        let (state, sending) = (Mutex::new(state), RwLock::default());
        Arc::new(Self { kind, state, changed: Notify::new(), bytes, sending })
    }

    /// Which transport it serves.
    pub fn kind(&self) -> HttpTransportKind {
        self.kind
    }

    /// Waits until no request of the client is handed on in pieces: for one that is handed on whole.
    pub async fn begin_whole_send(&self) -> RwLockReadGuard<'_, ()> {
        self.sending.read().await
    }

    /// Waits until no other request of the client is handed on: for one that is handed on in pieces, between which nothing may come.
    pub async fn begin_partial_send(&self) -> RwLockWriteGuard<'_, ()> {
        self.sending.write().await
    }

    /// Takes the place of whoever waited for messages before.
    pub fn begin_poll(&self) -> PollId {
        let mut state = self.lock();
        state.poll += 1;
        state.waiting_polls += 1;
        let poll = PollId(state.poll);
        drop(state);
        self.changed.notify_waiters();
        poll
    }

    /// Whether it is the first turn.
    pub fn is_first(poll: PollId) -> bool {
        poll.0 == 1
    }

    /// Says that a request of [`HttpTransport::begin`] is over.
    pub fn end_poll(&self, now: Instant) {
        let mut state = self.lock();
        state.waiting_polls = state.waiting_polls.saturating_sub(1);
        state.idle_since = now;
    }

    /// Waits for messages, and takes all of them. Cancel-safe.
    pub async fn next_messages(&self, poll: PollId) -> PollResult {
        loop {
            // Registered before looking, so that nothing that happens in between is missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(taken) = self.try_next_messages(poll) {
                return taken;
            }
            changed.await;
        }
    }

    /// What is there now; `None` to wait.
    pub fn try_next_messages(&self, poll: PollId) -> Option<PollResult> {
        let mut state = self.lock();
        if state.poll != poll.0 {
            return Some(PollResult::Superseded);
        }
        if !state.backlog.is_empty() {
            self.count(state.backlog.bytes(), 0);
            state.taken_at = Instant::now();
            return Some(PollResult::Messages(std::mem::take(&mut state.backlog).into_bytes()));
        }
        state.ended.then_some(PollResult::Ended)
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.lock().backlog.bytes()
    }

    /// Bytes that count where the policy for slow clients is applied.
    pub(super) fn policed_bytes(&self) -> usize {
        self.lock().backlog.policed_bytes()
    }

    /// When messages were last taken.
    pub(super) fn taken_at(&self) -> Instant {
        self.lock().taken_at
    }

    /// Puts messages in, with what `put` does to those that wait already.
    pub(super) fn put<T>(&self, put: impl FnOnce(&mut Backlog) -> T) -> T {
        let mut state = self.lock();
        let before = state.backlog.bytes();
        let result = put(&mut state.backlog);
        self.count(before, state.backlog.bytes());
        if before == 0 {
            // Nothing was there to be taken before.
            state.taken_at = Instant::now();
        }
        drop(state);
        self.changed.notify_waiters();
        result
    }

    pub(super) fn push(&self, piece: Piece) {
        self.put(|backlog| backlog.push(piece));
    }

    /// The connection is no more; what waits can still be taken.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_waiters();
    }

    /// Since when no request has waited for messages; `None` while one does.
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
        self.count(self.bytes(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_overdue_from_when_the_first_of_them_came() {
        let start = Instant::now();
        let http = HttpTransport::new(HttpTransportKind::LongPolling, start, Gauge::default());
        while Instant::now() == start {}
        http.push(Piece::required(Bytes::from_static(b"a")));
        let first = http.taken_at();
        assert!(first > start, "nothing was there to be taken before");
        while Instant::now() == first {}
        http.push(Piece::required(Bytes::from_static(b"b")));
        assert_eq!(http.taken_at(), first);
    }

    #[tokio::test]
    async fn a_newer_turn_takes_over_and_the_end_comes_after_the_messages() {
        let http = HttpTransport::new(HttpTransportKind::LongPolling, Instant::now(), Gauge::default());
        let first = http.begin_poll();
        assert!(HttpTransport::is_first(first) && http.idle_since().is_none());
        let waiting = tokio::spawn({
            let http = Arc::clone(&http);
            async move { http.next_messages(first).await }
        });
        let second = http.begin_poll();
        assert_eq!(waiting.await.unwrap(), PollResult::Superseded);
        http.push(Piece::required(Bytes::from_static(b"a")));
        http.push(Piece::required(Bytes::from_static(b"b")));
        http.end();
        let both = vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        assert_eq!(http.next_messages(second).await, PollResult::Messages(both));
        assert_eq!(http.next_messages(second).await, PollResult::Ended);
        http.end_poll(Instant::now());
        http.end_poll(Instant::now());
        assert!(http.idle_since().is_some());
    }
}
