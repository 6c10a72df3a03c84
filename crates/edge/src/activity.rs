//! [`Activity`]: the state of a connection, so that each timeout runs only when it applies.
//!
//! hyper has one timeout for "the head is late" and "the connection is idle"; a browser keeps idle connections for minutes, while a
//! head that arrives byte by byte is an attack. So we record the phase ourselves: the transport reports when bytes arrive, and the
//! connection's service when a request starts and ends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::head::HeadTooLarge;

/// The state of one connection; shared by its transport, its service, its driver and the listener.
#[derive(Debug)]
pub(crate) struct Activity {
    state: Mutex<State>,
    /// Whether the newest request got its response before its body was read to its end.
    unread: AtomicBool,
    /// The number of the newest request whose body a service has and has not read to its end, or 0: arriving bytes then belong to
    /// no head, even if the response was already sent.
    body_of: AtomicU64,
    /// Requests with bodies so far.
    bodies: AtomicU64,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// On HTTP/2 arriving bytes may be a ping, and do not show that a head arrives.
    multiplexed: bool,
    /// Whether the peer has sent anything.
    first_byte_received: bool,
    /// Whether the peer has sent a complete request.
    asked: bool,
    /// Whether a check found that the peer has sent nothing yet. Until then it may have sent bytes that we have not read.
    listening: bool,
    /// A TLS handshake is running, in which the peer may have to wait for us.
    securing: bool,
    /// Since when the peer could have sent a request; no request has arrived since.
    since: Instant,
    /// The limit that the head of the next request exceeds.
    too_large: Option<HeadTooLarge>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A head is expected or arriving since then.
    Head(Instant),
    /// No request is running since then.
    Idle(Instant),
    /// This number of requests is running.
    Running(usize),
    /// The listener evicted it: the connection is about to be closed.
    Evicted,
}

/// When the driver has to act next, if nothing happens until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// The head must be complete.
    Head(Instant),
    /// The connection may be closed.
    Idle(Instant),
    /// Requests are running: no deadline.
    None,
}

/// How long a connection may be silent before it can be evicted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SilenceLimits {
    pub(crate) silent: Duration,
    /// During a TLS handshake.
    pub(crate) handshake: Duration,
}

/// The kind of silence of a connection without a request. The least is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Silence {
    kind: SilenceKind,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SilenceKind {
    /// No byte was ever sent.
    Unspoken,
    /// Bytes were sent, but never a complete request.
    Unasked,
    /// Between two requests.
    Idle,
}

/// A request that is running until this is dropped.
#[derive(Debug)]
pub(crate) struct RunningRequest(Arc<Activity>);

impl Activity {
    /// A newly accepted connection: its first head is expected.
    pub(crate) fn accepted(at: Instant) -> Self {
        let state = State {
            phase: Phase::Head(at),
            multiplexed: false,
            first_byte_received: false,
            asked: false,
            listening: false,
            securing: false,
            since: at,
            too_large: None,
        };
        Self {
            state: Mutex::new(state),
            unread: AtomicBool::new(false),
            body_of: AtomicU64::new(0),
            bodies: AtomicU64::new(0),
        }
    }

    /// The peer has sent nothing yet.
    pub(crate) fn set_listening(&self) {
        self.state().listening = true;
    }

    /// The peer has sent its first byte.
    pub(crate) fn first_byte_received(&self) {
        let mut state = self.state();
        state.first_byte_received = true;
        state.since = Instant::now();
    }

    /// A TLS handshake starts.
    pub(crate) fn set_securing(&self) {
        self.state().securing = true;
    }

    /// The TLS handshake is complete.
    pub(crate) fn set_secure(&self) {
        let mut state = self.state();
        state.securing = false;
        state.since = Instant::now();
    }

    /// The peer speaks HTTP/2.
    pub(crate) fn set_multiplexed(&self) {
        let mut state = self.state();
        state.multiplexed = true;
        if let Phase::Head(since) = state.phase {
            state.phase = Phase::Idle(since);
        }
    }

    /// Bytes arrived from the peer. Returns whether they belong to a head of HTTP/1.1.
    pub(crate) fn bytes_arrived(&self) -> bool {
        if self.body_of.load(Ordering::Acquire) != 0 {
            return false;
        }
        let mut state = self.state();
        if !state.multiplexed && matches!(state.phase, Phase::Idle(_)) {
            state.phase = Phase::Head(Instant::now());
        }
        matches!(state.phase, Phase::Head(_))
    }

    /// The head that becomes the next request exceeds a limit.
    pub(crate) fn head_is_too_large(&self, found: HeadTooLarge) {
        self.state().too_large = Some(found);
    }

    /// The limit that the head of the newest request exceeds.
    pub(crate) fn too_large_head(&self) -> Option<HeadTooLarge> {
        self.state().too_large.take()
    }

    /// A head is complete. `None`: too late, the connection is about to be closed.
    pub(crate) fn start_request(self: &Arc<Self>) -> Option<RunningRequest> {
        self.unread.store(false, Ordering::Release);
        self.body_of.store(0, Ordering::Release);
        let mut state = self.state();
        state.asked = true;
        state.phase = match state.phase {
            Phase::Evicted => return None,
            Phase::Running(count) => Phase::Running(count + 1),
            Phase::Head(_) | Phase::Idle(_) => Phase::Running(1),
        };
        Some(RunningRequest(Arc::clone(self)))
    }

