//! [`Triggers`]: one supervised task for each function that a timer or a connector's source starts.
//!
//! When a generation of the app replaces another one, a task waits for the end of the task of the same function in the old
//! generation. A source is closed there before it is opened here, so that its lease need not expire; a timer continues with the
//! time at which it was due there, so that no run is skipped and none is repeated.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use functions_contract::{Connector, Direction};
use state::Instance;
use supervision::{Supervisor, Unit};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::connectors::find_connector;
use crate::current::Current;
use crate::dynamic_concurrency::DynamicConcurrency;
use crate::function::Trigger;
use crate::generation::Generation;
use crate::invoke::Function;
use crate::listen::TriggerListener;
use crate::options::Options;
use crate::shutdown::Shutdown;
use crate::timer::{Timer, TimerHandover};

/// What timers and sources need, the same in each generation.
pub(crate) struct Triggers {
    pub(crate) options: Current<Options>,
    pub(crate) connectors: Vec<Arc<dyn Connector>>,
    pub(crate) lease: Arc<dyn state::Lease>,
    pub(crate) instance: Instance,
    pub(crate) owner: String,
    pub(crate) supervisor: Supervisor,
    pub(crate) concurrency: DynamicConcurrency,
}

/// The trigger tasks of one generation. Dropping them aborts them.
pub(crate) struct TriggerTasks {
    stop: watch::Sender<bool>,
    /// The timers of the next generation, in lower case; set before the tasks are stopped for it.
    successors: Arc<OnceLock<BTreeSet<String>>>,
    /// The end of each task by the name of its function in lower case.
    ends: HashMap<String, TriggerEnd>,
    tasks: JoinSet<()>,
}

impl Default for TriggerTasks {
    /// No tasks.
    fn default() -> Self {
        Self {
            stop: watch::Sender::new(false),
            successors: Arc::default(),
            ends: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }
}

/// Returns the state that a trigger passes on when its task has ended; an error if the task was aborted.
type TriggerEnd = oneshot::Receiver<Option<TimerHandover>>;

impl Triggers {
    /// Starts a task for each enabled function with a timer or a source. `previous`: the tasks of the generation that is replaced, which
    /// are stopped.
    pub(crate) fn start(&self, generation: &Generation, previous: Option<&mut TriggerTasks>) -> TriggerTasks {
        let mut started = TriggerTasks::default();
        let enabled = || generation.functions.iter().filter(|function| !function.declaration.is_disabled);
        let mut ends = HashMap::new();
        if let Some(previous) = previous {
            let timers = enabled()
                .filter(|function| matches!(function.declaration.trigger, Trigger::Timer(_)))
                .map(|function| function.name().to_ascii_lowercase());
            // Set once: tasks are replaced once.
            let _ = previous.successors.set(timers.collect());
            previous.stop();
            ends = std::mem::take(&mut previous.ends);
        }
        for function in enabled() {
            let previous_end = ends.remove(&function.name().to_ascii_lowercase());
            self.start_trigger(generation, function, previous_end, &mut started);
        }
        started
    }

    fn start_trigger(
        &self,
        generation: &Generation,
        function: &Arc<Function>,
        previous_end: Option<TriggerEnd>,
        started: &mut TriggerTasks,
    ) {
        match &function.declaration.trigger {
            Trigger::Http(_) | Trigger::Manual | Trigger::Push => {}
            Trigger::Timer(trigger) => {
                let timer = Timer {
                    function: Arc::clone(function),
                    trigger: trigger.clone(),
                    invoker: generation.invoker.clone(),
                    monitor: generation.schedule_monitor.clone(),
                    lease: Arc::clone(&self.lease),
                    instance: self.instance.clone(),
                    owner: self.owner.clone(),
                    lease_ttl: Duration::from_millis(self.options.get().timer_lease_ms.max(300)),
                    inherited: std::sync::Mutex::default(),
                    successors: Arc::clone(&started.successors),
                    retry_stop: generation.retry_stop(),
                };
                let timer = Arc::new(timer);
                let inherit = Arc::clone(&timer);
                self.supervise(
                    function.name(),
                    previous_end,
                    started,
                    move |handover| inherit.inherit(handover),
                    move |stop| {
                        let timer = Arc::clone(&timer);
                        async move { timer.run(stop).await }
                    },
                );
            }
            Trigger::Source => {
                let kind = &function.declaration.trigger_spec.spec.kind;
                let connector = find_connector(&self.connectors, kind, Direction::In);
                let connector = connector.expect("a valid declaration has a connector for its trigger");
                let listener = TriggerListener {
                    function: Arc::clone(function),
                    connector: Arc::clone(connector),
                    settings: generation.app.settings.clone(),
                    invoker: generation.invoker.clone(),
                    concurrency: self.concurrency.clone(),
                    retry_min: Duration::from_millis(self.options.get().source_retry_ms_min.max(1)),
                    retry_max: Duration::from_millis(self.options.get().source_retry_ms_max.max(1)),
                    backlog_every: Duration::from_millis(self.options.get().lag_interval_ms.max(10)),
                };
                let listener = Arc::new(listener);
                self.supervise(
                    function.name(),
                    previous_end,
                    started,
                    |_| (),
                    move |stop| {
                        let listener = Arc::clone(&listener);
                        async move {
                            listener.run(stop).await;
                            None
                        }
                    },
                );
            }
        }
    }

    /// Runs the task of a trigger when the one of the previous generation has ended, and runs it again if it panics: the batch that was
    /// not completed comes again.
    fn supervise<F>(
        &self,
        function: &str,
        previous_end: Option<TriggerEnd>,
        started: &mut TriggerTasks,
        inherit: impl FnOnce(TimerHandover) + Send + 'static,
        run: impl Fn(Shutdown) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Option<TimerHandover>> + Send + 'static,
    {
        let (supervisor, stop) = (self.supervisor.clone(), Shutdown::of(&started.stop));
        let name = format!("trigger of {function}");
        let (end_sender, end) = oneshot::channel();
        started.ends.insert(function.to_ascii_lowercase(), end);
        started.tasks.spawn(async move {
            if let Some(previous_end) = previous_end
                // An aborted task hands nothing over: this one starts like the first.
                && let Ok(Some(handover)) = previous_end.await
            {
                inherit(handover);
            }
            let task = |unit: Unit| {
                let run = run(stop.clone());
                async move {
                    unit.fault_point();
                    run.await
                }
            };
            let handover = supervisor.restarting(&name, task).await;
            // Without a receiver, no generation replaces this one.
            let _ = end_sender.send(handover);
        });
    }
}

impl TriggerTasks {
    /// Tells the triggers to stop: batches and runs that are active end first.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all tasks have ended. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a trigger ended abnormally; its function is no longer triggered");
            }
        }
    }
}
