//! [`SendQueue`]: the messages that wait to be written to one app server, limited by bytes.
//!
//! Pushing never waits, because the thread of a shard must not. Above the limit, reading from the client is paused
//! ([`QueueLevel::AboveLimit`]) and resumed when the app server has caught up. For responses to the app server itself, the reading task waits
//! ([`SendQueue::wait_for_space`]). The connection of an app server that does not read is closed far above the limit.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use signalr_protocol::service::Message;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use realtime_engine::ConnectionId;

/// The connection is closed above this multiple of the limit. Only messages without backpressure exceed the limit: closes of clients, and
/// results of invocations.
const OVERFLOW_FACTOR: usize = 4;

/// The level of the queue after a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueLevel {
    BelowLimit,
    /// The message was queued, but reading from its client must pause until it is resumed.
    AboveLimit,
}

/// The queue of one server connection.
#[derive(Debug)]
pub(crate) struct SendQueue {
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Notified when there is something to write, or the queue is closed.
    pushed: Notify,
    /// Notified when there is space again.
    drained: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Service messages, framed, in order.
    queued: Vec<u8>,
    /// Bytes that are being written now.
    in_flight: usize,
    /// Service messages that must not be written before a time, the earliest first.
    delayed: VecDeque<(Instant, Vec<u8>)>,
    delayed_bytes: usize,
    /// The pong for the last WebSocket ping.
    pong: Option<Bytes>,
    /// Clients whose reading is paused.
    paused: HashSet<ConnectionId>,
    closed: bool,
}

/// The bytes to write next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WriteBatch {
    pub(crate) pong: Option<Bytes>,
    pub(crate) messages: Vec<u8>,
}

