//! Ends the process within its drain limit, even if the runtime is blocked.
//!
//! Services drain as tasks of the runtime, which enforces the limit while it runs. If the runtime's threads are blocked, the limit
//! is blocked too; a full pipe of log lines is enough. Therefore a separate thread with its own clock and signal handling ends the
//! process if the runtime does not.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::Context;

use crate::signals::Signals;

/// How much longer than the runtime the thread waits, so that the runtime can end the process in an orderly way first.
const GRACE: Duration = Duration::from_secs(2);

/// Longest time to wait until the last line is logged.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the process waits for, and the longest time that it waits.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    total: Duration,
    step: Arc<Mutex<String>>,
}

/// The process was not drained in time.
#[derive(Debug, thiserror::Error)]
#[error(
    "not drained within {limit_s} s: still waiting for {step}. What was running there is cut off; raise drain_timeout_ms if it needs \
     longer"
)]
pub(crate) struct Overdue {
    limit_s: u64,
    step: String,
}

impl Limit {
    pub(crate) fn new(total: Duration) -> Self {
        Self { total, step: Arc::new(Mutex::new("the services".to_owned())) }
    }

    /// The total time for draining.
    pub(crate) fn total(&self) -> Duration {
        self.total
    }

    /// Records what the process waits for from now on, for the message.
    pub(crate) fn step(&self, step: &str) {
        step.clone_into(&mut self.step.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the limit is reached.
    pub(crate) async fn limit_reached(&self) -> Overdue {
        tokio::time::sleep(self.total).await;
        self.overdue()
    }

    /// Starts the thread that ends the process if it was asked to end and did not do so in time. The thread lives as long as the
    /// process. Returns once the thread watches.
    pub(crate) fn guard(&self) -> anyhow::Result<()> {
        let limit = self.clone();
        let (watching, watched) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("start the runtime of the drain limit")?;
        let thread = std::thread::Builder::new().name("drain-limit".to_owned());
        thread
            .spawn(move || {
                runtime.block_on(async {
                    let mut signals = Signals::watch();
                    // Fails only if the receiver is gone.
                    let _ = watching.send(());
                    limit.passed_by(&mut signals).await;
                });
                limit.end_process();
            })
            .context("start the thread of the drain limit")?;
        watched.recv().context("the thread of the drain limit ended")
    }

    /// Waits until the runtime should have ended the process.
    async fn passed_by(&self, signals: &mut Signals) {
        signals.termination_requested().await;
        tokio::select! {
            () = tokio::time::sleep(self.total + GRACE) => {}
            () = signals.termination_requested() => tokio::time::sleep(GRACE).await,
        }
    }

    /// Ends the process from this thread: the runtime, from which `main` returns, is blocked.
    fn end_process(&self) -> ! {
        let overdue = self.overdue();
        let (said, heard) = mpsc::channel();
        // On a thread of its own, because the log itself may be blocked.
        std::thread::spawn(move || {
            tracing::error!("{overdue}");
            let _ = said.send(());
        });
        let _ = heard.recv_timeout(LAST_WORDS);
        std::process::exit(1)
    }

    fn overdue(&self) -> Overdue {
        let step = self.step.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Overdue { limit_s: self.total.as_secs(), step }
    }
}
