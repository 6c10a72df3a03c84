//! Tests of `realtime-engine` through its public interface, in one binary so that it is linked once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod engine;
