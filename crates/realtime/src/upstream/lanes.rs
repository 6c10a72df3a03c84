//! [`Lanes`]: in which order, and how many at a time, events and calls go to whom. Pure: time comes in, jobs go out.
//!
//! Each connection has a lane for each listener, and a lane has two tracks, each of which does one thing at a time. One track
//! delivers `connected`. The other one carries out calls in order, and then delivers `disconnected`. Calls wait until the first
//! attempt to deliver `connected` has ended, and no longer than [`Limits::connected_wait_max`]: an upstream that fails there must
//! not silence the client. Later attempts run beside the calls. `disconnected` waits until `connected` is settled. Calls that are
//! answered in this process do not wait for `connected`. Tracks with something to do take turns, and no more jobs run at a time
//! than may.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::events::{EventKind, Retries, Undelivered};
use realtime_engine::ConnectionId;

/// A connection, and the number of the listener that is to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneKey {
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
pub(crate) struct JobKey {
    pub(crate) lane: LaneKey,
    pub(crate) track: Track,
}

/// What bounds the lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) in_flight_max: usize,
    /// How long a call may wait.
    pub(crate) wait_max: Duration,
    /// How long calls wait for the first attempt to deliver `connected`, from its start.
    pub(crate) connected_wait_max: Duration,
}

/// A call on its way.
#[derive(Debug, PartialEq)]
pub(crate) struct Waiting<C> {
    pub(crate) call: C,
    /// Whether it is answered in this process.
    pub(crate) is_local: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq)]
pub(crate) enum Step<E, C> {
    /// Carry out a job, and say with [`Lanes::finished`] what came of it.
    Start(JobKey, Job<E, C>),
    /// A call waited for too long: answer it with an error.
    Expired(C),
}

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Job<E, C> {
    Deliver(E),
    Bury { event: E, attempts: u32, cause: String },
    Call(C),
}

/// An event that needs no more work.
#[derive(Debug, PartialEq)]
pub(crate) struct Settled<E> {
    pub(crate) event: E,
    pub(crate) kind: EventKind,
    pub(crate) how: Settlement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Settlement {
    Delivered,
    Buried,
    /// Not even a dead letter could be written. Never of a `disconnected`: that is tried until it is settled.
    Lost,
}

/// All lanes with something to do.
#[derive(Debug)]
pub(crate) struct Lanes<E, C> {
    limits: Limits,
    retries: Retries,
    lanes: HashMap<LaneKey, Lane<E, C>>,
    /// Tracks whose turn has come, in order.
    ready: VecDeque<JobKey>,
    /// Tracks that wait for a time.
    timers: BTreeSet<(Instant, JobKey)>,
    in_flight: usize,
    events: usize,
}

#[derive(Debug)]
struct Lane<E, C> {
    connected: Option<Pending<E>>,
    calls: VecDeque<(Instant, Waiting<C>)>,
    disconnected: Option<Pending<E>>,
    /// Until when calls wait for the first attempt to deliver `connected`; absent until that starts.
    connected_wait_until: Option<Instant>,
    /// Of the track [`Track::Connected`].
    connected_stand: Stand,
    /// Of the track [`Track::Calls`].
    calls_stand: Stand,
}

/// Where a track stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Nowhere,
    Ready,
    Timed(Instant),
    Running(Running),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Event(EventKind),
    Call,
}

/// An event that is not settled.
#[derive(Debug)]
struct Pending<E> {
    event: E,
    attempts: u32,
    since: Instant,
    due: Instant,
    /// Why it is given up, once it is.
    cause: Option<String>,
}

impl Settlement {
    /// One word for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Buried => "dead_letter",
            Self::Lost => "lost",
        }
    }
}

