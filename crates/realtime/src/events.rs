//! Connection events: `connected` and `disconnected` are delivered to listeners at least once, also after a crash.
//!
//! If a listener wants the `disconnected` events of a hub, each of its connections is recorded on disk before its handshake is answered; the
//! record is removed when the `disconnected` is delivered, or is a dead letter.
//!
//! Not its concern: what is said to a listener (`upstream` for webhooks), and in what order beside calls (`upstream/connection_queues.rs`).
//!
//! Know these first: [`ConnectionListener`], [`ConnectionEvent`], [`DeadLetter`]. Start reading at `events/listener.rs`.

mod dead_letters;
mod listener;
mod options;
mod record;
mod retry;
mod store;

pub use dead_letters::{DeadLetter, DeadLetterPage, DeadLettersError};
pub use listener::{
    ConnectionChange, ConnectionEvent, ConnectionListener, DeliveryError, EventKind, NODE_LOST, Retry,
};
pub use options::Options;

pub(crate) use dead_letters::DeadLetters;
pub(crate) use record::{ProcessRun, RecordKey};
pub(crate) use retry::Retries;
pub(crate) use store::{LoadRecordError, Records};
