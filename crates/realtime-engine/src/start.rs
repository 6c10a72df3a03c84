//! Starts the engine: polls, queues, threads.

use std::io;
use std::sync::atomic::{AtomicU16, AtomicU32};
use std::sync::{Arc, OnceLock};

use mio::{Poll, Waker};
use prometheus_client::registry::Registry;
use supervision::Supervisor;
use tokio::sync::{mpsc, oneshot};
use trace::Tracer;

use super::handle::{ShardSender, ShardThread, ShardWaker, Shared};
use super::hub_counts::HubCounts;
use super::shard::{Shard, ShardInbox, ShardSettings, ShardTurns, WAKER_TOKEN};
use super::{EngineHandle, EngineJoin, NodeId, Options, Upstream};
use crate::metrics::EngineMetrics;

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} cannot start")]
pub struct StartError {
    shard: u16,
    #[source]
    cause: io::Error,
}

pub(super) fn start(
    options: &Options,
    node: NodeId,
    tracer: Tracer,
    supervisor: &Supervisor,
    metric_registry: &mut Registry,
    upstream: &Arc<dyn Upstream>,
) -> Result<(EngineHandle, EngineJoin), StartError> {
    let metrics = EngineMetrics::register(metric_registry);
    let connections = Arc::new(AtomicU32::new(0));
    let hub_counts = Arc::new(HubCounts::new(options));
    let http_pending_bytes = metrics.http_pending_bytes.clone();
    let settings = ShardSettings::new(
        options,
        metrics,
        Arc::clone(upstream),
        Arc::clone(&connections),
        Arc::clone(&hub_counts),
    );
    let mut shards = Vec::new();
    let mut threads = Vec::new();
    for shard in 0..options.shard_count() {
        let (sender, thread) = start_shard(shard, options, &settings, supervisor)
            .map_err(|cause| StartError { shard, cause })?;
        shards.push(sender);
        threads.push(thread);
    }
    let handle = EngineHandle::new(Shared {
        node,
        connections_max: options.connections_max.into(),
        connections,
        hub_counts,
        http_pending_bytes,
        next_shard: AtomicU16::new(0),
        shards,
        tracer,
        history_log: OnceLock::new(),
    });
    Ok((handle.clone(), EngineJoin::new(handle, threads)))
}

fn start_shard(
    shard: u16,
    options: &Options,
    settings: &ShardSettings,
    supervisor: &Supervisor,
) -> io::Result<(ShardSender, ShardThread)> {
    let poll = Poll::new()?;
    let waker = ShardWaker::new(Waker::new(poll.registry(), WAKER_TOKEN)?);
    let (commands, queue) = mpsc::channel((options.commands_max as usize).max(1));
    let (done, ended) = oneshot::channel();
    let inbox = ShardInbox { commands: queue, waker: Arc::clone(&waker) };
    let settings = settings.clone();
    let name = format!("shard {shard}");
    let thread = supervisor.essential_turns(std::thread::Builder::new(), &name, move || {
        // The shard is created on its own thread, because its connections share references that are not `Send`.
        let shard = Shard::new(shard, poll, settings, std::time::Instant::now());
        ShardTurns::new(shard, inbox, done)
    })?;
    Ok((ShardSender::new(commands, waker), ShardThread { ended, thread }))
}
