//! [`Order`]: what an app server wants, in our words.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use signalr_protocol::HubProtocol;
use signalr_protocol::service::UnixTime;

use super::too_long::TooLong;
use crate::engine::{
    ConnectionId, GroupName, Membership, OutgoingMessage, Target, UserId, calls_reserved_method,
};
use crate::filter::Filter;

/// The status ids of [`ServiceEvent`](signalr_protocol::service::Message::ServiceEvent): what an event is about, and what is the matter.
pub(crate) const EVENT_CONNECTION: i32 = 1;
pub(crate) const EVENT_GROUP: i32 = 3;
pub(crate) const EVENT_SERVER_CONNECTION: i32 = 4;
pub(crate) const EVENT_INVALID: i32 = 1;
pub(crate) const EVENT_NOT_EXISTED: i32 = 2;
pub(crate) const EVENT_BUFFER_FULL: i32 = 3;

/// What an app server wants.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    Send(Send),
    /// Bytes for one client, as its app server wrote them.
    Data {
        client: ConnectionId,
        payload: Bytes,
    },
    Close {
        whom: Target,
        excluded: Vec<ConnectionId>,
        reason: Option<Box<str>>,
        ack: Option<i32>,
    },
    Change {
        member: Member,
        /// None means all groups.
        group: Option<GroupName>,
        membership: Membership,
        stay: Stay,
        ack: Option<i32>,
    },
    Check {
        subject: Subject,
        ack: i32,
    },
    ListMembers {
        group: GroupName,
        ack: i32,
        top: Option<u32>,
        page: Option<u32>,
        after: Option<Box<str>>,
    },
    Invoke {
        invocation: Arc<str>,
        client: ConnectionId,
        caller_server: Arc<str>,
        payloads: ByProtocol,
    },
    /// A call that cannot be made as it stands; the caller waits for its result.
    NotInvoked {
        invocation: Box<str>,
        /// As the caller wrote it: its SDK compares it.
        connection: Box<str>,
        caller_server: Box<str>,
        why: Box<str>,
    },
    /// The result of a client, or why there is none, from the server that the client belongs to.
    Complete {
        invocation: Box<str>,
        client: ConnectionId,
        protocol: Option<Box<str>>,
        result: Result<Bytes, Option<Box<str>>>,
    },
    Refresh {
        token: Box<str>,
        claims: Vec<(Box<str>, Box<str>)>,
        expires_at: Option<UnixTime>,
        ack: i32,
    },
    Claims {
        token: Box<str>,
        ack: i32,
    },
    /// A key to sign tokens with, for one who has logged in.
    AccessKey {
        token: Option<Box<str>>,
    },
    Ping(Ping),
    /// The server holds back what it has for a client.
    PauseAck(ConnectionId),
    /// It is longer than may be.
    TooLong(TooLong),
    /// It cannot be done as it stands; the server is told by an ack or an event.
    Wrong(Wrong),
    /// Nothing is to be done: a type of a later version, or one that only the service sends.
    Nothing,
}

impl Order {
    /// The number under which an answer is awaited.
    pub(crate) fn ack(&self) -> Option<i32> {
        match self {
            Self::Close { ack, .. } | Self::Change { ack, .. } => *ack,
            Self::Check { ack, .. }
            | Self::ListMembers { ack, .. }
            | Self::Refresh { ack, .. }
            | Self::Claims { ack, .. } => Some(*ack),
            Self::Wrong(wrong) => wrong.ack,
            Self::Send(_)
            | Self::Data { .. }
            | Self::Invoke { .. }
            | Self::NotInvoked { .. }
            | Self::Complete { .. }
            | Self::AccessKey { .. }
            | Self::Ping(_)
            | Self::PauseAck(_)
            | Self::TooLong(_)
            | Self::Nothing => None,
        }
    }
}

/// A message for clients.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) targets: Vec<Target>,
    pub(crate) excluded: Vec<ConnectionId>,
    pub(crate) excluded_users: Vec<UserId>,
    /// Of those, only the ones that it chooses.
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) message: OutgoingMessage,
}

/// A hub message in each protocol for which the server wrote it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByProtocol {
    pub(crate) json: Option<Bytes>,
    pub(crate) messagepack: Option<Bytes>,
    pub(crate) blazorpack: Option<Bytes>,
}

impl ByProtocol {
    /// Whether the message calls a method that only the service calls, in one of its forms.
    pub(crate) fn call_reserved_method(&self) -> bool {
        let forms = [
            (HubProtocol::Json, &self.json),
            (HubProtocol::MessagePack, &self.messagepack),
            (HubProtocol::BlazorPack, &self.blazorpack),
        ];
        let is_reserved = |(protocol, framed): (HubProtocol, &Option<Bytes>)| {
            framed.as_ref().is_some_and(|framed| calls_reserved_method(protocol, framed))
        };
        forms.into_iter().any(is_reserved)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    Connection(ConnectionId),
    User(UserId),
}

/// How long a user is to be a member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// Only with the connections of this moment.
    Present,
    For(Duration),
    Always,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Connection(ConnectionId),
    User(UserId),
    Group(GroupName),
    UserInGroup(UserId, GroupName),
}

/// What a ping asks for; whatever else it says is a sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ping {
    Alive,
    /// Whether there are clients.
    Status,
    /// Which servers are there.
    Servers,
    /// Comes back as it is.
    Echo(Box<str>),
    /// The server shuts down.
    Shutdown(Shutdown),
}

/// What is to become of the clients of a server that shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    /// `fin:0`: they are dropped.
    Drop,
    /// `fin:1`: they move to other servers.
    Migrate,
    /// `fin:2`: they stay until they go by themselves.
    Wait,
}

/// Why an order cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) ack: Option<i32>,
    /// What the event is about: one of the `EVENT_` numbers.
    pub(crate) object: i32,
    pub(crate) id: Box<str>,
    /// One of the `EVENT_` numbers.
    pub(crate) kind: i32,
    pub(crate) text: Box<str>,
}
