//! [`HistoryLog`]: records messages before they are sent, so that a client can recover what it missed; and how such a client catches
//! up without a gap and without a duplicate.

use std::fmt::Debug;

use crate::{Hub, Publish, PublishError, Target};

/// Records messages, and passes them to [`EngineHandle::publish_recorded`](super::EngineHandle::publish_recorded) in the order of
/// their positions.
#[async_trait::async_trait]
pub trait HistoryLog: Debug + Send + Sync + 'static {
    /// Whether messages to that target are recorded.
    fn has_history(&self, hub: &Hub, target: &Target) -> bool;

    /// Records a message and sends it.
    async fn publish(&self, publish: Publish) -> Result<(), PublishError>;

    /// As [`HistoryLog::publish`], for callers that cannot wait: returns when the message is queued to be recorded.
    fn try_publish(&self, publish: Publish) -> Result<(), PublishError>;
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
    /// It is subscribed, and has received every message from this offset on.
    Since(u64),
    /// It is subscribed; live messages are withheld until [`EngineHandle::catch_up`](super::EngineHandle::catch_up) reports that it has
    /// received those before them.
    Withheld,
}

/// Whether a connection has caught up with a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUpResult {
    /// It has ended.
    #[default]
    Gone,
    /// It has; from now on it receives messages live.
    Live,
    /// It has not: messages up to this offset were withheld meanwhile.
    Behind(u64),
}
