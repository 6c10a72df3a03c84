//! Quarantine: a function that ends its workers again and again gets a worker of its own, so that the others are not affected.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use worker_protocol::FunctionId;

use super::{GroupControl, GroupKey, PoolController};
use crate::worker::instance::CrashReport;
use crate::worker::metrics::RetiredReason;
use crate::worker::observe::WorkerEvent;
use crate::worker::pool::group::WorkerGroup;
use crate::worker::pool::member::MemberCommand;
use crate::worker::pool::state::invocations_max;

/// The most functions in quarantine: each may have a process.
const QUARANTINED_MAX: usize = 4;

impl PoolController {
    /// Records that a worker of a group ended by itself.
    pub(super) fn crashed(&mut self, key: &GroupKey, report: &CrashReport, now: Instant) {
        match key {
            GroupKey::Quarantined(_) => {
                if let Some(group) = self.groups.get_mut(key) {
                    group.crashed_at = now;
                }
            }
            GroupKey::Shared => {
                let suspect = self.state.change_suspects(|suspects| suspects.crashed(report, now));
                if let Some(function) = suspect
                    && self.may_quarantine()
                {
                    self.quarantine(function, now);
                }
            }
        }
    }

    /// Whether there are other functions to protect, and few enough in quarantine.
    fn may_quarantine(&self) -> bool {
        let functions = self.state.functions.borrow().as_ref().map_or(0, |functions| functions.len());
        self.state.options.quarantine_ms > 0 && functions > 1 && self.groups.len() <= QUARANTINED_MAX
    }

    fn quarantine(&mut self, function: FunctionId, now: Instant) {
        let options = &self.state.options;
        let workers = Arc::new(WorkerGroup::new(invocations_max(options)));
        let group = GroupControl::new(Arc::clone(&workers), options.quarantine_limits(), now);
        self.state.set_quarantine(&function, Some(workers));
        self.state.metrics.quarantined.inc();
        let name = self.state.function_name(&function);
        self.groups.insert(GroupKey::Quarantined(function), group);
        self.state.observer.event(&WorkerEvent::Quarantined { function: name });
    }

    /// Lets functions use the workers of all others again that have not ended theirs for long enough.
    pub(super) fn release_quarantined(&mut self, now: Instant) {
        if !self.state.has_quarantined.load(Ordering::Relaxed) {
            return;
        }
        let duration = Duration::from_millis(self.state.options.quarantine_ms);
        let released: Vec<GroupKey> = self
            .groups
            .iter()
            .filter(|(key, group)| **key != GroupKey::Shared && now >= group.crashed_at + duration)
            .map(|(key, _)| key.clone())
            .collect();
        for key in released {
            let GroupKey::Quarantined(function) = &key else { continue };
            self.state.set_quarantine(function, None);
            let members: Vec<_> =
                self.members.iter().filter(|(_, member)| member.group == key).map(|(id, _)| *id).collect();
            for id in members {
                self.retire(id, RetiredReason::Excess, MemberCommand::Finish);
            }
            let name = self.state.function_name(function);
            if let Some(group) = self.groups.remove(&key) {
                // Its waiting invocations look for their group again.
                group.workers.serving.send_modify(|_| {});
            }
            self.state.observer.event(&WorkerEvent::Released { function: name });
        }
    }
}
