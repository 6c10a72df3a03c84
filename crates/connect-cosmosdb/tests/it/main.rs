//! The trigger and the bindings: over an in-memory account that can do what real accounts do rarely, and over the document service itself.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod binding;
mod contract;
mod embedded;
mod fake;
mod options;
mod trigger;