impl SendQueue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let inner = Mutex::new(Inner::default());
        Self { bytes_max, inner, pushed: Notify::new(), drained: Notify::new() }
    }

    /// Adds a message without backpressure. Dropped when the queue is closed.
    pub(crate) fn push(&self, message: &Message<'_>) {
        self.add(|out| message.encode(out), None);
    }

    /// Adds a message without backpressure that must not be written before `not_before`.
    pub(crate) fn push_delayed(&self, not_before: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
        if not_before <= Instant::now() {
            self.add(encode, None);
            return;
        }
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        let mut message = Vec::new();
        encode(&mut message);
        inner.delayed_bytes += message.len();
        // Nearly always at the end, because most delays are equal.
        let index = inner.delayed.partition_point(|(at, _)| *at <= not_before);
        inner.delayed.insert(index, (not_before, message));
        if inner.bytes() > self.bytes_max.saturating_mul(OVERFLOW_FACTOR) {
            inner.close();
        }
        drop(inner);
        self.pushed.notify_one();
    }

    /// Adds messages of a client.
    pub(crate) fn push_for(&self, client: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) -> QueueLevel {
        self.add(encode, Some(client))
    }

    fn add(&self, encode: impl FnOnce(&mut Vec<u8>), client: Option<ConnectionId>) -> QueueLevel {
        let mut inner = self.lock();
        if inner.closed {
            return QueueLevel::BelowLimit;
        }
        encode(&mut inner.queued);
        let bytes = inner.bytes();
        if bytes > self.bytes_max.saturating_mul(OVERFLOW_FACTOR) {
            inner.close();
        }
        let full = bytes > self.bytes_max && !inner.closed;
        if let (Some(client), true) = (client, full) {
            inner.paused.insert(client);
        }
        drop(inner);
        self.pushed.notify_one();
        if full { QueueLevel::AboveLimit } else { QueueLevel::BelowLimit }
    }

    /// Above the limit, marks a client as paused before anything is read from it. Returns whether it is paused.
    pub(crate) fn pause_if_full(&self, client: ConnectionId) -> bool {
        let mut inner = self.lock();
        let is_full = !inner.closed && inner.bytes() > self.bytes_max;
        if is_full {
            inner.paused.insert(client);
        }
        is_full
    }

    /// Queues the pong for a WebSocket ping.
    pub(crate) fn pong(&self, frame: Bytes) {
        self.lock().pong = Some(frame);
        self.pushed.notify_one();
    }

    /// Accepts no more messages; the queued ones are still written.
    pub(crate) fn close(&self) {
        self.lock().close();
        self.pushed.notify_one();
        self.drained.notify_one();
    }

    /// Waits until the queue is below the limit or closed.
    pub(crate) async fn wait_for_space(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let inner = self.lock();
                if inner.closed || inner.bytes() <= self.bytes_max {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Waits for the next batch. `None` when everything is written and the queue is closed.
    pub(crate) async fn next(&self) -> Option<WriteBatch> {
        loop {
            let pushed = self.pushed.notified();
            let next = {
                let mut inner = self.lock();
                inner.release_due(Instant::now());
                if inner.pong.is_some() || !inner.queued.is_empty() {
                    let (pong, messages) = (inner.pong.take(), std::mem::take(&mut inner.queued));
                    inner.in_flight = messages.len();
                    return Some(WriteBatch { pong, messages });
                }
                if inner.closed {
                    return None;
                }
                inner.delayed.front().map(|(at, _)| *at)
            };
            match next {
                None => pushed.await,
                // Both are reasons to check again.
                Some(at) => drop(timeout_at(at.into(), pushed).await),
            }
        }
    }

    /// The batch is written. Returns the clients to resume.
    pub(crate) fn written(&self) -> Vec<ConnectionId> {
        let mut inner = self.lock();
        inner.in_flight = 0;
        // At half of the limit, or clients would be paused and resumed for each message.
        let resumed = if inner.queued.len() <= self.bytes_max / 2 { inner.take_paused() } else { Vec::new() };
        drop(inner);
        self.drained.notify_one();
        resumed
    }

    /// Whether the queue is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The paused clients, when nothing will be written any more.
    pub(crate) fn take_paused(&self) -> Vec<ConnectionId> {
        self.lock().take_paused()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn close(&mut self) {
        self.closed = true;
        // Delivering them early is better than not at all.
        for (_, message) in self.delayed.drain(..) {
            self.queued.extend(message);
        }
        self.delayed_bytes = 0;
    }

    fn bytes(&self) -> usize {
        self.queued.len() + self.in_flight + self.delayed_bytes
    }

    /// Queues the delayed messages that are due.
    fn release_due(&mut self, now: Instant) {
        while let Some((_, message)) = self.delayed.pop_front_if(|(at, _)| *at <= now) {
            self.delayed_bytes -= message.len();
            self.queued.extend(message);
        }
    }

    fn take_paused(&mut self) -> Vec<ConnectionId> {
        self.paused.drain().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(letter: char) -> ConnectionId {
        ConnectionId::parse(&format!("AAAAAAAAAAAAAAAAAAAA{letter}AAAAAA")).unwrap()
    }

    fn bytes(count: usize) -> impl FnOnce(&mut Vec<u8>) {
        move |out| out.resize(out.len() + count, 7)
    }

    #[tokio::test]
    async fn a_client_is_paused_above_the_limit_and_resumed_below_half_of_it() {
        let send_queue = SendQueue::new(100);
        assert_eq!(send_queue.push_for(client('A'), bytes(100)), QueueLevel::BelowLimit);
        assert_eq!(send_queue.push_for(client('A'), bytes(1)), QueueLevel::AboveLimit);
        assert_eq!(send_queue.push_for(client('B'), bytes(1)), QueueLevel::AboveLimit);
        assert!(send_queue.pause_if_full(client('D')), "a client is paused without a message");
        assert_eq!(send_queue.next().await.unwrap().messages.len(), 102);
        // What is being written still counts.
        assert_eq!(send_queue.push_for(client('C'), bytes(51)), QueueLevel::AboveLimit);
        assert_eq!(send_queue.written(), vec![]);
        assert_eq!(send_queue.next().await.unwrap().messages.len(), 51);
        let mut resumed = send_queue.written();
        resumed.sort_unstable();
        assert_eq!(resumed, [client('A'), client('B'), client('C'), client('D')]);
        assert!(!send_queue.pause_if_full(client('D')));
    }

    #[tokio::test]
    async fn a_closed_queue_writes_what_is_queued_and_accepts_no_more() {
        let send_queue = SendQueue::new(100);
        send_queue.push(&Message::Ping { messages: vec![] });
        send_queue.pong(Bytes::from_static(b"pong"));
        send_queue.close();
        send_queue.push(&Message::Ping { messages: vec![] });
        let expected = WriteBatch { pong: Some(Bytes::from_static(b"pong")), messages: vec![2, 0x91, 3] };
        assert_eq!(send_queue.next().await, Some(expected));
        assert_eq!(send_queue.next().await, None);
    }

    #[tokio::test]
    async fn a_delayed_message_is_overtaken_and_written_when_it_is_due() {
        let (send_queue, start) = (SendQueue::new(100), Instant::now());
        let later = start + Duration::from_millis(60);
        send_queue.push_delayed(later, |out| out.push(b'2'));
        send_queue.push_delayed(start + Duration::from_millis(30), |out| out.push(b'1'));
        send_queue.push_delayed(start, |out| out.push(b'0'));
        assert_eq!(send_queue.next().await.unwrap().messages, b"0");
        // On a loaded machine both may be due when the task runs again.
        let mut rest = Vec::new();
        while rest.len() < 2 {
            rest.extend_from_slice(&send_queue.next().await.unwrap().messages);
            assert!(start.elapsed() >= Duration::from_millis(if rest.len() == 1 { 30 } else { 60 }));
        }
        assert_eq!(rest, b"12");
        send_queue.push_delayed(start + Duration::from_secs(3600), |out| out.push(b'3'));
        send_queue.close();
        assert_eq!(send_queue.next().await.unwrap().messages, b"3", "closing releases delayed messages");
        assert_eq!(send_queue.next().await, None);
    }

    #[tokio::test]
    async fn delayed_messages_count_towards_the_limit() {
        let send_queue = SendQueue::new(100);
        let later = Instant::now() + Duration::from_secs(3600);
        send_queue.push_delayed(later, bytes(101));
        assert_eq!(send_queue.push_for(client('A'), bytes(1)), QueueLevel::AboveLimit);
        send_queue.push_delayed(later, bytes(300));
        assert!(send_queue.is_closed());
    }

    #[tokio::test]
    async fn the_reader_waits_for_space() {
        let send_queue = SendQueue::new(100);
        send_queue.wait_for_space().await;
        assert_eq!(send_queue.push_for(client('A'), bytes(101)), QueueLevel::AboveLimit);
        let wait = send_queue.wait_for_space();
        let write = async {
            send_queue.next().await.unwrap();
            send_queue.written()
        };
        // The waiting future is polled first and is still woken.
        let ((), resumed) = tokio::join!(wait, write);
        assert_eq!(resumed, [client('A')]);
    }

    #[tokio::test]
    async fn a_queue_far_above_the_limit_is_closed() {
        let send_queue = SendQueue::new(100);
        assert_eq!(send_queue.push_for(client('A'), bytes(400)), QueueLevel::AboveLimit);
        assert!(!send_queue.is_closed());
        assert_eq!(send_queue.push_for(client('B'), bytes(1)), QueueLevel::BelowLimit);
        assert!(send_queue.is_closed());
        assert_eq!(send_queue.take_paused(), [client('A')]);
    }
}
