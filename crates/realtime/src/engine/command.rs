//! What the engine is asked to do: the public [`Publish`], [`Target`] and [`Admission`], and the closed list of
//! everything a shard can be told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use trace::TraceContext;

use super::span::SendSpan;
use super::{ConnectionId, GroupName, Hub, OutgoingMessage, UserId};

/// A message and who gets it.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The hub whose connections it is for.
    pub hub: Hub,
    /// Which of them.
    pub target: Target,
    /// Connections that do not get it although they belong to the target.
    pub excluded: Vec<ConnectionId>,
    /// What they get.
    pub message: OutgoingMessage,
    /// The trace that the sending belongs to; its span `send` lasts until the last shard has written once to each
    /// receiver.
    pub trace: Option<TraceContext>,
}

/// Which connections of a hub are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that did their handshake.
    All,
    /// Those in a group.
    Group(GroupName),
    /// Those of a user.
    User(UserId),
    /// One.
    Connection(ConnectionId),
}

/// With what a socket enters the engine: who is at its other end, by the words of its token.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The hub.
    pub hub: Hub,
    /// Its public name, from [`EngineHandle::issue`](super::EngineHandle::issue).
    pub connection: ConnectionId,
    /// Its user.
    pub user: Option<UserId>,
    /// How long the client has for its handshake; absent means the engine's own setting.
    pub handshake_timeout: Option<Duration>,
    /// When the connection is to be closed because its token ends; absent means never.
    pub expires_at: Option<SystemTime>,
}

/// A change of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Become a member.
    Join,
    /// Be one no longer.
    Leave,
}

/// Everything that can happen to a shard from outside its sockets.
#[derive(Debug)]
pub(crate) enum Command {
    Attach(Box<edge::Socket>, Box<Admission>),
    Publish(Arc<Work>),
    ChangeConnection {
        hub: Hub,
        connection: ConnectionId,
        group: GroupName,
        membership: Membership,
        found: oneshot::Sender<bool>,
    },
    LeaveAllGroups {
        hub: Hub,
        connection: ConnectionId,
        found: oneshot::Sender<bool>,
    },
    ChangeUser {
        hub: Hub,
        user: UserId,
        group: GroupName,
        membership: Membership,
        lifetime: Option<Duration>,
        taken: oneshot::Sender<bool>,
    },
    UserLeavesAllGroups {
        hub: Hub,
        user: UserId,
        done: oneshot::Sender<()>,
    },
    Close {
        hub: Hub,
        target: Target,
        excluded: Arc<[ConnectionId]>,
        reason: Option<Box<str>>,
        closed: oneshot::Sender<u32>,
    },
    Exists {
        hub: Hub,
        subject: Subject,
        answer: oneshot::Sender<bool>,
    },
    Count {
        hub: Option<Hub>,
        answer: oneshot::Sender<u64>,
    },
    Drain {
        cut_after: Duration,
    },
}

/// Whose existence is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Connection(ConnectionId),
    User(UserId),
    Group(GroupName),
    UserInGroup(UserId, GroupName),
}

/// One publish, shared by the shards that carry it out. Its span ends when the last of them lets go.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) hub: Hub,
    pub(crate) target: Target,
    pub(crate) excluded: Vec<ConnectionId>,
    pub(crate) message: OutgoingMessage,
    pub(crate) span: Option<SendSpan>,
}
