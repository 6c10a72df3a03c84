//! Decides which workers of a group start, take over and end. Pure: the view and the time are arguments.
//!
//! A worker is `Starting`, then `Spare` (ready, without invocations), then `Serving`, then `Finishing` (its invocations end, then it
//! ends). The number of serving workers follows the load between two limits; a spare one comes on top if it is wanted.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::worker::retire_reason::RetireReason;

/// A worker in the table of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct MemberId(pub(super) u64);

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerPhase {
    /// It starts, or loads the functions.
    Starting,
    /// It is ready and gets no invocations.
    Spare,
    /// It gets invocations.
    Serving,
    /// It gets no new invocations and ends once the others have ended.
    Finishing,
}

/// The limits of one group of workers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScaleLimits {
    /// Serving workers while the app is in use; at least 1.
    pub(super) processes_min: usize,
    /// Serving workers under load.
    pub(super) processes_max: usize,
    /// Whether one more is ready.
    pub(super) has_spare: bool,
    /// Time without invocations after which all end; `None` = never.
    pub(super) idle_after: Option<Duration>,
    /// Memory beyond which a worker is replaced.
    pub(super) memory_bytes_max: Option<u64>,
    /// Age before which its memory does not matter.
    pub(super) memory_grace: Duration,
    /// Age at which it is replaced.
    pub(super) age_max: Option<Duration>,
    /// Items of triggers for each worker beyond which one is added.
    pub(super) backlog_items: u64,
    /// Time of low load after which one that was added ends.
    pub(super) scale_in_after: Duration,
}

/// One worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerView {
    pub(super) id: MemberId,
    pub(super) phase: WorkerPhase,
    pub(super) started_at: Instant,
    pub(super) in_flight: usize,
    /// `None` where it cannot be measured.
    pub(super) memory_bytes: Option<u64>,
}

/// A group of workers and its load.
#[derive(Clone, Debug)]
pub(super) struct GroupView {
    pub(super) workers: Vec<WorkerView>,
    /// The number of serving workers that the last decision wanted.
    pub(super) target: usize,
    /// When the target changed.
    pub(super) scaled_at: Instant,
    /// When the load was high.
    pub(super) pressed_at: Instant,
    /// When it last had invocations or a backlog.
    pub(super) active_at: Instant,
    /// Invocations that wait for a worker.
    pub(super) waiting: usize,
    /// Items of triggers that wait.
    pub(super) backlog: u64,
    /// Slow responses to probes among the newest ones.
    pub(super) slow: usize,
    /// Number of the newest probes.
    pub(super) probes: usize,
    /// No worker starts before this; set after failures.
    pub(super) retry_at: Option<Instant>,
    /// Whether workers start one at a time: before the first one is ready, and after failures.
    pub(super) starts_singly: bool,
}

/// What is done with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScaleAction {
    /// Starts one more worker.
    Start,
    /// Sends invocations to a spare worker.
    Promote(MemberId),
    /// Lets a worker end.
    Retire(MemberId, RetireReason),
}

/// The decision about one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScaleDecision {
    /// The number of serving workers that is wanted.
    pub(super) target: usize,
    /// Whether the load is high.
    pub(super) is_pressed: bool,
    pub(super) actions: Vec<ScaleAction>,
    /// When to decide again at the latest, if nothing happens before.
    pub(super) decide_at: Option<Instant>,
}

/// The pause after a process was added, in which its effect shows.
const SCALE_OUT_PAUSE: Duration = Duration::from_secs(3);

/// Probes that are needed for a judgement, and how many slow ones of ten are too many: the values of the Azure Functions host.
const PROBES_MIN: usize = 6;
const SLOW_OF_TEN: usize = 3;

