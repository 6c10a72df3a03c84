//! The four contracts by which Chappe remembers and shares things: rules in prose, then a trait, then one
//! public test suite that every backend runs.
//!
//! Not its concern: files, databases, networks (those are `state-embedded` and, later, `state-cluster`), and
//! what the bytes mean.
//!
//! Know these first: [`Journal`] (append in order, read from a position), [`Registry`] (versioned keys),
//! [`Relay`] (fan-out without memory) and [`Lease`] (one owner at a time). Start reading at `journal.rs`.
//!
//! Everything is addressed by an [`Instance`]: many accounts, applications or hubs live in one process, and tests run
//! in parallel against one store, without ever seeing each other's keys.

mod instance;
mod journal;
mod lease;
mod registry;
mod relay;
#[cfg(feature = "suite")]
pub mod suite;

pub use instance::{Instance, InvalidName, Name};
pub use journal::{
    AppendError, Entry, Epoch, Headers, Journal, JournalInfo, Offset, Position, ReadError, Record,
    RemoveError, TrimError,
};
pub use lease::{Fence, Grant, Lease, LeaseError};
pub use registry::{Durability, Expect, Key, KeyChange, KeyEntry, Registry, RegistryError, Version, Watch};
pub use relay::{Relay, RelayError, RelayMessage, Subscription};
