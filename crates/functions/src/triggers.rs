//! [`Triggers`]: one supervised task for each function that a timer or a connector's source starts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use functions_contract::{Connector, Direction};
use state::Instance;
use supervision::{Supervisor, Unit};
use tokio::task::JoinSet;

use crate::app::App;
use crate::connectors::find_connector;
use crate::function::Trigger;
use crate::listen::TriggerListener;
use crate::options::Options;
use crate::running_app::RunningApp;
use crate::shutdown::Shutdown;
use crate::timer::Timer;

/// What timers and sources need.
pub(crate) struct Triggers {
    pub(crate) options: Options,
    pub(crate) app: App,
    pub(crate) connectors: Vec<Arc<dyn Connector>>,
    pub(crate) lease: Arc<dyn state::Lease>,
    pub(crate) instance: Instance,
    pub(crate) owner: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) supervisor: Supervisor,
}

impl Triggers {
    /// Starts a task for each enabled function with a timer or a source.
    pub(crate) fn spawn(&self, running: &RunningApp, tasks: &mut JoinSet<()>) {
        for function in running.functions.iter().filter(|function| !function.declaration.is_disabled) {
            match &function.declaration.trigger {
                Trigger::Http(_) | Trigger::Manual | Trigger::Push => {}
                Trigger::Timer(trigger) => {
                    let timer = Timer {
                        function: Arc::clone(function),
                        trigger: trigger.clone(),
                        invoker: running.invoker.clone(),
                        monitor: running.schedule_monitor.clone(),
                        lease: Arc::clone(&self.lease),
                        instance: self.instance.clone(),
                        owner: self.owner.clone(),
                        lease_ttl: Duration::from_millis(self.options.timer_lease_ms.max(300)),
                    };
                    let timer = Arc::new(timer);
                    self.supervise(function.name(), tasks, move |shutdown| {
                        let timer = Arc::clone(&timer);
                        async move { timer.run(shutdown).await }
                    });
                }
                Trigger::Source => {
                    let kind = &function.declaration.trigger_spec.spec.kind;
                    let connector = find_connector(&self.connectors, kind, Direction::In);
                    let connector = connector.expect("a valid declaration has a connector for its trigger");
                    let listener = TriggerListener {
                        function: Arc::clone(function),
                        connector: Arc::clone(connector),
                        settings: self.app.settings.clone(),
                        invoker: running.invoker.clone(),
                        retry_min: Duration::from_millis(self.options.source_retry_ms_min.max(1)),
                        retry_max: Duration::from_millis(self.options.source_retry_ms_max.max(1)),
                        lag_every: Duration::from_millis(self.options.lag_interval_ms.max(10)),
                    };
                    let listener = Arc::new(listener);
                    self.supervise(function.name(), tasks, move |shutdown| {
                        let listener = Arc::clone(&listener);
                        async move { listener.run(shutdown).await }
                    });
                }
            }
        }
    }

    /// Runs the task of a trigger, and runs it again if it panics: the batch that was not completed comes again.
    fn supervise<F>(
        &self,
        function: &str,
        tasks: &mut JoinSet<()>,
        run: impl Fn(Shutdown) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, shutdown) = (self.supervisor.clone(), self.shutdown.clone());
        let name = format!("trigger of {function}");
        tasks.spawn(async move {
            let task = |unit: Unit| {
                let run = run(shutdown.clone());
                async move {
                    unit.fault_point();
                    run.await;
                }
            };
            supervisor.restarting(&name, task).await;
        });
    }
}
