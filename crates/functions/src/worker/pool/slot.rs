//! [`WorkerSlot`]: the task that keeps one worker of the pool running.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::state::{PoolState, StartOutcome};
use crate::worker::error::StartError;
use crate::worker::instance::Worker;
use crate::worker::observe::WorkerEvent;
use http_messages::error_chain;

/// Number of replaced workers of one slot that may finish their invocations. One more is killed at once.
const FINISHING_MAX: usize = 3;

/// Keeps one worker of a pool running.
#[derive(Clone)]
pub(super) struct WorkerSlot {
    pub(super) state: Arc<PoolState>,
    /// Whether it asks the app for its functions, before the other slots start.
    pub(super) is_first: bool,
}

impl WorkerSlot {
    /// Keeps a worker running until the pool is drained. A panic on the way is caught: a worker that was ready stays ready, and one that
    /// has exited is removed by the first invocation that it does not receive.
    pub(super) async fn run(self) {
        while let Err(panic) = supervision::catch(self.keep_running()).await {
            tracing::error!(panic, "the task that keeps a worker running panicked; this is a defect");
            self.state.set_reason("the task that keeps it running met a defect and is being restarted");
            tokio::time::sleep(self.pause(1)).await;
        }
    }

    async fn keep_running(&self) {
        let mut finishing = JoinSet::new();
        self.run_until_drained(&mut finishing).await;
        // They stop for the same reason.
        while finishing.join_next().await.is_some() {}
        self.fail(&Arc::new(StartError::Draining));
    }

    /// Waits until the pool is drained. Cancel-safe.
    async fn drained(&self) {
        let mut draining = self.state.is_draining.subscribe();
        // The sender lives as long as the state.
        let _ = draining.wait_for(Option::is_some).await;
    }

    async fn run_until_drained(&self, finishing: &mut JoinSet<()>) {
        let end = self.drained();
        tokio::pin!(end);
        let first_has_started = async {
            if !self.is_first {
                let mut loaded = self.state.loaded.subscribe();
                let _ = loaded.wait_for(|loaded| matches!(loaded, Some(Ok(_)))).await;
            }
        };
        tokio::select! {
            () = &mut end => return,
            () = first_has_started => {}
        }
        let (mut failures, mut is_restart) = (0_u32, false);
        loop {
            let started = tokio::select! {
                () = &mut end => return,
                started = self.start_worker(is_restart) => started,
            };
            match started {
                Ok(worker) => {
                    let ready_since = Instant::now();
                    tokio::select! {
                        () = &mut end => return self.stop(&worker).await,
                        () = worker.ended() => {
                            self.state.forget(&worker);
                            self.state.set_reason("the last one exited, and another one is starting");
                        }
                        is_responding = worker.ignored_timeout() => {
                            self.replace(worker, is_responding, finishing);
                            (failures, is_restart) = (0, true);
                            continue;
                        }
                    }
                    // The first restart comes at once, but a worker that exits again and again must not be restarted in a tight
                    // loop.
                    let restart_delay_max = Duration::from_millis(self.state.options.restart_delay_ms_max);
                    let exited_early = ready_since.elapsed() < restart_delay_max;
                    failures = if exited_early && is_restart { failures + 1 } else { 0 };
                }
                Err(error) => {
                    failures += 1;
                    self.state.metrics.start_failures.inc();
                    let error = Arc::new(error);
                    if self.fail(&error) {
                        return end.await;
                    }
                    let (reason, retry_in) = (error_chain(&*error), self.pause(failures));
                    self.state.observer.event(&WorkerEvent::StartFailed { reason, failures, retry_in });
                }
            }
            is_restart = true;
            let pause = self.pause(failures);
            tokio::select! {
                () = &mut end => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts a worker and loads the functions.
    async fn start_worker(&self, is_restart: bool) -> Result<Arc<Worker>, StartError> {
        let state = &self.state;
        let bytes_max = state.options.frame_bytes_max;
        let worker = Worker::start(Arc::clone(&state.spec), bytes_max, Arc::clone(&state.observer)).await?;
        // Our own worker loads the app when it indexes it, so each worker has to index, not only the first.
        let indexing = worker.index().await?;
        if self.is_first && !is_restart {
            state.capabilities.send_replace(worker.capabilities().clone());
            report(&state.indexing, Ok(indexing));
        }
        let mut chosen = state.functions.subscribe();
        let chosen = chosen.wait_for(Option::is_some).await.expect("the pool owns the sender").clone();
        let loaded = worker.load(&chosen.expect("the wait was for a value")).await?;
        worker.wait_for_http_listener().await;
        if is_restart {
            state.metrics.restarts.inc();
        }
        let (pid, took) = (worker.pid(), worker.started_at().elapsed());
        // Before it gets invocations: after a panic of the observer there is then no ready worker without a slot.
        state.observer.event(&WorkerEvent::Started { pid, took, is_restart });
        let worker = Arc::new(worker);
        state.add(Arc::clone(&worker));
        if self.is_first && !is_restart {
            report(&state.loaded, Ok(loaded));
        }
        Ok(worker)
    }

    /// Removes a worker with a function that does not end from those that get invocations, and stops it once its other invocations have
    /// ended.
    fn replace(&self, worker: Arc<Worker>, is_responding: bool, finishing: &mut JoinSet<()>) {
        let state = &self.state;
        state.forget(&worker);
        state.set_reason("the last one had a function that did not end, and another one is starting");
        state.observer.event(&WorkerEvent::TimedOut { pid: worker.pid(), is_responding });
        while finishing.try_join_next().is_some() {}
        let may_finish = is_responding && finishing.len() < FINISHING_MAX;
        let slot = self.clone();
        finishing.spawn(async move {
            if may_finish {
                tokio::select! {
                    () = worker.finish_invocations() => {}
                    () = worker.ended() => {}
                    () = slot.drained() => {}
                }
                slot.stop(&worker).await;
            } else {
                worker.kill();
                worker.ended().await;
            }
        });
    }

    async fn stop(&self, worker: &Arc<Worker>) {
        let grace = *self.state.is_draining.borrow();
        let shutdown = self.state.spec.timeouts.shutdown;
        worker.stop(grace.map_or(shutdown, |grace| grace.min(shutdown))).await;
        self.state.forget(worker);
    }

    /// Records a failed start. Gives whether the pool ends, because no worker was ever ready in it.
    fn fail(&self, error: &Arc<StartError>) -> bool {
        let text = error_chain(&**error);
        self.state.set_reason(&text);
        if !self.is_first {
            return false;
        }
        report(&self.state.indexing, Err(Arc::clone(error)));
        report(&self.state.loaded, Err(Arc::clone(error)))
    }

    fn pause(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let options = &self.state.options;
        let delay = options.restart_delay_ms_min.saturating_mul(1 << doublings.min(16));
        Duration::from_millis(delay.min(options.restart_delay_ms_max))
    }
}

/// Publishes a result, unless there is one already. Gives whether it was published.
fn report<T>(awaited: &StartOutcome<T>, result: Result<T, Arc<StartError>>) -> bool {
    awaited.send_if_modified(|awaited| {
        let is_open = awaited.is_none();
        if is_open {
            *awaited = Some(result);
        }
        is_open
    })
}
