//! [`Outbox`]: what waits to be written to one app server, bounded by bytes.
//!
//! Whoever puts something in never waits: a shard's thread cannot. Where too much waits, a client is told to be read no more
//! ([`Fill::Full`]) and is remembered, to be read again when the server has caught up. Answers to the server itself are held back by
//! the one who reads from it ([`Outbox::room`]). A server that takes nothing although far more than the bound waits is given up.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use signalr_protocol::service::Message;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::engine::ConnectionId;

/// How many times the bound may wait before the server is given up. Beyond the bound only what cannot be held back comes: ends of
/// clients, and results for calls.
const OVERFLOW_FACTOR: usize = 4;

/// Where a message found its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    Free,
    /// Taken, but its client is to be read no more until it is resumed.
    Full,
}

/// What waits for one server connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Rung when something is there to write, or nothing more will be.
    filled: Notify,
    /// Rung when there is room again.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Service messages, framed, in order.
    waiting: Vec<u8>,
    /// Being written now.
    in_flight: usize,
    /// Service messages that are not written before a time, the earliest first.
    later: VecDeque<(Instant, Vec<u8>)>,
    later_bytes: usize,
    /// The answer to the last WebSocket ping.
    pong: Option<Bytes>,
    /// Clients that are not read until there is room.
    held: HashSet<ConnectionId>,
    closed: bool,
}

/// What is to be written next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) pong: Option<Bytes>,
    pub(crate) messages: Vec<u8>,
}