/// Decides about one group of workers.
pub(super) fn scale(view: &GroupView, limits: &ScaleLimits, now: Instant) -> ScaleDecision {
    let count = |phase: WorkerPhase| view.workers.iter().filter(|worker| worker.phase == phase).count();
    let (starting, serving) = (count(WorkerPhase::Starting), count(WorkerPhase::Serving));
    let idle_at = limits.idle_after.map(|after| view.active_at + after);
    let is_idle = view.waiting == 0 && view.backlog == 0 && idle_at.is_some_and(|at| at <= now);
    let is_pressed = is_pressed(view, limits, serving);
    let target = if is_idle { 0 } else { target(view, limits, serving, is_pressed, now) };
    let spare_wanted = usize::from(limits.has_spare && !is_idle);
    let replaced = if is_idle { None } else { to_replace(view, limits, now) };
    // The successor starts before the worker that it replaces ends.
    let serving_wanted = target + usize::from(replaced.is_some());

    let mut actions = Vec::new();
    let mut spares: Vec<&WorkerView> =
        view.workers.iter().filter(|worker| worker.phase == WorkerPhase::Spare).collect();
    let promoted = spares.len().min(serving_wanted.saturating_sub(serving));
    actions.extend(spares.drain(..promoted).map(|worker| ScaleAction::Promote(worker.id)));
    let serving = serving + promoted;

    if let Some((worker, reason)) = replaced.filter(|_| serving > target) {
        actions.push(ScaleAction::Retire(worker, reason));
    } else {
        let reason = if is_idle { RetireReason::Idle } else { RetireReason::Excess };
        let excess = serving.saturating_sub(serving_wanted);
        actions.extend(least_loaded(view).into_iter().take(excess).map(|id| ScaleAction::Retire(id, reason)));
        let unwanted = spares.drain(..).skip(spare_wanted);
        actions.extend(unwanted.map(|worker| ScaleAction::Retire(worker.id, reason)));
    }

    let wanted = serving_wanted + spare_wanted;
    let present = starting + count(WorkerPhase::Serving) + count(WorkerPhase::Spare);
    let mut starts = wanted.saturating_sub(present);
    if view.starts_singly {
        starts = starts.min(1_usize.saturating_sub(starting));
    }
    let delayed_until = view.retry_at.filter(|at| starts > 0 && *at > now);
    if delayed_until.is_none() {
        actions.extend(std::iter::repeat_n(ScaleAction::Start, starts));
    }
    let has_workers = present > 0;
    let decide_at =
        [delayed_until, idle_at.filter(|at| has_workers && *at > now)].into_iter().flatten().min();
    ScaleDecision { target, is_pressed, actions, decide_at }
}

/// Whether the load is too high for the workers that serve.
fn is_pressed(view: &GroupView, limits: &ScaleLimits, serving: usize) -> bool {
    // Without a worker, invocations wait for its start.
    let waits = serving > 0 && view.waiting > 0;
    let is_slow = view.probes >= PROBES_MIN && view.slow * 10 >= view.probes * SLOW_OF_TEN;
    let serving = u64::try_from(serving.max(1)).unwrap_or(u64::MAX);
    let has_backlog = view.backlog > limits.backlog_items.saturating_mul(serving);
    waits || is_slow || has_backlog
}

/// The number of serving workers that the load needs.
fn target(view: &GroupView, limits: &ScaleLimits, serving: usize, is_pressed: bool, now: Instant) -> usize {
    let target = view.target.clamp(limits.processes_min, limits.processes_max);
    let may_grow =
        target < limits.processes_max && serving >= target && now >= view.scaled_at + SCALE_OUT_PAUSE;
    if is_pressed && may_grow {
        return target + 1;
    }
    let low_since = view.scaled_at.max(view.pressed_at);
    let may_shrink = target > limits.processes_min && now >= low_since + limits.scale_in_after;
    if !is_pressed && may_shrink {
        return target - 1;
    }
    target
}

/// The oldest serving worker that is too large or too old. One at a time.
fn to_replace(view: &GroupView, limits: &ScaleLimits, now: Instant) -> Option<(MemberId, RetireReason)> {
    let mut serving: Vec<&WorkerView> =
        view.workers.iter().filter(|worker| worker.phase == WorkerPhase::Serving).collect();
    serving.sort_by_key(|worker| worker.started_at);
    serving.into_iter().find_map(|worker| {
        let age = now.saturating_duration_since(worker.started_at);
        if limits.age_max.is_some_and(|max| age >= max) {
            return Some((worker.id, RetireReason::Age));
        }
        let is_large =
            worker.memory_bytes.zip(limits.memory_bytes_max).is_some_and(|(bytes, max)| bytes > max);
        (is_large && age >= limits.memory_grace).then_some((worker.id, RetireReason::Memory))
    })
}

/// The serving workers, those with the fewest invocations first, and among these the youngest.
fn least_loaded(view: &GroupView) -> Vec<MemberId> {
    let mut serving: Vec<&WorkerView> =
        view.workers.iter().filter(|worker| worker.phase == WorkerPhase::Serving).collect();
    serving.sort_by_key(|worker| (worker.in_flight, std::cmp::Reverse(worker.started_at)));
    serving.into_iter().map(|worker| worker.id).collect()
}
