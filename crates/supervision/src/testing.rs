//! Faults that tests order. Compiled only with the feature `testing`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Units that are to panic at their next fault point.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<BTreeSet<String>>);

/// Names of units that are to panic once, separated by commas, for tests of the whole binary.
const VARIABLE: &str = "SUPERVISION_TESTING_PANIC";

impl Faults {
    pub(crate) fn arm(&self, unit: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(unit.to_owned());
    }

    pub(crate) fn arm_from_environment(&self) {
        let names = std::env::var(VARIABLE).unwrap_or_default();
        for name in names.split(',').filter(|name| !name.is_empty()) {
            self.arm(name);
        }
    }

    /// Panics if the unit was chosen, once.
    pub(crate) fn strike(&self, unit: &str) {
        let chosen = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(unit);
        assert!(!chosen, "a fault that a test ordered");
    }
}
