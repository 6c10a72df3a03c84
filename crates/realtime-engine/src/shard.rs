//! [`Shard`]: one thread's connections, and the loop that serves them.
//!
//! One turn: read from sockets, handle commands, check deadlines, write. A connection is only used on this thread; the inputs of
//! the thread are the closed list [`ShardCommand`] and the sockets.
//!
//! Start reading at [`Shard::turn`]. Input: `receive.rs` and `hub_messages.rs`. Output: `publish.rs`, `own_messages.rs` and
//! `streams.rs` append to the pending frames (`pending.rs`), and `flush.rs` writes them. `commands.rs`, `app_server.rs` and
//! `queries.rs` handle commands. `index.rs` has the hubs, users and groups. A connection starts in `handshake.rs`, is checked by
//! `upkeep.rs` (`due.rs` decides what is due), survives the loss of its socket in `reconnect.rs`, and ends in `closing.rs`.
//! `forward.rs` passes messages on to app servers, `trace.rs` sends events to subscribers.

mod app_server;
mod closing;
mod commands;
mod connection;
mod deadlines;
mod due;
mod encode;
mod flush;
mod forward;
mod forwarding;
mod handshake;
mod hub_messages;
mod index;
mod keys;
mod limits;
mod own_messages;
mod pending;
mod publish;
mod queries;
mod receive;
mod reconnect;
mod shrink;
mod splitter;
mod stateful;
mod streams;
mod trace;
mod upkeep;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;
use supervision::{TurnOutcome, Turns, Unit, Wait};
use tokio::sync::{mpsc, oneshot};

use self::deadlines::{Deadlines, Tick};
use self::due::Timeouts;
#[cfg(feature = "fuzzing")]
pub(crate) use self::encode::Encoded;
use self::index::{Connections, HubPolicy, Index};
use self::keys::Slot;
pub(crate) use self::pending::{Backlog, PendingFrame};
use super::command::ShardCommand;
use super::handle::ShardWaker;
use super::hub_counts::HubCounts;
use super::limits::{Rates, UserBuckets};
use super::publish::PublishJob;
use super::trace_subscription::TraceSink;
use super::{Options, Upstream};
use crate::metrics::{EngineMetrics, ShardMetrics};

/// The token of the shard's queue; slots have 32 bits and never equal it.
pub(crate) const WAKER_TOKEN: Token = Token(usize::MAX);

const EVENTS_MAX: usize = 1024;

/// The limits of the length of a tick. A deadline is late by at most one tick.
const TICK_MIN: Duration = Duration::from_millis(100);
const TICK_MAX: Duration = Duration::from_secs(1);

/// Interval at which slow readers are checked, whose app servers were asked to send more slowly.
const SLOW_READER_INTERVAL: Duration = Duration::from_millis(50);

/// Longest delay of an acknowledgement of a stateful client's messages, and of messages that wait for the client's first message.
const SOON: Duration = Duration::from_secs(1);

/// The settings that all shards share.
#[derive(Clone)]
pub(crate) struct ShardSettings {
    options: Options,
    metrics: EngineMetrics,
    upstream: Arc<dyn Upstream>,
    /// Number of connections of the engine; a shard decrements it when a connection ends.
    connections: Arc<AtomicU32>,
    hub_counts: Arc<HubCounts>,
    user_buckets: Arc<UserBuckets>,
}

/// The receiving end of a shard's queue.
pub(crate) struct ShardInbox {
    pub(crate) commands: mpsc::Receiver<ShardCommand>,
    pub(crate) waker: Arc<ShardWaker>,
}

