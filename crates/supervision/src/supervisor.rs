//! [`Supervisor`]: owns the list of what runs, and decides what follows when one of it ends.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::catch::{self, catch};
use crate::component::{Component, Components, NotReady};
use crate::metrics::{CauseLabel, ComponentLabels, EndLabels, Metrics};
use crate::mutation::is_mutated;
use crate::restart::Pauses;
use crate::thread::{Thread, Threads};
use crate::turns::Turns;
use crate::unit::Unit;
use crate::wait::{TurnOutcome, Wait};

/// Knows every thread and task that is to run as long as the process. Cheap to clone; clones are one supervisor.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    shared: Arc<Shared>,
    /// What the names of the parts begin with.
    prefix: Arc<str>,
}

#[derive(Debug, Default)]
struct Shared {
    components: Components,
    metrics: Metrics,
    /// Whether ends are expected from now on.
    stopping: AtomicBool,
    failed: watch::Sender<Option<Failure>>,
    threads: Threads,
    #[cfg(feature = "testing")]
    testing: Arc<crate::testing::Faults>,
}

/// Why the process cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The thread or task that ended.
    pub unit: String,
    /// How it ended.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, cause } = self;
        write!(
            f,
            "the part '{unit}' has ended: {cause}. The process cannot go on without it and ends, so that whatever supervises it starts it again; this is a defect, please report it with the log"
        )
    }
}

impl std::error::Error for Failure {}

/// How a unit ended that was to go on.
enum End {
    Panicked(String),
    Returned,
}

