//! The realtime service in the dialect of Azure SignalR Service: clients negotiate and connect to hubs; apps send to hubs,
//! groups, users and connections over REST or in this process.
//!
//! Not its concern: listeners and TLS (`edge`), routes in front of it (`gateway`), who answers what clients call (an
//! [`engine::Upstream`] that the owner passes in).
//!
//! Know these first: [`Service`] (HTTP), [`Handle`] (in process), [`engine`] (the sockets). Start reading at `service.rs`, then
//! `service/client.rs` for the way of a client and `service/rest.rs` for that of a message.

pub mod engine;
mod error;
mod from_protocol;
mod handle;
mod history;
mod methods;
mod metrics;
mod options;
mod service;
mod store;
mod to_protocol;

pub use error::{ClientAccessError, InvalidHub, SendError, StartError};
pub use handle::{ClientAccess, Handle, Message};
pub use history::{HistoryError, Rule as HistoryRule};
pub use options::Options;
pub use service::{Dependencies, Join, Service, start};

/// Any error of a body that passes through.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every request and response that passes through.
pub type Body = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, BoxError>;
