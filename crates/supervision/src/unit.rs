//! [`Unit`]: one supervised thread or task, seen by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a supervised thread or task knows about itself.
#[derive(Clone, Debug)]
pub struct Unit {
    pub(crate) name: Arc<str>,
    /// Whether its owner asked it to end.
    pub(crate) is_released: Arc<AtomicBool>,
    #[cfg(feature = "testing")]
    pub(crate) faults: Arc<crate::testing::Faults>,
}

impl Unit {
    /// Says that the owner of this thread asked it to end: its return is no failure then.
    pub fn release(&self) {
        self.is_released.store(true, Ordering::Release);
    }

    pub(crate) fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Acquire)
    }

    /// Where a test can make the unit panic; nothing in a build of the product.
    #[inline]
    pub fn fault_point(&self) {
        #[cfg(feature = "testing")]
        self.faults.strike(&self.name);
    }
}
