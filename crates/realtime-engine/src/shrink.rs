//! [`should_shrink`]: when a table gives memory back.

/// Whether a table holds so few of the entries that it has room for that it is worth making it smaller.
pub fn should_shrink(length: usize, capacity: usize) -> bool {
    /// A smaller table is not worth the work.
    const CAPACITY_MIN: usize = 1024;
    capacity > CAPACITY_MIN && length < capacity / 4
}
