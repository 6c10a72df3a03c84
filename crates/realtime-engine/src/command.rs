//! What the engine is asked to do: the public [`Publish`], [`Target`] and [`Membership`], and the closed list of
//! everything a shard can be told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use trace::TraceContext;

use super::admission::Admission;
use super::invoke::{ClientResult, InvokeError};
use super::keeper::{Begun, CaughtUp, Kept};
use super::list::{Action, Counts, Member, Named, Names, Predicate, Scope};
use super::span::SendSpan;
use super::tap::Sink;
use super::{AppServer, ConnectionId, Facts, GroupName, Hub, Link, OutgoingMessage, UserId};
use crate::{AuthenticationRefresh, OtherUser};

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

/// A change of a group's members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Become a member.
    Join,
    /// Be one no longer.
    Leave,
}

/// How long a user belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Only the connections that the user has now.
    Present,
    /// All connections that it has or gets within this time.
    For(Duration),
    /// All connections that it has or gets, until it is taken out.
    Always,
}

/// What clients are told whose connections an app closes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// Why; their clients see it as an error.
    pub reason: Option<Box<str>>,
    /// Whether a client with automatic reconnect may come back.
    pub allow_reconnect: bool,
}

/// How an app server ends a client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerClose {
    /// Why, when it is a mistake.
    pub error: Option<Box<str>>,
    /// Whether the client may come back at once; goes into the Close message.
    pub allow_reconnect: bool,
    /// Whether the engine says Close itself; an app server that closes properly has said it already.
    pub say_close: bool,
}

/// What became of bytes that a client sent over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Received {
    /// They were taken in.
    Taken,
    /// There is no such connection any more.
    #[default]
    Gone,
    /// Too many requests of this connection wait already.
    Busy,
}

/// What became of a socket that came to replace that of a stateful connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reattached {
    /// It took over.
    Taken,
    /// The connection is gone, or its messages could not all be kept; the client has to begin anew.
    #[default]
    Gone,
}

/// Everything that can happen to a shard from outside its sockets.
#[derive(Debug)]
pub(crate) enum Command {
    Attach(Box<Link>, Box<Admission>),
    /// A new socket for a connection that can reconnect statefully.
    Reattach {
        connection: ConnectionId,
        socket: Box<edge::Socket>,
        done: oneshot::Sender<Reattached>,
    },
    /// Bytes from a client that sends by HTTP requests; `is_end` where the request ends with them.
    Receive {
        connection: ConnectionId,
        payload: Bytes,
        is_end: bool,
        done: oneshot::Sender<Received>,
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
    Publish(Arc<Work>),
    ChangeConnection {
        hub: Hub,
        connection: ConnectionId,
        group: GroupName,
        membership: Membership,
        changed: oneshot::Sender<Changed>,
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
        closing: Closing,
        closed: oneshot::Sender<u32>,
    },
    Invoke(Box<Invoke>),
    Stream(Box<StreamPart>),
    /// Nobody waits for this client result any more.
    Forget {
        connection: ConnectionId,
        invocation_id: Box<str>,
    },
    /// What is known of a connection's client.
    Facts {
        hub: Hub,
        connection: ConnectionId,
        answer: oneshot::Sender<Option<Arc<Facts>>>,
    },
    /// The client of a connection has logged in again.
    Refresh {
        hub: Hub,
        connection: ConnectionId,
        refresh: Box<dyn AuthenticationRefresh>,
        answer: oneshot::Sender<Option<Result<Arc<Facts>, OtherUser>>>,
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
    Members {
        hub: Hub,
        scope: Scope,
        after: Option<ConnectionId>,
        max: usize,
        answer: oneshot::Sender<Vec<Member>>,
    },
    Named {
        hub: Hub,
        names: Names,
        after: Option<Box<str>>,
        max: usize,
        answer: oneshot::Sender<Vec<Named>>,
    },
    Counts {
        hub: Hub,
        answer: oneshot::Sender<Counts>,
    },
    Execute {
        hub: Hub,
        which: Arc<Predicate>,
        actions: Arc<[Action]>,
        answer: oneshot::Sender<u64>,
    },
    Tap(Box<Sink>),
    /// A connection wants to follow what is kept of a group, or of its hub.
    Follow {
        connection: ConnectionId,
        group: Option<GroupName>,
        may_join: bool,
        /// The life of the log.
        epoch: u64,
        begun: oneshot::Sender<Begun>,
    },
    CatchUp {
        connection: ConnectionId,
        group: Option<GroupName>,
        next: u64,
        caught_up: oneshot::Sender<CaughtUp>,
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
    pub(crate) answer: oneshot::Sender<Result<ClientResult, InvokeError>>,
}

/// What became of a connection's change of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Changed {
    Done,
    #[default]
    NoConnection,
    /// It is in as many groups as it may be.
    TooMany,
}

/// Whose existence is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Connection(ConnectionId),
    User(UserId),
    Group(GroupName),
    UserInGroup(UserId, GroupName),
    ConnectionInGroup(ConnectionId, GroupName),
}

/// Items of a stream that a client asked for, its end, or both; without messages a question.
#[derive(Debug)]
pub(crate) struct StreamPart {
    pub(crate) hub: Hub,
    pub(crate) connection: ConnectionId,
    /// The invocation id by which the client asked.
    pub(crate) stream: Box<str>,
    pub(crate) messages: Vec<Work>,
    /// Whether the stream ends with them.
    pub(crate) is_end: bool,
    pub(crate) answer: oneshot::Sender<StreamState>,
}

/// What became of a part of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamState {
    /// There is no such connection in the hub.
    #[default]
    NoConnection,
    /// The client did not ask for this stream, has cancelled it, or it has ended. Nothing was sent.
    NotOpen,
    /// It goes to the client.
    Sent {
        /// Whether so much waits for the client that the sender should wait too.
        is_behind: bool,
    },
}

/// One publish, shared by the shards that carry it out. Its span ends when the last of them lets go.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) hub: Hub,
    pub(crate) target: Target,
    pub(crate) excluded: Vec<ConnectionId>,
    pub(crate) excluded_users: Vec<UserId>,
    pub(crate) message: OutgoingMessage,
    /// Where it stands among those that are kept, if it is.
    pub(crate) kept: Option<Kept>,
    pub(crate) span: Option<SendSpan>,
}
