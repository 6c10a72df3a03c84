//! Mutations: faults that the simulator puts into the product, one at a time, to show that its checks find them.
//!
//! A place that can be mutated asks [`is_mutated`]. Without the feature `simulation` the result is false at compile time, and nothing of
//! the mutation is left in the program.

/// Whether this run has the fault of that name.
#[cfg(not(feature = "simulation"))]
#[inline]
pub const fn is_mutated(_fault: &str) -> bool {
    false
}

/// Whether the simulation of this thread has the fault of that name.
#[cfg(feature = "simulation")]
#[inline]
pub fn is_mutated(fault: &str) -> bool {
    crate::simulation::mutation() == Some(fault)
}
