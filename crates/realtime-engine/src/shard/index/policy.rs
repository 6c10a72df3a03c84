//! [`HubPolicy`]: the options that apply to the connections of one hub.

use std::num::NonZeroU64;

use crate::{Hub, Options, SlowConsumer};

/// The options that apply to the connections of one hub.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubPolicy {
    pub(crate) pending_bytes_max: usize,
    pub(crate) slow_consumer: SlowConsumer,
    pub(crate) idle_timeout_ms: Option<NonZeroU64>,
}

impl HubPolicy {
    /// The policy of hubs without options of their own.
    pub(crate) fn of_all(options: &Options) -> Self {
        Self {
            pending_bytes_max: options.pending_bytes_max as usize,
            slow_consumer: options.slow_consumer,
            idle_timeout_ms: options.idle_timeout_ms,
        }
    }

    pub(super) fn of_hub(options: &Options, hub: &Hub) -> Self {
        let all = Self::of_all(options);
        let Some(own) = options.hubs.get(hub.name()) else { return all };
        Self {
            pending_bytes_max: own.pending_bytes_max.map_or(all.pending_bytes_max, |bytes| bytes as usize),
            slow_consumer: own.slow_consumer.unwrap_or(all.slow_consumer),
            idle_timeout_ms: own.idle_timeout_ms.or(all.idle_timeout_ms),
        }
    }
}
