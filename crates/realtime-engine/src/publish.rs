//! [`Publish`]: a message and its receivers.

use std::sync::Arc;

use trace::TraceContext;

use crate::send_span::SendSpan;
use crate::{ConnectionId, Hub, OutgoingMessage, Stopped, StreamPosition, Target, UserId};

/// A message and its receivers.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The hub.
    pub hub: Hub,
    /// The receivers.
    pub target: Target,
    /// Connections of the target that do not receive it.
    pub excluded: Vec<ConnectionId>,
    /// Users in the target whose connections do not receive it.
    pub excluded_users: Vec<UserId>,
    /// The message.
    pub message: OutgoingMessage,
    /// The trace that it belongs to; its span `send` ends when the last shard has written to each receiver.
    pub trace: Option<TraceContext>,
}

/// One publish, shared by the shards. Its span ends when the last shard drops it.
#[derive(Debug)]
pub(crate) struct PublishJob {
    pub(crate) hub: Hub,
    pub(crate) target: Target,
    pub(crate) excluded: Vec<ConnectionId>,
    pub(crate) excluded_users: Vec<UserId>,
    pub(crate) message: OutgoingMessage,
    /// Its position in the history, if it is recorded.
    pub(crate) recorded_position: Option<StreamPosition>,
    pub(crate) span: Option<SendSpan>,
}

/// Why a message was not sent. No client received it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A shard's command queue is full; try again, or wait with [`EngineHandle::publish`](crate::EngineHandle::publish).
    #[error("the queue of a shard is full (realtime.engine.commands_max); try again")]
    Busy,
    /// The hub or group has a history, and the message could not be recorded in it.
    #[error("the message could not be recorded in the history: {0}")]
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
