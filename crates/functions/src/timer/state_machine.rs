//! The state machine of one timer: when it runs, and what has to happen before and after a run.
//!
//! Pure: [`next`] receives a state, an event and the time, and returns the next state and the effects to carry out, in order.
//! [`super::Timer`] carries them out and reports what came of them as events.
//!
//! ```text
//! Standby -> AcquiringLease -> LoadingStatus -> Waiting <-> Running
//!    ^            |                                |           |
//!    +------------+------------ lease lost --------+   RunningWithoutLease -> Standby
//! ```

use std::time::{Duration, SystemTime};

use super::schedule_status::ScheduleStatus;
use crate::function::TimerTrigger;

/// Longest pause before a host asks again for a lease that another host has.
const LEASE_POLL_MAX: Duration = Duration::from_secs(1);
/// Shortest such pause.
const LEASE_POLL_MIN: Duration = Duration::from_millis(100);
/// A schedule with shorter gaps has no schedule monitor: storing each run costs more than it helps.
const MONITORED_GAP_MIN: Duration = Duration::from_secs(60);

/// The state of a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimerState {
    /// This host does not have the lease, and requests it after the pause.
    Standby { pause: Duration },
    /// The host has asked for the lease.
    AcquiringLease,
    /// The host has the lease; the schedule monitor reads the status of earlier runs.
    LoadingStatus,
    /// The next run starts at `due`. `status` is `None` for a timer without schedule monitor.
    Waiting { due: SystemTime, reason: RunReason, status: Option<ScheduleStatus> },
    /// The run that was due at `due` is under way.
    Running { due: SystemTime, started: SystemTime, is_monitored: bool },
    /// A run is under way, and another host may have the lease by now. It is let end and leaves no status.
    RunningWithoutLease,
    /// The schedule has no further time.
    Exhausted,
    /// The host stops; nothing is to be done any more.
    Stopped,
    /// The timer of the next generation continues with this. The lease stays with the host.
    HandedOver(TimerHandover),
}

/// When a timer is due next, for the timer of the next generation of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimerHandover {
    trigger: TimerTrigger,
    due: SystemTime,
    reason: RunReason,
    status: Option<ScheduleStatus>,
}

/// What happened to a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimerEvent {
    /// The pause of [`TimerState::Standby`] is over, or the time `due` of [`TimerState::Waiting`] has come.
    TimeReached,
    LeaseGranted {
        /// What the timer of the previous generation handed over.
        inherited: Option<TimerHandover>,
    },
    /// Another host has the lease until then, unless it renews it.
    LeaseHeld {
        until: SystemTime,
    },
    /// The store of leases failed.
    LeaseUnavailable,
    /// The lease was not renewed in time.
    LeaseLost,
    /// What the schedule monitor has.
    StatusLoaded(Option<ScheduleStatus>),
    /// The run ended, with its retries; how does not matter to the schedule.
    RunEnded,
    StopRequested,
    /// The next generation of the app takes over.
    HandoverRequested,
}

/// What a timer has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TimerEffect {
    /// Results in `LeaseGranted`, `LeaseHeld` or `LeaseUnavailable`; a granted lease is renewed until it is released or lost.
    AcquireLease,
    ReleaseLease,
    /// Results in `StatusLoaded`.
    LoadStatus,
    StoreStatus(ScheduleStatus),
    /// Starts a run, which results in `RunEnded`.
    Run {
        started: SystemTime,
        reason: RunReason,
        status: Option<ScheduleStatus>,
    },
    WarnExhausted,
}

/// Why a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunReason {
    /// Its time has come.
    Schedule,
    /// The run of this time was missed.
    PastDue(SystemTime),
    /// `runOnStartup`.
    Startup,
}

type Transition = (TimerState, Vec<TimerEffect>);

impl Default for TimerState {
    /// The state in which a timer starts: it requests the lease immediately.
    fn default() -> Self {
        Self::Standby { pause: Duration::ZERO }
    }
}

impl TimerState {
    /// Whether a run is under way. It is let end before the timer stops.
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::RunningWithoutLease)
    }
}

/// Whether the schedule monitor stores the runs of a timer: by `useMonitor`, which is on by default, and only if its runs lie a minute
/// apart at least.
pub(super) fn is_monitored(trigger: &TimerTrigger, now: SystemTime) -> bool {
    trigger.use_monitor.unwrap_or(true) && !trigger.schedule.is_faster_than(MONITORED_GAP_MIN, now)
}

