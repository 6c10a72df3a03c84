//! [`Relay`]: fan-out between nodes, at most once, without memory.
//!
//! # Guarantees
//!
//! 1. **At most once.** A message reaches each subscription that existed when it was published at most once; who
//!    subscribes later never sees it.
//! 2. **Order.** Messages of one publisher on one subject arrive in the order in which they were published.
//! 3. **No waiting for the slow.** A subscription has a bound; what does not fit is dropped and counted, and the
//!    subscriber is told how many it missed.
//! 4. **A publisher hears itself** if it is subscribed: a single node takes the same path as many.

use bytes::Bytes;

use crate::{Headers, Instance, Name};

/// What is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayMessage {
    /// Where it was published.
    pub subject: Name,
    /// Trace context, origin node, schema version.
    pub headers: Headers,
    /// The message.
    pub body: Bytes,
}

/// Why a relay call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The relay is closed.
    #[error("the relay is closed")]
    Closed,
    /// The backend failed.
    #[error("relay")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What arrives at a subscriber. Dropping it ends the subscription.
#[async_trait::async_trait]
pub trait Subscription: Send {
    /// The next message, with the number of messages missed just before it; `None` when the relay closes. Cancel-safe.
    async fn next(&mut self) -> Option<(RelayMessage, u64)>;
}

/// Publish and subscribe between nodes. See the module's guarantees.
#[async_trait::async_trait]
pub trait Relay: Send + Sync + 'static {
    /// Sends a message to the present subscribers of its subject.
    async fn publish(&self, instance: &Instance, message: RelayMessage) -> Result<(), RelayError>;

    /// Subscribes to one subject, keeping at most `pending_max` messages for a slow reader.
    async fn subscribe(
        &self,
        instance: &Instance,
        subject: &Name,
        pending_max: usize,
    ) -> Result<Box<dyn Subscription>, RelayError>;
}
