//! Connection events: `connected` and `disconnected` are delivered to listeners at least once, also after a crash.
//!
//! If a listener subscribes to the `disconnected` events of a hub, each of its connections is recorded on disk before its
//! handshake completes; the record is removed when the `disconnected` is delivered or has become a dead letter.
//!
//! Not its concern: the requests to a listener (`upstream` for webhooks), and the order of events and invocations
//! (`upstream/connection_queues.rs`).
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
