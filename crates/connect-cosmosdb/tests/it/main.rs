//! The trigger and the bindings against an account that lives in the test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod binding;
mod fake;
mod trigger;
