//! [`PoolController`]: the task that keeps a pool's workers as [`scale`] decides. It owns the task of each worker.

mod group_control;
mod quarantine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_messages::error_chain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use worker_protocol::LoadResponse;

use super::member::{MemberCommand, MemberEvent, MemberTask, PANIC_PAUSE};
use super::scale::{MemberId, ScaleAction, WorkerPhase, WorkerView, scale};
use super::state::{PoolState, report};
use crate::worker::error::StartError;
use crate::worker::instance::Worker;
use crate::worker::metrics::{CountedProcess, ProcessState, RetiredLabel, RetiredReason};
use crate::worker::observe::WorkerEvent;
use crate::worker::retire_reason::RetireReason;
use group_control::{GroupControl, GroupKey};

/// Number of workers with a function that does not end which may finish their other invocations. One more is killed at once.
const FINISHING_MAX: usize = 3;

/// Events that may wait for the controller.
const EVENTS_MAX: usize = 64;

/// How often workers are measured while they have invocations, and otherwise.
const MEASURE_INTERVAL: Duration = Duration::from_millis(500);
const IDLE_MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the workers of a pool.
pub(super) struct PoolController {
    state: Arc<PoolState>,
    groups: BTreeMap<GroupKey, GroupControl>,
    members: BTreeMap<MemberId, Member>,
    tasks: JoinSet<()>,
    /// Which worker a task has.
    task_ids: BTreeMap<tokio::task::Id, MemberId>,
    events: mpsc::Receiver<(MemberId, MemberEvent)>,
    reports: mpsc::Sender<(MemberId, MemberEvent)>,
    next_id: u64,
    /// The app did not start: no worker was ever ready, and none is started any more.
    has_failed: bool,
}

/// A worker of the pool.
struct Member {
    group: GroupKey,
    phase: WorkerPhase,
    started_at: Instant,
    ready_at: Option<Instant>,
    worker: Option<Arc<Worker>>,
    commands: mpsc::Sender<MemberCommand>,
    is_restart: bool,
    /// Whether it ends because of a function that timed out.
    is_stuck: bool,
    counted: CountedProcess,
}

impl PoolController {
    pub(super) fn new(state: Arc<PoolState>) -> Self {
        let (reports, events) = mpsc::channel(EVENTS_MAX);
        let mut controller = Self {
            state,
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            tasks: JoinSet::new(),
            task_ids: BTreeMap::new(),
            events,
            reports,
            next_id: 0,
            has_failed: false,
        };
        controller.add_shared_group();
        controller
    }

    fn add_shared_group(&mut self) {
        let options = &self.state.options;
        let mut group =
            GroupControl::new(Arc::clone(&self.state.shared), options.shared_limits(), Instant::now());
        // An app that is known starts with its first invocation.
        if self.state.is_asleep {
            group.sleep();
        }
        self.groups.insert(GroupKey::Shared, group);
    }

    /// Keeps workers running until the pool is drained. A panic on the way is caught: workers that are ready stay ready.
    pub(super) async fn run(mut self) {
        while let Err(panic) = supervision::catch(self.control()).await {
            tracing::error!(panic, "the task that keeps workers running panicked; this is a defect");
            tokio::time::sleep(PANIC_PAUSE).await;
        }
        self.stop_all().await;
        let draining = Arc::new(StartError::Draining);
        report(&self.state.indexing, Err(Arc::clone(&draining)));
        report(&self.state.loaded, Err(draining));
    }

