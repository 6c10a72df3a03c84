//! [`ConnectionListener`]: receives an event when a client connects or disconnects.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use realtime_engine::{ClientConnection, Hub};

/// The reason of a `disconnected` whose connection ended with its process.
pub const NODE_LOST: &str = "NodeLost";

/// Receives connection events.
///
/// 1. **At least once.** An event is delivered until [`deliver`](Self::deliver) returns `Ok`, or until the limits of
/// [`Options`](super::Options) are reached and it becomes a dead letter. After a crash an event may be delivered again.
/// 2. **In order.** For one connection, `connected` is settled before `disconnected` is attempted. Events of different
/// connections are delivered in parallel.
/// 3. **No `disconnected` is lost.** A connection whose `connected` was delivered gets its `disconnected`, also after `kill -9`:
/// then late, with the reason [`NODE_LOST`]. A `connected` is not repeated after a restart, because its connection has ended.
#[async_trait::async_trait]
pub trait ConnectionListener: Send + Sync + 'static {
    /// Its name in metrics and dead letters; the same after every start.
    fn name(&self) -> &'static str;

    /// Whether it subscribes to events of this kind of a hub. Called on a shard's thread, so it must not block. The result for a
    /// hub must not change while the process runs.
    fn subscribes_to(&self, hub: &Hub, kind: EventKind) -> bool;

    /// Delivers an event.
    ///
    /// # Errors
    ///
    /// If the event was not delivered, with whether and when to retry.
    async fn deliver(&self, event: &ConnectionEvent) -> Result<(), DeliveryError>;
}

/// An event of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionEvent {
    /// The connection and its client.
    pub client: ClientConnection,
    /// What has changed.
    pub change: ConnectionChange,
    /// The time of the change.
    pub at: SystemTime,
}

/// How a connection has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// Its handshake is complete.
    Connected,
    /// It has ended.
    Disconnected {
        /// The name of an [`EndReason`](realtime_engine::EndReason), or [`NODE_LOST`].
        reason: Cow<'static, str>,
        /// The error, if it ended because of one.
        error: Option<Box<str>>,
    },
}

/// The two kinds of [`ConnectionChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A client has connected.
    Connected,
    /// A client has disconnected.
    Disconnected,
}

/// Why an event was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct DeliveryError {
    /// The reason, for operators: in logs, and in the dead letter.
    pub cause: String,
    /// Whether and when to retry.
    pub retry: Retry,
}

/// Whether and when to retry an event that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A retry would fail too: the event becomes a dead letter.
    Never,
    /// Retry with exponential backoff.
    Later,
    /// Retry after at least this time.
    After(Duration),
}

impl ConnectionChange {
    /// The kind of the change.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Connected => EventKind::Connected,
            Self::Disconnected { .. } => EventKind::Disconnected,
        }
    }
}

impl EventKind {
    /// The name of the event of category `connections` in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}
