//! The document service: containers of JSON items with a change feed, with the REST API of Cosmos DB (gateway mode).
//!
//! Not its concern: sockets and TLS (`edge`), consumers of the change feed, other external systems. A container is one physical
//! partition; all containers are in one SQLite file.
//!
//! Know these first: [`start`], [`Service`] (the requests), [`Handle`] (hints), `store::DocumentStore` (the rules of storage).
//! Start reading at `service.rs`; a write goes through `service/items.rs`, `store/writer.rs`, `store/apply_items.rs` and
//! `decide.rs`.

mod accepted_keys;
mod catalog;
mod clock;
mod decide;
mod effective_key;
mod error;
mod error_table;
mod feed_origins;
mod from_protocol;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handle;
mod hints;
mod metrics;
mod options;
mod partition_key;
mod patch;
mod query;
mod resource_id;
mod service;
mod store;
mod to_protocol;

pub use clock::Clock;
pub use error::Error;
pub use error_table::ERRORS;
pub use feed_origins::FeedOrigins;
pub use handle::{Handle, Join};
pub use hints::Hints;
pub use options::Options;
pub use service::{Dependencies, Service, start};

/// Reads everything in a documents folder that no process has open. Returns a description of each damage; empty if there is none.
///
/// # Errors
///
/// If the folder is in use, or its file cannot be read at all.
pub fn verify(folder: &std::path::Path) -> Result<Vec<String>, Error> {
    store::verify(folder)
}

/// Copies a documents folder, as of one moment, to a new one. A process may have it open.
///
/// # Errors
///
/// If it is damaged or incomplete, or the copy cannot be written.
pub fn backup(folder: &std::path::Path, to: &std::path::Path) -> Result<(), Error> {
    store::backup(folder, to)
}
