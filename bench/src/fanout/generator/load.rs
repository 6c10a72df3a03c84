//! [`Load`]: connected clients of one transport, and when their messages arrived.

use std::time::Instant;

use super::publisher::Publisher;
use crate::fanout::task::Task;

/// When bursts arrived, relative to their request, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    pub(super) probes: Vec<u64>,
    pub(super) last: Vec<u64>,
}

/// Connected clients of any transport.
pub(super) trait Load {
    /// Connects one more client.
    fn connect(&mut self, number: u32) -> anyhow::Result<()>;

    /// Has a burst published. Then waits until the watched clients have received so many bursts that fewer than [`Task::in_flight`] are
    /// pending.
    fn burst(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()>;

    /// Waits until the watched clients have received everything that was published.
    fn finish(
        &mut self,
        publisher: &mut Publisher,
        task: &Task,
        latencies: &mut Latencies,
    ) -> anyhow::Result<()>;

    /// Reads until each client has received this many messages since the last settlement, and verifies that there are no more and no fewer.
    fn settle(&mut self, each: u64) -> anyhow::Result<()>;

    fn count(&self) -> u64;
}

/// The time since `asked`, in nanoseconds.
pub(super) fn since_ns(asked: Instant) -> u64 {
    u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
