//! [`ConnectionQueues`]: the order and the number of events and invocations that are sent at a time. Pure: the time is an argument, jobs are the
//! result.
//!
//! Each connection has a queue for each listener, and a queue has two tracks, each of which does one thing at a time. One track delivers
//! `connected`. The other one sends invocations in order, and then delivers `disconnected`. Invocations wait until the first attempt to deliver
//! `connected` has ended, but no longer than [`QueueLimits::connected_wait_max`]: a failing upstream must not block the client. Later attempts run in
//! parallel with invocations. `disconnected` waits until `connected` is settled. Invocations that this process handles itself do not wait for
//! `connected`. Tracks with work take turns, and the number of running jobs is limited.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::events::{DeliveryError, EventKind, Retries};
use realtime_engine::ConnectionId;

/// A connection, and the number of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    pub(crate) connection: ConnectionId,
    pub(crate) listener: u8,
}

/// One of the two tracks of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Track {
    /// Attempts to deliver `connected`.
    Connected,
    /// Calls, then `disconnected`.
    Calls,
}

/// Where a job belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TrackKey {
    pub(crate) lane: QueueKey,
    pub(crate) track: Track,
}

/// The limits of the queues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) in_flight_max: usize,
    /// How long a call may wait.
    pub(crate) wait_max: Duration,
    /// How long calls wait for the first attempt to deliver `connected`, from its start.
    pub(crate) connected_wait_max: Duration,
}

/// A call on its way.
#[derive(Debug, PartialEq)]
pub(crate) struct QueuedInvocation<C> {
    pub(crate) call: C,
    /// Whether it is answered in this process.
    pub(crate) is_local: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq)]
pub(crate) enum Step<E, C> {
    /// Carry out a job, and say with [`ConnectionQueues::finished`] what came of it.
    Start(TrackKey, Job<E, C>),
    /// A call waited for too long: answer it with an error.
    Expired(C),
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Job<E, C> {
    Deliver(E),
    WriteDeadLetter { event: E, attempts: u32, cause: String },
    Call(C),
}

/// An event that is delivered or given up.
#[derive(Debug, PartialEq)]
pub(crate) struct SettledEvent<E> {
    pub(crate) event: E,
    pub(crate) kind: EventKind,
    pub(crate) how: EventOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EventOutcome {
    Delivered,
    DeadLettered,
    /// No dead letter could be written. Never for a `disconnected`, which is retried until it is settled.
    Lost,
}

/// The queues of all connections that have work.
#[derive(Debug)]
pub(crate) struct ConnectionQueues<E, C> {
    limits: QueueLimits,
    retries: Retries,
    lanes: HashMap<QueueKey, ConnectionQueue<E, C>>,
    /// Tracks that are due, in order.
    ready: VecDeque<TrackKey>,
    /// Tracks that wait for a time.
    timers: BTreeSet<(Instant, TrackKey)>,
    in_flight: usize,
    events: usize,
}

#[derive(Debug)]
struct ConnectionQueue<E, C> {
    connected: Option<QueuedEvent<E>>,
    calls: VecDeque<(Instant, QueuedInvocation<C>)>,
    disconnected: Option<QueuedEvent<E>>,
    /// Until when calls wait for the first attempt to deliver `connected`; absent until that starts.
    connected_wait_until: Option<Instant>,
    /// Of the track [`Track::Connected`].
    connected_state: TrackState,
    /// Of the track [`Track::Calls`].
    calls_state: TrackState,
}

/// Where a track stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrackState {
    Idle,
    Ready,
    WaitingUntil(Instant),
    Running(RunningWork),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunningWork {
    Event(EventKind),
    Call,
}

/// An event that is not settled.
#[derive(Debug)]
struct QueuedEvent<E> {
    event: E,
    attempts: u32,
    since: Instant,
    due: Instant,
    /// Why it is given up, once it is.
    cause: Option<String>,
}

impl EventOutcome {
    /// One word for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_letter",
            Self::Lost => "lost",
        }
    }
}

impl<E: Clone, C> ConnectionQueues<E, C> {
    pub(crate) fn new(limits: QueueLimits, retries: Retries) -> Self {
        Self {
            limits,
            retries,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            in_flight: 0,
            events: 0,
        }
    }

    /// Events that are not settled.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Jobs that were started and have not finished.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// When [`ConnectionQueues::step`] is to be asked again, if nothing else happens.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes a call in.
    pub(crate) fn call(&mut self, key: QueueKey, waiting: QueuedInvocation<C>, now: Instant) {
        let lane = self.lanes.entry(key).or_default();
        lane.calls.push_back((now + self.limits.wait_max, waiting));
        self.reschedule(TrackKey { lane: key, track: Track::Calls }, now);
    }

