//! [`MemberTask`]: runs one worker of the pool, from its start to its end. It reports to the controller, which decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use worker_protocol::{FunctionMetadata, LoadResponse};

use super::scale::MemberId;
use super::state::{PoolState, report};
use crate::worker::error::StartError;
use crate::worker::instance::Worker;
use crate::worker::observe::WorkerEvent;

/// Starts a worker and waits for its end.
pub(super) struct MemberTask {
    pub(super) state: Arc<PoolState>,
    pub(super) id: MemberId,
    /// Whether the worker replaces one that died.
    pub(super) is_restart: bool,
    pub(super) events: mpsc::Sender<(MemberId, MemberEvent)>,
}

/// What happened to a worker.
#[derive(Debug)]
pub(super) enum MemberEvent {
    /// It could not be started.
    StartFailed(StartError),
    /// It is ready, with the results of loading the functions.
    Ready(Arc<Worker>, Vec<LoadResponse>),
    /// A function timed out and did not react to its cancellation.
    IgnoredTimeout {
        /// Whether the worker still responds to probes.
        is_responding: bool,
    },
    /// It has ended.
    Ended,
}

/// What the controller wants of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberCommand {
    /// Let its invocations end, then stop it.
    Finish,
    /// Stop it.
    Stop,
    /// Kill it.
    Kill,
}

impl MemberTask {
    /// Runs until the worker has ended.
    pub(super) async fn run(self, mut commands: mpsc::Receiver<MemberCommand>) {
        let started = tokio::select! {
            started = self.start_worker() => started,
            // A worker that is not ready has nothing to finish: dropping it kills it.
            _ = commands.recv() => Err(StartError::Draining),
        };
        let (worker, loaded) = match started {
            Ok(ready) => ready,
            Err(error) => return self.report(MemberEvent::StartFailed(error)).await,
        };
        self.report(MemberEvent::Ready(Arc::clone(&worker), loaded)).await;
        self.serve(&worker, &mut commands).await;
        self.report(MemberEvent::Ended).await;
    }

    /// Waits for the end of a worker, and does what the controller wants.
    async fn serve(&self, worker: &Arc<Worker>, commands: &mut mpsc::Receiver<MemberCommand>) {
        let mut reports_timeouts = true;
        let mut is_finishing = false;
        loop {
            tokio::select! {
                () = worker.ended() => return,
                () = worker.finish_invocations(), if is_finishing => return self.stop(worker).await,
                is_responding = worker.ignored_timeout(), if reports_timeouts => {
                    reports_timeouts = false;
                    self.report(MemberEvent::IgnoredTimeout { is_responding }).await;
                }
                command = commands.recv() => match command {
                    Some(MemberCommand::Finish) => {
                        is_finishing = true;
                        // After a worker was asked to end, its timeouts are ignored.
                        reports_timeouts = false;
                    }
                    Some(MemberCommand::Stop) | None => return self.stop(worker).await,
                    Some(MemberCommand::Kill) => worker.kill(),
                },
            }
        }
    }

    /// Stops a worker. During a drain, the drain limits the time.
    async fn stop(&self, worker: &Arc<Worker>) {
        let shutdown = self.state.spec.timeouts.shutdown;
        let grace = *self.state.is_draining.borrow();
        let stopped = worker.stop(grace.map_or(shutdown, |grace| grace.min(shutdown)));
        let mut draining = self.state.is_draining.subscribe();
        tokio::pin!(stopped);
        tokio::select! {
            () = &mut stopped => return,
            _ = draining.wait_for(Option::is_some), if grace.is_none() => {}
        }
        let grace = (*self.state.is_draining.borrow()).unwrap_or(shutdown);
        if timeout(grace, stopped).await.is_err() {
            worker.kill();
            worker.ended().await;
        }
    }

    /// Starts the worker and loads the functions.
    async fn start_worker(&self) -> Result<(Arc<Worker>, Vec<LoadResponse>), StartError> {
        let state = &self.state;
        let bytes_max = state.options.frame_bytes_max;
        let worker = Worker::start(Arc::clone(&state.spec), bytes_max, Arc::clone(&state.observer)).await?;
        // Our own worker loads the app when it indexes it, so each worker has to index, not only the first.
        let indexing = worker.index().await?;
        if state.indexing.borrow().is_none() {
            let unknown = worker.capabilities().unknown();
            if !unknown.is_empty() {
                let names = unknown.into_iter().map(str::to_owned).collect();
                state.observer.event(&WorkerEvent::UnknownCapabilities { names });
            }
            state.capabilities.send_replace(worker.capabilities().clone());
            report(&state.indexing, Ok(indexing));
        }
        let functions = self.functions().await;
        let loaded = worker.load(&functions).await?;
        worker.wait_for_http_listener().await;
        worker.measure_memory();
        let (pid, took) = (worker.pid(), worker.started_at().elapsed());
        state.metrics.start_seconds.observe(took.as_secs_f64());
        // Before it gets invocations: after a panic of the observer there is then no ready worker without a task.
        state.observer.event(&WorkerEvent::Started { pid, took, is_restart: self.is_restart });
        Ok((Arc::new(worker), loaded))
    }

    /// The functions to load, once the host has chosen them.
    async fn functions(&self) -> Arc<[FunctionMetadata]> {
        let mut chosen = self.state.functions.subscribe();
        let chosen =
            chosen.wait_for(Option::is_some).await.expect("the pool's state owns the sender").clone();
        chosen.expect("the wait was for a value")
    }

    async fn report(&self, event: MemberEvent) {
        // Without a controller the pool is gone, and this task with it.
        let _ = self.events.send((self.id, event)).await;
    }
}

/// How long a worker whose task panicked is not replaced.
pub(super) const PANIC_PAUSE: Duration = Duration::from_millis(250);
