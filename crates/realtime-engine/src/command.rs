//! [`ShardCommand`]: the closed list of everything that a shard can be asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::client_result::{ClientInvokeError, ClientResult};
use crate::history_log::{CatchUpResult, FollowResult};
use crate::presence::{Action, ConnectionEntry, ListScope, NameKind, NamedCount, Predicate, PresenceCounts};
use crate::publish::PublishJob;
use crate::stream::StreamMessages;
use crate::trace_subscription::TraceSink;
use crate::{
    Admission, AppServer, AuthenticationRefresh, ClientContext, CloseRequest, ConnectionId, GroupName, Hub,
    Lifetime, Membership, OtherUser, OutgoingMessage, ServerClose, Target, Transport, UserId,
};

/// What became of bytes that a client sent over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveResult {
    /// They were taken in.
    Accepted,
    /// There is no such connection any more.
    #[default]
    Gone,
    /// Too many requests of this connection wait already.
    Busy,
}

/// What became of a socket that came to replace that of a stateful connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReattachResult {
    /// It took over.
    Attached,
    /// The connection is gone, or its messages could not all be kept; the client has to begin anew.
    #[default]
    Gone,
}

/// Everything that can happen to a shard from outside its sockets.
#[derive(Debug)]
pub(crate) enum ShardCommand {
    Attach(Box<Transport>, Box<Admission>),
    /// A new socket for a connection that can reconnect statefully.
    Reattach {
        connection: ConnectionId,
        socket: Box<edge::Socket>,
        done: oneshot::Sender<ReattachResult>,
    },
    /// Bytes from a client that sends by HTTP requests; `is_end` where the request ends with them.
    Receive {
        connection: ConnectionId,
        payload: Bytes,
        is_end: bool,
        done: oneshot::Sender<ReceiveResult>,
    },
    /// The client of an HTTP transport has gone (`false`) or said goodbye (`true`).
    Leave {
        connection: ConnectionId,
        goodbye: bool,
        found: oneshot::Sender<bool>,
    },
    /// The answer to [`Upstream::opening`](super::Upstream::opening).
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
    /// A client is read again.
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
    /// Nobody waits for this client result any more.
    Forget {
        connection: ConnectionId,
        invocation_id: Box<str>,
    },
    /// What is known of a connection's client.
    GetClientContext {
        hub: Hub,
        connection: ConnectionId,
        answer: oneshot::Sender<Option<Arc<ClientContext>>>,
    },
    /// The client of a connection has logged in again.
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
    /// A connection wants to follow what is kept of a group, or of its hub.
    Follow {
        connection: ConnectionId,
        group: Option<GroupName>,
        may_join: bool,
        /// The life of the log.
        epoch: u64,
        result: oneshot::Sender<FollowResult>,
    },
    CatchUp {
        connection: ConnectionId,
        group: Option<GroupName>,
        next: u64,
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

/// A call of one client's method whose result is awaited.
#[derive(Debug)]
pub(crate) struct Invoke {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    pub(crate) invocation_id: Box<str>,
    pub(crate) message: OutgoingMessage,
    pub(crate) answer: oneshot::Sender<Result<ClientResult, ClientInvokeError>>,
}

/// What became of a connection's change of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GroupChangeResult {
    Done,
    #[default]
    NoConnection,
    /// It is in as many groups as it may be.
    TooMany,
}

/// Whose existence is asked for.
#[derive(Clone, Debug)]
pub(crate) enum PresenceQuery {
    Connection(ConnectionId),
    User(UserId),
    Group(GroupName),
    UserInGroup(UserId, GroupName),
    ConnectionInGroup(ConnectionId, GroupName),
}
