//! The stack size of the threads that evaluate queries.

/// Enough for the recursive evaluation of a query: 64 levels of brackets with chains of 100 operators. Unused stack uses no memory.
pub(super) const STACK_BYTES: usize = 16 * 1024 * 1024;
