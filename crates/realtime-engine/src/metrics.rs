//! Metrics of the shards: each shard counts in plain integers and adds them to the metrics once per turn.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::EndReason;

/// The metrics of all shards.
#[derive(Clone, Debug)]
pub(crate) struct EngineMetrics {
    pub(crate) connections: Family<HubLabels, Gauge>,
    pub(crate) ends: Family<EndLabels, Counter>,
    received_messages: Family<ShardLabels, Counter>,
    received_bytes: Family<ShardLabels, Counter>,
    frames: Family<ShardLabels, Counter>,
    sent_bytes: Family<ShardLabels, Counter>,
    writes: Family<ShardLabels, Counter>,
    blocked_writes: Family<ShardLabels, Counter>,
    untranslatable: Family<ShardLabels, Counter>,
    dropped: Family<ShardLabels, Counter>,
    pending_bytes: Family<ShardLabels, Gauge>,
    pub(crate) http_pending_bytes: Gauge,
    turn_seconds: Family<ShardLabels, Histogram, fn() -> Histogram>,
}

/// The metrics of one shard: plain integers during a turn, added to the counters at its end.
#[derive(Debug)]
pub(crate) struct ShardMetrics {
    pub(crate) turn: TurnCounts,
    received_messages: Counter,
    received_bytes: Counter,
    frames: Counter,
    sent_bytes: Counter,
    writes: Counter,
    blocked_writes: Counter,
    untranslatable: Counter,
    dropped: Counter,
    pending_bytes: Gauge,
    turn_seconds: Histogram,
}

/// Counts of one turn of a shard's loop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnCounts {
    pub(crate) received_messages: u64,
    pub(crate) received_bytes: u64,
    pub(crate) frames: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) writes: u64,
    pub(crate) blocked_writes: u64,
    pub(crate) untranslatable: u64,
    pub(crate) dropped: u64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct HubLabels {
    pub(crate) instance: String,
    pub(crate) hub: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct EndLabels {
    pub(crate) reason: EndReason,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ShardLabels {
    shard: u16,
}

impl EngineMetrics {
    fn new() -> Self {
        Self {
            connections: Family::default(),
            ends: Family::default(),
            received_messages: Family::default(),
            received_bytes: Family::default(),
            frames: Family::default(),
            sent_bytes: Family::default(),
            writes: Family::default(),
            blocked_writes: Family::default(),
            untranslatable: Family::default(),
            dropped: Family::default(),
            http_pending_bytes: Gauge::default(),
            pending_bytes: Family::default(),
            turn_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_1, 4.0, 8))
            }),
        }
    }

    pub(crate) fn register(metric_registry: &mut Registry) -> Self {
        let metrics = Self::new();
        let mut add = |name: &str, help: &str, counter: &Family<ShardLabels, Counter>| {
            metric_registry.register(format!("realtime_{name}"), help, counter.clone());
        };
        add("received_messages", "Hub messages from clients", &metrics.received_messages);
        add("received_bytes", "Bytes from clients", &metrics.received_bytes);
        add("frames", "WebSocket frames written completely; each has one message", &metrics.frames);
        add("sent_bytes", "Bytes written to clients", &metrics.sent_bytes);
        add("writes", "Writes to sockets; frames divided by writes is the coalescing", &metrics.writes);
        add("blocked_writes", "Writes that a socket accepted only in part", &metrics.blocked_writes);
        let help = "Deliveries skipped because the message cannot be encoded in the receiver's protocol";
        add("untranslatable", help, &metrics.untranslatable);
        let help = "Messages dropped for slow clients, by the policy of their hub";
        add("dropped", help, &metrics.dropped);
        let help = "Bytes that are pending for clients over Server-Sent Events and long polling";
        metric_registry.register("realtime_outlet_bytes", help, metrics.http_pending_bytes.clone());
        let help = "Connections that have completed their handshake";
        metric_registry.register("realtime_connections", help, metrics.connections.clone());
        metric_registry.register(
            "realtime_connection_ends",
            "Connections that ended, by reason",
            metrics.ends.clone(),
        );
        let help = "Bytes that are pending for clients that do not read";
        metric_registry.register("realtime_pending_bytes", help, metrics.pending_bytes.clone());
        let help = "Duration of a shard's loop turns, the longest delay of a read, a command or a timer";
        metric_registry.register("realtime_shard_turn_seconds", help, metrics.turn_seconds.clone());
        metrics
    }

    pub(crate) fn shard(&self, shard: u16) -> ShardMetrics {
        let labels = ShardLabels { shard };
        let counter = |family: &Family<ShardLabels, Counter>| family.get_or_create_owned(&labels);
        ShardMetrics {
            turn: TurnCounts::default(),
            received_messages: counter(&self.received_messages),
            received_bytes: counter(&self.received_bytes),
            frames: counter(&self.frames),
            sent_bytes: counter(&self.sent_bytes),
            writes: counter(&self.writes),
            blocked_writes: counter(&self.blocked_writes),
            untranslatable: counter(&self.untranslatable),
            dropped: counter(&self.dropped),
            pending_bytes: self.pending_bytes.get_or_create_owned(&labels),
            turn_seconds: self.turn_seconds.get_or_create_owned(&labels),
        }
    }
}

impl ShardMetrics {
    /// Adds the turn's counts to the metrics and starts the next turn.
    pub(crate) fn end_turn(&mut self, length: std::time::Duration, pending_bytes: u64) {
        let turn = std::mem::take(&mut self.turn);
        for (counter, count) in [
            (&self.received_messages, turn.received_messages),
            (&self.received_bytes, turn.received_bytes),
            (&self.frames, turn.frames),
            (&self.sent_bytes, turn.sent_bytes),
            (&self.writes, turn.writes),
            (&self.blocked_writes, turn.blocked_writes),
            (&self.untranslatable, turn.untranslatable),
            (&self.dropped, turn.dropped),
        ] {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        self.pending_bytes.set(i64::try_from(pending_bytes).unwrap_or(i64::MAX));
        self.turn_seconds.observe(length.as_secs_f64());
    }
}
