//! `timerTrigger`: one task for each timer. While it has the timer's lease it follows the schedule, and the schedule monitor stores
//! each run, so that one that was missed is made up for.
//!
//! What follows from what is decided by [`state_machine`]; the task here carries it out.
//!
//! When another generation of the app takes over, the timer keeps its lease, which has the same owner there, and hands over when it is
//! due next: [`TimerHandover`].

mod schedule_monitor;
mod schedule_status;
mod state_machine;
mod trigger_data;

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http_messages::error_chain;
use state::{Grant, Instance, Lease, LeaseError, Name};
use tokio::sync::watch;

use crate::function::TimerTrigger;
use crate::invoke::{Function, Invoker};
use crate::log::Level;
use crate::shutdown::Shutdown;
pub(crate) use schedule_monitor::ScheduleMonitor;
pub(crate) use state_machine::TimerHandover;
use state_machine::{TimerEffect, TimerEvent, TimerState};
pub(crate) use trigger_data::manual_trigger_data;

/// Runs one timer.
pub(crate) struct Timer {
    pub(crate) function: Arc<Function>,
    pub(crate) trigger: TimerTrigger,
    pub(crate) invoker: Invoker,
    pub(crate) monitor: ScheduleMonitor,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) instance: Instance,
    /// The name of this host among the hosts of the app.
    pub(crate) owner: String,
    pub(crate) lease_ttl: Duration,
    /// What the previous generation handed over, until the lease has been asked for.
    pub(crate) inherited: Mutex<Option<TimerHandover>>,
    /// The timers of the next generation by name in lower case, once there is one.
    pub(crate) successors: Arc<OnceLock<BTreeSet<String>>>,
    /// Ends the pauses between retries.
    pub(crate) retry_stop: Shutdown,
}

/// Longest sleep at once: the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60);

type Task<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Work that runs beside the state machine, as parts of the timer's own task.
struct Activities<'a> {
    timer: &'a Timer,
    shutdown: Shutdown,
    /// The run that is under way.
    run: Option<Task<'a>>,
    /// The lease, and the task that renews it, which ends when it is lost.
    renewal: Option<(Arc<watch::Sender<Grant>>, Task<'a>)>,
}

impl Timer {
    /// Continues where the timer of the previous generation ended.
    pub(crate) fn inherit(&self, handover: TimerHandover) {
        *self.inherited.lock().unwrap_or_else(PoisonError::into_inner) = Some(handover);
    }

    fn inherits(&self) -> bool {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether the next generation has a timer of this name.
    fn has_successor(&self) -> bool {
        let name = self.function.name().to_ascii_lowercase();
        self.successors.get().is_some_and(|successors| successors.contains(&name))
    }

    fn take_inherited(&self) -> Option<TimerHandover> {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs until `shutdown`. Returns the state with which the timer of the next generation continues, if there is one.
    pub(crate) async fn run(&self, shutdown: Shutdown) -> Option<TimerHandover> {
        let mut activities = Activities { timer: self, shutdown, run: None, renewal: None };
        let mut state = TimerState::default();
        loop {
            let mut events = VecDeque::from([activities.next_event(&state).await]);
            while let Some(event) = events.pop_front() {
                let (next, effects) = state_machine::next(&self.trigger, state, event, SystemTime::now());
                state = next;
                for effect in effects {
                    events.extend(self.perform(effect, &mut activities).await);
                }
            }
            match state {
                TimerState::Stopped => return None,
                TimerState::HandedOver(handover) => return Some(handover),
                _ => {}
            }
        }
    }

    /// Carries out an effect; what comes of it at once is an event.
    async fn perform<'a>(
        &'a self,
        effect: TimerEffect,
        activities: &mut Activities<'a>,
    ) -> Option<TimerEvent> {
        match effect {
            TimerEffect::AcquireLease => return Some(self.acquire(activities).await),
            TimerEffect::ReleaseLease => self.release(activities).await,
            TimerEffect::LoadStatus => {
                return Some(TimerEvent::StatusLoaded(self.monitor.load(self.function.name()).await));
            }
            TimerEffect::StoreStatus(status) => self.monitor.store(self.function.name(), &status).await,
            TimerEffect::Run { started, reason, status } => {
                let trigger_data = trigger_data::of_run(&self.trigger, status.as_ref(), started, reason);
                let mut shutdown = self.retry_stop.clone();
                activities.run = Some(Box::pin(async move {
                    // Its result is in the log; the schedule continues in either case.
                    let _ = self.invoker.invoke_with_retry(&self.function, trigger_data, &mut shutdown).await;
                }));
            }
            TimerEffect::WarnExhausted => {
                self.warn("The schedule has no further time; the timer will not run.".to_owned());
            }
        }
        None
    }

    async fn acquire<'a>(&'a self, activities: &mut Activities<'a>) -> TimerEvent {
        let inherited = self.take_inherited();
        let name = Name::new(&format!("{}.Listener", self.function.name().to_ascii_lowercase()))
            .expect("a function's name is short and has no control characters");
        match self.lease.acquire(&self.instance, &name, &self.owner, self.lease_ttl).await {
            Ok(grant) => {
                let current = Arc::new(watch::Sender::new(grant));
                let renewal = self.renew_until_lost(Arc::clone(&current));
                activities.renewal = Some((current, Box::pin(renewal)));
                TimerEvent::LeaseGranted { inherited }
            }
            Err(LeaseError::Held { until, .. }) => TimerEvent::LeaseHeld { until },
            Err(error) => {
                self.warn(format!("Cannot acquire the timer's lease; trying again: {}", error_chain(&error)));
                TimerEvent::LeaseUnavailable
            }
        }
    }

