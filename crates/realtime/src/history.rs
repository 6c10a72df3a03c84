//! Message history: a hub or a group may store its last messages, so that a client that reconnects receives what it missed, in order, also
//! after this process was killed.
//!
//! Not its concern: who receives a message (`engine`), the methods that clients call (`methods`).
//!
//! A message is durable before any client receives it, and has a position: the epoch of its log and its offset. One task, the
//! recorder, appends the messages of all publishers in batches: messages that arrive during one flush are written by the next. So
//! the cost of a flush is shared, and shards receive messages in the order of their positions.
//!
//! Each hub and each group has its own log. Clients that may name groups could create any number of logs, so their number is
//! limited: a new log replaces one without messages; if there is none, the group's messages are published but not stored.
//!
//! Know these first: [`Rule`] (which messages are stored), [`History`] (the engine's [`HistoryLog`]). Start reading at
//! `recorder.rs`; `replay.rs` sends a client the messages that it missed.

mod handle;
mod names;
mod options;
mod recorder;
mod replay;
mod requests;
mod streams;

use std::sync::Arc;

use supervision::Supervisor;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

pub(crate) use handle::History;
use handle::{APPENDS_MAX, BYTES_MAX, PERMIT_BYTES};
pub use options::{HistoryError, Rule};
use realtime_engine::HistoryLog;
use recorder::Recorder;
pub(crate) use replay::{Followed, Replay};
pub(crate) use requests::Dependencies;

/// Requests to open a log that may wait for the recorder.
const OPENS_MAX: usize = 256;

/// Owns the task that appends messages.
#[derive(Debug)]
pub(crate) struct Join {
    stop: oneshot::Sender<()>,
    recorder: JoinHandle<()>,
}

/// Starts to store messages of the engine; `None` without rules.
///
/// # Errors
///
/// If the stored messages cannot be read.
pub(crate) async fn start(
    dependencies: Dependencies,
    supervisor: &Supervisor,
    metrics: &mut prometheus_client::registry::Registry,
) -> Result<Option<(Arc<History>, Join)>, HistoryError> {
    if dependencies.rules.is_empty() {
        return Ok(None);
    }
    let (rules, instance, engine) =
        (Arc::clone(&dependencies.rules), dependencies.instance.clone(), dependencies.engine.clone());
    let (appends, append_queue) = mpsc::channel(APPENDS_MAX);
    let (opens, open_queue) = mpsc::channel(OPENS_MAX);
    let permits = Arc::new(Semaphore::new(BYTES_MAX / PERMIT_BYTES));
    let recorder = Recorder::new(dependencies, metrics).load().await?;
    let (stop, stopped) = oneshot::channel();
    let supervisor = supervisor.clone();
    let task = tokio::spawn(async move {
        // The supervisor records the end of the task; the result has no further information.
        let _ = supervisor
            .essential("history", |unit| recorder.run(append_queue, open_queue, stopped, unit))
            .await;
    });
    let history = Arc::new(History { rules, appends, opens, permits, instance });
    engine.set_history_log(Arc::clone(&history) as Arc<dyn HistoryLog>);
    Ok(Some((history, Join { stop, recorder: task })))
}

impl Join {
    /// Appends and publishes the messages that wait, and ends the task.
    pub(crate) async fn drain(self) {
        // It fails only if the task has ended already.
        let _ = self.stop.send(());
        if self.recorder.await.is_err() {
            tracing::error!("the task that stores messages panicked");
        }
    }
}
