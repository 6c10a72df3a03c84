//! Outgoing requests: to upstreams, webhooks, remote services, custom handlers.
//!
//! A [`Client`] pools connections to many hosts (HTTP/1.1 and HTTP/2, plain and TLS, direct or through a proxy) and limits each
//! request in time and size. If callers choose the address, an [`AddressPolicy`] checks the addresses that it resolves to, so that
//! a URL from outside cannot reach the internal network (server-side request forgery).
//!
//! Not its concern: retries, credentials, content. It knows no product; [`SendError`] says what a retry needs to know.
//! Start with [`Client`], [`Options`], [`SendError`]. Start reading at `client.rs`, then `connector.rs`.

mod client;
mod connection;
mod connector;
mod error;
mod error_table;
mod metrics;
mod options;
mod policy;
mod proxy;
mod roots;
mod tasks;

pub use client::{Client, RequestTimeout};
pub use error::{OptionsError, SendError};
pub use error_table::ERRORS;
pub use metrics::Metrics;
pub use options::{HttpVersion, Options};
pub use policy::{AddressPolicy, Base, Cidr, CidrError};
pub use proxy::{ProxyChoice, ProxyUrls};
