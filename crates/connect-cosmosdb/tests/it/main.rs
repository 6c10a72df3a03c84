//! The trigger and the bindings: against an account that lives in the test and can do what real ones do rarely, and against
//! the document service itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod binding;
mod contract;
mod embedded;
mod fake;
mod trigger;
