//! Tests of the crate through its public interface.

mod matching;
mod reading;
mod replay;
