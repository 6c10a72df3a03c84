//! The three storage contracts. Each is a list of guarantees, a trait, and a public test suite that every backend runs.
//!
//! Not its concern: files, databases, networks (those are `state-embedded` and, later, `state-cluster`), and
//! what the bytes mean.
//!
//! Know these first: [`Journal`] (append in order, read from a position), [`Registry`] (versioned keys) and [`Lease`] (one
//! owner at a time). Start reading at `journal.rs`.
//!
//! Every call names an [`Instance`], which separates namespaces: many accounts, applications or hubs share one store and
//! cannot see each other's data; tests run in parallel against one store.

mod instance;
mod journal;
mod lease;
mod registry;
#[cfg(feature = "suite")]
pub mod suite;

pub use instance::{Instance, InvalidName, Name};
pub use journal::{
    AppendError, Entry, Epoch, Journal, JournalInfo, JournalReadError, Offset, Position, Record,
    RecordHeaders, RemoveError, TrimError,
};
pub use lease::{Fence, Grant, Lease, LeaseError};
pub use registry::{
    Durability, Expect, Key, KeyEntry, Registry, RegistryChange, RegistryError, Version, Watch,
};