    /// Takes an event in.
    pub(crate) fn event(&mut self, key: QueueKey, kind: EventKind, event: E, now: Instant) {
        let pending = QueuedEvent { event, attempts: 0, since: now, due: now, cause: None };
        let lane = self.lanes.entry(key).or_default();
        let before = lane.event(kind).replace(pending);
        // The engine tells of each once.
        debug_assert!(before.is_none(), "an event comes once");
        self.events += usize::from(before.is_none());
        self.reschedule_both(key, now);
    }

    /// The next thing to do, if there is one now and a place for it.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Step<E, C>> {
        while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            *self.lanes.get_mut(&key.lane).expect("a lane that waits is there").stand(key.track) =
                TrackState::Idle;
            self.reschedule(key, now);
        }
        loop {
            if self.in_flight >= self.limits.in_flight_max {
                return None;
            }
            let key = self.ready.pop_front()?;
            let lane = self.lanes.get_mut(&key.lane).expect("a lane that is ready is there");
            *lane.stand(key.track) = TrackState::Idle;
            if key.track == Track::Calls
                && let Some((_, waiting)) = lane.calls.pop_front_if(|(deadline, _)| *deadline <= now)
            {
                self.reschedule(key, now);
                return Some(Step::Expired(waiting.call));
            }
            if let Some((running, job)) = lane.take(key.track, now) {
                *lane.stand(key.track) = TrackState::Running(running);
                self.in_flight += 1;
                if key.track == Track::Connected {
                    lane.connected_wait_until.get_or_insert(now + self.limits.connected_wait_max);
                    self.reschedule(TrackKey { track: Track::Calls, ..key }, now);
                }
                return Some(Step::Start(key, job));
            }
            self.reschedule(key, now);
        }
    }

    /// A job has ended. `chance` spreads what is tried again.
    pub(crate) fn finished(
        &mut self,
        key: TrackKey,
        result: Result<(), DeliveryError>,
        now: Instant,
        chance: u64,
    ) -> Option<SettledEvent<E>> {
        self.in_flight -= 1;
        let lane = self.lanes.get_mut(&key.lane).expect("a lane that runs is there");
        let TrackState::Running(running) = std::mem::replace(lane.stand(key.track), TrackState::Idle) else {
            unreachable!("only a track that runs can finish");
        };
        let settled = match running {
            RunningWork::Call => None,
            RunningWork::Event(kind) => {
                let how = Self::evaluate(&self.retries, lane.event(kind), kind, result, now, chance);
                how.map(|how| {
                    let pending = lane.event(kind).take().expect("an event that ran is there");
                    self.events -= 1;
                    SettledEvent { event: pending.event, kind, how }
                })
            }
        };
        self.reschedule_both(key.lane, now);
        settled
    }

    /// What an attempt means for its event: settled in some way, or due again.
    fn evaluate(
        retries: &Retries,
        pending: &mut Option<QueuedEvent<E>>,
        kind: EventKind,
        result: Result<(), DeliveryError>,
        now: Instant,
        chance: u64,
    ) -> Option<EventOutcome> {
        let pending = pending.as_mut().expect("an event that ran is there");
        let is_given_up = pending.cause.is_some();
        let Err(failure) = result else {
            return Some(if is_given_up { EventOutcome::DeadLettered } else { EventOutcome::Delivered });
        };
        if is_given_up {
            if kind == EventKind::Connected {
                // `disconnected` waits behind it.
                return Some(EventOutcome::Lost);
            }
            pending.due = now + retries.backoff(u32::MAX, chance);
            return None;
        }
        pending.attempts += 1;
        let age = now.saturating_duration_since(pending.since);
        match retries.pause(pending.attempts, age, failure.retry, chance) {
            Some(pause) => pending.due = now + pause,
            None => {
                pending.cause = Some(failure.cause);
                pending.due = now;
            }
        }
        None
    }

    /// Gives an event up that was never tried.
    pub(crate) fn give_up(&mut self, key: QueueKey, kind: EventKind, event: E, cause: String, now: Instant) {
        self.event(key, kind, event, now);
        let lane = self.lanes.get_mut(&key).expect("it was just put there");
        if let Some(pending) = lane.event(kind) {
            pending.cause = Some(cause);
        }
        self.reschedule_both(key, now);
    }

    fn reschedule_both(&mut self, lane: QueueKey, now: Instant) {
        for track in [Track::Connected, Track::Calls] {
            self.reschedule(TrackKey { lane, track }, now);
        }
    }

    /// Puts a track where it belongs now: among those that are ready, among the timers, or away. A lane without anything to do
    /// is forgotten.
    fn reschedule(&mut self, key: TrackKey, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key.lane) else { return };
        let next = match *lane.stand(key.track) {
            TrackState::Running(_) | TrackState::Ready => return,
            TrackState::Idle | TrackState::WaitingUntil(_) => lane.next(key.track, now),
        };
        if let TrackState::WaitingUntil(at) = std::mem::replace(lane.stand(key.track), next) {
            self.timers.remove(&(at, key));
        }
        match next {
            TrackState::Ready => self.ready.push_back(key),
            TrackState::WaitingUntil(at) => drop(self.timers.insert((at, key))),
            TrackState::Idle | TrackState::Running(_) => {
                if lane.is_empty() {
                    self.lanes.remove(&key.lane);
                }
            }
        }
    }
}