/// What follows from an event. An event that means nothing in a state changes nothing.
pub(super) fn next(
    trigger: &TimerTrigger,
    state: TimerState,
    event: TimerEvent,
    now: SystemTime,
) -> Transition {
    use {TimerEffect as Effect, TimerEvent as Event, TimerState as State};

    match (state, event) {
        (State::Standby { .. }, Event::TimeReached) => (State::AcquiringLease, vec![Effect::AcquireLease]),
        (State::AcquiringLease, Event::LeaseGranted { inherited: Some(inherited) })
            if inherited.trigger == *trigger =>
        {
            go_on(trigger, inherited, now)
        }
        (State::AcquiringLease, Event::LeaseGranted { .. }) if is_monitored(trigger, now) => {
            (State::LoadingStatus, vec![Effect::LoadStatus])
        }
        (State::AcquiringLease, Event::LeaseGranted { .. }) => first_wait(trigger, None, Vec::new(), now),
        (State::AcquiringLease, Event::LeaseHeld { until }) => {
            let pause = until.duration_since(now).unwrap_or_default().clamp(LEASE_POLL_MIN, LEASE_POLL_MAX);
            (State::Standby { pause }, Vec::new())
        }
        (State::AcquiringLease, Event::LeaseUnavailable) => {
            (State::Standby { pause: LEASE_POLL_MAX }, Vec::new())
        }
        (State::LoadingStatus, Event::StatusLoaded(None)) => {
            let status = ScheduleStatus::first(&trigger.schedule, now);
            let effects = vec![Effect::StoreStatus(status.clone())];
            first_wait(trigger, Some(status), effects, now)
        }
        (State::LoadingStatus, Event::StatusLoaded(Some(status))) => {
            first_wait(trigger, Some(status), Vec::new(), now)
        }
        (State::Waiting { due, reason, status }, Event::TimeReached) => run(due, reason, status, now),
        (State::Running { due, started, is_monitored }, Event::RunEnded) => {
            after_run(trigger, due, started, is_monitored, now)
        }
        (State::Running { .. }, Event::LeaseLost) => (State::RunningWithoutLease, Vec::new()),
        (State::RunningWithoutLease, Event::RunEnded)
        | (State::Waiting { .. } | State::Exhausted, Event::LeaseLost) => (State::default(), Vec::new()),
        // Otherwise a run would wait as long as generations replace each other quickly.
        (State::Waiting { due, reason, status }, Event::HandoverRequested) if due <= now => {
            run(due, reason, status, now)
        }
        (State::Waiting { due, reason, status }, Event::HandoverRequested) => {
            let handover = TimerHandover { trigger: trigger.clone(), due, reason, status };
            (State::HandedOver(handover), Vec::new())
        }
        (
            State::Waiting { .. } | State::Exhausted | State::LoadingStatus,
            Event::StopRequested | Event::HandoverRequested,
        ) => (State::Stopped, vec![Effect::ReleaseLease]),
        (State::Standby { .. } | State::AcquiringLease, Event::StopRequested | Event::HandoverRequested) => {
            (State::Stopped, Vec::new())
        }
        (state, _) => (state, Vec::new()),
    }
}

fn run(due: SystemTime, reason: RunReason, status: Option<ScheduleStatus>, now: SystemTime) -> Transition {
    let is_monitored = status.is_some();
    let run = TimerEffect::Run { started: now, reason, status };
    (TimerState::Running { due, started: now, is_monitored }, vec![run])
}

/// From the lease to the first run. `status` is `None` for a timer without schedule monitor, of which no missed run is known.
fn first_wait(
    trigger: &TimerTrigger,
    status: Option<ScheduleStatus>,
    effects: Vec<TimerEffect>,
    now: SystemTime,
) -> Transition {
    let missed = status.as_ref().and_then(|status| status.next_due(&trigger.schedule));
    let reason = match missed.filter(|due| *due < now) {
        Some(due) => RunReason::PastDue(due),
        None if trigger.run_on_startup => RunReason::Startup,
        None => return wait(trigger, status, effects, now),
    };
    (TimerState::Waiting { due: now, reason, status }, effects)
}

/// From the timer of the previous generation, with the same schedule, to the next run: at the time at which it was due there. A changed
/// app runs on start-up before that, as after any other start; the run that was due then follows it.
fn go_on(trigger: &TimerTrigger, inherited: TimerHandover, now: SystemTime) -> Transition {
    let TimerHandover { due, reason, status, .. } = inherited;
    if trigger.run_on_startup && due > now {
        return (TimerState::Waiting { due: now, reason: RunReason::Startup, status }, Vec::new());
    }
    (TimerState::Waiting { due, reason, status }, Vec::new())
}

/// From the end of a run to the next one. A run that lasted beyond the next time is followed at once.
fn after_run(
    trigger: &TimerTrigger,
    due: SystemTime,
    started: SystemTime,
    is_monitored: bool,
    now: SystemTime,
) -> Transition {
    let status = is_monitored.then(|| ScheduleStatus::after_run(&trigger.schedule, due, now));
    let effects = status.iter().cloned().map(TimerEffect::StoreStatus).collect();
    let is_overrun = trigger.schedule.next_after(started).is_some_and(|next| next <= now);
    if is_overrun {
        return (TimerState::Waiting { due: now, reason: RunReason::Schedule, status }, effects);
    }
    wait(trigger, status, effects, now)
}

fn wait(
    trigger: &TimerTrigger,
    status: Option<ScheduleStatus>,
    mut effects: Vec<TimerEffect>,
    now: SystemTime,
) -> Transition {
    if let Some(due) = trigger.schedule.next_after(now) {
        return (TimerState::Waiting { due, reason: RunReason::Schedule, status }, effects);
    }
    effects.push(TimerEffect::WarnExhausted);
    (TimerState::Exhausted, effects)
}

#[cfg(test)]
mod tests;
