//! Code that only tests need: an HTTP client, a scripted SignalR client, raw clients that can violate protocols, an identity provider, a
//! scripted app server, and the binary as a process.
//!
//! Not its concern: speed and completeness. A dev-dependency only (invariant 10).
//!
//! Know these first: [`Http`], [`HubClient`], [`RawSocket`], [`RawHttp2`], [`ScriptedAppServer`], [`LoginProvider`], [`ChildProcess`].

mod app_server;
mod http_client;
mod hub_client;
mod login_provider;
mod process;
mod raw_http2;
mod raw_socket;

pub use app_server::{Introduction, ScriptedAppServer, Served};
pub use http_client::{Http, HttpResponse};
pub use hub_client::HubClient;
pub use login_provider::LoginProvider;
pub use process::ChildProcess;
pub use raw_http2::{Heard, RawHttp2};
pub use raw_socket::RawSocket;

use std::time::Duration;

/// Longest silence of a peer before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
