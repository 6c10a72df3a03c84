//! [`EngineHandle`]: how the rest of the process uses the shards. [`EngineJoin`]: how it ends them.
//!
//! `attach.rs` adds connections, `publish.rs` sends messages, `groups.rs` changes groups, `client.rs` has the commands about one
//! client, `streams.rs` sends stream items, `lists.rs` lists connections, users and groups, and `wake.rs` is the queue of a
//! shard.

mod attach;
mod client;
mod groups;
mod lists;
mod publish;
mod streams;
mod wake;

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use trace::Tracer;

pub(crate) use self::wake::{ShardSender, ShardWaker};
use crate::command::ShardCommand;
use crate::hub_counts::HubCounts;
use crate::{ConnectionId, HistoryLog, NodeId, Options, Stopped, Target};

/// Sends commands to the shards; cheap to clone.
#[derive(Clone, Debug)]
pub struct EngineHandle(Arc<Shared>);

/// Owns the shards' threads.
#[derive(Debug)]
pub struct EngineJoin {
    handle: EngineHandle,
    threads: Vec<ShardThread>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) connections_max: AtomicU32,
    /// Number of connections in all shards.
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) hub_counts: Arc<HubCounts>,
    pub(crate) http_pending_bytes: prometheus_client::metrics::gauge::Gauge,
    pub(crate) next_shard: AtomicU16,
    pub(crate) shards: Vec<ShardSender>,
    pub(crate) tracer: Tracer,
    pub(crate) history_log: OnceLock<Arc<dyn HistoryLog>>,
}

#[derive(Debug)]
pub(crate) struct ShardThread {
    pub(crate) ended: oneshot::Receiver<()>,
    pub(crate) thread: supervision::Thread,
}

impl EngineHandle {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Replaces limits and timeouts. Rates are for connections that are opened from then on; sizes and counts for all. Open connections
    /// use the new timeouts from their next check, at most one old `keep_alive_ms` later; connections above a lower limit stay open.
    /// Shards, queues and read buffers keep the options of the start.
    ///
    /// # Errors
    ///
    /// If the engine has ended.
    pub async fn set_options(&self, options: &Options) -> Result<(), Stopped> {
        self.0.connections_max.store(options.connections_max, Ordering::Release);
        self.0.hub_counts.set_options(options);
        let options = Arc::new(options.clone());
        for shard in &self.0.shards {
            shard.send(ShardCommand::SetOptions(Arc::clone(&options))).await?;
        }
        Ok(())
    }

    /// Sends a query to the shard that owns a connection. For a connection of another node the result is the default.
    async fn ask_owner<T: Default>(
        &self,
        connection: ConnectionId,
        command: impl FnOnce(oneshot::Sender<T>) -> ShardCommand,
    ) -> Result<T, Stopped> {
        let Some(shard) = self.shard_of(connection) else { return Ok(T::default()) };
        let (sender, answer) = oneshot::channel();
        shard.send(command(sender)).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn ask_all<T>(
        &self,
        command: impl Fn(oneshot::Sender<T>) -> ShardCommand,
    ) -> Result<Vec<T>, Stopped> {
        let mut answers = Vec::with_capacity(self.0.shards.len());
        for shard in &self.0.shards {
            let (sender, answer) = oneshot::channel();
            shard.send(command(sender)).await?;
            answers.push(answer);
        }
        let mut values = Vec::with_capacity(answers.len());
        for answer in answers {
            values.push(answer.await.map_err(|_| Stopped)?);
        }
        Ok(values)
    }

    fn shard_of(&self, connection: ConnectionId) -> Option<&ShardSender> {
        if connection.node() != self.0.node {
            return None;
        }
        self.0.shards.get(usize::from(connection.shard().0))
    }

    /// The shards that may have receivers.
    fn shards_of(&self, target: &Target) -> &[ShardSender] {
        let Target::Connection(connection) = target else { return &self.0.shards };
        self.shard_of(*connection).map_or(&[], std::slice::from_ref)
    }
}

impl EngineJoin {
    /// Ends the engine: tells every client to reconnect (Close with `allowReconnect`), waits until they have closed, and drops the
    /// connections that are left after `cut_after`. Returns when all threads have ended.
    pub async fn drain(self, cut_after: Duration) {
        for shard in &self.handle.0.shards {
            // Fails only for a shard that has already ended.
            let _ = shard.send(ShardCommand::Drain { cut_after }).await;
        }
        for ShardThread { ended, thread } in self.threads {
            // The sender is dropped when the thread ends, so the join that follows does not block.
            let _ = ended.await;
            if thread.join().is_err() {
                tracing::error!("a shard's thread panicked");
            }
        }
    }

    pub(crate) fn new(handle: EngineHandle, threads: Vec<ShardThread>) -> Self {
        Self { handle, threads }
    }
}
