//! The gateway decides whether a request may pass, and where to.
//!
//! Three layers, each in a file of its own: the policy as data ([`Options`], [`Route`] in `route.rs`), matching, which is
//! pure (`matching.rs`), and enforcement, the only part that touches a live request (`enforce.rs`).
//!
//! Not its concern: sockets (those are `edge`'s), and what the services behind it mean. It knows them by name only, as
//! [`UpstreamService`]s that the binary hands in; an upgrade passes through untouched, because it travels in the request's
//! extensions.
//!
//! Know these first: [`Options`], [`Route`], [`start`].

mod enforce;
mod error;
mod error_table;
mod matching;
mod metrics;
mod options;
mod route;
mod static_files;

pub use enforce::{Dependencies, Handle, Join, Service, UpstreamService, start};
pub use error::RouteError;
pub use error_table::ERRORS;
pub use options::Options;
pub use route::{Route, RouteTarget};
