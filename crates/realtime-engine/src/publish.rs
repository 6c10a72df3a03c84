//! [`Publish`]: a message and its receivers.

use std::sync::Arc;

use trace::TraceContext;

use crate::send_span::SendSpan;
use crate::{ConnectionId, Hub, OutgoingMessage, Stopped, StreamPosition, Target, UserId};

/// A message and who gets it.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The hub whose connections it is for.
    pub hub: Hub,
    /// Which of them.
    pub target: Target,
    /// Connections that do not get it although they belong to the target.
    pub excluded: Vec<ConnectionId>,
    /// Users whose connections do not get it although they belong to the target.
    pub excluded_users: Vec<UserId>,
    /// What they get.
    pub message: OutgoingMessage,
    /// The trace that the sending belongs to; its span `send` lasts until the last shard has written once to each
    /// receiver.
    pub trace: Option<TraceContext>,
}

/// One publish, shared by the shards that carry it out. Its span ends when the last of them lets go.
#[derive(Debug)]
pub(crate) struct PublishJob {
    pub(crate) hub: Hub,
    pub(crate) target: Target,
    pub(crate) excluded: Vec<ConnectionId>,
    pub(crate) excluded_users: Vec<UserId>,
    pub(crate) message: OutgoingMessage,
    /// Where it stands among those that are kept, if it is.
    pub(crate) kept: Option<StreamPosition>,
    pub(crate) span: Option<SendSpan>,
}

/// Why a publish was not taken. Nobody got it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A shard's command queue is full; try again, or wait with [`EngineHandle::publish`](crate::EngineHandle::publish).
    #[error("a shard has as many commands waiting as it may")]
    Busy,
    /// The hub or group keeps its messages, and this one could not be kept.
    #[error("the message could not be kept: {0}")]
    NotRecorded(Arc<str>),
    /// The engine has ended.
    #[error("the engine has been shut down")]
    Stopped,
}

impl From<Stopped> for PublishError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}