impl<E: Clone, C> Lanes<E, C> {
    pub(crate) fn new(limits: Limits, retries: Retries) -> Self {
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

    /// When [`Lanes::step`] is to be asked again, if nothing else happens.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes a call in.
    pub(crate) fn call(&mut self, key: LaneKey, waiting: Waiting<C>, now: Instant) {
        let lane = self.lanes.entry(key).or_default();
        lane.calls.push_back((now + self.limits.wait_max, waiting));
        self.place(JobKey { lane: key, track: Track::Calls }, now);
    }

    /// Takes an event in.
    pub(crate) fn event(&mut self, key: LaneKey, kind: EventKind, event: E, now: Instant) {
        let pending = Pending { event, attempts: 0, since: now, due: now, cause: None };
        let lane = self.lanes.entry(key).or_default();
        let before = lane.event(kind).replace(pending);
        // The engine tells of each once.
        debug_assert!(before.is_none(), "an event comes once");
        self.events += usize::from(before.is_none());
        self.place_both(key, now);
    }

    /// The next thing to do, if there is one now and a place for it.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Step<E, C>> {
        while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            *self.lanes.get_mut(&key.lane).expect("a lane that waits is there").stand(key.track) =
                Stand::Nowhere;
            self.place(key, now);
        }
        loop {
            if self.in_flight >= self.limits.in_flight_max {
                return None;
            }
            let key = self.ready.pop_front()?;
            let lane = self.lanes.get_mut(&key.lane).expect("a lane that is ready is there");
            *lane.stand(key.track) = Stand::Nowhere;
            if key.track == Track::Calls
                && let Some((_, waiting)) = lane.calls.pop_front_if(|(deadline, _)| *deadline <= now)
            {
                self.place(key, now);
                return Some(Step::Expired(waiting.call));
            }
            if let Some((running, job)) = lane.take(key.track, now) {
                *lane.stand(key.track) = Stand::Running(running);
                self.in_flight += 1;
                if key.track == Track::Connected {
                    lane.connected_wait_until.get_or_insert(now + self.limits.connected_wait_max);
                    self.place(JobKey { track: Track::Calls, ..key }, now);
                }
                return Some(Step::Start(key, job));
            }
            self.place(key, now);
        }
    }

    /// A job has ended. `chance` spreads what is tried again.
    pub(crate) fn finished(
        &mut self,
        key: JobKey,
        result: Result<(), Undelivered>,
        now: Instant,
        chance: u64,
    ) -> Option<Settled<E>> {
        self.in_flight -= 1;
        let lane = self.lanes.get_mut(&key.lane).expect("a lane that runs is there");
        let Stand::Running(running) = std::mem::replace(lane.stand(key.track), Stand::Nowhere) else {
            unreachable!("only a track that runs can finish");
        };
        let settled = match running {
            Running::Call => None,
            Running::Event(kind) => {
                let how = Self::judge(&self.retries, lane.event(kind), kind, result, now, chance);
                how.map(|how| {
                    let pending = lane.event(kind).take().expect("an event that ran is there");
                    self.events -= 1;
                    Settled { event: pending.event, kind, how }
                })
            }
        };
        self.place_both(key.lane, now);
        settled
    }

    /// What an attempt means for its event: settled in some way, or due again.
    fn judge(
        retries: &Retries,
        pending: &mut Option<Pending<E>>,
        kind: EventKind,
        result: Result<(), Undelivered>,
        now: Instant,
        chance: u64,
    ) -> Option<Settlement> {
        let pending = pending.as_mut().expect("an event that ran is there");
        let is_given_up = pending.cause.is_some();
        let Err(undelivered) = result else {
            return Some(if is_given_up { Settlement::Buried } else { Settlement::Delivered });
        };
        if is_given_up {
            if kind == EventKind::Connected {
                // `disconnected` waits behind it.
                return Some(Settlement::Lost);
            }
            pending.due = now + retries.backoff(u32::MAX, chance);
            return None;
        }
        pending.attempts += 1;
        let age = now.saturating_duration_since(pending.since);
        match retries.pause(pending.attempts, age, undelivered.retry, chance) {
            Some(pause) => pending.due = now + pause,
            None => {
                pending.cause = Some(undelivered.cause);
                pending.due = now;
            }
        }
        None
    }

    /// Gives an event up that was never tried.
    pub(crate) fn give_up(&mut self, key: LaneKey, kind: EventKind, event: E, cause: String, now: Instant) {
        self.event(key, kind, event, now);
        let lane = self.lanes.get_mut(&key).expect("it was just put there");
        if let Some(pending) = lane.event(kind) {
            pending.cause = Some(cause);
        }
        self.place_both(key, now);
    }

    fn place_both(&mut self, lane: LaneKey, now: Instant) {
        for track in [Track::Connected, Track::Calls] {
            self.place(JobKey { lane, track }, now);
        }
    }

    /// Puts a track where it belongs now: among those that are ready, among the timers, or away. A lane without anything to do
    /// is forgotten.
    fn place(&mut self, key: JobKey, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key.lane) else { return };
        let next = match *lane.stand(key.track) {
            Stand::Running(_) | Stand::Ready => return,
            Stand::Nowhere | Stand::Timed(_) => lane.next(key.track, now),
        };
        if let Stand::Timed(at) = std::mem::replace(lane.stand(key.track), next) {
            self.timers.remove(&(at, key));
        }
        match next {
            Stand::Ready => self.ready.push_back(key),
            Stand::Timed(at) => drop(self.timers.insert((at, key))),
            Stand::Nowhere | Stand::Running(_) => {
                if lane.is_empty() {
                    self.lanes.remove(&key.lane);
                }
            }
        }
    }
}

