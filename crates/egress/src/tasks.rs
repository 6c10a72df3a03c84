//! [`Tasks`]: the background tasks of a client's connections, owned so that they can be awaited.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// Runs connections as tasks until they end or are aborted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Aborts every task and waits until it has ended.
    pub(crate) async fn end(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "an outgoing connection panicked");
            }
        }
        tasks.spawn(task);
    }
}
