//! [`Streams`]: the tasks of one HTTP/2 connection, which end with it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// Runs each stream of a connection as a task, and aborts them when the connection is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a request panicked");
            }
        }
        tasks.spawn(stream);
    }
}
