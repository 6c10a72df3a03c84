//! [`HubCounts`]: the number of connections of each hub.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::{Hub, Options};

/// The number of connections of each hub, if any hub has a limit.
#[derive(Debug)]
pub(crate) struct HubCounts {
    options: Options,
    is_limited: bool,
    counts: Mutex<HashMap<Hub, u32>>,
}

impl HubCounts {
    pub(crate) fn new(options: &Options) -> Self {
        let is_limited = options.hub_connections_max.is_some()
            || options.hubs.values().any(|hub| hub.connections_max.is_some());
        Self { options: options.clone(), is_limited, counts: Mutex::default() }
    }

    fn limit(&self, hub: &Hub) -> Option<u32> {
        let own = self.options.hubs.get(hub.name()).and_then(|hub| hub.connections_max);
        own.or(self.options.hub_connections_max).map(std::num::NonZeroU32::get)
    }

    /// The limit of a hub, if it is reached.
    pub(crate) fn is_full(&self, hub: &Hub) -> Option<u32> {
        let limit = self.is_limited.then(|| self.limit(hub)).flatten()?;
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.get(hub).is_some_and(|count| *count >= limit)).then_some(limit)
    }

    /// Counts a new connection of a hub; fails with the hub's limit if it is reached.
    pub(crate) fn reserve(&self, hub: &Hub) -> Result<(), u32> {
        if !self.is_limited {
            return Ok(());
        }
        let limit = self.limit(hub).unwrap_or(u32::MAX);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(hub.clone()).or_default();
        if *count >= limit {
            return Err(limit);
        }
        *count += 1;
        Ok(())
    }

    /// Counts the end of a connection of a hub.
    pub(crate) fn release(&self, hub: &Hub) {
        if !self.is_limited {
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(hub) {
            *count -= 1;
            if *count == 0 {
                counts.remove(hub);
            }
        }
    }
}
