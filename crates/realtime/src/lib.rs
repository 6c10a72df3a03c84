//! The realtime service in the dialect of Azure SignalR Service: clients negotiate and connect to hubs; apps send to hubs,
//! groups, users and connections over REST or in this process.
//!
//! Not its concern: listeners and TLS (`edge`), routes in front of it (`gateway`), functions that answer what clients call.
//!
//! Know these first: [`Service`] (HTTP), [`Handle`] (in process), [`realtime_engine`] (the sockets), [`upstream`] (who answers what clients
//! call), [`servers`] (app servers, who may do so instead), [`events`] (who hears that they come and go). Start reading at `service.rs`,
//! then `service/client.rs` for the way of a client, `service/rest.rs` for that of a message, and `servers.rs` for app servers.

mod admin;
mod authentication;
mod claim_types;
mod client_access;
pub mod events;
mod filter;
mod from_protocol;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod history;
mod login;
mod methods;
mod metrics;
mod mode;
mod names;
mod options;
mod rejection;
pub mod servers;
mod service;
mod start;
mod store;
mod to_protocol;
mod unix_time;
pub mod upstream;

pub use admin::{ADMIN_ERRORS, Admin};
pub use client_access::{ClientAccess, ClientAccessError};
pub use handle::{Handle, Message, SendError};
pub use history::{HistoryError, Rule as HistoryRule};
pub use mode::Mode;
pub use names::InvalidHub;
pub use options::{DynamicKeyOptions, OpenIdOptions, Options, OptionsError};
pub use service::{Service, TraceError};
pub use start::{Dependencies, Join, StartError, start};
pub use store::keys::{AccountKeys, KeyChange, KeyError, KeyRotation, OpenKeysError};
pub use store::user_groups::{MembershipError, RestoreError};
