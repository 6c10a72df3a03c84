//! [`Shard`]: one thread's connections, and the loop that serves them.
//!
//! One turn: reads what is readable, takes commands, looks at deadlines, writes. Everything that happens to a connection
//! happens here, on this thread; the ways in are the closed list [`Command`] and the sockets themselves.
//!
//! Start reading at [`Shard::turn`]. `receive.rs` is the way in, `flush.rs` the way out, `pending.rs` what waits between a
//! publish and its write, `obey.rs` what others ask for, `index.rs` who receives what, `deadlines.rs` time.

mod connection;
mod deadlines;
mod encode;
mod flush;
mod index;
mod obey;
mod pending;
mod receive;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Poll, Token};
use signalr_protocol::HubMessage;
use slab::Slab;
use tokio::sync::mpsc;
use websocket::{CloseCode, close_frame};

use self::connection::{Connection, Slot, Stage};
use self::deadlines::{Deadlines, Due, Tick};
use self::encode::hub_frame;
use self::index::{Connections, Index};
use self::pending::Step;
use super::command::{Command, Work};
use super::handle::Alarm;
use super::{ClientConnection, EndReason, Options, Upstream};
use crate::metrics::{EndLabels, EngineMetrics, ShardMetrics};

/// By which the shard's queue announces itself; slots are 32-bit and never this.
pub(crate) const WAKER_TOKEN: Token = Token(usize::MAX);

const EVENTS_MAX: usize = 1024;

/// The bounds of a tick of a shard's time. Deadlines are late by at most one tick.
const TICK_MIN: Duration = Duration::from_millis(100);
const TICK_MAX: Duration = Duration::from_secs(1);

/// What all shards have alike.
#[derive(Clone)]
pub(crate) struct Settings {
    options: Options,
    metrics: EngineMetrics,
    upstream: Arc<dyn Upstream>,
    /// How many connections the engine holds; each shard gives back what it ends.
    connections: Arc<AtomicU32>,
}

/// A shard's queue, seen from the shard.
pub(crate) struct Inbox {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) alarm: Arc<Alarm>,
}

pub(crate) struct Shard {
    poll: Poll,
    settings: Settings,
    connections: Connections,
    index: Index,
    deadlines: Deadlines,
    times: Times,
    now: Tick,
    /// Connections to write to, in order.
    dirty: VecDeque<Slot>,
    /// How many ever came onto that list and went off it: by these a publish knows when it has been written.
    dirtied: u64,
    flushed: u64,
    traced: VecDeque<(u64, Arc<Work>)>,
    /// Connections that had more to read than was their turn.
    unread: Vec<Slot>,
    read_buffer: Box<[u8]>,
    metrics: ShardMetrics,
    pending_bytes: u64,
    generation: u32,
    /// When to cut what is left, once the shard drains.
    draining: Option<Instant>,
}

/// The options' times in ticks.
#[derive(Clone, Copy, Debug)]
struct Times {
    handshake: u32,
    keep_alive: u32,
    client_timeout: u32,
    close: u32,
}

/// Whether more is to be done before waiting for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    More,
}

impl Settings {
    pub(crate) fn new(
        options: &Options,
        metrics: EngineMetrics,
        upstream: Arc<dyn Upstream>,
        connections: Arc<AtomicU32>,
    ) -> Self {
        Self { options: options.clone(), metrics, upstream, connections }
    }
}