impl Supervisor {
    /// A supervisor that counts in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        let components = Components::new(metrics.clone());
        let shared = Shared { components, metrics, ..Shared::default() };
        #[cfg(feature = "testing")]
        shared.testing.arm_from_environment();
        Self { shared: Arc::new(shared), prefix: Arc::default() }
    }

    /// A supervisor whose threads are run by [`simulation::turn`](crate::simulation::turn), in the thread that starts them.
    #[cfg(feature = "simulation")]
    pub fn simulated() -> Self {
        Self {
            shared: Arc::new(Shared { threads: Threads::Simulated, ..Shared::default() }),
            prefix: Arc::default(),
        }
    }

    /// The same supervisor for one of several services of a kind: the names of its parts begin with `service`, as in
    /// `realtime.chat: shard 0`.
    #[must_use]
    pub fn named(&self, service: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), prefix: format!("{}{service}: ", self.prefix).into() }
    }

    /// Adds a part of the process to the list of readiness. It counts as starting until it says otherwise. Names are unique.
    pub fn component(&self, name: &str) -> Component {
        self.shared.components.add(&format!("{}{name}", self.prefix))
    }

    /// The parts that are not ready; empty where the process is.
    pub fn not_ready(&self) -> Vec<NotReady> {
        let mut list = self.shared.components.not_ready();
        let failed = self.shared.failed.borrow().clone();
        list.extend(failed.map(|Failure { unit, cause }| NotReady { component: unit, reason: cause }));
        list
    }

    /// From now on the end of a thread or task is what was asked for.
    pub fn stopping(&self) {
        self.shared.stopping.store(true, Ordering::Release);
    }

    /// Waits until the process cannot go on, and says why.
    pub async fn failed(&self) -> Failure {
        let mut failed = self.shared.failed.subscribe();
        let failure = failed.wait_for(Option::is_some).await.map(|failure| failure.clone());
        failure.ok().flatten().expect("the supervisor owns the sender, and waited for a failure")
    }

    /// Starts a thread without which the process cannot go on: its end before [`Supervisor::stopping`] is a [`Failure`].
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn essential_thread(
        &self,
        builder: thread::Builder,
        name: &str,
        run: impl FnOnce(&Unit) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (supervisor, unit) = (self.clone(), self.unit(name));
        builder.name(thread_name(name)).spawn(move || {
            let end = match catch_unwind(AssertUnwindSafe(|| run(&unit))) {
                Ok(()) if unit.is_released() => return,
                Ok(()) => End::Returned,
                Err(panic) => End::Panicked(catch::text(&*panic)),
            };
            supervisor.fail(&unit.name, &end);
        })
    }

    /// As [`Supervisor::essential_thread`], for work that is cut into turns. `make` runs in the new thread.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn essential_turns<T: Turns>(
        &self,
        builder: thread::Builder,
        name: &str,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Thread> {
        let (supervisor, unit) = (self.clone(), self.unit(name));
        self.shared.threads.start(builder.name(thread_name(name)), move || {
            let mut make = Some(make);
            let mut work = None;
            move |wait| {
                let turned = catch_unwind(AssertUnwindSafe(|| {
                    if let Some(make) = make.take() {
                        work = Some(make());
                    }
                    work.as_mut().map_or(TurnOutcome::Ended, |work| work.turn(&unit, wait))
                }));
                let end = match turned {
                    Ok(TurnOutcome::Ended) if unit.is_released() => None,
                    Ok(TurnOutcome::Ended) => Some(End::Returned),
                    Err(panic) => Some(End::Panicked(catch::text(&*panic))),
                    Ok(turned) => return turned,
                };
                // A waiting owner learns of the end from what the task drops; the supervisor may learn of it earlier.
                if let Some(end) = end
                    && !is_mutated("end-not-reported")
                {
                    supervisor.fail(&unit.name, &end);
                }
                drop(work.take());
                TurnOutcome::Ended
            }
        })
    }

    /// As [`Supervisor::restarting_thread`], for work that is cut into turns.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn restarting_turns<T: Turns + Send>(
        &self,
        builder: thread::Builder,
        name: &str,
        mut work: T,
    ) -> io::Result<Thread> {
        let (supervisor, unit) = (self.clone(), self.unit(name));
        self.shared.threads.start(builder.name(thread_name(name)), move || {
            let component = supervisor.shared.components.add(&unit.name);
            let mut pauses = Pauses::default();
            let mut began = None;
            move |wait| {
                let start = *began.get_or_insert_with(|| {
                    component.set_ready();
                    Instant::now()
                });
                let panic = match catch_unwind(AssertUnwindSafe(|| work.turn(&unit, wait))) {
                    Ok(turned) => return turned,
                    Err(panic) => panic,
                };
                let pause = pauses.after(start.elapsed());
                supervisor.restart(&component, &unit.name, &catch::text(&*panic));
                thread::sleep(if wait == Wait::Never { Duration::ZERO } else { pause });
                began = None;
                TurnOutcome::Worked
            }
        })
    }

    /// Starts a thread that may be run again when it panics, because it holds nothing that would be lost. Its return is its
    /// end.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn restarting_thread(
        &self,
        builder: thread::Builder,
        name: &str,
        mut run: impl FnMut(&Unit) + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (supervisor, unit) = (self.clone(), self.unit(name));
        builder.name(thread_name(name)).spawn(move || {
            let component = supervisor.shared.components.add(&unit.name);
            let mut pauses = Pauses::default();
            loop {
                component.set_ready();
                let began = Instant::now();
                let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(&unit))) else { return };
                let pause = pauses.after(began.elapsed());
                supervisor.restart(&component, &unit.name, &catch::text(&*panic));
                thread::sleep(pause);
            }
        })
    }

    /// Runs a task without which the process cannot go on: its end before [`Supervisor::stopping`] is a [`Failure`]. Gives what
    /// the task gave, `None` after a panic.
    pub async fn essential<F: Future>(&self, name: &str, task: impl FnOnce(Unit) -> F) -> Option<F::Output> {
        let unit = self.unit(name);
        let name = Arc::clone(&unit.name);
        match catch(task(unit)).await {
            Ok(output) => {
                self.fail(&name, &End::Returned);
                Some(output)
            }
            Err(panic) => {
                self.fail(&name, &End::Panicked(panic));
                None
            }
        }
    }

    /// Runs a task that may be run again when it panics, because it holds nothing that would be lost. Its return is its end.
    pub async fn restarting<F: Future>(&self, name: &str, mut task: impl FnMut(Unit) -> F) -> F::Output {
        let unit = self.unit(name);
        let component = self.component(name);
        let mut pauses = Pauses::default();
        loop {
            component.set_ready();
            let began = Instant::now();
            match catch(task(unit.clone())).await {
                Ok(output) => return output,
                Err(panic) => {
                    let pause = pauses.after(began.elapsed());
                    self.restart(&component, &unit.name, &panic);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// What a thread or task knows about itself that belongs to one request, connection or worker. Its owner sees its end, so nothing
    /// follows from it here; it has a name so that tests can make it panic.
    pub fn owned(&self, name: &str) -> Unit {
        self.unit(name)
    }

    fn unit(&self, name: &str) -> Unit {
        Unit {
            name: format!("{}{name}", self.prefix).into(),
            is_released: Arc::default(),
            #[cfg(feature = "testing")]
            faults: Arc::clone(&self.shared.testing),
        }
    }

    fn fail(&self, name: &str, end: &End) {
        let stopping = self.shared.stopping.load(Ordering::Acquire);
        let cause = match end {
            End::Returned if stopping => return,
            End::Returned => {
                self.count(name, CauseLabel::Return);
                "it ended although nobody asked the process to end".to_owned()
            }
            End::Panicked(text) => {
                self.count(name, CauseLabel::Panic);
                format!("it panicked: {text}")
            }
        };
        tracing::error!(
            unit = name,
            cause,
            "a part ended without which the process cannot go on; this is a defect"
        );
        if !stopping {
            self.shared.failed.send_if_modified(|failed| {
                let first = failed.is_none();
                failed.get_or_insert_with(|| Failure { unit: name.to_owned(), cause });
                first
            });
        }
    }

    fn restart(&self, component: &Component, name: &str, panic: &str) {
        self.count(name, CauseLabel::Panic);
        let labels = ComponentLabels { component: name.to_owned() };
        self.shared.metrics.restarted.get_or_create(&labels).inc();
        component.set_not_ready(format!("it panicked and is being started again: {panic}"));
        tracing::error!(unit = name, panic, "a part panicked and is started again; this is a defect");
    }

    fn count(&self, name: &str, cause: CauseLabel) {
        self.shared.metrics.ended.get_or_create(&EndLabels { component: name.to_owned(), cause }).inc();
    }

    /// Makes the named unit panic at its next fault point. For tests.
    #[cfg(feature = "testing")]
    pub fn panic_next(&self, unit: &str) {
        self.shared.testing.arm(unit);
    }
}

/// Linux shows 15 bytes of a thread's name: blanks would only take room.
fn thread_name(name: &str) -> String {
    name.replace(' ', "-")
}

#[cfg(test)]
mod tests;
