//! The gateway decides whether a request may pass, and routes it.
//!
//! Three layers, each in a separate file: the policy as data ([`Options`], [`Route`] in `route.rs`), matching, which is pure
//! (`matching.rs`), and enforcement, the only part that handles a live request (`enforce.rs`).
//!
//! Not its concern: sockets (`edge` owns those), and what the services behind it do. It knows them by name only, as
//! [`UpstreamService`]s that the binary passes in; an upgrade passes through unchanged, because it is in the request's extensions.
//!
//! Start with [`Options`], [`Route`], [`start`].

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
