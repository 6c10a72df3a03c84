//! [`HubCounts`]: the number of connections of each hub.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::options::HubOptions;
use crate::{Hub, Options};

/// The number of connections of each hub, with the limits. Hubs without a limit are counted too, because a limit may be set while they
/// have connections.
#[derive(Debug)]
pub(crate) struct HubCounts(Mutex<Counted>);

#[derive(Debug)]
struct Counted {
    limit_of_all: Option<NonZeroU32>,
    hubs: BTreeMap<String, HubOptions>,
    counts: HashMap<Hub, u32>,
}

impl HubCounts {
    pub(crate) fn new(options: &Options) -> Self {
        let (limit_of_all, hubs) = (options.hub_connections_max, options.hubs.clone());
        Self(Mutex::new(Counted { limit_of_all, hubs, counts: HashMap::new() }))
    }

    /// Replaces the limits. Connections above a lower limit stay open.
    pub(crate) fn set_options(&self, options: &Options) {
        let mut counted = self.lock();
        counted.limit_of_all = options.hub_connections_max;
        counted.hubs = options.hubs.clone();
    }

    /// The limit of a hub, if it is reached.
    pub(crate) fn is_full(&self, hub: &Hub) -> Option<u32> {
        let counted = self.lock();
        let limit = counted.limit(hub)?;
        (counted.counts.get(hub).is_some_and(|count| *count >= limit)).then_some(limit)
    }

    /// Counts a new connection of a hub; fails with the hub's limit if it is reached.
    pub(crate) fn reserve(&self, hub: &Hub) -> Result<(), u32> {
        let mut counted = self.lock();
        let limit = counted.limit(hub).unwrap_or(u32::MAX);
        let count = counted.counts.entry(hub.clone()).or_default();
        if *count >= limit {
            return Err(limit);
        }
        *count += 1;
        Ok(())
    }

    /// Counts the end of a connection of a hub.
    pub(crate) fn release(&self, hub: &Hub) {
        let mut counted = self.lock();
        if let Some(count) = counted.counts.get_mut(hub) {
            *count -= 1;
            if *count == 0 {
                counted.counts.remove(hub);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    fn limit(&self, hub: &Hub) -> Option<u32> {
        let own = self.hubs.get(hub.name()).and_then(|hub| hub.connections_max);
        own.or(self.limit_of_all).map(NonZeroU32::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_set_later_counts_connections_opened_before() {
        let counts = HubCounts::new(&Options::default());
        let hub = Hub::new(state::Instance::new("test").expect("a valid name"), "chat");
        assert_eq!((counts.reserve(&hub), counts.reserve(&hub)), (Ok(()), Ok(())));
        counts.set_options(&Options { hub_connections_max: NonZeroU32::new(2), ..Options::default() });
        assert_eq!((counts.reserve(&hub), counts.is_full(&hub)), (Err(2), Some(2)));
        counts.release(&hub);
        assert_eq!((counts.is_full(&hub), counts.reserve(&hub)), (None, Ok(())));
        let own = HubOptions { connections_max: NonZeroU32::new(3), ..HubOptions::default() };
        counts.set_options(&Options { hubs: [("chat".to_owned(), own)].into(), ..Options::default() });
        assert_eq!((counts.reserve(&hub), counts.reserve(&hub)), (Ok(()), Err(3)));
        counts.set_options(&Options::default());
        assert_eq!(counts.reserve(&hub), Ok(()), "no limit any more");
    }
}