    /// The running request does not end with its response.
    pub(crate) fn continue_request(self: &Arc<Self>) -> RunningRequest {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::Evicted => Phase::Evicted,
            Phase::Running(count) => Phase::Running(count + 1),
            Phase::Head(_) | Phase::Idle(_) => Phase::Running(1),
        };
        RunningRequest(Arc::clone(self))
    }

    /// A service has the running request's body, which gets a number.
    pub(crate) fn start_body(&self) -> u64 {
        let number = self.bodies.fetch_add(1, Ordering::Relaxed) + 1;
        self.body_of.store(number, Ordering::Release);
        number
    }

    /// The service has read the body with that number to its end, or dropped it, perhaps after a later body arrived.
    pub(crate) fn end_body(&self, number: u64) {
        let _ = self.body_of.compare_exchange(number, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// The rest of the running request's body is not read.
    pub(crate) fn body_left_unread(&self) {
        self.unread.store(true, Ordering::Release);
    }

    /// Whether the peer may still be sending a body that is not read.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread.load(Ordering::Acquire)
    }

    pub(crate) fn deadline(&self, head_timeout: Duration, idle_timeout: Duration) -> Deadline {
        match self.state().phase {
            Phase::Head(since) => Deadline::Head(since + head_timeout),
            Phase::Idle(since) => Deadline::Idle(since + idle_timeout),
            Phase::Running(_) | Phase::Evicted => Deadline::None,
        }
    }

    /// The kind of silence, if the connection has been silent for longer than the limit; `None` while a request runs.
    pub(crate) fn silence(&self, now: Instant, grace: SilenceLimits) -> Option<Silence> {
        let state = self.state();
        let silence = Silence::of(&state)?;
        let grace = if state.securing { grace.handshake } else { grace.silent };
        (now.saturating_duration_since(silence.since) >= grace).then_some(silence)
    }

    /// Evicts the connection if it is still as silent as before. No request starts on it afterwards.
    pub(crate) fn evict(&self, silence: Silence) -> bool {
        let mut state = self.state();
        let same = Silence::of(&state) == Some(silence);
        if same {
            state.phase = Phase::Evicted;
        }
        same
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silence {
    fn of(state: &State) -> Option<Self> {
        let (Phase::Head(since) | Phase::Idle(since)) = state.phase else { return None };
        let (kind, since) = match (state.first_byte_received, state.asked) {
            (false, _) if !state.listening => return None,
            (false, _) => (SilenceKind::Unspoken, state.since),
            (true, false) => (SilenceKind::Unasked, state.since),
            (true, true) => (SilenceKind::Idle, since),
        };
        Some(Self { kind, since })
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.phase = match state.phase {
            Phase::Evicted => Phase::Evicted,
            Phase::Running(count) if count > 1 => Phase::Running(count - 1),
            Phase::Running(_) | Phase::Head(_) | Phase::Idle(_) => Phase::Idle(Instant::now()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: SilenceLimits =
        SilenceLimits { silent: Duration::from_millis(250), handshake: Duration::from_secs(5) };

    fn after(milliseconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_connection_whose_socket_was_not_read_yet_is_not_silent() {
        let activity = Activity::accepted(Instant::now());
        assert_eq!(activity.silence(after(60_000), GRACE), None, "its bytes may be waiting for us");
        activity.set_listening();
        assert_eq!(activity.silence(after(200), GRACE), None, "it has only come");
        assert!(activity.silence(after(300), GRACE).is_some());
    }

    #[test]
    fn a_tls_handshake_has_its_own_limit_and_silence_is_counted_again_after_it() {
        let activity = Activity::accepted(Instant::now());
        activity.first_byte_received();
        activity.set_securing();
        assert_eq!(activity.silence(after(4_000), GRACE), None);
        assert!(activity.silence(after(6_000), GRACE).is_some());
        activity.set_secure();
        assert_eq!(activity.silence(after(100), GRACE), None);
        assert!(activity.silence(after(400), GRACE).is_some());
    }

    #[test]
    fn connections_that_never_sent_a_byte_are_evicted_first() {
        let now = Instant::now();
        let [idle, unasked, unspoken] = [(); 3].map(|()| Arc::new(Activity::accepted(now)));
        for activity in [&idle, &unasked, &unspoken] {
            activity.set_listening();
        }
        idle.first_byte_received();
        drop(idle.start_request());
        unasked.first_byte_received();
        let silence = |activity: &Activity| activity.silence(after(1_000), GRACE).expect("it is silent");
        assert!(silence(&unspoken) < silence(&unasked) && silence(&unasked) < silence(&idle));
    }

    #[test]
    fn an_evicted_connection_begins_no_request_and_a_running_request_prevents_eviction() {
        let activity = Arc::new(Activity::accepted(Instant::now()));
        activity.set_listening();
        let silence = activity.silence(after(1_000), GRACE).expect("it is silent");
        activity.first_byte_received();
        assert!(!activity.evict(silence), "it is not as silent as it was");
        let silence = activity.silence(after(1_000), GRACE).expect("it is silent");
        let running = activity.start_request().expect("it may");
        assert!(!activity.evict(silence) && activity.silence(after(1_000), GRACE).is_none());
        drop(running);
        let silence = activity.silence(after(1_000), GRACE).expect("it is silent");
        assert!(activity.evict(silence) && !activity.evict(silence));
        assert!(activity.start_request().is_none());
    }
}
