//! The contracts of `state` on local files, for one node.
//!
//! All journals share one segment log with group commit; the registry and the leases are in SQLite. What was acknowledged
//! as durable survives `kill -9`. Not its concern: what the bytes mean, and more than one node.
//!
//! Know these first: [`Store`] (opens a data directory and provides the contracts), [`Options`], [`OpenStoreError`].
//! Start reading at `store.rs`, then `journal.rs` and `registry.rs`.
//!
//! Threads of the [`Store`] do all blocking work; they end when it is closed or dropped.

mod error;
mod journal;
mod lease;
mod metrics;
mod options;
mod platform;
mod queue;
mod registry;
mod store;

pub use error::OpenStoreError;
pub use options::{AcceptLoss, Clock, JournalOptions, Options, RegistryOptions};
pub use store::{PartIds, Store, backup, verify};
