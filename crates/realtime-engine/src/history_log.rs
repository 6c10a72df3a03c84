//! [`HistoryLog`]: records messages before they are sent, so that a client can recover messages that it missed, without a gap and
//! without a duplicate.

use std::fmt::Debug;

use crate::{Hub, OutgoingMessage, Publish, PublishError, StreamPosition, Target};

/// Records messages, and passes them to [`EngineHandle::publish_recorded`](super::EngineHandle::publish_recorded) in the order of
/// their positions.
#[async_trait::async_trait]
pub trait HistoryLog: Debug + Send + Sync + 'static {
    /// Whether messages to that target are recorded.
    fn has_history(&self, hub: &Hub, target: &Target) -> bool;

    /// Records a message and sends it.
    async fn publish(&self, publish: Publish) -> Result<(), PublishError>;

    /// As [`HistoryLog::publish`], for callers that cannot wait: returns when the message is queued.
    fn try_publish(&self, publish: Publish) -> Result<(), PublishError>;
}

/// The response to a client that subscribes to a history. The shard sends it at the moment at which the client starts to receive live
/// messages with their positions, so that none of them arrives before the response.
pub trait FollowResponse: Debug + Send + 'static {
    /// Encodes the response; `None` if the client does not wait for one. The client has received every message before `position`.
    fn encode(self: Box<Self>, position: StreamPosition) -> Option<OutgoingMessage>;
}

/// The result of a subscription to a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FollowResult {
    /// There is no such connection in the hub.
    #[default]
    NoConnection,
    /// The connection is not a member of the group, and may not join it.
    NotMember,
    /// The connection is in too many groups.
    TooManyGroups,
    /// It has received every message from this offset on, and receives live messages without their positions until
    /// [`EngineHandle::catch_up`](super::EngineHandle::catch_up) reports that it has received those before.
    Since(u64),
    /// Live messages are withheld until [`EngineHandle::catch_up`](super::EngineHandle::catch_up) reports that it has received those
    /// before them.
    Withheld,
}

/// Whether a connection has caught up with a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUpResult {
    /// It has ended.
    #[default]
    Gone,
    /// It has: the response was sent, and from now on it receives live messages with their positions.
    Live,
    /// It has not: messages up to this offset were withheld meanwhile.
    Behind(u64),
}