impl Shard {
    pub(crate) fn new(number: u16, poll: Poll, settings: Settings, start: Instant) -> Self {
        let options = &settings.options;
        let time = Duration::from_millis;
        let [handshake, keep_alive, client_timeout, close] = [
            options.handshake_timeout_ms,
            options.keep_alive_ms,
            options.client_timeout_ms,
            options.close_timeout_ms,
        ]
        .map(time);
        let shortest = handshake.min(keep_alive).min(client_timeout).min(close);
        let deadlines = Deadlines::new(start, (shortest / 8).clamp(TICK_MIN, TICK_MAX));
        let times = Times {
            handshake: deadlines.ticks(handshake),
            keep_alive: deadlines.ticks(keep_alive),
            client_timeout: deadlines.ticks(client_timeout),
            close: deadlines.ticks(close),
        };
        Self {
            poll,
            connections: Slab::new(),
            index: Index::new(settings.metrics.clone(), options.user_groups_max),
            deadlines,
            times,
            now: Tick(0),
            dirty: VecDeque::new(),
            dirtied: 0,
            flushed: 0,
            traced: VecDeque::new(),
            unread: Vec::new(),
            read_buffer: vec![0; (options.read_buffer_bytes as usize).max(1024)].into(),
            metrics: settings.metrics.shard(number),
            pending_bytes: 0,
            generation: 0,
            draining: None,
            settings,
        }
    }

