//! [`ShardCommand`]: the closed list of commands to a shard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::client_result::{ClientInvokeError, ClientResult};
use crate::history_log::{CatchUpResult, FollowResponse, FollowResult};
use crate::presence::{Action, ConnectionEntry, ListScope, NameKind, NamedCount, Predicate, PresenceCounts};
use crate::publish::PublishJob;
use crate::stream::StreamMessages;
use crate::trace_subscription::TraceSink;
use crate::{
    AppServer, AuthenticationRefresh, ClientAdmission, ClientContext, CloseRequest, ConnectionId, GroupName,
    Hub, Lifetime, Membership, Options, OtherUser, OutgoingMessage, ServerClose, Target, Transport, UserId,
};

/// The result for bytes that a client sent in an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveResult {
    /// They were accepted.
    Accepted,
    /// The connection has ended.
    #[default]
    Gone,
    /// Too many requests of this connection are pending.
    Busy,
}

/// The result for the new socket of a client that reconnects statefully.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReattachResult {
    /// The connection uses it now.
    Attached,
    /// The connection has ended, or its buffer has overflowed; the client must open a new connection.
    #[default]
    Gone,
}

/// A command to a shard.
#[derive(Debug)]
pub(crate) enum ShardCommand {
    Attach(Box<Transport>, Box<ClientAdmission>),
    /// A new socket for a stateful connection.
    Reattach {
        connection: ConnectionId,
        socket: Box<edge::Socket>,
        done: oneshot::Sender<ReattachResult>,
    },
    /// Bytes from an HTTP request of a client; `is_end` if the request ends with them.
    Receive {
        connection: ConnectionId,
        payload: Bytes,
        is_end: bool,
        done: oneshot::Sender<ReceiveResult>,
    },
    /// The client of an HTTP transport was lost (`false`) or has closed the connection (`true`).
    Leave {
        connection: ConnectionId,
        is_close: bool,
        found: oneshot::Sender<bool>,
    },
    /// The decision that [`Upstream::connecting`](crate::Upstream::connecting) has postponed.
    Opened {
        connection: ConnectionId,
        result: Result<(), Box<str>>,
    },
    FromServer {
        connection: ConnectionId,
        payload: Bytes,
        found: oneshot::Sender<bool>,
    },
    EndClient {
        connection: ConnectionId,
        close: Box<ServerClose>,
        found: oneshot::Sender<bool>,
    },
    Rebind {
        connection: ConnectionId,
        server: Arc<dyn AppServer>,
        found: oneshot::Sender<bool>,
    },
    /// Resumes reading from a client that was paused.
    Resume {
        connection: ConnectionId,
    },
    Publish(Arc<PublishJob>),
    ChangeConnection {
        hub: Hub,
        connection: ConnectionId,
        group: GroupName,
        membership: Membership,
        changed: oneshot::Sender<GroupChangeResult>,
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
        lifetime: Lifetime,
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
        closing: CloseRequest,
        closed: oneshot::Sender<u32>,
    },
    Invoke(Box<Invoke>),
    Stream(Box<StreamMessages>),
    /// The caller no longer waits for this client result.
    Forget {
        connection: ConnectionId,
        invocation_id: Box<str>,
    },
    /// Returns the client context of a connection.
    GetClientContext {
        hub: Hub,
        connection: ConnectionId,
        answer: oneshot::Sender<Option<Arc<ClientContext>>>,
    },
    /// Refreshes the authentication of a connection.
    Refresh {
        hub: Hub,
        connection: ConnectionId,
        refresh: Box<dyn AuthenticationRefresh>,
        answer: oneshot::Sender<Option<Result<Arc<ClientContext>, OtherUser>>>,
    },
    Exists {
        hub: Hub,
        subject: PresenceQuery,
        answer: oneshot::Sender<bool>,
    },
    Count {
        hub: Option<Hub>,
        answer: oneshot::Sender<u64>,
    },
    ListConnections {
        hub: Hub,
        scope: ListScope,
        after: Option<ConnectionId>,
        max: usize,
        answer: oneshot::Sender<Vec<ConnectionEntry>>,
    },
    ListNames {
        hub: Hub,
        names: NameKind,
        after: Option<Box<str>>,
        max: usize,
        answer: oneshot::Sender<Vec<NamedCount>>,
    },
    CountPresence {
        hub: Hub,
        answer: oneshot::Sender<PresenceCounts>,
    },
    Execute {
        hub: Hub,
        which: Arc<Predicate>,
        actions: Arc<[Action]>,
        answer: oneshot::Sender<u64>,
    },
    SubscribeTrace(Box<TraceSink>),
    /// Replaces the limits.
    SetOptions(Arc<Options>),
    /// Subscribes a connection to the history of a group, or of its hub.
    Follow {
        connection: ConnectionId,
        group: Option<GroupName>,
        may_join: bool,
        /// The epoch of the history.
        epoch: u64,
        result: oneshot::Sender<FollowResult>,
    },
    CatchUp {
        connection: ConnectionId,
        group: Option<GroupName>,
        next: u64,
        response: Box<dyn FollowResponse>,
        result: oneshot::Sender<CatchUpResult>,
    },
    Unfollow {
        connection: ConnectionId,
        group: Option<GroupName>,
        done: oneshot::Sender<()>,
    },
    Drain {
        cut_after: Duration,
    },
}

/// An invocation of one client's method that returns a result.
#[derive(Debug)]
pub(crate) struct Invoke {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    pub(crate) invocation_id: Box<str>,
    pub(crate) message: OutgoingMessage,
    pub(crate) answer: oneshot::Sender<Result<ClientResult, ClientInvokeError>>,
}

/// The result of a change of a connection's group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GroupChangeResult {
    Done,
    #[default]
    NoConnection,
    /// [`Options::connection_groups_max`](crate::Options::connection_groups_max) is reached.
    TooMany,
}

/// The connection, user or group whose existence is queried.
#[derive(Clone, Debug)]
pub(crate) enum PresenceQuery {
    Connection(ConnectionId),
    User(UserId),
    Group(GroupName),
    UserInGroup(UserId, GroupName),
    ConnectionInGroup(ConnectionId, GroupName),
}
