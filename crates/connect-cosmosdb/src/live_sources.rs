//! [`LiveSources`]: the sources of this process that are open.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The numbers of the open sources of this process; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveSources {
    numbers: Arc<Mutex<Numbers>>,
}

#[derive(Debug, Default)]
struct Numbers {
    open: HashSet<u64>,
    last: u64,
}

/// The number of an open source; dropping it marks the source as closed.
#[derive(Debug)]
pub(crate) struct LiveSource {
    live_sources: LiveSources,
    pub(crate) number: u64,
}

impl LiveSources {
    /// Assigns a number to a new source.
    pub(crate) fn register(&self) -> LiveSource {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.last += 1;
        let number = numbers.last;
        numbers.open.insert(number);
        LiveSource { live_sources: self.clone(), number }
    }

    /// Whether the source with this number is open.
    pub(crate) fn is_live(&self, number: u64) -> bool {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).open.contains(&number)
    }
}

impl Drop for LiveSource {
    fn drop(&mut self) {
        let mut numbers = self.live_sources.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.open.remove(&self.number);
    }
}
