//! Connection events: that clients came and went is told to whoever listens, at least once, also after a crash.
//!
//! Where somebody wants to hear the end of a hub's connections, each is recorded on disk before its handshake is answered; the
//! record goes when its `disconnected` has arrived, or lies among the dead letters.
//!
//! Not its concern: what is said to a listener (`upstream` for webhooks), and in what order beside calls (`upstream/lanes.rs`).
//!
//! Know these first: [`ConnectionListener`], [`ConnectionEvent`], [`DeadLetter`]. Start reading at `events/listener.rs`.

mod dead_letters;
mod listener;
mod options;
mod record;
mod retry;
mod store;

pub use dead_letters::{DeadLetter, DeadLetterPage, DeadLettersError};
pub use listener::{ConnectionEvent, ConnectionListener, EventKind, Happened, NODE_LOST, Retry, Undelivered};
pub use options::Options;

pub(crate) use dead_letters::DeadLetters;
pub(crate) use record::{Life, Place};
pub(crate) use retry::Retries;
pub(crate) use store::{LoadError, Records};
