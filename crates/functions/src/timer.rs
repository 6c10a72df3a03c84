//! `timerTrigger`: one task for each timer owns its schedule while it holds the timer's lease, remembers when it ran, and
//! makes up for a run that was missed.

mod decide;
mod memory;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};
use state::{Grant, Instance, Lease, LeaseError, Name};
use tokio::sync::watch;
use worker_protocol::TypedData;

use crate::error::chain;
use crate::function::TimerTrigger;
use crate::invoke::{Function, Invoker, TriggerData};
use crate::log::Level;
use crate::stop::Stop;
use decide::{Start, TimerStatus, time_text};
pub(crate) use memory::TimerMemory;

/// Runs one timer.
pub(crate) struct Timer {
    pub(crate) function: Arc<Function>,
    pub(crate) trigger: TimerTrigger,
    pub(crate) invoker: Invoker,
    pub(crate) memory: TimerMemory,
    pub(crate) lease: Arc<dyn Lease>,
    pub(crate) instance: Instance,
    /// Who we are among the hosts of this app.
    pub(crate) owner: String,
    pub(crate) lease_ttl: Duration,
}

/// Longest sleep at once: the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Longest pause before asking again for a lease that somebody else holds.
const LEASE_POLL_MAX: Duration = Duration::from_secs(1);

impl Timer {
    /// Runs until `stop`.
    pub(crate) async fn run(&self, mut stop: Stop) {
        let name = Name::new(&format!("{}.Listener", self.function.name().to_ascii_lowercase()))
            .expect("a function's name is short and has no control characters");
        loop {
            let pause = match self.lease.acquire(&self.instance, &name, &self.owner, self.lease_ttl).await {
                Ok(grant) => {
                    if self.own(grant, &mut stop).await {
                        return;
                    }
                    Duration::ZERO
                }
                Err(LeaseError::Held { until, .. }) => {
                    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
                    left.clamp(Duration::from_millis(100), LEASE_POLL_MAX)
                }
                Err(error) => {
                    self.warn(format!("The timer's lease cannot be taken: {}", chain(&error)));
                    LEASE_POLL_MAX
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.stopped() => return,
            }
        }
    }

    /// Runs while the lease is ours; `true` when the host stops.
    async fn own(&self, grant: Grant, stop: &mut Stop) -> bool {
        let (current, grant_now) = watch::channel(grant);
        let lost = self.keep(&current);
        tokio::pin!(lost);
        let mut is_lost = false;
        let now = SystemTime::now();
        let use_monitor = uses_monitor(&self.trigger, now);
        let mut status = if use_monitor { self.memory.load(self.function.name()).await } else { None };
        let start =
            decide::at_start(&self.trigger.schedule, status.as_ref(), now, self.trigger.run_on_startup);
        if use_monitor && status.is_none() {
            let first = TimerStatus::first(&self.trigger.schedule, now);
            self.memory.store(self.function.name(), &first).await;
            status = Some(first);
        }
        let mut due = (start != Start::Wait).then_some((now, start));
        let is_stopped = loop {
            let (at, why) = match due.take() {
                Some(due) => due,
                None => match self.trigger.schedule.next_after(SystemTime::now()) {
                    Some(next) => (next, Start::Wait),
                    None => {
                        self.warn("The schedule has no further time; the timer will not run.".to_owned());
                        stop.stopped().await;
                        break true;
                    }
                },
            };
            tokio::select! {
                () = sleep_until(at) => {}
                () = &mut lost => break false,
                () = stop.stopped() => break true,
            }
            let began = SystemTime::now();
            let trigger_data = trigger_data(&self.trigger, status.as_ref(), began, why);
            {
                // What began is let end, also when the lease is lost meanwhile.
                let run = self.invoker.invoke_with_retry(&self.function, trigger_data, stop);
                tokio::pin!(run);
                loop {
                    tokio::select! {
                        _ = &mut run => break,
                        () = &mut lost, if !is_lost => is_lost = true,
                    }
                }
            }
            if is_lost {
                break stop.is_stopped();
            }
            let ended = SystemTime::now();
            if use_monitor {
                let ran = TimerStatus::after_run(&self.trigger.schedule, at, ended);
                self.memory.store(self.function.name(), &ran).await;
                status = Some(ran);
            }
            if decide::is_overrun(&self.trigger.schedule, began, ended) {
                due = Some((ended, Start::Wait));
            }
        };
        let grant = grant_now.borrow().clone();
        if let Err(error) = self.lease.release(&self.instance, grant).await {
            tracing::debug!(
                error = chain(&error),
                "a timer's lease could not be given back; it expires by itself"
            );
        }
        is_stopped
    }

    /// Renews the lease; ends when it is lost.
    async fn keep(&self, current: &watch::Sender<Grant>) {
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
                    self.warn(format!("The timer's lease cannot be renewed: {}", chain(&error)));
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

/// What a timer gets that is started by its name.
pub(crate) async fn manual_trigger_data(
    function: &str,
    trigger: &TimerTrigger,
    memory: &TimerMemory,
) -> TriggerData {
    let now = SystemTime::now();
    let status = if uses_monitor(trigger, now) { memory.load(function).await } else { None };
    trigger_data(trigger, status.as_ref(), now, Start::Wait)
}

/// `useMonitor` is on unless the schedule is faster than a minute; then remembering each run costs more than it helps.
fn uses_monitor(trigger: &TimerTrigger, now: SystemTime) -> bool {
    let is_fast = trigger.schedule.is_faster_than(Duration::from_secs(60), now);
    trigger.use_monitor.unwrap_or(true) && !is_fast
}

fn trigger_data(
    trigger: &TimerTrigger,
    status: Option<&TimerStatus>,
    now: SystemTime,
    why: Start,
) -> TriggerData {
    let data = json!({
        "Schedule": { "AdjustForDST": trigger.schedule.follows_clock_changes() },
        "ScheduleStatus": status.map_or(Json::Null, TimerStatus::shown),
        "IsPastDue": matches!(why, Start::PastDue(_)),
    });
    let timestamp = jiff::Timestamp::try_from(now).unwrap_or_default();
    let fired = timestamp.strftime("%m/%d/%Y %H:%M:%S").to_string();
    TriggerData {
        data: TypedData::Json(data.to_string()),
        metadata: [("TimerTrigger".to_owned(), TypedData::String(fired))].into(),
        reason: format!("Timer fired at {}", timestamp.strftime("%Y-%m-%dT%H:%M:%S%.7f+00:00")),
        details: match why {
            Start::PastDue(due) => {
                Some(format!("UnscheduledInvocationReason: IsPastDue, OriginalSchedule: {}", time_text(due)))
            }
            Start::Now => Some("UnscheduledInvocationReason: RunOnStartup".to_owned()),
            Start::Wait => None,
        },
        ..TriggerData::default()
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
