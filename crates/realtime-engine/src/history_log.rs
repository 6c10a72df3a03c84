//! [`HistoryLog`]: who writes messages down before they are sent, so that a client that comes back can ask for what it missed; and how
//! such a client is brought up to date without a gap and without a message twice.

use std::fmt::Debug;

use crate::{Hub, Publish, PublishError, Target};

/// Takes the messages that are kept, keeps them, and hands them to
/// [`EngineHandle::publish_recorded`](super::EngineHandle::publish_recorded) in the order of their positions.
#[async_trait::async_trait]
pub trait HistoryLog: Debug + Send + Sync + 'static {
    /// Whether messages to that target are kept.
    fn has_history(&self, hub: &Hub, target: &Target) -> bool;

    /// Keeps a message and sends it.
    async fn publish(&self, publish: Publish) -> Result<(), PublishError>;

    /// As [`HistoryLog::publish`], for callers that cannot wait: the message is taken when it is on its way to be kept.
    fn try_publish(&self, publish: Publish) -> Result<(), PublishError>;
}

/// How a connection begins to follow what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FollowResult {
    /// There is no such connection in the hub.
    #[default]
    NoConnection,
    /// It is no member of the group, and may not become one by itself.
    NotMember,
    /// It is in as many groups as it may be.
    TooManyGroups,
    /// It follows. It has had everything from this number on, so it misses what is before.
    Since(u64),
    /// Messages are withheld from it until [`EngineHandle::catch_up`](super::EngineHandle::catch_up) has been told that it has
    /// everything before them.
    Withheld,
}

/// Whether a connection has caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUpResult {
    /// It is gone.
    #[default]
    Gone,
    /// It has; from now on it gets messages as they come.
    Live,
    /// Messages up to this number were withheld meanwhile.
    Behind(u64),
}