impl<E: Clone, C> ConnectionQueue<E, C> {
    fn event(&mut self, kind: EventKind) -> &mut Option<QueuedEvent<E>> {
        match kind {
            EventKind::Connected => &mut self.connected,
            EventKind::Disconnected => &mut self.disconnected,
        }
    }

    fn stand(&mut self, track: Track) -> &mut TrackState {
        match track {
            Track::Connected => &mut self.connected_state,
            Track::Calls => &mut self.calls_state,
        }
    }

    /// Whether nothing waits and nothing runs.
    fn is_empty(&self) -> bool {
        let is_idle = (self.connected_state, self.calls_state) == (TrackState::Idle, TrackState::Idle);
        is_idle && self.connected.is_none() && self.calls.is_empty() && self.disconnected.is_none()
    }

    /// Whether calls wait for `connected`: its first attempt has not ended, and has not taken too long either.
    fn holds_calls(&self, now: Instant) -> bool {
        let is_first = |connected: &QueuedEvent<E>| connected.attempts == 0 && connected.cause.is_none();
        self.connected.as_ref().is_some_and(is_first)
            && self.connected_wait_until.is_none_or(|until| now < until)
    }

    /// Where a track belongs while nothing of it runs.
    fn next(&self, track: Track, now: Instant) -> TrackState {
        let timed = |due: Instant| if due <= now { TrackState::Ready } else { TrackState::WaitingUntil(due) };
        match track {
            Track::Connected => self.connected.as_ref().map_or(TrackState::Idle, |event| timed(event.due)),
            Track::Calls => match (self.calls.front(), &self.disconnected) {
                (Some((deadline, waiting)), _) if !waiting.is_local && self.holds_calls(now) => {
                    timed(self.connected_wait_until.map_or(*deadline, |until| until.min(*deadline)))
                }
                (Some(_), _) => TrackState::Ready,
                (None, Some(disconnected)) if self.connected.is_none() => timed(disconnected.due),
                (None, _) => TrackState::Idle,
            },
        }
    }

    /// Takes the next job of a track out, if one is due.
    fn take(&mut self, track: Track, now: Instant) -> Option<(RunningWork, Job<E, C>)> {
        if self.next(track, now) != TrackState::Ready {
            return None;
        }
        if track == Track::Connected {
            return self
                .connected
                .as_ref()
                .map(|event| (RunningWork::Event(EventKind::Connected), event.job()));
        }
        if let Some((_, waiting)) = self.calls.pop_front() {
            return Some((RunningWork::Call, Job::Call(waiting.call)));
        }
        self.disconnected.as_ref().map(|event| (RunningWork::Event(EventKind::Disconnected), event.job()))
    }
}

impl<E: Clone> QueuedEvent<E> {
    fn job<C>(&self) -> Job<E, C> {
        let event = self.event.clone();
        match &self.cause {
            None => Job::Deliver(event),
            Some(cause) => Job::WriteDeadLetter { event, attempts: self.attempts, cause: cause.clone() },
        }
    }
}

impl<E, C> Default for ConnectionQueue<E, C> {
    fn default() -> Self {
        Self {
            connected: None,
            calls: VecDeque::new(),
            disconnected: None,
            connected_wait_until: None,
            connected_state: TrackState::Idle,
            calls_state: TrackState::Idle,
        }
    }
}

#[cfg(test)]
mod tests;
