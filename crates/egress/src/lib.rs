//! Requests that we make: upstreams, webhooks, remote services, custom handlers.
//!
//! A [`Client`] keeps connections to many hosts (HTTP/1.1 and HTTP/2, plain and TLS, direct or through a proxy) and bounds
//! each request in time and size. Where callers of ours choose the address, an [`AddressPolicy`] checks what it resolves to,
//! so that a URL from outside cannot reach the internal network (server-side request forgery).
//!
//! Not its concern: retries, credentials, what is said. It knows no product; [`SendError`] says what a retry needs to know.
//! Know these first: [`Client`], [`Options`], [`SendError`]. Start reading at `client.rs`, then `connector.rs`.

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
