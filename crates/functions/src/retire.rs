//! [`retire`]: the end of a generation that another one has replaced.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::generation::Generation;
use crate::generations::Generations;
use crate::log::Level;
use crate::shutdown::Shutdown;
use crate::triggers::TriggerTasks;

/// How long workers may take to end after their invocations have ended.
const WORKER_GRACE: Duration = Duration::from_secs(5);

/// How long triggers may take to end after their workers have ended.
const TRIGGER_GRACE: Duration = Duration::from_secs(10);

/// A generation that another one has replaced. Its triggers were asked to stop.
pub(crate) struct Retirement {
    pub(crate) generation: Arc<Generation>,
    pub(crate) triggers: TriggerTasks,
    /// How long its invocations may continue.
    pub(crate) grace: Duration,
    pub(crate) generations: Generations,
    pub(crate) shutdown: Shutdown,
}

/// Waits until the invocations of a generation have ended, and stops its workers. Invocations that take longer than the grace period are
/// cut off with their workers; batches that were cut off come again, in the new generation.
///
/// If the host stops meanwhile, only the triggers are awaited: the drain of the host does the rest.
pub(crate) async fn retire(retirement: Retirement) {
    let Retirement { generation, mut triggers, grace, generations, mut shutdown } = retirement;
    let finished = async {
        triggers.ended().await;
        generation.invoker.active.idle().await;
    };
    tokio::select! {
        finished = timeout(grace, finished) => match finished {
            Ok(()) => generations.drain(generation.number, WORKER_GRACE).await,
            Err(_) => {
                cut_off(&generation, grace);
                generations.drain(generation.number, Duration::ZERO).await;
                // Aborted by the drop of the tasks otherwise.
                let _ = timeout(TRIGGER_GRACE, triggers.ended()).await;
            }
        },
        () = shutdown.requested() => {
            generation.retry_stop.send_replace(true);
            triggers.ended().await;
        }
    }
}

fn cut_off(generation: &Generation, grace: Duration) {
    generation.retry_stop.send_replace(true);
    let count = generation.invoker.active.count();
    let text = format!(
        "{count} invocations of the previous version of the app did not end within {} s and are cut off; raise \
         functions.generation_drain_ms if they need longer.",
        grace.as_secs_f64()
    );
    generation.invoker.logs.host(Level::Warn, text);
}