impl<E: Clone, C> Lane<E, C> {
    fn event(&mut self, kind: EventKind) -> &mut Option<Pending<E>> {
        match kind {
            EventKind::Connected => &mut self.connected,
            EventKind::Disconnected => &mut self.disconnected,
        }
    }

    fn stand(&mut self, track: Track) -> &mut Stand {
        match track {
            Track::Connected => &mut self.connected_stand,
            Track::Calls => &mut self.calls_stand,
        }
    }

    /// Whether nothing waits and nothing runs.
    fn is_empty(&self) -> bool {
        let is_idle = (self.connected_stand, self.calls_stand) == (Stand::Nowhere, Stand::Nowhere);
        is_idle && self.connected.is_none() && self.calls.is_empty() && self.disconnected.is_none()
    }

    /// Whether calls wait for `connected`: its first attempt has not ended, and has not taken too long either.
    fn holds_calls(&self, now: Instant) -> bool {
        let is_first = |connected: &Pending<E>| connected.attempts == 0 && connected.cause.is_none();
        self.connected.as_ref().is_some_and(is_first)
            && self.connected_wait_until.is_none_or(|until| now < until)
    }

    /// Where a track belongs while nothing of it runs.
    fn next(&self, track: Track, now: Instant) -> Stand {
        let timed = |due: Instant| if due <= now { Stand::Ready } else { Stand::Timed(due) };
        match track {
            Track::Connected => self.connected.as_ref().map_or(Stand::Nowhere, |event| timed(event.due)),
            Track::Calls => match (self.calls.front(), &self.disconnected) {
                (Some((deadline, waiting)), _) if !waiting.is_local && self.holds_calls(now) => {
                    timed(self.connected_wait_until.map_or(*deadline, |until| until.min(*deadline)))
                }
                (Some(_), _) => Stand::Ready,
                (None, Some(disconnected)) if self.connected.is_none() => timed(disconnected.due),
                (None, _) => Stand::Nowhere,
            },
        }
    }

    /// Takes the next job of a track out, if one is due.
    fn take(&mut self, track: Track, now: Instant) -> Option<(Running, Job<E, C>)> {
        if self.next(track, now) != Stand::Ready {
            return None;
        }
        if track == Track::Connected {
            return self.connected.as_ref().map(|event| (Running::Event(EventKind::Connected), event.job()));
        }
        if let Some((_, waiting)) = self.calls.pop_front() {
            return Some((Running::Call, Job::Call(waiting.call)));
        }
        self.disconnected.as_ref().map(|event| (Running::Event(EventKind::Disconnected), event.job()))
    }
}

impl<E: Clone> Pending<E> {
    fn job<C>(&self) -> Job<E, C> {
        let event = self.event.clone();
        match &self.cause {
            None => Job::Deliver(event),
            Some(cause) => Job::Bury { event, attempts: self.attempts, cause: cause.clone() },
        }
    }
}

impl<E, C> Default for Lane<E, C> {
    fn default() -> Self {
        Self {
            connected: None,
            calls: VecDeque::new(),
            disconnected: None,
            connected_wait_until: None,
            connected_stand: Stand::Nowhere,
            calls_stand: Stand::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests;
