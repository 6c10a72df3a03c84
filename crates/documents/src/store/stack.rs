//! The stack size of the threads that evaluate queries.

/// Room for the evaluator, which follows a query's tree: 64 brackets of chains of 100 operators. Untouched stack costs nothing.
pub(super) const STACK_BYTES: usize = 16 * 1024 * 1024;
