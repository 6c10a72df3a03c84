//! `eventGridTrigger`: events that Event Grid, or another sender of its protocol, delivers to a webhook invoke functions.
//!
//! The webhook is `/runtime/webhooks/eventgrid?functionName=<name>&code=<key>`, with the handshakes of both schemas, Event Grid and
//! CloudEvents 1.0. A service of this process delivers events to the same trigger without a socket, by the requests that [`delivery()`]
//! makes.
//!
//! Not its concern: topics, subscriptions, filters, retries of a delivery (they belong to the sender), running functions
//! (`functions`).
//!
//! Know these first: [`EventGrid`]. Start reading at `trigger.rs`; `envelope.rs` reads the two schemas.

mod connector;
mod delivery;
mod envelope;
mod handshake;
mod options;
mod response;
mod routing;
mod trigger;

pub use connector::EventGrid;
pub use delivery::{Schema, delivery};
pub use options::Options;