impl Outbox {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let inner = Mutex::new(Inner::default());
        Self { bytes_max, inner, filled: Notify::new(), emptied: Notify::new() }
    }

    /// Adds a message that cannot be held back. After the end it is dropped.
    pub(crate) fn push(&self, message: &Message<'_>) {
        self.add(|out| message.encode(out), None);
    }

    /// Adds a message that cannot be held back, and is not written before `not_before`.
    pub(crate) fn push_later(&self, not_before: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
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
        inner.later_bytes += message.len();
        // Nearly always the last place: most wait equally long.
        let place = inner.later.partition_point(|(at, _)| *at <= not_before);
        inner.later.insert(place, (not_before, message));
        if inner.bytes() > self.bytes_max.saturating_mul(OVERFLOW_FACTOR) {
            inner.close();
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Adds messages that a client caused.
    pub(crate) fn push_from(&self, client: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) -> Fill {
        self.add(encode, Some(client))
    }

    fn add(&self, encode: impl FnOnce(&mut Vec<u8>), client: Option<ConnectionId>) -> Fill {
        let mut inner = self.lock();
        if inner.closed {
            return Fill::Free;
        }
        encode(&mut inner.waiting);
        let bytes = inner.bytes();
        if bytes > self.bytes_max.saturating_mul(OVERFLOW_FACTOR) {
            inner.close();
        }
        let full = bytes > self.bytes_max && !inner.closed;
        if let (Some(client), true) = (client, full) {
            inner.held.insert(client);
        }
        drop(inner);
        self.filled.notify_one();
        if full { Fill::Full } else { Fill::Free }
    }

    /// Holds a client back, before anything of it is read, where more than the bound waits. Says whether it is held.
    pub(crate) fn hold_back(&self, client: ConnectionId) -> bool {
        let mut inner = self.lock();
        let is_full = !inner.closed && inner.bytes() > self.bytes_max;
        if is_full {
            inner.held.insert(client);
        }
        is_full
    }

    /// Answers a WebSocket ping.
    pub(crate) fn pong(&self, frame: Bytes) {
        self.lock().pong = Some(frame);
        self.filled.notify_one();
    }

    /// Nothing more is taken; what waits is still to be written.
    pub(crate) fn close(&self) {
        self.lock().close();
        self.filled.notify_one();
        self.emptied.notify_one();
    }

    /// Waits until less than the bound waits, or nothing more is taken.
    pub(crate) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            {
                let inner = self.lock();
                if inner.closed || inner.bytes() <= self.bytes_max {
                    return;
                }
            }
            emptied.await;
        }
    }

    /// Waits for something to write. `None` when all is written and nothing more will come.
    pub(crate) async fn next(&self) -> Option<Batch> {
        loop {
            let filled = self.filled.notified();
            let next = {
                let mut inner = self.lock();
                inner.ripen(Instant::now());
                if inner.pong.is_some() || !inner.waiting.is_empty() {
                    let (pong, messages) = (inner.pong.take(), std::mem::take(&mut inner.waiting));
                    inner.in_flight = messages.len();
                    return Some(Batch { pong, messages });
                }
                if inner.closed {
                    return None;
                }
                inner.later.front().map(|(at, _)| *at)
            };
            match next {
                None => filled.await,
                // Either is a reason to look again.
                Some(at) => drop(timeout_at(at.into(), filled).await),
            }
        }
    }

    /// The batch is written. Says which clients are to be read again.
    pub(crate) fn written(&self) -> Vec<ConnectionId> {
        let mut inner = self.lock();
        inner.in_flight = 0;
        // Not at the bound itself, or each message would stop and go.
        let resumed = if inner.waiting.len() <= self.bytes_max / 2 { inner.release() } else { Vec::new() };
        drop(inner);
        self.emptied.notify_one();
        resumed
    }

    /// Whether nothing more is taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The clients that are held back, when nobody will write any more.
    pub(crate) fn release(&self) -> Vec<ConnectionId> {
        self.lock().release()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn close(&mut self) {
        self.closed = true;
        // Too early is better than never.
        for (_, message) in self.later.drain(..) {
            self.waiting.extend(message);
        }
        self.later_bytes = 0;
    }

    fn bytes(&self) -> usize {
        self.waiting.len() + self.in_flight + self.later_bytes
    }

    /// Lets messages be written whose time has come.
    fn ripen(&mut self, now: Instant) {
        while let Some((_, message)) = self.later.pop_front_if(|(at, _)| *at <= now) {
            self.later_bytes -= message.len();
            self.waiting.extend(message);
        }
    }

    fn release(&mut self) -> Vec<ConnectionId> {
        self.held.drain().collect()
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
    async fn a_client_is_held_beyond_the_bound_and_released_below_half_of_it() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push_from(client('A'), bytes(100)), Fill::Free);
        assert_eq!(outbox.push_from(client('A'), bytes(1)), Fill::Full);
        assert_eq!(outbox.push_from(client('B'), bytes(1)), Fill::Full);
        assert!(outbox.hold_back(client('D')), "it need not bring anything to be held");
        assert_eq!(outbox.next().await.unwrap().messages.len(), 102);
        // What is being written still counts.
        assert_eq!(outbox.push_from(client('C'), bytes(51)), Fill::Full);
        assert_eq!(outbox.written(), vec![]);
        assert_eq!(outbox.next().await.unwrap().messages.len(), 51);
        let mut resumed = outbox.written();
        resumed.sort_unstable();
        assert_eq!(resumed, [client('A'), client('B'), client('C'), client('D')]);
        assert!(!outbox.hold_back(client('D')));
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_written_and_nothing_more_is_taken() {
        let outbox = Outbox::new(100);
        outbox.push(&Message::Ping { messages: vec![] });
        outbox.pong(Bytes::from_static(b"pong"));
        outbox.close();
        outbox.push(&Message::Ping { messages: vec![] });
        let expected = Batch { pong: Some(Bytes::from_static(b"pong")), messages: vec![2, 0x91, 3] };
        assert_eq!(outbox.next().await, Some(expected));
        assert_eq!(outbox.next().await, None);
    }

    #[tokio::test]
    async fn a_message_for_later_waits_for_its_time_and_what_comes_meanwhile_overtakes_it() {
        let (outbox, start) = (Outbox::new(100), Instant::now());
        let later = start + Duration::from_millis(60);
        outbox.push_later(later, |out| out.push(b'2'));
        outbox.push_later(start + Duration::from_millis(30), |out| out.push(b'1'));
        outbox.push_later(start, |out| out.push(b'0'));
        assert_eq!(outbox.next().await.unwrap().messages, b"0");
        assert_eq!(outbox.next().await.unwrap().messages, b"1");
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(outbox.next().await.unwrap().messages, b"2");
        assert!(start.elapsed() >= Duration::from_millis(60));
        outbox.push_later(start + Duration::from_secs(3600), |out| out.push(b'3'));
        outbox.close();
        assert_eq!(outbox.next().await.unwrap().messages, b"3", "the end waits for nothing");
        assert_eq!(outbox.next().await, None);
    }

    #[tokio::test]
    async fn messages_for_later_count_as_what_waits() {
        let outbox = Outbox::new(100);
        let later = Instant::now() + Duration::from_secs(3600);
        outbox.push_later(later, bytes(101));
        assert_eq!(outbox.push_from(client('A'), bytes(1)), Fill::Full);
        outbox.push_later(later, bytes(300));
        assert!(outbox.is_closed());
    }

    #[tokio::test]
    async fn whoever_reads_waits_for_room() {
        let outbox = Outbox::new(100);
        outbox.room().await;
        assert_eq!(outbox.push_from(client('A'), bytes(101)), Fill::Full);
        let wait = outbox.room();
        let write = async {
            outbox.next().await.unwrap();
            outbox.written()
        };
        // The one who waits is polled first and is still woken.
        let ((), resumed) = tokio::join!(wait, write);
        assert_eq!(resumed, [client('A')]);
    }

    #[tokio::test]
    async fn a_server_far_behind_is_given_up() {
        let outbox = Outbox::new(100);
        assert_eq!(outbox.push_from(client('A'), bytes(400)), Fill::Full);
        assert!(!outbox.is_closed());
        assert_eq!(outbox.push_from(client('B'), bytes(1)), Fill::Free);
        assert!(outbox.is_closed());
        assert_eq!(outbox.release(), [client('A')]);
    }
}