    async fn release(&self, activities: &mut Activities<'_>) {
        let Some((current, renewal)) = activities.renewal.take() else { return };
        drop(renewal);
        let grant = current.borrow().clone();
        if let Err(error) = self.lease.release(&self.instance, grant).await {
            tracing::debug!(
                error = error_chain(&error),
                "cannot release a timer's lease; it expires by itself"
            );
        }
    }

    async fn renew_until_lost(&self, current: Arc<watch::Sender<Grant>>) {
        loop {
            tokio::time::sleep(self.lease_ttl / 3).await;
            let grant = current.borrow().clone();
            match self.lease.renew(&self.instance, &grant, self.lease_ttl).await {
                Ok(renewed) => {
                    current.send_replace(renewed);
                }
                Err(LeaseError::Lost { .. } | LeaseError::Held { .. }) => {
                    self.warn("Another host took over the timer.".to_owned());
                    return;
                }
                Err(error) => {
                    let expired = grant.expires_at <= SystemTime::now();
                    self.warn(format!("Cannot renew the timer's lease: {}", error_chain(&error)));
                    if expired {
                        return;
                    }
                }
            }
        }
    }

    fn warn(&self, text: String) {
        self.invoker.logs.function(Level::Warn, self.function.name(), None, text);
    }
}

impl Activities<'_> {
    /// Waits for what happens next. A lost lease comes before the end of the run: a run that ends without the lease must not store a
    /// status.
    async fn next_event(&mut self, state: &TimerState) -> TimerEvent {
        tokio::select! {
            biased;
            () = finished(self.renewal.as_mut().map(|(_, task)| task)) => {
                self.renewal = None;
                TimerEvent::LeaseLost
            }
            () = finished(self.run.as_mut()) => {
                self.run = None;
                TimerEvent::RunEnded
            }
            // A run is let end. What was inherited is accepted first, so that it can be handed on or released.
            () = self.shutdown.requested(), if !state.is_running() && !self.timer.inherits() => {
                if self.timer.has_successor() { TimerEvent::HandoverRequested } else { TimerEvent::StopRequested }
            }
            () = time_reached(state) => TimerEvent::TimeReached,
        }
    }
}

/// Waits for the end of a task; never returns if there is none.
async fn finished(task: Option<&mut Task<'_>>) {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Waits for the time that a state waits for; for ever if it waits for none.
async fn time_reached(state: &TimerState) {
    match state {
        TimerState::Standby { pause } => tokio::time::sleep(*pause).await,
        TimerState::Waiting { due, .. } => sleep_until(*due).await,
        _ => std::future::pending().await,
    }
}

async fn sleep_until(at: SystemTime) {
    while let Ok(left) = at.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(SLEEP_MAX)).await;
    }
}
