//! [`Http2Streams`]: the tasks of one HTTP/2 connection, which end with it, and the reset of streams whose readers do not read.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::{CutReason, ListenerMetrics};
use crate::response_body::StreamClock;

/// Runs each stream of a connection as a task, and aborts them when the connection has ended.
#[derive(Clone, Debug)]
pub(crate) struct Http2Streams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Longest time for which a reader may read nothing.
    timeout: Duration,
    metrics: Arc<ListenerMetrics>,
}

#[derive(Debug, Default)]
struct State {
    tasks: JoinSet<()>,
    /// The clock of the stream that hyper is about to run.
    next: Option<Arc<StreamClock>>,
}

impl Http2Streams {
    pub(crate) fn new(timeout: Duration, metrics: Arc<ListenerMetrics>) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), timeout, metrics }))
    }

    /// A clock for the next stream. hyper calls the service and then, before anything else, runs the future that the service
    /// returned.
    pub(crate) fn clock_of_next(&self) -> Arc<StreamClock> {
        let clock = Arc::default();
        self.state().next = Some(Arc::clone(&clock));
        clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> hyper::rt::Executor<F> for Http2Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut state = self.state();
        while let Some(ended) = state.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a request panicked");
            }
        }
        match state.next.take() {
            Some(clock) => {
                let (timeout, metrics) = (self.0.timeout, Arc::clone(&self.0.metrics));
                state.tasks.spawn(run_while_read(stream, clock, timeout, metrics));
            }
            None => {
                state.tasks.spawn(stream);
            }
        }
    }
}

/// Runs a stream until it ends, or until its reader has read nothing for too long. Dropping the stream resets it with `CANCEL` and
/// frees the data that waits for the reader in hyper and in h2.
async fn run_while_read<F>(
    stream: F,
    clock: Arc<StreamClock>,
    timeout: Duration,
    metrics: Arc<ListenerMetrics>,
) where
    F: Future<Output = ()>,
{
    let mut stream = pin!(stream);
    // Set when the first wait for the reader starts, and later only when it fires: most readers read what they requested.
    let mut alarm = None;
    std::future::poll_fn(move |context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(since) = clock.waiting_since() else { return Poll::Pending };
            let end = since + timeout;
            let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
            if alarm.is_elapsed() {
                if end <= Instant::now() {
                    metrics.response_cut(CutReason::Stalled);
                    return Poll::Ready(());
                }
                alarm.as_mut().reset(end);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
