//! The contracts of `state` on local files: the default, and a complete product.
//!
//! Journals share one segment log with group commit; the registry and the leases are SQLite; the relay is memory. What
//! was acknowledged as durable survives `kill -9`. Not its concern: what the bytes mean, and more than one node.
//!
//! Know these first: [`Store`] (opens a data directory and hands out the contracts), [`Options`], [`OpenError`].
//! Start reading at `store.rs`, then `journal.rs` and `registry.rs`.
//!
//! All blocking work is done by threads that the [`Store`] owns, and that end when it is closed or dropped.

mod error;
mod journal;
mod lease;
mod metrics;
mod options;
mod platform;
mod queue;
mod registry;
mod relay;
mod store;

pub use error::OpenError;
pub use options::{AcceptLoss, Clock, JournalOptions, Options, RegistryOptions, RelayOptions};
pub use store::{Parts, Store, backup, verify};
