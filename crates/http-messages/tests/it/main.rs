//! Tests of the crate `body` through its public items.

mod limits;
mod pools;
mod sender;
mod spill;
