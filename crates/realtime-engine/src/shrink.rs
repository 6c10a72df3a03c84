//! [`should_shrink`]: when a table releases memory.

/// Whether a table uses so little of its capacity that it should be made smaller.
pub fn should_shrink(length: usize, capacity: usize) -> bool {
    /// Smaller tables are not shrunk.
    const CAPACITY_MIN: usize = 1024;
    capacity > CAPACITY_MIN && length < capacity / 4
}