    /// Reacts to events until the pool is drained.
    async fn control(&mut self) {
        let mut draining = self.state.is_draining.subscribe();
        let state = Arc::clone(&self.state);
        loop {
            let decide_at = self.decide(Instant::now());
            let wake_at = tokio::time::Instant::from_std(decide_at.unwrap_or_else(Instant::now));
            tokio::select! {
                biased;
                _ = draining.wait_for(Option::is_some) => return,
                Some((id, event)) = self.events.recv() => {
                    self.handle(id, event);
                }
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.task_ended(ended);
                }
                () = state.demand.notified() => {}
                () = tokio::time::sleep_until(wake_at), if decide_at.is_some() => {
                    self.measure(Instant::now());
                }
            }
        }
    }

    /// Stops all workers and waits for their end.
    async fn stop_all(&mut self) {
        for member in self.members.values() {
            let command = if member.worker.is_some() { MemberCommand::Stop } else { MemberCommand::Kill };
            let _ = member.commands.try_send(command);
        }
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => if ended.is_none() { break },
                // Their tasks must not wait for this one.
                _ = self.events.recv() => {}
            }
        }
        for member in std::mem::take(&mut self.members).into_values() {
            if let Some(worker) = &member.worker {
                self.state.forget(worker);
            }
        }
        self.task_ids.clear();
        while self.events.try_recv().is_ok() {}
    }

    /// Decides about each group and carries out the decision. Returns when to decide again.
    fn decide(&mut self, now: Instant) -> Option<Instant> {
        self.release_quarantined(now);
        let mut decide_at = None;
        if self.has_failed {
            return None;
        }
        let is_loaded = matches!(&*self.state.loaded.borrow(), Some(Ok(_)));
        let keys: Vec<GroupKey> = self.groups.keys().cloned().collect();
        for key in keys {
            let backlog = if key == GroupKey::Shared { self.state.backlog() } else { 0 };
            let Some(group) = self.groups.get_mut(&key) else { continue };
            let workers = self.members.iter().filter(|(_, member)| member.group == key);
            let workers = workers.map(|(id, member)| member.view(*id)).collect();
            let view = group.view(workers, backlog, is_loaded, now);
            let decision = scale(&view, &group.limits, now);
            group.decided(&decision, now);
            decide_at = [decide_at, decision.decide_at].into_iter().flatten().min();
            for action in decision.actions {
                self.perform(&key, action, now);
            }
        }
        if !self.members.is_empty() || !self.groups.contains_key(&GroupKey::Shared) || self.groups.len() > 1 {
            let is_busy = self.members.values().any(Member::is_busy);
            let interval = if is_busy { MEASURE_INTERVAL } else { IDLE_MEASURE_INTERVAL };
            decide_at = [decide_at, Some(now + interval)].into_iter().flatten().min();
        }
        decide_at
    }

    fn perform(&mut self, key: &GroupKey, action: ScaleAction, now: Instant) {
        match action {
            ScaleAction::Start => self.start(key, now),
            ScaleAction::Promote(id) => {
                let Some(member) = self.members.get_mut(&id) else { return };
                let Some(group) = self.groups.get(key) else { return };
                if let Some(worker) = &member.worker {
                    self.state.lock_spare().retain(|spare| !Arc::ptr_eq(spare, worker));
                    group.workers.add(worker);
                }
                member.set_phase(WorkerPhase::Serving);
            }
            ScaleAction::Retire(id, reason) => {
                let label = match reason {
                    RetireReason::Idle => RetiredReason::Idle,
                    RetireReason::Excess => RetiredReason::Excess,
                    RetireReason::Memory => RetiredReason::Memory,
                    RetireReason::Age => RetiredReason::Age,
                };
                self.retire(id, label, MemberCommand::Finish);
                if let Some(worker) = self.members.get(&id).and_then(|member| member.worker.as_ref()) {
                    let event = WorkerEvent::Retired { pid: worker.pid(), reason };
                    self.state.observer.event(&event);
                }
            }
        }
    }

    fn start(&mut self, key: &GroupKey, now: Instant) {
        let Some(group) = self.groups.get_mut(key) else { return };
        let is_restart = group.replaces_ended();
        let id = MemberId(self.next_id);
        self.next_id += 1;
        let (commands, receiver) = mpsc::channel(4);
        let member = Member {
            group: key.clone(),
            phase: WorkerPhase::Starting,
            started_at: now,
            ready_at: None,
            worker: None,
            commands,
            is_restart,
            is_stuck: false,
            counted: CountedProcess::new(&self.state.metrics),
        };
        self.members.insert(id, member);
        let task =
            MemberTask { state: Arc::clone(&self.state), id, is_restart, events: self.reports.clone() };
        let task = self.tasks.spawn(task.run(receiver));
        self.task_ids.insert(task.id(), id);
    }

    /// Removes a worker from those that get invocations and lets it end.
    fn retire(&mut self, id: MemberId, reason: RetiredReason, command: MemberCommand) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if let Some(worker) = &member.worker {
            self.state.forget(worker);
        }
        member.set_phase(WorkerPhase::Finishing);
        let _ = member.commands.try_send(command);
        self.state.metrics.retired.get_or_create(&RetiredLabel { reason }).inc();
    }

    fn handle(&mut self, id: MemberId, event: MemberEvent) {
        let now = Instant::now();
        match event {
            MemberEvent::Ready(worker, loaded) => self.ready(id, worker, loaded, now),
            MemberEvent::StartFailed(error) => self.start_failed(id, error, now),
            MemberEvent::IgnoredTimeout { is_responding } => self.ignored_timeout(id, is_responding),
            MemberEvent::Ended => self.ended(id, now),
        }
    }

    fn ready(&mut self, id: MemberId, worker: Arc<Worker>, loaded: Vec<LoadResponse>, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let is_restart = member.is_restart;
        self.state.lock_spare().push(Arc::clone(&worker));
        member.worker = Some(worker);
        member.ready_at = Some(now);
        member.set_phase(WorkerPhase::Spare);
        if is_restart {
            self.state.metrics.restarts.inc();
        }
        // It serves, or is the spare one, before the result of the first load is known.
        self.decide(now);
        report(&self.state.loaded, Ok(loaded));
    }

    fn start_failed(&mut self, id: MemberId, error: StartError, now: Instant) {
        let Some(member) = self.members.remove(&id) else { return };
        self.state.metrics.start_failures.inc();
        let error = Arc::new(error);
        let reason = error_chain(&*error);
        self.state.set_reason(&reason);
        report(&self.state.indexing, Err(Arc::clone(&error)));
        if report(&self.state.loaded, Err(error)) {
            self.has_failed = true;
            return;
        }
        let Some(group) = self.groups.get_mut(&member.group) else { return };
        let failures = group.start_failed(member.is_restart);
        let retry_in = self.state.options.pause(failures);
        group.retry_at = Some(now + retry_in);
        self.state.observer.event(&WorkerEvent::StartFailed { reason, failures, retry_in });
    }

    /// Removes a worker with a function that does not end from those that get invocations, and ends it once its other invocations have
    /// ended.
    fn ignored_timeout(&mut self, id: MemberId, is_responding: bool) {
        let stuck = self.members.values().filter(|member| member.is_stuck).count();
        let Some(member) = self.members.get_mut(&id) else { return };
        member.is_stuck = true;
        let Some(worker) = member.worker.clone() else { return };
        if let Some(group) = self.groups.get_mut(&member.group) {
            group.must_replace();
        }
        let may_finish = is_responding && stuck < FINISHING_MAX;
        let command = if may_finish { MemberCommand::Finish } else { MemberCommand::Kill };
        self.retire(id, RetiredReason::TimedOut, command);
        self.state.set_reason("the last one had a function that did not end, and another one is starting");
        self.state.observer.event(&WorkerEvent::TimedOut { pid: worker.pid(), is_responding });
    }

    fn ended(&mut self, id: MemberId, now: Instant) {
        let Some(member) = self.members.remove(&id) else { return };
        let Some(worker) = member.worker else { return };
        self.state.forget(&worker);
        if member.phase == WorkerPhase::Finishing {
            return;
        }
        self.state.set_reason("the last one exited, and another one is starting");
        let Some(group) = self.groups.get_mut(&member.group) else { return };
        group.must_replace();
        let ready_for = member.ready_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let delay_max = Duration::from_millis(self.state.options.restart_delay_ms_max);
        let has_served = worker.completed() > 0 || ready_for >= delay_max;
        let failures = group.ended(has_served);
        // The first restart comes at once, but a worker that exits again and again must not be restarted in a tight loop.
        let pause = self.state.options.pause(failures.saturating_sub(1));
        group.retry_at = Some(now + pause).filter(|_| !pause.is_zero());
        if let Some(report) = worker.crash_report() {
            self.crashed(&member.group, &report, now);
        }
    }

    fn task_ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let (task, panic) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(id) = self.task_ids.remove(&task) else { return };
        let Some(panic) = panic else { return };
        tracing::error!(%panic, "the task of a worker panicked; this is a defect");
        // The worker is gone with its task. Its last event may still be in the queue, and is ignored then.
        let Some(member) = self.members.remove(&id) else { return };
        if let Some(worker) = &member.worker {
            self.state.forget(worker);
        }
        self.state.set_reason("the task that kept it running met a defect, and another one is starting");
        if let Some(group) = self.groups.get_mut(&member.group) {
            group.must_replace();
            group.retry_at = Some(Instant::now() + PANIC_PAUSE);
        }
    }

    /// Measures memory and responsiveness of the workers.
    fn measure(&mut self, now: Instant) {
        let slow = Duration::from_millis(self.state.options.slow_response_ms.max(1));
        for member in self.members.values() {
            let Some(worker) = &member.worker else { continue };
            worker.measure_memory();
            let Some(group) = self.groups.get_mut(&member.group) else { continue };
            if member.phase != WorkerPhase::Serving || !group.limits.may_grow() {
                continue;
            }
            if let Some(latency) = worker.probe_latency() {
                group.probed(latency > slow);
            }
            worker.probe();
        }
        self.state.change_suspects(|suspects| suspects.forget_old(now));
    }
}

impl Member {
    fn view(&self, id: MemberId) -> WorkerView {
        WorkerView {
            id,
            phase: self.phase,
            started_at: self.started_at,
            in_flight: self.worker.as_ref().map_or(0, |worker| worker.in_flight()),
            memory_bytes: self.worker.as_ref().and_then(|worker| worker.memory_bytes()),
        }
    }

    fn is_busy(&self) -> bool {
        self.worker.as_ref().is_none_or(|worker| worker.in_flight() > 0)
    }

    fn set_phase(&mut self, phase: WorkerPhase) {
        self.phase = phase;
        self.counted.set(match (phase, &self.group) {
            (WorkerPhase::Starting, _) => ProcessState::Starting,
            (WorkerPhase::Spare, _) => ProcessState::Spare,
            (WorkerPhase::Serving, GroupKey::Shared) => ProcessState::Serving,
            (WorkerPhase::Serving, GroupKey::Quarantined(_)) => ProcessState::Quarantined,
            (WorkerPhase::Finishing, _) => ProcessState::Finishing,
        });
    }
}
