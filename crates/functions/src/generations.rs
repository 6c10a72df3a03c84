//! [`Generations`]: the generations of the app whose workers have not been drained yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::invoke::Invoker;

/// The generations with workers: one that is starting, the one in service, and those that drain. Cheap to clone; clones share the list.
#[derive(Clone, Default)]
pub(crate) struct Generations(Arc<Mutex<BTreeMap<u64, Invoker>>>);

impl Generations {
    pub(crate) fn add(&self, number: u64, invoker: &Invoker) {
        self.lock().insert(number, invoker.clone());
    }

    /// Stops the workers of a generation, and removes it from the list.
    pub(crate) async fn drain(&self, number: u64, grace: Duration) {
        let invoker = self.lock().get(&number).cloned();
        if let Some(invoker) = invoker {
            invoker.workers.drain(grace).await;
            self.lock().remove(&number);
        }
    }

    /// Waits until no generation has an active invocation. `false` if this takes longer than `limit`.
    pub(crate) async fn idle(&self, limit: Duration) -> bool {
        let all = self.all();
        timeout(limit, join_all(all.iter().map(|(_, invoker)| invoker.active.idle()))).await.is_ok()
    }

    /// Stops the workers of all generations by `deadline`.
    pub(crate) async fn drain_all(&self, deadline: Instant) {
        let grace = deadline.saturating_duration_since(Instant::now());
        join_all(self.all().into_iter().map(|(number, _)| self.drain(number, grace))).await;
    }

    /// The process ids of the living workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.all().iter().flat_map(|(_, invoker)| invoker.workers.pids()).collect()
    }

    /// Whether a worker responds slowly to the status requests of its channel. Asks all of them for the next response.
    pub(crate) fn is_worker_slow(&self) -> bool {
        self.all().iter().fold(false, |is_slow, (_, invoker)| invoker.workers.is_slow() || is_slow)
    }

    /// Kills a worker. `false` if no worker has this process id.
    pub(crate) fn kill(&self, pid: u32) -> bool {
        self.all().iter().any(|(_, invoker)| invoker.workers.kill(pid))
    }

    fn all(&self) -> Vec<(u64, Invoker)> {
        self.lock().iter().map(|(number, invoker)| (*number, invoker.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Invoker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
