//! `timerTrigger`: one task for each timer owns its schedule while it holds the timer's lease, remembers when it ran, and
//! makes up for a run that was missed.

mod decide;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json, json};
use state::{Durability, Expect, Grant, Instance, Key, Lease, LeaseError, Name, Registry};
use tokio::sync::watch;
use worker_protocol::TypedData;

use crate::error::chain;
use crate::function::TimerTrigger;
use crate::invoke::{Function, Invoker, Occasion};
use crate::log::Level;
use crate::stop::Stop;
use decide::{Start, TimerStatus};

/// Runs one timer.
pub(crate) struct Timer {
    pub(crate) function: Arc<Function>,
    pub(crate) trigger: TimerTrigger,
    pub(crate) invoker: Invoker,
    pub(crate) registry: Arc<dyn Registry>,
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
        let mut status = self.load().await;
        let now = SystemTime::now();
        let use_monitor = self.uses_monitor(now);
        let known = status.as_ref().filter(|_| use_monitor);
        let mut due = match decide::at_start(&self.trigger.schedule, known, now, self.trigger.run_on_startup)
        {
            Start::PastDue => Some((now, true)),
            Start::Now => Some((now, false)),
            Start::Wait => None,
        };
        if due.is_none() && use_monitor && status.is_none() {
            status = Some(TimerStatus::first(&self.trigger.schedule, now));
            self.store(status.as_ref()).await;
        }
        let is_stopped = loop {
            let (at, is_past_due) = match due.take() {
                Some(due) => due,
                None => match self.trigger.schedule.next_after(SystemTime::now()) {
                    Some(next) => (next, false),
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
            let occasion = self.occasion(status.as_ref().filter(|_| use_monitor), is_past_due);
            {
                // What began is let end, also when the lease is lost meanwhile.
                let run = self.invoker.invoke_with_retry(&self.function, occasion, stop);
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
            status = Some(TimerStatus::after_run(&self.trigger.schedule, at, SystemTime::now()));
            if use_monitor {
                self.store(status.as_ref()).await;
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

    /// `useMonitor` is on unless the schedule is faster than a minute; then remembering each run costs more than it helps.
    fn uses_monitor(&self, now: SystemTime) -> bool {
        let is_fast = self.trigger.schedule.is_faster_than(Duration::from_secs(60), now);
        self.trigger.use_monitor.unwrap_or(true) && !is_fast
    }

    fn occasion(&self, status: Option<&TimerStatus>, is_past_due: bool) -> Occasion {
        let status = status.map_or(Json::Null, TimerStatus::to_json);
        let data = json!({
            "Schedule": { "AdjustForDST": true },
            "ScheduleStatus": status,
            "IsPastDue": is_past_due,
        });
        let now =
            jiff::Timestamp::try_from(SystemTime::now()).map(|now| format!("{now:.7}")).unwrap_or_default();
        Occasion {
            data: TypedData::Json(data.to_string()),
            binding_data: Map::new(),
            reason: format!("Timer fired at {now}"),
            ..Occasion::default()
        }
    }

    async fn load(&self) -> Option<TimerStatus> {
        match self.registry.get(&self.instance, &self.key()).await {
            Ok(entry) => entry.and_then(|entry| TimerStatus::parse(&entry.value)),
            Err(error) => {
                self.warn(format!("The timer's last run cannot be read: {}", chain(&error)));
                None
            }
        }
    }

    async fn store(&self, status: Option<&TimerStatus>) {
        let Some(status) = status else { return };
        let value = status.to_json().to_string().into();
        let key = self.key();
        let put = self.registry.put(&self.instance, &key, value, Expect::Anything, Durability::Durable, None);
        if let Err(error) = put.await {
            self.warn(format!("The timer's run cannot be remembered: {}", chain(&error)));
        }
    }

    fn key(&self) -> Key {
        Key::new(format!("timers/{}/status", self.function.name().to_ascii_lowercase()))
            .expect("a function's name is short and has no control characters")
    }

    fn warn(&self, text: String) {
        self.invoker.logs.function(Level::Warn, self.function.name(), None, text);
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
