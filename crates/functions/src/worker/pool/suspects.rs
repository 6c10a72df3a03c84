//! [`CrashSuspects`]: which function ends its workers, so that it gets a worker of its own. Pure: the time is an argument.
//!
//! A worker does not always say which of its functions ended it. One that was under way in several crashes and completes few invocations
//! between them is suspect; one with thousands of completed invocations was only there. A worker that reports the invocation (ours does)
//! settles it.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use worker_protocol::FunctionId;

use crate::worker::instance::CrashReport;

/// Crashes that are older than this do not count.
const WINDOW: Duration = Duration::from_secs(600);

/// Number of crashes from which a function gets a worker of its own: one may be an accident.
const CRASHES_MIN: usize = 2;

/// With more completed invocations for each crash, a function is not suspect unless its worker names it.
const COMPLETED_PER_CRASH_MAX: u64 = 20;

/// The crashes of shared workers.
#[derive(Debug, Default)]
pub(super) struct CrashSuspects {
    crashes: HashMap<FunctionId, Vec<Instant>>,
    completed: HashMap<FunctionId, u64>,
}

impl CrashSuspects {
    /// Records a crash. Returns the function that gets a worker of its own, if one is suspect enough.
    pub(super) fn crashed(&mut self, report: &CrashReport, now: Instant) -> Option<FunctionId> {
        self.forget_old(now);
        let suspects: Vec<&FunctionId> = match &report.named {
            Some(named) => vec![named],
            None => report.in_flight.iter().collect(),
        };
        for function in &suspects {
            self.crashes.entry((*function).clone()).or_default().push(now);
        }
        let mut repeated: Vec<(u64, &FunctionId)> = suspects
            .into_iter()
            .filter_map(|function| {
                let crashes = self.crashes.get(function).map_or(0, Vec::len);
                let completed = self.completed.get(function).copied().unwrap_or_default();
                let per_crash = completed / u64::try_from(crashes.max(1)).unwrap_or(u64::MAX);
                let is_likely = report.named.is_some() || per_crash < COMPLETED_PER_CRASH_MAX;
                (crashes >= CRASHES_MIN && is_likely).then_some((per_crash, function))
            })
            .collect();
        repeated.sort();
        let (_, function) = repeated.first()?;
        let function = (*function).clone();
        self.crashes.remove(&function);
        Some(function)
    }

    /// Counts a completed invocation. Needed only while [`CrashSuspects::is_empty`] is false.
    pub(super) fn completed(&mut self, function: &FunctionId) {
        match self.completed.get_mut(function) {
            Some(count) => *count += 1,
            None => {
                self.completed.insert(function.clone(), 1);
            }
        }
    }

    /// Whether there was no crash lately.
    pub(super) fn is_empty(&self) -> bool {
        self.crashes.is_empty()
    }

    /// Forgets crashes that are too old to count.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.crashes.retain(|_, times| {
            times.retain(|at| now.saturating_duration_since(*at) < WINDOW);
            !times.is_empty()
        });
        if self.crashes.is_empty() {
            self.completed.clear();
        }
    }
}
