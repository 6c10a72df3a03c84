//! Tests with the real Redis server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bindings;
mod channels;
mod contract;
mod errors;
mod lists;
mod server;
mod streams;
mod tls;
