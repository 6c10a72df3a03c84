//! [`Load`]: connected clients of one kind, and when their messages arrived.

use std::time::Instant;

use super::publisher::Publisher;
use crate::fanout::task::Task;

/// When bursts arrived, since they were asked for, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    pub(super) probes: Vec<u64>,
    pub(super) last: Vec<u64>,
}

/// Connected clients, whatever they are connected by.
pub(super) trait Load {
    /// Connects one more client.
    fn connect(&mut self, number: u32) -> anyhow::Result<()>;

    /// Has a burst published. Then waits until those that are watched have so many bursts that fewer than [`Task::in_flight`] are
    /// under way.
    fn burst(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()>;

    /// Waits until those that are watched have all that was published.
    fn finish(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()>;

    /// Reads until each client has had so many messages since the last time, and proves that none is missing and none too many.
    fn settle(&mut self, each: u64) -> anyhow::Result<()>;

    fn count(&self) -> u64;
}

/// A moment since `asked`, in nanoseconds.
pub(super) fn since_ns(asked: Instant) -> u64 {
    u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
