//! What only tests need: an HTTP client, a scripted SignalR client, and the binary as a process.
//!
//! Not its concern: being fast or complete. A dev-dependency only (invariant 10).
//!
//! Know these first: [`Http`], [`HubClient`], [`Process`].

mod http_client;
mod hub_client;
mod process;

pub use http_client::{Answer, Http};
pub use hub_client::HubClient;
pub use process::Process;

use std::time::Duration;

/// Longest time that a peer may be silent before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(30);
