//! The realtime service, compatible with Azure SignalR Service: clients negotiate and connect to hubs; apps send to hubs, groups, users and
//! connections over REST or in this process.
//!
//! Not its concern: sockets and delivery (`realtime-engine`), listeners and TLS (`edge`), routes in front of it (`gateway`), functions that handle
//! invocations.
//!
//! Know these first: [`start()`] (how the parts are connected), [`Service`] (HTTP), [`Handle`] (in process), [`upstream`] (webhooks that handle the
//! invocations of clients), [`servers`] (app servers, which may handle them instead), [`events`] (connection events for listeners). Start reading
//! at `service.rs`, then `service/client.rs` for requests of clients, `service/rest.rs` for the REST API, and `servers.rs` for app servers.

mod admin;
mod authentication;
mod claim_types;
mod client_access;
mod error_table;
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
pub use error_table::ERRORS;
pub use handle::{Handle, SendMessage, SendMessageError};
pub use history::{HistoryError, Rule as HistoryRule};
pub use mode::Mode;
pub use names::InvalidHub;
pub use options::{DynamicKeyOptions, OpenIdOptions, Options, OptionsError};
pub use service::{Service, TraceError};
pub use start::{Dependencies, Join, StartError, start};
pub use store::keys::{AccountKeys, KeyChange, KeyError, KeyRotation, OpenKeysError};
pub use store::user_groups::{MembershipError, RestoreError};