    /// The thread's life: until the engine is drained.
    pub(crate) fn run(mut self, mut inbox: Inbox) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut left = Left::Nothing;
        while !self.has_ended(Instant::now()) {
            let timeout = self.timeout(left, Instant::now());
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // A poll that fails can serve nobody any more.
                    tracing::error!(%error, "a shard's poll failed");
                    break;
                }
            }
            let began = Instant::now();
            left = self.turn(&events, &mut inbox, began);
            self.metrics.end_turn(began.elapsed(), self.pending_bytes);
        }
        self.cut_all();
    }

    /// One turn of the loop.
    fn turn(&mut self, events: &Events, inbox: &mut Inbox, now: Instant) -> Left {
        self.now = self.deadlines.at(now);
        for slot in std::mem::take(&mut self.unread) {
            self.on_readable(slot);
        }
        for event in events {
            let Ok(slot) = Slot::try_from(event.token().0) else { continue };
            if event.is_writable() {
                self.on_writable(slot);
            }
            if event.is_readable() || event.is_error() {
                self.on_readable(slot);
            }
        }
        let more_commands = self.take_commands(inbox, now);
        self.look_at_deadlines();
        let more_writes = self.flush_chunk();
        if more_commands || more_writes || !self.unread.is_empty() { Left::More } else { Left::Nothing }
    }

    fn look_at_deadlines(&mut self) {
        let mut due = Vec::new();
        self.deadlines.advance(self.now, &mut due);
        for due in due {
            let same = |connection: &Connection| connection.generation == due.generation;
            if self.connections.get(due.slot as usize).is_some_and(same)
                && let Some(next) = self.look_at(due.slot)
            {
                self.deadlines.add(next, due);
            }
        }
        self.index.expire(&mut self.connections, self.now);
    }

    /// Does what is due for one connection; says when to look again.
    fn look_at(&mut self, slot: Slot) -> Option<Tick> {
        let times = self.times;
        let connection = &self.connections[slot as usize];
        let expires = connection.rare.as_ref().and_then(|rare| rare.expires);
        match &connection.stage {
            Stage::Handshaking(handshaking) => {
                let deadline = handshaking.deadline;
                if self.now < deadline {
                    return Some(deadline);
                }
                let why = "no handshake came in time";
                self.say_goodbye(slot, EndReason::HandshakeTimeout, None, CloseCode::POLICY_VIOLATION, why);
            }
            Stage::Closing { .. } => {
                let deadline = connection.heard.plus(times.close);
                if self.now < deadline {
                    return Some(deadline);
                }
                self.remove(slot);
                return None;
            }
            Stage::Open(_) if expires.is_some_and(|expires| expires <= self.now) => {
                let why = "the access token has expired";
                self.close(slot, EndReason::TokenExpired, Some(why), true);
            }
            Stage::Open(_) => {
                let silent_until = connection.heard.plus(times.client_timeout);
                if self.now > silent_until {
                    self.end(slot, EndReason::ClientTimeout);
                    return None;
                }
                // Spread over an eighth of the interval, so that clients that came together do not get their pings together.
                let jitter = connection.generation % (times.keep_alive / 8 + 1);
                let mut ping_at = connection.sent.plus(times.keep_alive - jitter);
                if self.now >= ping_at {
                    ping_at = self.now.plus(times.keep_alive - jitter);
                    let ping = hub_frame(&HubMessage::Ping, connection.protocol);
                    self.append_or_end(slot, &mut Step::new(ping));
                }
                let next = ping_at.min(silent_until.plus(1));
                return Some(expires.map_or(next, |expires| next.min(expires)));
            }
        }
        // A close has begun; its own deadline counts from now.
        self.connections.contains(slot as usize).then(|| self.now.plus(times.close))
    }

    fn timeout(&self, left: Left, now: Instant) -> Option<Duration> {
        if left == Left::More {
            return Some(Duration::ZERO);
        }
        // Where there is nobody to look after, the shard sleeps until it is called.
        let idle = self.connections.is_empty() && self.index.next_expiry().is_none();
        (!idle).then(|| self.deadlines.next_tick().saturating_duration_since(now))
    }

    fn has_ended(&self, now: Instant) -> bool {
        self.draining.is_some_and(|cut_at| self.connections.is_empty() || now >= cut_at)
    }

    /// Who a connection is, in the words of the upstream; `None` unless it is open.
    fn client(&self, slot: Slot) -> Option<ClientConnection> {
        let connection = self.connections.get(slot as usize)?;
        let places = connection.places()?;
        Some(ClientConnection {
            id: connection.id,
            hub: self.index.hub(places.hub).clone(),
            user: places.user.map(|(user, _)| self.index.user(user).clone()),
            protocol: connection.protocol,
        })
    }

    /// Begins an orderly close: a last hub message, a close frame, and time for the client to answer. From here on the
    /// connection receives nothing that is published.
    fn say_goodbye(
        &mut self,
        slot: Slot,
        reason: EndReason,
        last: Option<Bytes>,
        code: CloseCode,
        text: &str,
    ) {
        if self.connections.get(slot as usize).is_none_or(Connection::is_closing) {
            return;
        }
        self.leave_index(slot, reason);
        for frame in last.into_iter().chain([close_frame(code, text)]) {
            if self.connections.contains(slot as usize) {
                self.append_or_end(slot, &mut Step::new(frame));
            }
        }
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.heard = self.now;
            // Its entry among the deadlines may be for later than the close is.
            let due = Due { slot, generation: connection.generation };
            self.deadlines.add(self.now.plus(self.times.close).plus(1), due);
        }
    }

    /// Ends a connection at once.
    fn end(&mut self, slot: Slot, reason: EndReason) {
        if self.connections.get(slot as usize).is_some_and(|connection| !connection.is_closing()) {
            self.leave_index(slot, reason);
        }
        self.remove(slot);
    }

    /// The one place where a connection stops being one of the hub's: takes it out, counts why, tells the upstream.
    fn leave_index(&mut self, slot: Slot, reason: EndReason) {
        let client = self.client(slot);
        self.index.close(&mut self.connections, slot);
        self.connections[slot as usize].stage = Stage::Closing { shut: false };
        self.settings.metrics.ends.get_or_create(&EndLabels { reason }).inc();
        if let Some(client) = client {
            self.settings.upstream.disconnected(&client, reason);
        }
    }

    /// Lets go of a connection that is closing. Dropping the socket takes it out of the poll.
    fn remove(&mut self, slot: Slot) {
        if let Some(connection) = self.connections.try_remove(slot as usize) {
            Self::forget_pending(&mut self.pending_bytes, &connection);
            self.index.forget(connection.id);
            self.settings.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn cut_all(&mut self) {
        let slots: Vec<Slot> = self.connections.iter().map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.end(slot, EndReason::Drained);
        }
    }
}

#[cfg(test)]
mod tests;