pub(crate) struct Shard {
    poll: Poll,
    settings: ShardSettings,
    connections: Connections,
    index: Index,
    deadlines: Deadlines,
    timeouts: Timeouts,
    /// The time of this turn, in ticks and by the operating system's clock.
    now: Tick,
    instant: Instant,
    /// Connections to write to, in order.
    dirty: VecDeque<Slot>,
    /// How many were ever added to `dirty` and removed from it: from these counts follows when a publish has been written.
    dirtied: u64,
    flushed: u64,
    traced: VecDeque<(u64, Arc<PublishJob>)>,
    /// Connections that have more to read than one turn allows.
    unread: Vec<Slot>,
    /// Stateful connections to check soon, with the time.
    soon: VecDeque<(Tick, Slot, u32)>,
    /// Connections whose app server was asked to send more slowly, with their generation.
    slow_readers: Vec<(Slot, u32)>,
    trace_sinks: Vec<TraceSink>,
    connection_rates: Rates,
    user_rates: Rates,
    /// The policy for a connection that has not joined its hub yet.
    default_policy: HubPolicy,
    read_buffer: Box<[u8]>,
    /// Receivers of the message that is being published; reused, to avoid an allocation for each publish.
    receivers: Vec<Slot>,
    metrics: ShardMetrics,
    pending_bytes: u64,
    /// Bytes of messages of app servers to one client alone that are buffered because stateful clients have not acknowledged
    /// them.
    buffered_own_bytes: u64,
    generation: u32,
    /// When the remaining connections are dropped, while the shard drains.
    draining: Option<Instant>,
}

/// Whether there is more work to do before waiting for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnResult {
    Idle,
    MoreWork,
}

/// A socket that is ready.
#[derive(Clone, Copy, Debug)]
struct Ready {
    token: Token,
    is_readable: bool,
    is_writable: bool,
}

impl Ready {
    fn of(event: &Event) -> Self {
        let is_readable = event.is_readable() || event.is_error();
        Self { token: event.token(), is_readable, is_writable: event.is_writable() }
    }
}

/// A shard with its queue, as the work of a thread. It ends when the engine is drained.
pub(crate) struct ShardTurns {
    shard: Shard,
    inbox: ShardInbox,
    events: Events,
    left: TurnResult,
    /// Dropped last: it notifies the engine that the shard has ended.
    _done: oneshot::Sender<()>,
}

impl ShardTurns {
    pub(crate) fn new(shard: Shard, inbox: ShardInbox, done: oneshot::Sender<()>) -> Self {
        Self { shard, inbox, events: Events::with_capacity(EVENTS_MAX), left: TurnResult::Idle, _done: done }
    }

    fn end(&mut self) -> TurnOutcome {
        self.shard.end_all();
        TurnOutcome::Ended
    }
}

impl Turns for ShardTurns {
    fn turn(&mut self, unit: &Unit, wait: Wait) -> TurnOutcome {
        let Self { shard, inbox, events, left, .. } = self;
        let now = Instant::now();
        if shard.has_ended(now) {
            return self.end();
        }
        let timeout = match wait {
            Wait::ForWork => shard.timeout(*left, now),
            Wait::Never => Some(Duration::ZERO),
        };
        match shard.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return TurnOutcome::Idle,
            Err(error) => {
                // A shard cannot serve its connections without its poll.
                tracing::error!(%error, "a shard's poll failed");
                return self.end();
            }
        }
        unit.fault_point();
        let began = Instant::now();
        let ready = events.iter().map(Ready::of);
        #[cfg(feature = "simulation")]
        let ready = ready.chain(edge::simulation::take_ready(&shard.poll).into_iter().map(Ready::simulated));
        *left = shard.turn(ready, inbox, began);
        shard.metrics.end_turn(began.elapsed(), shard.pending_bytes);
        if *left == TurnResult::MoreWork { TurnOutcome::Worked } else { TurnOutcome::Idle }
    }
}

#[cfg(feature = "simulation")]
impl Ready {
    fn simulated(ready: edge::simulation::SocketReadiness) -> Self {
        let edge::simulation::SocketReadiness { token, is_readable, is_writable } = ready;
        Self { token, is_readable, is_writable }
    }
}

