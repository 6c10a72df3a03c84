//! [`ConnectionListener`]: who is told that clients come and go.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use realtime_engine::{ClientConnection, Hub};

/// The reason of a `disconnected` whose connection ended with its process.
pub const NODE_LOST: &str = "NodeLost";

/// Hears of connections.
///
/// 1. **At least once.** An event is delivered until [`deliver`](Self::deliver) says that it arrived, or the bounds of
///    [`Options`](super::Options) are reached and it became a dead letter. After a crash an event may come again.
/// 2. **In order.** Of one connection, `connected` is settled before `disconnected` is tried. Different connections are told at
///    the same time.
/// 3. **None is lost.** A connection of which `connected` was told gets its `disconnected`, also after `kill -9`: then late, with
///    the reason [`NODE_LOST`]. A `connected` is not repeated after a restart, as its connection is gone.
#[async_trait::async_trait]
pub trait ConnectionListener: Send + Sync + 'static {
    /// Its name in metrics and dead letters; the same after every start.
    fn name(&self) -> &'static str;

    /// Whether it wants such events of a hub. Asked on a shard's thread: it answers at once. The answer for a hub stays the same
    /// while the process runs.
    fn wants(&self, hub: &Hub, kind: EventKind) -> bool;

    /// Tells of an event.
    ///
    /// # Errors
    ///
    /// If it did not arrive, with what is to be done next.
    async fn deliver(&self, event: &ConnectionEvent) -> Result<(), DeliveryError>;
}

/// What happened to a connection.
#[derive(Clone, Debug)]
pub struct ConnectionEvent {
    /// Which one, and what its client brought along.
    pub client: ClientConnection,
    /// What happened.
    pub what: ConnectionChange,
    /// When.
    pub at: SystemTime,
}

/// What can happen to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionChange {
    /// Its handshake was answered.
    Connected,
    /// It ended.
    Disconnected {
        /// The name of an [`EndReason`](realtime_engine::EndReason), or [`NODE_LOST`].
        reason: Cow<'static, str>,
        /// What went wrong, if anything did.
        error: Option<Box<str>>,
    },
}

/// The two kinds of [`ConnectionChange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A client has connected.
    Connected,
    /// A client has gone.
    Disconnected,
}

/// Why an event did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct DeliveryError {
    /// For the operator: in logs, and in the dead letter.
    pub cause: String,
    /// What is to be done.
    pub retry: Retry,
}

/// What is to be done with an event that did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same would come of it again: it becomes a dead letter.
    Never,
    /// Try again, later and later.
    Later,
    /// Try again, and not before this time has passed.
    After(Duration),
}

impl ConnectionChange {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Connected => EventKind::Connected,
            Self::Disconnected { .. } => EventKind::Disconnected,
        }
    }
}

impl EventKind {
    /// Its name on the wire: the event of category `connections`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}
