//! [`GroupControl`]: what the controller remembers about one group of workers between two decisions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use worker_protocol::FunctionId;

use crate::worker::pool::group::WorkerGroup;
use crate::worker::pool::scale::{GroupView, ScaleDecision, ScaleLimits, WorkerView};

/// Which invocations a group of workers gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKey {
    /// Those of all functions that are not in quarantine.
    Shared,
    /// Those of one function in quarantine.
    Quarantined(FunctionId),
}

/// A group of workers.
pub(super) struct GroupControl {
    pub(super) workers: Arc<WorkerGroup>,
    pub(super) limits: ScaleLimits,
    /// No worker starts before this.
    pub(super) retry_at: Option<Instant>,
    /// When the last worker of a function in quarantine ended by itself.
    pub(super) crashed_at: Instant,
    target: usize,
    scaled_at: Instant,
    pressed_at: Instant,
    active_at: Option<Instant>,
    /// Workers that ended and were not replaced yet.
    to_replace: usize,
    /// Starts that failed, or workers that ended without a completed invocation, in a row.
    failures: u32,
    /// Whether the newest responses to probes were slow.
    probes: VecDeque<bool>,
    completed: u64,
}

/// The number of probes that are remembered.
const PROBES_MAX: usize = 10;

impl GroupControl {
    pub(super) fn new(workers: Arc<WorkerGroup>, limits: ScaleLimits, now: Instant) -> Self {
        Self {
            workers,
            limits,
            retry_at: None,
            crashed_at: now,
            target: 0,
            scaled_at: now,
            pressed_at: now,
            active_at: Some(now),
            to_replace: 0,
            failures: 0,
            probes: VecDeque::new(),
            completed: 0,
        }
    }

    /// Starts without a worker, until there is an invocation.
    pub(super) fn sleep(&mut self) {
        self.active_at = None;
    }

    /// The input of the decision.
    pub(super) fn view(
        &mut self,
        workers: Vec<WorkerView>,
        backlog: u64,
        is_loaded: bool,
        now: Instant,
    ) -> GroupView {
        let waiting = self.workers.waiting();
        let completed = self.workers.serving.borrow().iter().map(|worker| worker.completed()).sum();
        let has_run = std::mem::replace(&mut self.completed, completed) != completed;
        let is_active =
            has_run || waiting > 0 || backlog > 0 || workers.iter().any(|worker| worker.in_flight > 0);
        if is_active {
            self.active_at = Some(now);
        }
        let long_ago = || now.checked_sub(self.limits.idle_after.unwrap_or_default()).unwrap_or(now);
        GroupView {
            workers,
            target: self.target,
            scaled_at: self.scaled_at,
            pressed_at: self.pressed_at,
            active_at: self.active_at.unwrap_or_else(long_ago),
            waiting,
            backlog,
            slow: self.probes.iter().filter(|slow| **slow).count(),
            probes: self.probes.len(),
            retry_at: self.retry_at,
            starts_singly: !is_loaded || self.failures > 0,
        }
    }

    /// Records a decision.
    pub(super) fn decided(&mut self, decision: &ScaleDecision, now: Instant) {
        if decision.target != self.target {
            self.target = decision.target;
            self.scaled_at = now;
            // They were measured with another number of workers.
            self.probes.clear();
        }
        if decision.is_pressed {
            self.pressed_at = now;
        }
    }

    /// Records a response to a probe.
    pub(super) fn probed(&mut self, is_slow: bool) {
        if self.probes.len() == PROBES_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back(is_slow);
    }

    /// Records that a worker ended that has to be replaced.
    pub(super) fn must_replace(&mut self) {
        self.to_replace += 1;
    }

    /// Whether the next worker replaces one that ended.
    pub(super) fn replaces_ended(&mut self) -> bool {
        let replaces = self.to_replace > 0;
        self.to_replace = self.to_replace.saturating_sub(1);
        replaces
    }

    /// Records a failed start. Returns the number of failures in a row.
    pub(super) fn start_failed(&mut self, is_restart: bool) -> u32 {
        self.to_replace += usize::from(is_restart);
        self.failures += 1;
        self.failures
    }

    /// Records that a ready worker ended. Returns the number of failures in a row, this one included if it is one.
    pub(super) fn ended(&mut self, has_served: bool) -> u32 {
        self.failures = if has_served { 0 } else { self.failures + 1 };
        self.failures
    }
}

impl ScaleLimits {
    /// Whether the number of workers follows the load.
    pub(super) fn may_grow(&self) -> bool {
        self.processes_max > self.processes_min
    }
}