impl ShardSettings {
    pub(crate) fn new(
        options: &Options,
        metrics: EngineMetrics,
        upstream: Arc<dyn Upstream>,
        connections: Arc<AtomicU32>,
        hub_counts: Arc<HubCounts>,
    ) -> Self {
        let user_buckets = Arc::default();
        Self { options: options.clone(), metrics, upstream, connections, hub_counts, user_buckets }
    }
}

impl Timeouts {
    /// The timeouts of the options in ticks.
    fn of(options: &Options, deadlines: &Deadlines) -> Self {
        let ticks = |ms| deadlines.ticks(Duration::from_millis(ms));
        Self {
            handshake: ticks(options.handshake_timeout_ms),
            keep_alive: ticks(options.keep_alive_ms),
            client_timeout: ticks(options.client_timeout_ms),
            close: ticks(options.close_timeout_ms),
            disconnect: ticks(options.disconnect_timeout_ms),
            own_stalled: ticks(options.own_stalled_timeout_ms),
            soon: deadlines.ticks(SOON),
        }
    }
}

impl Shard {
    pub(crate) fn new(number: u16, poll: Poll, settings: ShardSettings, start: Instant) -> Self {
        let options = &settings.options;
        let deadlines = Deadlines::new(start, (options.shortest_timeout() / 8).clamp(TICK_MIN, TICK_MAX));
        let timeouts = Timeouts::of(options, &deadlines);
        Self {
            soon: VecDeque::new(),
            slow_readers: Vec::new(),
            trace_sinks: Vec::new(),
            connection_rates: Rates::of_connection(options),
            user_rates: Rates::of_user(options),
            default_policy: HubPolicy::of_all(options),
            poll,
            connections: Slab::new(),
            index: Index::new(settings.metrics.clone(), options),
            deadlines,
            timeouts,
            now: Tick(0),
            instant: start,
            dirty: VecDeque::new(),
            dirtied: 0,
            flushed: 0,
            traced: VecDeque::new(),
            unread: Vec::new(),
            read_buffer: vec![0; (options.read_buffer_bytes as usize).max(1024)].into(),
            metrics: settings.metrics.shard(number),
            receivers: Vec::new(),
            pending_bytes: 0,
            buffered_own_bytes: 0,
            generation: 0,
            draining: None,
            settings,
        }
    }

    /// One turn of the loop, with the sockets that are ready.
    fn turn(
        &mut self,
        ready: impl Iterator<Item = Ready>,
        inbox: &mut ShardInbox,
        now: Instant,
    ) -> TurnResult {
        (self.now, self.instant) = (self.deadlines.at(now), now);
        for slot in std::mem::take(&mut self.unread) {
            self.on_readable(slot);
        }
        for Ready { token, is_readable, is_writable } in ready {
            let Ok(slot) = Slot::try_from(token.0) else { continue };
            if is_writable {
                self.on_writable(slot);
            }
            if is_readable {
                self.on_readable(slot);
            }
        }
        let more_commands = self.receive_commands(inbox, now);
        self.check_deadlines();
        self.trace_group_changes();
        let more_writes = self.flush_chunk();
        if more_commands || more_writes || !self.unread.is_empty() {
            TurnResult::MoreWork
        } else {
            TurnResult::Idle
        }
    }

    fn timeout(&self, left: TurnResult, now: Instant) -> Option<Duration> {
        if left == TurnResult::MoreWork {
            return Some(Duration::ZERO);
        }
        // Without connections the shard sleeps until it receives a command.
        let idle = self.connections.is_empty() && self.index.next_expiry().is_none();
        let next_tick = (!idle).then(|| self.deadlines.next_tick().saturating_duration_since(now));
        // A request that reads messages does not wake the shard, so slow readers are polled.
        if self.slow_readers.is_empty() {
            next_tick
        } else {
            next_tick.map(|at| at.min(SLOW_READER_INTERVAL))
        }
    }

    fn has_ended(&self, now: Instant) -> bool {
        self.draining.is_some_and(|end_at| self.connections.is_empty() || now >= end_at)
    }
}

#[cfg(test)]
mod tests;
